"""Truth that is cut otherwise than the scores is met by character places; what cannot be met is counted."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData
from fractal.evaluation.truth import meet_truth
from fractal.records import Response, ScoredResponse, Sentence

TEXT = "Oslo is in Norway. It has a palace. It snows."


def cut(places: list[tuple[int, int]], labels: list[float | None], id: str = "a") -> Response:
    parts = tuple(Sentence(TEXT[a:b], a, b, label) for (a, b), label in zip(places, labels, strict=True))
    return Response(id, parts, TEXT)


def scored(response: Response) -> ScoredResponse:
    return ScoredResponse(response.without_labels(), (0.5,) * len(response.sentences), 0.5)


SENTENCES = [(0, 18), (19, 35), (36, 45)]


def test_spans_are_met_by_their_places_and_the_worst_label_counts() -> None:
    truth = cut([(0, 4), (11, 18), (19, 45)], [1.0, 0.0, 1.0])
    met = meet_truth([scored(cut(SENTENCES, [None] * 3))], [truth])
    assert met.scored[0].response.sentence_labels == (0.0, 1.0, 1.0)
    assert (met.cut_otherwise, met.without_id, met.other_text) == (1, 0, 0)
    assert "cut otherwise" in str(met)


def test_what_no_span_covers_stays_unknown_and_a_sliver_tells_nothing() -> None:
    met = meet_truth([scored(cut(SENTENCES, [None] * 3))], [cut([(0, 17), (30, 45)], [0.0, 1.0])])
    assert met.scored[0].response.sentence_labels == (0.0, None, 1.0)


def test_what_cannot_be_met_is_left_out_and_counted() -> None:
    same = cut(SENTENCES, [1.0, 0.0, 1.0])
    other = Response.from_sentences("b", ["Another text."], labels=[1.0])
    items = [scored(same), scored(cut(SENTENCES, [None] * 3, "b")), scored(cut(SENTENCES, [None] * 3, "c"))]
    met = meet_truth(items, [same, other])
    assert [item.response for item in met.scored] == [same]
    assert (met.without_id, met.other_text, met.cut_otherwise) == (1, 1, 0)
    with pytest.raises(BadData, match="none of the 1 scored responses has the id"):
        meet_truth(items[2:], [same])


@given(data=st.data())
def test_labels_carried_to_the_same_cut_are_the_labels(data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=3, max_size=3))
    truth = cut(SENTENCES, labels)
    blanks = [(0, 19), (19, 36), (36, 45)]  # the same sentences with the blanks after them
    met = meet_truth([scored(cut(blanks, [None] * 3))], [truth])
    assert met.scored[0].response.sentence_labels == tuple(labels)
    assert dataclasses.replace(met.scored[0].response, sentences=truth.sentences) == truth
