"""Files in, shards out: the same bytes however many work on them, whoever is killed, and wherever they lie."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal import SentenceScorer, TrainingPlan, make_responses, read, read_scored, write
from fractal.encoders import EmbeddingCache
from fractal.engine import disaggregate_files, embed_files, score_files
from fractal.engine.units import Source, cut, find_sources, line_before, open_unit
from fractal.errors import BadData, BadFolder, BadSpec
from fractal.scorers.persistence import load_folder
from support.folders import digests

PLAN = TrainingPlan(epochs=2, members=2, folds=2, hidden=(8,))
RATED = make_responses(40, task="summaries", seed=1)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scorer") / "scorer"
    fitted = SentenceScorer(encoder="hashing(dim=32)", plan=PLAN, recipe="own", cache=False).fit(RATED)
    return fitted.save_pretrained(folder)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    responses = make_responses(150, task="summaries", seed=7)
    for number in range(3):
        write(responses[number * 50 : (number + 1) * 50], folder / f"{number}.jsonl")
    return folder


def scores(folder: Path) -> list[tuple[str, tuple[float, ...]]]:
    records = (record for path in sorted(folder.glob("part-*")) for record in read_scored(path))
    return [(record.response.id, record.sentence_scores) for record in records]


LINES = st.lists(st.integers(0, 30).map(lambda n: b"x" * n), max_size=30)


@given(lines=LINES, ended=st.booleans(), size=st.integers(1, 60))
@settings(deadline=None, max_examples=200)
def test_units_of_lines_are_whole_lines_and_all_of_them(tmp_path_factory, lines, ended, size):
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    content = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    path.write_bytes(content)
    units = cut([Source(str(path), len(content), "")], "jsonl", size)
    parts = []
    for unit in units:
        with open_unit(unit) as (_, stream):
            parts.append(stream.read())
        assert line_before(unit) == content[: unit.first].count(b"\n")
    assert b"".join(parts) == content
    assert all(part.endswith(b"\n") for part in parts[:-1])
    assert [unit.number for unit in units] == list(range(len(units)))
    for part in parts:  # no more than the line that crosses the end
        assert len(part.rstrip(b"\n").rpartition(b"\n")[0]) <= size


def test_files_are_taken_once_and_in_order(tmp_path, answers):
    names = [Path(source.path).name for source in find_sources([str(answers / "2.jsonl"), str(answers)])]
    assert names == ["2.jsonl", "0.jsonl", "1.jsonl"]
    assert [Path(s.path).name for s in find_sources([str(answers / "[01].jsonl")])] == ["0.jsonl", "1.jsonl"]
    (tmp_path / "notes.txt").write_text("no data")
    with pytest.raises(BadData, match="nothing to read"):
        find_sources([str(tmp_path)])


def test_the_number_of_workers_does_not_change_a_byte(tmp_path, scorer, answers):
    options = {"cache": False, "unit_bytes": 8_000}
    report = score_files(scorer, answers, tmp_path / "one", workers=1, **options)
    score_files(scorer, answers, tmp_path / "two", workers=2, **options)
    assert report.units > 6
    assert report.responses == 150
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    expected = SentenceScorer.from_pretrained(scorer)
    expected.cache = False
    responses = [response for number in range(3) for response in read(answers / f"{number}.jsonl")]
    for (name, values), record in zip(scores(tmp_path / "one"), expected.score_responses(responses), strict=True):
        assert name == record.response.id
        assert np.allclose(values, record.sentence_scores, atol=1e-5)
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["responses"] == 150
    assert manifest["model_hash"] == load_folder(scorer).digest
    assert [unit["shard"] for unit in manifest["units"]] == sorted(p.name for p in (tmp_path / "one").glob("part-*"))


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl.gz"])
def test_other_formats_in_and_out(tmp_path, scorer, ending):
    responses = [response.without_labels() for response in RATED]
    write(responses, tmp_path / f"in.{ending}")
    writer = "csv" if ending == "csv" else "parquet"
    report = score_files(scorer, tmp_path / f"in.{ending}", tmp_path / "out", workers=1, writer=writer, cache=False)
    assert report.responses == len(RATED)
    assert [path.suffix for path in (tmp_path / "out").glob("part-*")] == [f".{writer}"]
    assert [name for name, _ in scores(tmp_path / "out")] == [response.id for response in responses]


def test_row_groups_are_units(tmp_path, scorer, monkeypatch):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"id": str(i), "response": f"This is answer {i}. It is short."} for i in range(900)]
    rows[500]["response"] = None
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "in.parquet", row_group_size=200)
    monkeypatch.setattr("fractal.engine.units.UNIT_ROWS", 410)
    units = cut(find_sources([str(tmp_path / "in.parquet")]))
    assert [(unit.first, unit.last, unit.row) for unit in units] == [(0, 2, 1), (2, 4, 401), (4, 5, 801)]
    report = score_files(
        scorer, tmp_path / "in.parquet", tmp_path / "out", workers=1, cache=False, reading={"on_error": "reject"}
    )
    assert (report.responses, report.rejected) == (899, 1)
    assert json.loads((tmp_path / "out" / "rejects.jsonl").read_text())["line"] == 501


def test_bad_records_are_set_aside_with_their_places(tmp_path, scorer, answers):
    lines = (answers / "0.jsonl").read_bytes().splitlines(keepends=True)
    bad = [3, 24, 25, 49]
    for place in bad:
        lines[place - 1] = b"{no json}\n"
    (tmp_path / "bad.jsonl").write_bytes(b"".join(lines))
    inputs = [answers / "1.jsonl", tmp_path / "bad.jsonl"]
    options = {"workers": 2, "cache": False, "unit_bytes": 4_000}
    report = score_files(scorer, inputs, tmp_path / "out", reading={"on_error": "reject"}, **options)
    assert (report.rejected, report.responses) == (4, 96)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == bad
    assert {reject["source"] for reject in rejects} == {str(tmp_path / "bad.jsonl")}
    with pytest.raises(BadData, match=r"bad.jsonl, line 3: no JSON"):
        score_files(scorer, tmp_path / "bad.jsonl", tmp_path / "other", **options)
    (tmp_path / "late.jsonl").write_bytes(b"".join([*lines[3:23], b"[]\n"]))
    with pytest.raises(BadData, match=r"late.jsonl, line 21: found list"):
        score_files(scorer, tmp_path / "late.jsonl", tmp_path / "third", **options)


def test_a_run_goes_on_with_the_same_work_alone(tmp_path, scorer, answers):
    options = {"workers": 1, "cache": False, "unit_bytes": 8_000}
    whole = score_files(scorer, answers, tmp_path / "whole", **options)

    class Stopped(Exception):
        pass

    def stop(done, total):
        if done == 4:
            raise Stopped

    with pytest.raises(Stopped):
        score_files(scorer, answers, tmp_path / "out", progress=stop, **options)
    assert not (tmp_path / "out" / "manifest.json").exists()
    (tmp_path / "out" / ".part-000009.jsonl.abcd.part").write_text("half-writt")
    with pytest.raises(BadFolder, match="--resume"):
        score_files(scorer, answers, tmp_path / "out", **options)
    other = SentenceScorer(encoder="hashing(dim=16)", plan=PLAN, recipe="own", cache=False).fit(RATED)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(BadFolder, match="another scorer"):
        score_files(tmp_path / "other", answers, tmp_path / "out", resume=True, **options)
    with pytest.raises(BadFolder, match="another options"):
        score_files(scorer, answers, tmp_path / "out", resume=True, writer="csv", **options)
    with pytest.raises(BadFolder, match="other data"):
        score_files(scorer, answers / "0.jsonl", tmp_path / "out", resume=True, **options)
    report = score_files(scorer, answers, tmp_path / "out", resume=True, **options)
    assert report.resumed >= 3
    assert report.responses == whole.responses
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    again = score_files(scorer, answers, tmp_path / "out", resume=True, **options)
    assert again.resumed == again.units


def test_a_file_that_changed_in_between_is_refused(tmp_path, scorer, answers):
    path = tmp_path / "in.jsonl"
    path.write_bytes((answers / "0.jsonl").read_bytes())
    options = {"workers": 1, "cache": False, "unit_bytes": 4_000}

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_files(scorer, path, tmp_path / "out", progress=stop, **options)
    os.utime(path, (1, 1))
    with pytest.raises(BadFolder, match="was changed"):
        score_files(scorer, path, tmp_path / "out", resume=True, **options)


def test_a_folder_of_other_files_is_left_alone(tmp_path, scorer, answers):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(BadFolder, match="other files"):
        score_files(scorer, answers, tmp_path, workers=1)
    with pytest.raises(BadSpec, match="workers"):
        score_files(scorer, answers, tmp_path / "out", workers="many")


def test_disaggregation_is_that_of_the_scorer(tmp_path, scorer):
    write(RATED, tmp_path / "rated.jsonl")
    disaggregate_files(scorer, tmp_path / "rated.jsonl", tmp_path / "out", workers=1, cache=False)
    loaded = SentenceScorer.from_pretrained(scorer)
    loaded.cache = False
    expected = loaded.disaggregate(RATED)
    found = list(read_scored(tmp_path / "out" / "part-000000.jsonl"))
    assert [record.sentence_labels for record in found] == [record.sentence_labels for record in expected]
    assert np.allclose(found[0].sentence_scores, expected[0].sentence_scores, atol=1e-6)


def test_embedding_fills_the_cache(tmp_path, answers):
    cache = tmp_path / "cache"
    report = embed_files(
        "hashing(dim=16)", answers, tmp_path / "record", workers=2, cache=str(cache), unit_bytes=30_000
    )
    assert report.responses == 150
    texts = {s.text for n in range(3) for r in read(answers / f"{n}.jsonl") for s in r.sentences}
    kept = EmbeddingCache(cache)
    _, known = kept.get_many(kept.info().namespaces[0].namespace, [kept.key(text) for text in sorted(texts)])
    assert known.all()


DRIVER = """
import sys
from fractal.engine import score_files
if __name__ == "__main__":
    scorer, answers, output = sys.argv[1:4]
    score_files(scorer, answers, output, workers=2, resume=True, cache=False, unit_bytes=1_500)
