"""Judges behind an endpoint on this machine: labels, retries, what was paid for once, estimates and bills."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import threading

import pytest
from click.testing import CliRunner

from fractal.cli import app
from fractal.datasets.judges import JUDGES, score_in
from fractal.errors import BadSpec
from fractal.readers import read

ANSWERS = [
    {"id": f"r{n}", "query": "Which?", "sentences": [f"Answer {n}.", "good" if n % 2 else "bad"]} for n in range(8)
]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        if self.server.busy:
            self.server.busy -= 1
            self.send_error(503)
            return
        prompt = asked["messages"][0]["content"]
        said = json.dumps({"score": 1 if "good" in prompt.partition("Response:")[2].partition("Judge")[0] else 0})
        if asked["model"] == "mute":
            said = "I cannot say."
        body = {"choices": [{"message": {"content": said}}], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.busy = [], 0
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, ANSWERS)))
    return path


def judge(server, model="m", **options):
    given = "".join(f", {name}={value}" for name, value in options.items())
    return f"openai(model={model!r}, base_url='http://127.0.0.1:{server.server_address[1]}/v1', pause=0.01{given})"


def run(*words):
    return CliRunner().invoke(app, ["rate", *map(str, words)], catch_exceptions=True)


def test_a_judge_labels_every_response_and_is_asked_once(server, answers, tmp_path):
    target = tmp_path / "rated.jsonl"
    spec = judge(server, input_price=10.0, output_price=100.0)
    server.busy = 1
    done = run(answers, "--judge", spec, "--rubric", "Good is good.", "-o", target, "--json")
    assert done.exit_code == 0, done.output
    assert [response.label for response in read(target)] == [n % 2 for n in range(8)]
    assert len(server.asked) == 9  # one was refused and asked again
    assert all("Good is good." in asked["messages"][0]["content"] for asked in server.asked)
    bill = json.loads(done.stdout)
    assert (bill["calls"], bill["input_tokens"], bill["counted"]) == (8, 800, True)
    assert bill["cost"] == pytest.approx((800 * 10 + 80 * 100) / 1e6)
    hint = shlex.split(re.search(r"^  (fractal .*)$", done.stderr, re.MULTILINE)[1])
    assert hint[1:3] == ["train", str(target)]
    assert CliRunner().invoke(app, [*hint[1:], "--dry-run"], catch_exceptions=False).exit_code == 0
    again = run(answers, "--judge", spec, "--rubric", "Good is good.", "-o", target, "--json")
    assert json.loads(again.stdout)["cached"] == 8
    assert len(server.asked) == 9


def test_an_estimate_asks_nobody_and_a_limit_is_kept(server, answers):
    spec = judge(server, input_price=1000.0)
    assert json.loads(run(answers, "--judge", spec, "--estimate", "--json", "-q").stdout)["cost"] > 0
    refused = run(answers, "--judge", spec, "--most", "0.000001")
    assert refused.exit_code == 2
    assert "above --most" in refused.output
    assert server.asked == []


def test_several_judges_are_combined_and_a_mute_one_is_counted(server, answers, tmp_path):
    target = tmp_path / "rated.jsonl"
    words = [word for model in ("a", "b", "c", "mute") for word in ("--judge", judge(server, model))]
    done = run(answers, *words, "-o", target)
    assert done.exit_code == 0, done.output
    rated = list(read(target))
    assert all((response.label > 0.5) == n % 2 for n, response in enumerate(rated))
    assert set(rated[0].extra["votes"]) == {"a", "b", "c"}
    assert "8 without a score" in done.output


def test_what_a_score_is():
    assert score_in('{"score": 0.25}') == 0.25
    assert score_in('Sure: {"score": "1"}.') == 1.0
    assert score_in('{"score": true}') == 1.0
    assert score_in('{"score": 7}') is None
    assert score_in("good") is None
    with pytest.raises(BadSpec, match="name the model"):
        JUDGES.build("openai()")
