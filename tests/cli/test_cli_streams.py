"""Scoring as a stream: any size, flat memory, and equal bytes after any kill."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from fractal.cli import app, main
from fractal.datasets.synthetic import make_responses
from fractal.ensemble.self_training import SelfTraining
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.persistence import load_folder
from fractal.scorers.sentence import SentenceScorer
from support.effort import few

BATCH = 64
OPEN: list[io.TextIOWrapper] = []  # a reader that was left early lets go of its stream only when it is collected


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    """A scorer that is quick rather than good."""
    folder = tmp_path_factory.mktemp("scorer")
    plan = TrainingPlan(epochs=1, members=2, folds=2, hidden=(8,))
    made = SentenceScorer(
        "product", ("cosine", "length"), "hashing(dim=64)", plan=plan, self_training=SelfTraining(rounds=0), cache=False
    )
    made.fit(make_responses(60, "summaries", seed=1))
    return made.save_pretrained(folder / "scorer")


def lines(count: int):
    """Yield responses as JSON lines, no two alike."""
    rng = random.Random(5)
    words = list("riverbanks")
    for number in range(count):
        sentences = ["The " + "".join(rng.sample(words, 9)) + " rose." for _ in range(rng.randint(1, 4))]
        yield json.dumps({"id": f"r{number}", "sentences": sentences, "context": ["The river rose."]}) + "\n"


def command(scorer: Path, *args: object) -> list[str]:
    plain = ["score", scorer, "-", "--batch", BATCH, "--no-cache", *args]
    return [sys.executable, "-m", "fractal", *map(str, plain)]


def feed(process: subprocess.Popen, count: int) -> None:
    """Write to a process that may be killed at any time."""
    try:
        for line in lines(count):
            process.stdin.write(line.encode())
        process.stdin.close()
    except (BrokenPipeError, ValueError):
        pass


def killed_and_resumed(scorer: Path, out: Path, count: int, kills: int, size: int, seed: int) -> int:
    """Kill a run again and again, each time after a part of its `size` bytes; then let it end. Return the kills."""
    rng, happened = random.Random(seed), 0
    part = out.with_name(out.name + ".part")
    for kill in range(kills + 1):
        process = subprocess.Popen(
            command(scorer, "-o", out, *(["--resume"] if kill else []), "-q"), stdin=subprocess.PIPE
        )
        feeding = threading.Thread(target=feed, args=(process, count))
        feeding.start()
        if kill < kills:
            before = part.stat().st_size if part.exists() else 0
            wanted = before + rng.randint(1, size // kills)
            while process.poll() is None and not (part.exists() and part.stat().st_size > wanted):
                time.sleep(0.001)
            process.kill()
        code = process.wait(timeout=550)
        feeding.join()
        happened += code == -signal.SIGKILL
        if code == 0:
            break
    return happened


def whole(scorer: Path, out: Path, count: int) -> None:
    process = subprocess.Popen(command(scorer, "-o", out, "-q"), stdin=subprocess.PIPE)
    feed(process, count)
    assert process.wait(timeout=550) == 0


def test_killed_and_resumed_equals_an_uninterrupted_run(scorer, tmp_path):
    whole(scorer, tmp_path / "whole.jsonl", 2_000)
    size = (tmp_path / "whole.jsonl").stat().st_size
    assert killed_and_resumed(scorer, tmp_path / "scores.jsonl", 2_000, 2, size, seed=0) >= 1
    assert (tmp_path / "scores.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"whole.jsonl", "scores.jsonl"}


def here(monkeypatch, capsys, given: str, scorer: Path, *args: object) -> tuple[int, str, str]:
    """Run the command in this process, which spares it the imports; return its code, stdout and stderr."""
    OPEN.append(io.TextIOWrapper(io.BytesIO(given.encode())))
    monkeypatch.setattr("sys.stdin", OPEN[-1])
    with pytest.raises(SystemExit) as ended:
        main(command(scorer, *args)[3:])
    return int(ended.value.code or 0), *capsys.readouterr()


def test_a_torn_line_is_written_anew(scorer, tmp_path, monkeypatch, capsys):
    """A kill in the middle of a write leaves half a line; resumption cuts back to the last whole batch."""
    out = tmp_path / "scores.jsonl"
    given = "".join(lines(300))
    here(monkeypatch, capsys, given, scorer, "-o", tmp_path / "whole.jsonl")
    content = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    facts = {"scorer": load_folder(scorer).digest, "batch": BATCH}
    (tmp_path / "scores.jsonl.part").write_bytes(b"".join(content[: BATCH + 9]) + content[BATCH + 9][:20])
    (tmp_path / "scores.jsonl.part.json").write_text(json.dumps(facts))
    code, _, err = here(monkeypatch, capsys, given, scorer, "-o", out, "--resume")
    assert code == 0
    assert f"goes on after {BATCH:,} responses" in err
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_resuming_with_other_data_or_another_scorer_is_refused(scorer, tmp_path, monkeypatch, capsys):
    out, part = tmp_path / "scores.jsonl", tmp_path / "scores.jsonl.part"
    content = [json.dumps({"id": f"other{number}"}) + "\n" for number in range(BATCH)]
    part.write_text("".join(content))
    facts = tmp_path / "scores.jsonl.part.json"
    head = load_folder(scorer).digest
    for kept, said in (
        ({"scorer": "x", "batch": BATCH}, "another scorer"),
        ({"scorer": head, "batch": BATCH}, "other0"),
    ):
        facts.write_text(json.dumps(kept))
        code, _, err = here(monkeypatch, capsys, "".join(lines(100)), scorer, "-o", out, "--resume")
        assert code == 2
        assert said in err
        assert not out.exists()


def test_a_closed_pipe_is_silent(scorer):
    process = subprocess.Popen(
        command(scorer, "-q"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    feeding = threading.Thread(target=feed, args=(process, 4_000))
    feeding.start()
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=120)
    feeding.join()
    assert err == b""
    assert process.returncode == 141  # 128 and the number of SIGPIPE, as shells tell it


def test_wrong_records_are_counted_and_left_out(scorer, tmp_path, monkeypatch, capsys):
    given = "".join(lines(20)) + "{broken\n" + json.dumps({"id": "empty", "response": ""}) + "\n"
    out = tmp_path / "scores.jsonl"
    args = ["-o", out, "--on-error", "reject", "--rejects", tmp_path / "rejects.jsonl", "--json"]
    _, told, _ = here(monkeypatch, capsys, given, scorer, *args)
    assert json.loads(told) == {"read": 20, "scored": 20, "rejected": 2, "output": str(out)}
    assert len((tmp_path / "rejects.jsonl").read_text().splitlines()) == 2
    assert here(monkeypatch, capsys, given, scorer)[0] == 2


def peak_after(process: subprocess.Popen, count: int, at: list[int]) -> dict[int, int]:
    """Feed a process and return its resident memory in kB when so many lines have come out."""
    feeding = threading.Thread(target=feed, args=(process, count))
    feeding.start()
    found = {}
    for number, _ in enumerate(process.stdout, 1):
        if number in at:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found[number] = int(status.partition("VmRSS:")[2].split()[0])
    feeding.join()
    assert process.wait(timeout=60) == 0
    return found


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see another process's memory")
def test_memory_is_flat_over_many_responses(scorer):
    first, count = 20_000, few(80_000, 200_000)
    args = ["score", scorer, "-", "--no-cache", "-q"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fractal", *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    memory = peak_after(process, count, [first, count])
    # kB: the hash of each id, and what grows once: the words that are remembered, at most 2¹⁶ in two places
    assert memory[count] - memory[first] < 16_000 + 0.15 * (count - first)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_and_resumed_over_many_responses(scorer, tmp_path):
    count = few(8_000, 40_000)
    whole(scorer, tmp_path / "whole.jsonl", count)
    size = (tmp_path / "whole.jsonl").stat().st_size
    assert killed_and_resumed(scorer, tmp_path / "scores.jsonl", count, 5, size, seed=1) >= 3
    assert (tmp_path / "scores.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_several_files_are_scored_into_a_folder(tmp_path):
    from fractal import read_scored, write

    plan = TrainingPlan(epochs=1, members=2, folds=2, hidden=(4,))
    rated = make_responses(30, task="summaries", seed=1)
    SentenceScorer(encoder="hashing(dim=32)", plan=plan, recipe="own", cache=False).fit(rated).save_pretrained(
        tmp_path / "scorer"
    )
    for number in range(2):
        write(rated[number * 10 : number * 10 + 10], tmp_path / f"{number}.jsonl")
    inputs = [str(tmp_path / "*.jsonl"), "--no-cache"]
    outcome = CliRunner().invoke(app, ["score", str(tmp_path / "scorer"), *inputs, "-o", str(tmp_path / "out") + "/"])
    assert outcome.exit_code == 0, outcome.output
    scored = [record for path in sorted((tmp_path / "out").glob("part-*")) for record in read_scored(path)]
    assert [record.response.id for record in scored] == [response.id for response in rated[:20]]
    outcome = CliRunner().invoke(app, ["score", str(tmp_path / "scorer"), *inputs, "-o", str(tmp_path / "one.jsonl")])
    assert outcome.exit_code == 2
    assert "folder of shards" in outcome.output
