"""How many responses are unlike training is said where it is more than chance, and never of a few by chance."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fractal.evaluation import evaluate
from fractal.evaluation.unlike import EXPECTED, SURE, _by_chance, unlike_counts, unlike_summary
from support.scored_samples import make_scored


def binomial(unlike: int, total: int) -> float:
    terms = (math.comb(total, k) * EXPECTED**k * (1 - EXPECTED) ** (total - k) for k in range(unlike, total + 1))
    return sum(terms)


@pytest.mark.parametrize("total", [1, 2, 7, 40, 300])
def test_the_bound_on_chance_is_above_the_binomial_tail(total: int) -> None:
    for unlike in range(total + 1):
        assert _by_chance(unlike, total) >= binomial(unlike, total) - 1e-12
    assert _by_chance(total, total) == pytest.approx(EXPECTED**total)


def test_reasons_are_counted_by_response() -> None:
    counts = unlike_counts([(), ("language", "length"), ("language",), (), ("domain",)])
    assert counts == {"": 2, "language, length": 1, "language": 1, "domain": 1}
    summary = unlike_summary(counts)
    assert "3 of 5 responses (60%)" in summary
    assert "domain 1, language 2, length 1" in summary


def test_nothing_is_said_of_what_may_be_chance() -> None:
    assert unlike_summary({}) == ""
    assert unlike_summary({"": 100}) == ""
    assert unlike_summary({"": 95, "length": 5}) == ""
    assert unlike_summary({"length": 1}) == "", f"one response is unlike by chance in {EXPECTED:.0%}, above {SURE:.0%}"
    assert unlike_summary({"length": 2})


def test_an_evaluation_says_on_what_it_does_not_say_much() -> None:
    items = make_scored(20)
    assert evaluate(items, bootstrap=0).unlike == ""
    assert "unlike" not in evaluate(items, bootstrap=0).to_dict()
    strange = [replace(item, unlike=("language",)) for item in items[:10]] + items[10:]
    table = evaluate(strange, bootstrap=0)
    assert "10 of 20 responses (50%) are unlike" in str(table)
    assert table.to_dict()["unlike"] == table.unlike
    assert table.rows == evaluate(items, bootstrap=0).rows
