"""Truth that is cut otherwise than the scores is met by character places; what cannot be met is counted."""

from __future__ import annotations

import dataclasses
import itertools

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


def test_texts_that_differ_in_blanks_alone_are_the_same() -> None:
    text = "Oslo  is in\nNorway.\r\nIt has a palace. It snows.\n"
    spans = ((0, 4, 1.0), (21, 37, 0.0))
    assert text[21:37] == "It has a palace."
    truth = Response("a", tuple(Sentence(text[a:b], a, b, label) for a, b, label in spans), text)
    met = meet_truth([scored(cut(SENTENCES, [None] * 3))], [truth])
    assert met.scored[0].response.sentence_labels == (1.0, 0.0, None)
    assert met.scored[0].response.text == TEXT
    assert (met.cut_otherwise, met.uncovered, met.other_text) == (1, 1, 0)


def test_spans_that_fit_no_sentence_and_ids_that_come_twice_are_counted() -> None:
    parts = [(0, 4), (5, 10), (11, 18), (19, 35), (36, 45)]  # words of the first sentence are sentences here
    met = meet_truth([scored(cut(parts, [None] * 5))], [cut([(0, 18)], [0.0]), cut([(0, 18)], [1.0])])
    assert met.scored[0].response.sentence_labels == (1.0, 1.0, 1.0, None, None)
    assert (met.unmet_spans, met.uncovered, met.twice) == (0, 2, 1)
    narrow = [(0, 2), (3, 14), (15, 45)]
    met = meet_truth([scored(cut(narrow, [None] * 3))], [cut([(2, 3), (15, 45)], [0.0, 1.0])])
    assert met.unmet_spans == 1
    assert "1 labelled spans of these left out" in str(met)


@given(data=st.data())
def test_what_is_carried_comes_from_a_span_that_overlaps_and_nothing_is_lost(data: st.DataObject) -> None:
    """Every labelled span is either taken up by a sentence, with its label at least as good, or counted."""

    def places() -> list[tuple[int, int]]:
        edges = sorted(data.draw(st.sets(st.integers(0, len(TEXT)), min_size=2, max_size=8)))
        return [pair for pair in itertools.pairwise(edges) if TEXT[pair[0] : pair[1]].strip()] or [(0, 4)]

    spans = places()
    labels = data.draw(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=len(spans), max_size=len(spans)))
    sentences = places()
    met = meet_truth([scored(cut(sentences, [None] * len(sentences)))], [cut(spans, labels)])
    if met.cut_otherwise:
        known = [(span, label) for span, label in zip(spans, labels, strict=True) if label is not None]
        for (start, end), label in zip(sentences, met.scored[0].response.sentence_labels, strict=True):
            over = [value for (a, b), value in known if min(b, end) > max(a, start)]
            assert label is None or label in over
        assert met.uncovered == met.scored[0].response.sentence_labels.count(None)
        assert 0 <= met.unmet_spans <= len(known)
