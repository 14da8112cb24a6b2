"""`fractal combine`: columns of votes in, rows with one label out, ready to train on."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from fractal.cli import app
from fractal.readers import read
from fractal.records import Preference

JUDGES = ("ann", "bob", "cy")


def run(*words):
    return CliRunner().invoke(app, ["combine", *map(str, words)], catch_exceptions=True)


def votes(count=200, levels=2, seed=0):
    draw = np.random.default_rng(seed)
    truth = draw.integers(levels, size=count)
    right = draw.random((count, 3)) < (0.95, 0.8, 0.7)
    return truth, np.where(right, truth[:, None], draw.integers(levels, size=(count, 3)))


def rows(table, **fields):
    texts = [{"id": f"r{n}", "sentences": [f"Answer {n}.", "And more."]} | fields for n in range(len(table))]
    return [text | dict(zip(JUDGES, map(int, row), strict=True)) for text, row in zip(texts, table, strict=True)]


@pytest.fixture
def written(tmp_path):
    def write(records):
        path = tmp_path / "votes.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write


def test_columns_of_votes_become_labels_and_all_else_stays(written, tmp_path):
    truth, table = votes()
    records = rows(table, group="g")
    records[0] |= {"ann": None, "bob": None, "cy": None, "label": 0.25}
    done = run(written(records), "--votes", "ann,bob", "--votes", "cy", "-o", tmp_path / "rated.jsonl", "--json")
    assert done.exit_code == 0, done.output
    rated = list(read(tmp_path / "rated.jsonl"))
    assert np.mean([(r.label > 0.5) == t for r, t in zip(rated[1:], truth[1:], strict=True)]) > 0.9
    assert (rated[0].label, rated[1].group, rated[1].extra["bob"]) == (0.25, "g", int(table[1, 1]))
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["labelled"]) == (200, 199)
    assert [judge["judge"] for judge in summary["judges"]] == [*JUDGES]
    assert "199 of 200 rows labelled" in done.stderr


def test_levels_and_pairs(written, tmp_path):
    truth, table = votes(levels=4)
    assert run(written(rows(table)), "--votes", "ann,bob,cy", "--levels", 4, "-o", tmp_path / "l.jsonl").exit_code == 0
    labels = [response.label * 3 for response in read(tmp_path / "l.jsonl", levels=4)]
    assert np.mean(np.round(labels) == truth) > 0.8
    truth, table = votes()
    pairs = [
        {"id": f"p{n}", "a": {"response": "One."}, "b": {"response": "Two."}}
        | dict(zip(JUDGES, "ab"[1] * 3, strict=True))
        | {judge: "ba"[vote] for judge, vote in zip(JUDGES, row, strict=True)}
        for n, row in enumerate(table)
    ]
    done = run(written(pairs), "--votes", "ann,bob,cy", "--pairs", "-o", tmp_path / "p.jsonl")
    assert done.exit_code == 0, done.output
    records = list(read(tmp_path / "p.jsonl"))
    assert all(isinstance(record, Preference) for record in records)
    assert np.mean([(r.better.text == "One.") == bool(t) for r, t in zip(records, truth, strict=True)]) > 0.9


def test_aspects_have_judges_of_their_own_and_tables_are_read(tmp_path):
    truth, table = votes()
    other, more = votes(seed=1)
    path = tmp_path / "votes.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["response", *JUDGES, "dan", "eve", "fay"])
        writer.writerows([f"Answer {n}.", *a, *b] for n, (a, b) in enumerate(zip(table, more, strict=True)))
    done = run(path, "--aspect", "factual=ann,bob,cy", "--aspect", "kind=dan,eve,fay", "-o", tmp_path / "rated.jsonl")
    assert done.exit_code == 0, done.output
    rated = list(read(tmp_path / "rated.jsonl"))
    for name, right in (("factual", truth), ("kind", other)):
        assert np.mean([(r.aspects[name] > 0.5) == t for r, t in zip(rated, right, strict=True)]) > 0.9
    assert "factual: ann: 200 votes" in done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "give --votes"),
        (("--votes", "ann", "--aspect", "x=bob"), "give --votes"),
        (("--votes", "ann,bob,cy", "--pairs", "--levels", "3"), "goes without"),
        (("--votes", "ann,nobody"), "no row has the column 'nobody'"),
    ],
)
def test_what_cannot_be_combined_is_refused(written, words, why):
    done = run(written(rows(votes()[1])), *words)
    assert done.exit_code != 0
    assert why in done.stderr


def test_a_broken_row_and_an_empty_file_are_said(tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text('{"ann": 1}\n{"ann": \n')
    done = run(path, "--votes", "ann")
    assert done.exit_code != 0
    assert "row 2" in done.stderr
    path.write_text("")
    assert "holds no row" in run(path, "--votes", "ann").stderr
