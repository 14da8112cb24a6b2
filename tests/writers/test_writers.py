"""Files appear whole or not at all, in the words that other programs read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from fractal.errors import BadData, UnknownName
from fractal.readers import read, read_scored
from fractal.records import Preference, Response, ScoredResponse
from fractal.writers import WRITERS, open_target, write

PLAIN = Response.from_sentences(
    "r", ["One.", 'Two, "so".'], labels=[1, None], query="q", context=("c",), label=1, extra={"note": "n"}
)
SCORED = ScoredResponse(PLAIN, (0.75, 0.25), 0.25, (0.125, 0.0), (1.0, 0.0), "true")


def written(records, writer="jsonl") -> str:
    buffer = io.BytesIO()
    write(records, buffer, writer)
    return buffer.getvalue().decode()


def test_a_response_is_written_as_the_native_schema_says():
    assert json.loads(written(PLAIN)) == {
        "id": "r",
        "query": "q",
        "context": ["c"],
        "sentences": ["One.", 'Two, "so".'],
        "label": 1,
        "sentence_labels": [1, None],
        "group": None,
        "note": "n",
    }


def test_scores_come_with_all_that_they_are_about():
    fields = json.loads(written(SCORED))
    assert fields["sentence_scores"] == [0.75, 0.25]
    assert fields["sentence_spread"] == [0.125, 0.0]
    assert fields["disaggregated_labels"] == [1.0, 0.0]
    assert (fields["response_score"], fields["aspect"]) == (0.25, "true")
    assert [fields["response"][start:end] for start, end in fields["offsets"]] == fields["sentences"]
    assert fields["note"] == "n"


def test_a_preference_says_once_what_both_share():
    worse = Response.from_sentences("s", ["No."], query="q", context=("c",), extra={"note": "n"})
    fields = json.loads(written(Preference(PLAIN, worse, id="p")))
    assert (fields["id"], fields["query"], fields["note"], fields["preference"]) == ("p", "q", "n", "a")
    assert "query" not in fields["a"]
    assert fields["b"]["sentences"] == ["No."]


def test_what_is_written_keeps_to_the_schema():
    import importlib.resources

    text = importlib.resources.files("fractal.schema").joinpath("response.schema.json").read_text(encoding="utf-8")
    other = Response.from_sentences("s", ["No."])
    for record in (PLAIN, SCORED, Preference(PLAIN, other), Preference(PLAIN, other, tie=True)):
        jsonschema.Draft202012Validator(json.loads(text)).validate(json.loads(written(record)))


def test_a_spreadsheet_has_a_sentence_a_row():
    rows = list(csv.DictReader(io.StringIO(written([SCORED], "csv"))))
    assert [row["sentence"] for row in rows] == ["One.", 'Two, "so".']
    assert [row["score"] for row in rows] == ["0.75", "0.25"]
    assert [row["sentence_label"] for row in rows] == ["1", ""]
    assert [row["query"] for row in rows] == ["q", ""]
    assert [row["response_score"] for row in rows] == ["0.25", "0.25"]


def test_an_empty_table_still_has_its_header():
    assert written([], "csv").startswith("id,sentence_index")


def test_steps_have_hard_labels_and_float_scores():
    bare = ScoredResponse(PLAIN, (0.75, 0.25), 0.25)
    fields = json.loads(written(bare, "stepwise(threshold=0.8)"))
    assert (fields["prompt"], fields["completions"]) == ("q", ["One.", 'Two, "so".'])
    assert (fields["labels"], fields["scores"]) == ([False, False], [0.75, 0.25])
    assert json.loads(written(SCORED, "stepwise"))["labels"] == [True, False]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.tsv", "a.parquet", "a.csv.gz", "a.txt"])
def test_the_ending_chooses_the_writer(name, tmp_path):
    assert write([SCORED], tmp_path / name) == 1
    assert list(read_scored(tmp_path / name)) == [SCORED]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_same_records_give_the_same_compressed_bytes(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write([PLAIN], tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert json.loads(gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()))["id"] == "r"


def failing():
    yield PLAIN
    raise RuntimeError("the power went out")


@pytest.mark.parametrize("writer", ["jsonl", "csv", "parquet", "stepwise"])
def test_a_file_that_fails_half_way_leaves_the_old_one(writer, tmp_path):
    path = tmp_path / "out"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError, match="power"):
        write(failing(), path, writer)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_rights_of_the_one_before_it(tmp_path):
    path = tmp_path / "a.jsonl"
    write(PLAIN, path)
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600
    path.chmod(0o640)
    write(PLAIN, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_writing_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "real.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    write(PLAIN, tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert list(read(tmp_path / "real.jsonl")) == [PLAIN]


def test_records_are_written_one_by_one(tmp_path):
    seen = []

    def watched():
        for number in range(3):
            seen.append(number)
            yield Response.from_sentences(f"r{number}", ["One."])

    class Sink(io.BytesIO):
        def write(self, content) -> int:
            assert len(seen) == content.count(b"\n") + self.getvalue().count(b"\n")
            return super().write(content)

    assert write(watched(), Sink()) == 3


def test_standard_output(capfdbinary):
    write(PLAIN, "-")
    assert json.loads(capfdbinary.readouterr().out)["id"] == "r"


def test_a_pipe_that_closes_is_no_error():
    code = (
        "from fractal.records import Response; from fractal.writers import write\n"
        "write((Response.from_sentences(str(i), ['x' * 100]) for i in range(20000)), '-')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


def test_what_cannot_be_written_says_why(tmp_path):
    other = Response.from_sentences("s", ["No."])
    with pytest.raises(BadData, match="preference"):
        written([Preference(PLAIN, other)], "csv")
    with pytest.raises(BadData, match="each kind to a file"):
        written([PLAIN, SCORED], "parquet")
    with pytest.raises(BadData, match="record 1 is a dict"):
        write([{"id": "x"}], tmp_path / "a.jsonl")  # type: ignore[list-item]
    with pytest.raises(BadData, match="cannot be written"):
        write(PLAIN, tmp_path / "no folder" / "a.jsonl")
    with pytest.raises(BadData, match="cannot be written"):
        written([Response.from_sentences("x", ["\ud800"])])
    with pytest.raises(UnknownName, match="jsonl"):
        write(PLAIN, tmp_path / "a", "jsnl")
    with pytest.raises(BadData, match="stream of text"), open_target(io.StringIO()):
        pass


def test_writing_to_a_device_does_not_replace_it():
    write(PLAIN, os.devnull)
    assert not Path(os.devnull).is_file()


def test_every_writer_takes_scores(tmp_path):
    for name in ("jsonl", "csv", "tsv", "parquet", "stepwise"):
        assert name in WRITERS
        assert write([SCORED], tmp_path / name, name) == 1
        assert (tmp_path / name).stat().st_size > 100
