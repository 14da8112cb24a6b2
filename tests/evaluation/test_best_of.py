"""The best of several responses to a query: by brute force, with ties said, in whatever order they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.evaluation.best_of import best_of
from fractal.records import Response, ScoredResponse

SCORES = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=1, max_size=4)


def scored(number, scores, query="q", rule="min", whole=None, spread=(), **fields):
    response = Response.from_sentences(f"r{number}", ["s"] * len(scores), query=query, **fields)
    return ScoredResponse(response, tuple(scores), min(scores) if whole is None else whole, spread, aggregation=rule)


@given(
    st.lists(st.tuples(SCORES, st.sampled_from("abc")), min_size=1, max_size=12),
    st.sampled_from(["min", "max", "mean"]),
)
def test_the_best_is_what_a_search_through_all_finds(rows, rule):
    items = [scored(number, scores, query, rule) for number, (scores, query) in enumerate(rows)]
    reduce = {"min": min, "max": max, "mean": lambda scores: sum(scores) / len(scores)}[rule]
    picks = best_of(items, by="sentence")
    assert [pick.query for pick in picks] == list(dict.fromkeys(query for _, query in rows))
    for pick in picks:
        rivals = [item for item in items if item.response.query == pick.query]
        values = [reduce(item.sentence_scores) for item in rivals]
        assert pick.score == max(values)
        assert pick.chosen is rivals[values.index(max(values))]
        assert len(pick.tied) == values.count(max(values)) - 1
        assert [score for _, score in pick.runners_up] == sorted(values, reverse=True)[1:]
        assert {id(pick.chosen), *(id(item) for item, _ in pick.runners_up)} == {id(item) for item in rivals}


def test_the_way_to_compare_decides():
    bold, careful = scored(1, [0.1, 1.0, 1.0], whole=0.9), scored(2, [0.5, 0.5], whole=0.4)
    assert best_of([bold, careful])[0].chosen is bold
    assert best_of([bold, careful], by="sentence")[0].chosen is careful
    assert best_of([bold, careful], by="max")[0].chosen is bold
    unsure, sure = scored(1, [0.6], spread=(0.3,)), scored(2, [0.5], spread=(0.0,))
    assert best_of([unsure, sure], by="min")[0].chosen is unsure
    assert best_of([unsure, sure], by="min", kappa=1.0)[0].chosen is sure


def test_responses_without_a_query_belong_together_by_group_or_stand_alone():
    items = [scored(1, [0.1], "", group="g"), scored(2, [0.2], "", group="g"), scored(3, [0.3], "")]
    assert [(pick.chosen.response.id, len(pick.runners_up)) for pick in best_of(items)] == [("r2", 1), ("r3", 0)]
    items = [scored(1, [0.1], "one", group="task"), scored(2, [0.2], "other", group="task")]
    assert [len(best_of(items, per=per)) for per in ("query", "group")] == [2, 1]
    with pytest.raises(UnknownName):
        best_of(items, per="document")


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UnknownName):
        best_of([], by="worst")
    with pytest.raises(BadSpec, match="kappa"):
        best_of([], kappa=1.0)
    with pytest.raises(BadSpec, match="do not say how"):
        best_of([scored(1, [0.5], rule="")], by="sentence")
    one = scored(1, [0.5])
    other = ScoredResponse(one.response, (0.5,), 0.5, aspect="kind")
    with pytest.raises(BadData, match="aspects"):
        best_of([one, other])