"""


def killed_runs(scorer: Path, answers: Path, output: Path, draw: random.Random, most: int) -> int:
    """Run until it is complete, killing the driver or a worker at random moments; return the number of kills."""
    kills = 0
    script = output.parent / "driver.py"
    script.write_text(DRIVER)
    while True:
        command = [sys.executable, str(script), str(scorer), str(answers), str(output)]
        driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while kills < most:
            try:
                driver.wait(draw.uniform(0.05, 0.4))
                break
            except subprocess.TimeoutExpired:
                kills += 1
                victims = [driver.pid, *children(driver.pid)]
                victim = draw.choice(victims)
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    kills -= 1
                if victim == driver.pid:
                    break
        if driver.wait() == 0:
            return kills


def children(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True).stdout
    return [int(word) for word in found.split()]


def test_a_run_killed_after_its_manifest_is_cleared_away_by_the_next(tmp_path, scorer, answers):
    options = {"workers": 1, "cache": False, "unit_bytes": 20_000}
    score_files(scorer, answers, tmp_path / "out", **options)
    whole = digests(tmp_path / "out")
    left = tmp_path / "out" / "_fractal" / "done" / "part-000000.json"
    left.parent.mkdir(parents=True)
    left.write_text("{}")
    score_files(scorer, answers, tmp_path / "out", resume=True, **options)
    assert digests(tmp_path / "out") == whole


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kills by signal")
def test_kills_do_not_change_a_byte(tmp_path, scorer, answers):
    score_files(scorer, answers, tmp_path / "whole", workers=1, cache=False, unit_bytes=1_500)
    kills = killed_runs(scorer, answers, tmp_path / "out", random.Random(0), 6)
    assert kills == 6
    time.sleep(0.1)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
