"""Slices: every item in one of them, the largest first, a field that nobody carries is an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fractal.cli import app
from fractal.errors import BadData
from fractal.evaluation.slices import MOST, OTHERS, slices
from fractal.records import Response, ScoredResponse
from fractal.writers import write


def response(number: int, **extra: object) -> Response:
    return Response.from_sentences(f"r{number}", ["One.", "Two."], labels=[1.0, number % 2], extra=extra)


@given(values=st.lists(st.sampled_from("abcde"), min_size=1, max_size=40))
def test_every_item_is_in_one_slice_and_the_largest_comes_first(values: list[str]) -> None:
    parts = slices([response(n, model=value) for n, value in enumerate(values)], "model")
    assert {value: len(part) for value, part in parts.items()} == {v: values.count(v) for v in values}
    assert [len(part) for part in parts.values()] == sorted((len(part) for part in parts.values()), reverse=True)


def test_nested_fields_many_values_and_wrong_names() -> None:
    nested = [response(n, meta={"topic": n % 3}) for n in range(9)]
    assert {*slices(nested, "meta.topic")} == {"0", "1", "2"}
    many = slices([response(n, model=n) for n in range(MOST + 5)], "model")
    assert (len(many), len(many[OTHERS])) == (MOST + 1, 5)
    with pytest.raises(BadData, match=r"no response carries the field 'modle'. Did you mean 'model'"):
        slices([response(1, model="x")], "modle")


def test_evaluate_and_inspect_by_a_field(tmp_path: Path) -> None:
    responses = [response(n, model="ab"[n % 3 == 0]) for n in range(12)]
    write([ScoredResponse(r, (0.9, 0.1), 0.5) for r in responses], tmp_path / "scores.jsonl")
    write(responses, tmp_path / "data.jsonl")
    words = ["evaluate", str(tmp_path / "scores.jsonl"), "--by", "model", "--bootstrap", "0"]
    shown = CliRunner().invoke(app, words, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    assert "| model | responses |" in shown.output
    facts = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)["by"]["slices"]
    assert {value: one["responses"] for value, one in facts.items()} == {"a": 8, "b": 4}
    looked = CliRunner().invoke(app, ["inspect", str(tmp_path / "data.jsonl"), "--by", "model"], catch_exceptions=False)
    assert "By model" in looked.output
