"""Refused records: where they go, what they may not overwrite, and that an odd first one does not refuse the rest."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import pytest

from fractal.errors import BadData, BadSpec
from fractal.readers import ReadReport, RejectsFile, read, read_scored


def record(number: int, label: object) -> dict:
    return {"id": f"r{number}", "sentences": ["One.", "Two."], "label": label}


def written(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


@pytest.fixture
def source(tmp_path):
    (tmp_path / "data").mkdir()
    return written(tmp_path / "data" / "a.jsonl", [record(1, 1), record(2, "odd"), record(3, 0)])


def names_of(path):
    """Other names of a file: another spelling, a link to it, a second name, a linked folder."""
    symbolic, hard = path.with_name("symbolic"), path.with_name("hard")
    symbolic.symlink_to(path)
    os.link(path, hard)
    folder = path.parent.with_name("linked")
    folder.symlink_to(path.parent)
    return [f"{path.parent}/./{path.name}", str(symbolic), str(hard), str(folder / path.name)]


@pytest.mark.parametrize("kind", range(4))
def test_rejects_under_another_name_of_the_source_are_refused(source, kind):
    content = source.read_bytes()
    with pytest.raises(BadSpec, match="overwrite"):
        list(read(source, on_error="reject", rejects=names_of(source)[kind], report=ReadReport()))
    assert source.read_bytes() == content


def test_rejects_that_are_the_open_source_or_in_its_folder_are_refused(source):
    with source.open("rb") as stream, pytest.raises(BadSpec, match="overwrite"):
        read(stream, on_error="reject", rejects=source)
    with pytest.raises(BadSpec, match="overwrite"):
        read(source.parent, "prm800k", on_error="reject", rejects=source)


def test_several_sources_share_one_file_of_rejects(source, tmp_path):
    other = written(tmp_path / "b.jsonl", [record(4, 1), record(5, "strange")])
    rejects = RejectsFile(tmp_path / "rejects.jsonl")
    for path in (source, other):
        list(read(path, on_error="reject", rejects=rejects, report=ReadReport()))
    lines = [json.loads(line) for line in rejects.path.read_text().splitlines()]
    assert [line["source"] for line in lines] == [str(source), str(other)]
    list(read(source, on_error="reject", rejects=rejects.path, report=ReadReport()))  # another run begins anew
    assert len(rejects.path.read_text().splitlines()) == 1


def test_a_file_that_holds_no_rejects_is_not_emptied(source, tmp_path):
    precious = written(tmp_path / "precious.jsonl", [record(9, 1)])
    content = precious.read_bytes()
    with pytest.raises(BadSpec, match="something else"):
        list(read(source, on_error="reject", rejects=precious, report=ReadReport()))
    assert precious.read_bytes() == content


HOLD = """
import sys
from fractal.readers import RejectsFile
with RejectsFile(sys.argv[1]).open():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks of files")
def test_rejects_that_another_process_writes_are_refused(source, tmp_path):
    path = tmp_path / "rejects.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BadData, match="another process"):
        list(read(source, on_error="reject", rejects=path, report=ReadReport()))
    process.communicate("")


ODD = "good"
LABELS = [ODD] + [number % 2 for number in range(29)]


@pytest.mark.parametrize("form", ["file", "rows", "csv", "thorough"])
def test_an_odd_first_record_is_the_one_that_is_left_out(form, tmp_path):
    records = [record(number, label) for number, label in enumerate(LABELS)]
    report = ReadReport()
    if form == "file":
        given = written(tmp_path / "a.jsonl", records)
    elif form == "thorough":
        given = written(tmp_path / "a.jsonl", [{**one, "unknown": 1} for one in records])
    elif form == "csv":
        given = tmp_path / "a.csv"
        given.write_text("id,response,label\n" + "".join(f"{one['id']},One.,{one['label']}\n" for one in records))
    else:
        given = records
    kept = [one.id for one in read(given, on_error="reject", report=report)]
    assert kept == [f"r{number}" for number in range(1, 30)]
    assert report.rejected == 1
    assert any("29 as number" in note for note in report.notes)


def test_an_odd_first_record_of_scores_is_the_one_that_is_left_out():
    rows = [
        {**record(number, label), "sentence_scores": [0.5, 0.5], "response_score": 0.5}
        for number, label in enumerate(LABELS)
    ]
    report = ReadReport()
    assert len(list(read_scored(rows, on_error="reject", report=report))) == 29
    assert report.rejected == 1


def test_without_leaving_out_nothing_waits():
    """Records come as they are read: none waits for those after it."""

    def rows():
        yield record(1, 1)
        raise AssertionError("read on")

    assert next(read(rows())).id == "r1"


def test_a_file_for_rejects_asks_for_rejecting(source, tmp_path):
    with pytest.raises(BadSpec, match="on_error='reject'"):
        list(read(source, rejects=tmp_path / "rejects.jsonl"))


def test_what_to_do_about_a_wrong_record_is_said_where_others_came_through(source, tmp_path):
    with pytest.raises(BadData, match=r"line 2.*; on_error='reject' leaves wrong records out") as caught:
        list(read(source, label_scale="0..1"))
    assert "on_error" not in caught.value.problem
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    first = written(tmp_path / "b.jsonl", [{"id": "r", "sentences": 3}, record(3, 0)])
    with pytest.raises(BadData) as caught:
        list(read(first))
    assert "on_error" not in str(caught.value), "where nothing came through, leaving out is no advice"
