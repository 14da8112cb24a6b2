"""Tables run nothing in a spreadsheet, and messages steer no terminal."""

from __future__ import annotations

import csv
import io
import json

import pytest

from fractal.cli import main
from fractal.printable import visible, visible_lines
from fractal.readers import ReadReport, read_scored
from fractal.records import Response, ScoredResponse
from fractal.writers import write

STARTS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-x", "'quoted'", "plain"]


def scored(text: str) -> ScoredResponse:
    response = Response.from_sentences(
        text, [text, "The end."], query=text, context=[text], group=text, extra={"note": text}
    )
    return ScoredResponse(response, (0.1, 0.9), 0.1)


@pytest.mark.parametrize("text", STARTS)
@pytest.mark.parametrize("writer", ["csv", "tsv", "csv(delimiter=';')"])
def test_no_cell_begins_like_a_formula_and_records_come_back(text, writer):
    target = io.BytesIO()
    write([scored(text)], target, writer)
    delimiter = {"tsv": "\t", "csv": ","}.get(writer, ";")
    rows = list(csv.reader(io.StringIO(target.getvalue().decode(), newline=""), delimiter=delimiter))
    assert not [cell for row in rows[1:] for cell in row if cell[:1] and cell[0] in "=+-@\t\r\n"]
    (again,) = read_scored(io.BytesIO(target.getvalue()), writer)
    assert again.response.sentences == scored(text).response.sentences
    assert (again.response.id, again.response.query, again.response.group) == (text, text, text)


def test_raw_tables_are_left_as_they_are():
    target = io.BytesIO()
    write([scored("=1+1")], target, "csv(raw=True)")
    assert b"\r\n=1+1," in target.getvalue()


HOSTILE = "a\x1b]0;title\x07b\x9bc\u202ed\x7f"


def test_what_steers_a_terminal_is_made_visible():
    shown = visible(HOSTILE + "\n\t")
    assert shown.isprintable()
    assert visible_lines("one\ntwo") == "one\ntwo"
    assert "\x1b" not in visible_lines(f"one\n{HOSTILE}")


def test_a_report_shows_names_of_columns_on_one_line():
    report = ReadReport(source=HOSTILE, guessed={"label": f"x\n{HOSTILE}"}, notes=[HOSTILE])
    assert all(line.isprintable() for line in str(report).split("\n"))
    assert len(str(report).split("\n")) == 3


@pytest.mark.parametrize("args", [(), ("--json",), ("--column", f"label={HOSTILE}")], ids=["plain", "json", "mapped"])
def test_inspect_shows_no_raw_names(tmp_path, capsys, args):
    path = tmp_path / "a.jsonl"
    rows = [
        {"id": f"{HOSTILE}{n % 2}{n}", "Answer": "One. Two." + HOSTILE.replace("\x7f", ""), f"{HOSTILE}": 1}
        for n in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit):
        main(["inspect", str(path), *args])
    out, err = capsys.readouterr()
    for sign in "\x1b\x07\x9b\u202e\x7f":
        assert sign not in out + err
    if "--json" in args:
        assert json.loads(out)["files"]


def test_the_cache_shows_no_raw_names(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["cache", "clear", "--folder", str(tmp_path / HOSTILE), "--yes"])
    assert "\x1b" not in capsys.readouterr().err
