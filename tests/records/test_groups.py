"""Groups: what shares a query or a context stays together, near-identical contexts too, and every fallback is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.records import Preference, Response
from fractal.records.corpus import gather
from fractal.records.groups import group_responses, near_identical

RNG = np.random.default_rng(5)
WORDS = [f"word{number}" for number in range(2000)]
PASSAGES = [" ".join(RNG.choice(WORDS, 120)) for _ in range(60)]


def response(number: int, query: str = "", context: str = "", group: str | None = None) -> Response:
    return Response.from_sentences(
        str(number),
        [f"This is answer {number}."],
        query=query,
        context=(context,) if context else (),
        group=group,
        label=float(number % 2),
    )


def together(groups: tuple[str, ...], keys: list[object]) -> bool:
    """Whether equal keys have equal groups and unlike keys unlike ones."""
    return len(set(zip(groups, keys, strict=True))) == len(set(groups)) == len(set(keys))


def test_distinct_queries_group_as_they_did() -> None:
    queries = [f"What is {number // 3}?" for number in range(90)]
    grouping = group_responses([response(number, query) for number, query in enumerate(queries)])
    assert (grouping.by, grouping.note, grouping.count) == ("query", "", 30)
    assert together(grouping.groups, list(queries))


def test_responses_of_one_context_stay_together_without_a_query() -> None:
    grouping = group_responses([response(number, "", PASSAGES[number % 30]) for number in range(90)])
    assert (grouping.by, grouping.note) == ("context", "")
    assert together(grouping.groups, [number % 30 for number in range(90)])


def test_a_query_and_a_context_both_tie() -> None:
    shared = [response(number, f"q{number}", PASSAGES[number // 2]) for number in range(40)]
    grouping = group_responses([*shared, response(99, "q0", PASSAGES[50])])
    groups = grouping.groups
    assert grouping.by == "query and context"
    assert groups[0] == groups[1] == groups[-1] != groups[2]


def test_one_instruction_in_every_row_is_no_group_and_it_is_said() -> None:
    responses = [response(number, "Summarise the passage.", PASSAGES[number % 30]) for number in range(90)]
    grouping = group_responses(responses)
    assert together(grouping.groups, [number % 30 for number in range(90)])
    assert grouping.by == "context"
    assert "By query and context there would be 1 group" in grouping.note
    assert "The query of held-out responses" in grouping.note


def test_one_document_in_every_row_is_no_group() -> None:
    grouping = group_responses([response(number, f"q{number // 3}", PASSAGES[0]) for number in range(90)])
    assert (grouping.by, grouping.count) == ("query", 30)
    assert "The context of held-out responses" in grouping.note


def test_an_instruction_without_a_context_leaves_the_responses_and_equal_texts_stay_together() -> None:
    responses = [response(number % 40, "Write a haiku.") for number in range(80)]
    grouping = group_responses(responses)
    assert (grouping.by, grouping.count) == ("response", 40)
    assert grouping.note


def test_few_questions_are_still_better_than_none_and_most_of_one_is_not() -> None:
    assert group_responses([response(n, f"q{n % 7}") for n in range(70)]).by == "query"  # 7 of 10 that were wanted
    mostly = [response(n, "Summarise." if n % 10 else f"q{n}", PASSAGES[n % 60]) for n in range(200)]
    assert group_responses(mostly).by == "context"


def test_more_folds_want_more_groups() -> None:
    responses = [response(n, f"q{n % 12}", PASSAGES[n % 60]) for n in range(120)]
    assert group_responses(responses, folds=5).by == "query and context"
    assert group_responses(responses, folds=10).by == "context"


def test_groups_that_the_data_name_are_taken_as_they_are() -> None:
    responses = [response(n, f"q{n}", PASSAGES[0], group=f"g{n % 4}") for n in range(40)]
    grouping = group_responses(responses)
    assert (grouping.by, grouping.note) == ("group", "")
    assert together(grouping.groups, [n % 4 for n in range(40)])
    one = [response(n, f"q{n}", group="all") for n in range(40)]
    assert group_responses(one).by == "query"  # one group of everything says nothing


def test_preferences_tie_and_one_response_is_one_group() -> None:
    a, b = response(1, "q"), response(2, "q")
    assert gather([Preference(a, b)]).grouping.count == 1
    assert group_responses([response(1)]).count == 1


def edited(text: str, words: int, rng: np.random.Generator) -> str:
    parts = text.split()
    for place in rng.choice(len(parts), words, replace=False):
        parts[place] = "changed"
    return " ".join(parts)


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return set(zip(words, words[1:], words[2:], strict=False))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), words=st.integers(0, 60))
def test_near_identical_contexts_are_those_with_most_shingles_in_common(seed: int, words: int) -> None:
    rng = np.random.default_rng(seed)
    first = " ".join(rng.choice(WORDS, 200))
    second = edited(first, words, rng)
    common = len(shingles(first) & shingles(second)) / len(shingles(first) | shingles(second))
    one, other, third = near_identical([first, second, " ".join(rng.choice(WORDS, 200))])
    assert third not in (one, other)
    if common > 0.93:
        assert one == other
    if common < 0.55:
        assert one != other


def test_short_and_empty_contexts_and_any_order() -> None:
    assert near_identical(["", "a b", "a b", "a c", ""])[:1] == [-1]
    numbers = near_identical(["", "a b", "a b", "a c", "x"])
    assert numbers[1] == numbers[2] != numbers[3] != numbers[4]
    texts = [*PASSAGES, *(edited(text, 3, np.random.default_rng(1)) for text in PASSAGES)]
    forwards, backwards = near_identical(texts), near_identical(texts[::-1])[::-1]
    assert len(set(forwards)) == 60
    assert together(tuple(map(str, forwards)), list(backwards))


@pytest.mark.parametrize("aspect", ["a", "b"])
def test_an_aspect_alone_has_the_groups_of_all(aspect: str) -> None:
    from fractal.records.corpus import gather_aspects

    responses = [
        Response.from_sentences(str(n), ["One."], query=f"q{n // 2}", aspects={"a": 1.0, "b": float(n % 2)})
        for n in range(40)
    ]
    corpus = gather_aspects(responses, ["a", "b"])
    assert corpus.of_aspect(aspect).groups is corpus.groups
