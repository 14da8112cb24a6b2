"""Records refuse what cannot be, stay as they are, and travel."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData
from fractal.records import Preference, Response, ScoredResponse, Sentence, join_sentences

labels = st.none() | st.floats(0, 1)
sentence_texts = st.lists(st.text(max_size=12), min_size=1, max_size=6)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    texts = draw(sentence_texts)
    known = draw(st.lists(labels, min_size=len(texts), max_size=len(texts)))
    column = tuple(draw(st.lists(st.floats(-9, 9), min_size=len(texts), max_size=len(texts))))
    return Response.from_sentences(
        draw(st.text(max_size=5)),
        texts,
        labels=known,
        label=draw(labels),
        query=draw(st.text(max_size=5)),
        group=draw(st.none() | st.text(max_size=3)),
        aspects={"tone": 0.5},
        columns={"mine": column},
        extra={"kept": [1, {"deep": None}]},
    )


def sample(**fields: object) -> Response:
    return Response.from_sentences("r", ["One.", "Two."], **{"label": 1.0, **fields})


@given(texts=sentence_texts)
def test_joined_sentences_stand_where_they_say(texts):
    text, parts = join_sentences(texts)
    assert text == " ".join(texts)
    assert [text[part.start : part.end] for part in parts] == texts


@given(response=responses())
def test_a_response_survives_pickling_and_copying(response):
    assert pickle.loads(pickle.dumps(response)) == response
    assert copy.deepcopy(response) == response
    assert hash(copy.deepcopy(response)) == hash(response)


@given(response=responses())
def test_a_response_without_labels_tells_none(response):
    bare = response.without_labels()
    assert bare.label is None
    assert not bare.aspects
    assert set(bare.sentence_labels) == {None}
    assert (bare.text, bare.query, bare.columns, bare.extra) == (
        response.text,
        response.query,
        response.columns,
        response.extra,
    )
    assert [(part.text, part.start, part.end) for part in bare.sentences] == [
        (part.text, part.start, part.end) for part in response.sentences
    ]


@pytest.mark.parametrize("label", [-0.001, 1.001, 5, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "made",
    [
        lambda label: sample(label=label),
        lambda label: sample(aspects={"tone": label}),
        lambda label: Sentence("a", 0, 1, label),
    ],
    ids=["response", "aspect", "sentence"],
)
def test_a_label_outside_its_range_is_refused(made, label):
    with pytest.raises(BadData, match=r"a label lies in \[0, 1\]"):
        made(label)


@pytest.mark.parametrize("label", [0, 1, 0.0, 1.0, 0.5, True, None])
def test_a_label_in_its_range_is_taken(label):
    assert sample(label=label).label == label


def test_an_empty_response_is_refused():
    with pytest.raises(BadData, match="'r' is empty: give at least one sentence"):
        Response("r", ())


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2)])
def test_a_sentence_that_runs_backwards_is_refused(start, end):
    with pytest.raises(BadData, match="0 ≤ start ≤ end"):
        Sentence("a", start, end)


@pytest.mark.parametrize(
    "parts",
    [
        (Sentence("Two.", 5, 9), Sentence("One.", 0, 4)),
        (Sentence("One. T", 0, 6), Sentence("Two.", 5, 9)),
        (Sentence("Ten.", 0, 4),),
        (Sentence("Two.", 5, 12),),
    ],
    ids=["order", "overlap", "other text", "past the end"],
)
def test_sentences_that_do_not_stand_in_the_text_are_refused(parts):
    with pytest.raises(BadData, match="does not stand at"):
        Response("r", parts, text="One. Two.")


def test_counts_that_differ_are_refused():
    with pytest.raises(BadData, match="1 labels for 2 sentences"):
        Response.from_sentences("r", ["a", "b"], labels=[1])
    with pytest.raises(BadData, match="1 values for 2 sentences"):
        sample(columns={"mine": (1.0,)})
    with pytest.raises(BadData, match="1 values for 2 sentences"):
        ScoredResponse(sample(), (0.5,), 0.5)
    with pytest.raises(BadData, match="1 values for 2 sentences"):
        ScoredResponse(sample(), (0.5, 0.5), 0.5, sentence_spread=(0.1,))


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan])
def test_a_score_outside_its_range_is_refused(score):
    with pytest.raises(BadData, match="a score lies in"):
        ScoredResponse(sample(), (0.5, score), 0.5)
    with pytest.raises(BadData, match="a score lies in"):
        ScoredResponse(sample(), (0.5, 0.5), score)


def test_a_response_is_not_preferred_over_itself():
    one, same_words = sample(query="q"), dataclasses.replace(sample(query="q"), id="other")
    other = Response.from_sentences("s", ["Three."], query="q")
    for worse in (one, same_words):
        with pytest.raises(BadData, match="over itself"):
            Preference(one, worse)
    assert Preference(one, same_words, tie=True).tie
    assert Preference(one, other).split_group == "q"


def test_what_stays_together_when_data_are_split():
    assert sample(group="g", query="q").split_group == "g"
    assert sample(query="q").split_group == "q"
    assert sample().split_group == "r"


@given(scores=st.lists(st.floats(0, 1), min_size=2, max_size=2), kappa=st.floats(0, 5))
def test_conservative_scores_lie_between_zero_and_the_score(scores, kappa):
    scored = ScoredResponse(sample(), tuple(scores), 0.5, sentence_spread=(0.2, 0.0))
    low = scored.conservative(kappa)
    assert low[0] == max(0.0, scores[0] - kappa * 0.2)
    assert low[1] == scores[1]
    assert ScoredResponse(sample(), tuple(scores), 0.5).conservative(kappa) == tuple(scores)


def test_a_scored_response_survives_pickling():
    scored = ScoredResponse(sample(columns={"mine": (1.0, 2.0)}), (0.25, 0.75), 0.25, aspect="tone")
    assert pickle.loads(pickle.dumps(scored)) == scored


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample().label = 0.0  # type: ignore[misc]
