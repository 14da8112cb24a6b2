"""The model card is read by the Hub's own parser, and an upload lands whole in a server that speaks the Hub's API."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("torch")

import huggingface_hub as hub

from fractal.datasets.synthetic import make_responses
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.aspects import AspectScorer
from fractal.scorers.model_card import CardFacts, base_model
from fractal.scorers.sentence import SentenceScorer

MADE = make_responses(60, "summaries", seed=3)


def small(**options) -> SentenceScorer:
    plan = TrainingPlan(epochs=3, members=2, folds=2)
    return SentenceScorer(encoder="hashing(dim=32)", recipe="own", aggregation="product", plan=plan, **options)


@pytest.fixture(scope="module")
def scorer() -> SentenceScorer:
    return small().fit(MADE)


def test_the_card_says_when_new_responses_cannot_be_told_from_those_of_training(scorer, tmp_path):
    told = "unlike those of training are not marked"
    assert told not in (scorer.save_pretrained(tmp_path / "some") / "README.md").read_text()
    few = [dataclasses.replace(response, group=str(number % 9)) for number, response in enumerate(MADE)]
    for number, one in enumerate((small().fit(few), AspectScorer({"good": "product"}, small()).fit(_rated(few)))):
        assert told in (one.save_pretrained(tmp_path / str(number)) / "README.md").read_text()


def _rated(responses):
    return [dataclasses.replace(response, aspects={"good": response.label}) for response in responses]


def test_the_hub_reads_licence_data_and_metrics(scorer, tmp_path):
    facts = CardFacts("team/scorer", "cc-by-4.0", "team/ratings", tuple(scorer.score_responses(MADE[:1])))
    folder = scorer.save_pretrained(tmp_path / "scorer", facts)
    card = hub.ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.library_name, card.data.datasets) == (
        "cc-by-4.0",
        "fractal-scores",
        ["team/ratings"],
    )
    assert "multiple-instance-learning" in card.data.tags
    assert card.data.model_name == "team/scorer"
    results = {result.metric_name: result for result in card.data.eval_results}
    assert {name: result.metric_value for name, result in results.items()} == scorer.metrics_
    assert {result.metric_type for result in results.values()} == {"roc_auc", "log_loss"}
    assert {result.dataset_type for result in results.values()} == {"team/ratings"}
    assert 'from_pretrained("team/scorer")' in card.text
    first = MADE[0].sentences[0].text
    assert f"{scorer.score_responses(MADE[:1])[0].sentence_scores[0]:.2f}  {first}" in card.text


def test_nothing_is_said_that_nobody_told(scorer, tmp_path):
    card = hub.ModelCard.load(scorer.save_pretrained(tmp_path / "scorer") / "README.md")
    assert (card.data.license, card.data.datasets, card.data.base_model) == (None, None, None)
    assert "Licence of the scorer: none is stated" in card.text
    assert not any(sentence.text in card.text for response in MADE for sentence in response.sentences)


def test_checks_that_fail_are_limits(scorer, tmp_path):
    check = dataclasses.replace(scorer.checks_[0], name="length", verdict="fail", sentence="Long answers are rated up.")
    told = SentenceScorer.from_pretrained(scorer.save_pretrained(tmp_path / "a"))
    told.checks_ = (check,)
    card = (told.save_pretrained(tmp_path / "b") / "README.md").read_text(encoding="utf-8")
    assert card.endswith("- Check *length* (fail): Long answers are rated up.\n")


def test_every_aspect_has_its_results(tmp_path):
    rated = [
        dataclasses.replace(one, label=None, aspects={'so: "x"\n# y': one.label, "short": 1 - one.label})
        for one in MADE
    ]
    scorer = AspectScorer(dict.fromkeys(rated[0].aspects, "product"), small()).fit(rated)
    card = hub.ModelCard.load(scorer.save_pretrained(tmp_path / "scorer") / "README.md")
    tasks = {result.task_name for result in card.data.eval_results}
    assert tasks == {'telling whole responses apart, so: "x" # y', "telling whole responses apart, short"}
    assert len(card.data.eval_results) == 4


@pytest.mark.parametrize(
    ("encoder", "repository"),
    [
        ("minilm", "sentence-transformers/all-MiniLM-L6-v2"),
        ("mpnet", "sentence-transformers/all-mpnet-base-v2"),
        ("sentence_transformers(model='intfloat/multilingual-e5-small')", "intfloat/multilingual-e5-small"),
        ("static(model='./local/model')", ""),
        ("hashing(dim=64)", ""),
        ("static", ""),
    ],
)
def test_the_base_model_is_a_repository_or_nothing(encoder, repository):
    assert base_model(encoder) == repository


class Hub(ThreadingHTTPServer):
    """As much of the Hub's API as an upload needs: make a repository, say how files are sent, take a commit."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubAnswers)
        self.made: list[dict] = []
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}


class HubAnswers(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            self.answer({"url": f"http://{self.headers['Host']}/team/scorer"})
        elif self.path == "/api/validate-yaml":
            self.answer({"warnings": [], "errors": []})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            large = [file for file in asked if file["path"].endswith(".safetensors")]
            modes = [
                {"path": file["path"], "uploadMode": "lfs" if file in large else "regular", "shouldIgnore": False}
                for file in asked
            ]
            self.answer({"files": modes})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"http://{self.headers['Host']}/objects/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        else:
            assert re.search(r"/api/models/team/scorer/commit/main", self.path), self.path
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    self.server.files[line["value"]["path"]] = self.server.objects[line["value"]["oid"]]
            place = f"http://{self.headers['Host']}/team/scorer"
            self.answer({"commitUrl": f"{place}/commit/{'0' * 40}", "commitOid": "0" * 40, "hookOutput": ""})

    def do_PUT(self) -> None:
        self.server.objects[self.path.rsplit("/", 1)[1]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({})

    def answer(self, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer({"id": "team/scorer", "sha": "0" * 40, "siblings": []})

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


PUSH = """
import sys
from fractal import SentenceScorer, make_responses
scorer = SentenceScorer.from_pretrained(sys.argv[1])
example = make_responses(60, "summaries", seed=3)[0]
print(scorer.push_to_hub("team/scorer", private=True, license="apache-2.0", example=example))
"""


def test_an_upload_lands_whole(scorer, tmp_path):
    folder = scorer.save_pretrained(tmp_path / "scorer")
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_address[1]}"
        told = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        told |= {"HF_ENDPOINT": place, "HF_HOME": str(tmp_path), "HF_TOKEN": "hf_test", "HF_HUB_OFFLINE": "0"}
        told |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "FRACTAL_CACHE": str(tmp_path / "cache")}
        ended = subprocess.run(
            [sys.executable, "-c", PUSH, str(folder)],
            env=told,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        server.shutdown()
    assert ended.returncode == 0, ended.stderr
    assert "/team/scorer" in ended.stdout
    assert [(one["name"], one["organization"], one["visibility"]) for one in server.made] == [
        ("scorer", "team", "private")
    ]
    landed = tmp_path / "landed"
    for name, content in server.files.items():
        Path(landed, name).parent.mkdir(parents=True, exist_ok=True)
        Path(landed, name).write_bytes(content)
    again = SentenceScorer.from_pretrained(landed)
    assert again.score_responses(MADE[:5]) == scorer.score_responses(MADE[:5])
    card = hub.ModelCard.load(landed / "README.md")
    assert card.data.license == "apache-2.0"
    assert MADE[0].sentences[0].text in card.text
