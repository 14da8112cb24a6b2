"""A corpus: every response once, what it knows of them computed once, as arrays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fractal.errors import BadData
from fractal.records import Preference, Response
from fractal.records.corpus import gather, response_labels, sentence_column


def response(name: str, label: float | None = None, **fields: object) -> Response:
    return Response.from_sentences(name, ["One.", "Two."], label=label, **fields)  # type: ignore[arg-type]


def test_labels_groups_and_directions_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = gather([response("a", 1.0), response("b"), response("c", 0.0)])
    facts = corpus.labels, corpus.groups, corpus.directions
    monkeypatch.setattr(Response, "split_group", property(lambda record: pytest.fail("grouped again")))
    assert all(
        one is other for one, other in zip((corpus.labels, corpus.groups, corpus.directions), facts, strict=True)
    )
    assert facts[2] == ("min", "max", "mean")


def test_another_corpus_of_the_same_records_knows_its_own_labels() -> None:
    corpus = gather([response("a", 1.0), response("b", 0.0)])
    assert corpus.labels.tolist() == [1.0, 0.0]
    turned = dataclasses.replace(corpus, responses=corpus.responses[::-1])
    assert turned.labels.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("words", "directions"),
    [
        (("min", "min"), ("min",)),
        (("avg", "mean"), ("mean",)),
        (("min", "max"), ("min", "max", "mean")),
        (("min", ""), ("min", "max", "mean")),
    ],
)
def test_the_direction_is_what_all_the_data_state(words: tuple[str, str], directions: tuple[str, ...]) -> None:
    records = [response(word + str(n), n, extra={"aggregation": word} if word else {}) for n, word in enumerate(words)]
    assert gather(records).directions == directions


def test_a_preference_ties_the_groups_of_its_responses() -> None:
    a, b, c, d = (response(name, group=name, query=name) for name in "abcd")
    corpus = gather([Preference(a, b), Preference(b, c), d])
    assert len(corpus.responses) == 4
    assert corpus.pairs.tolist() == [[0, 1, 0], [1, 2, 0]]
    groups = dict(zip((record.id for record in corpus.responses), corpus.groups, strict=True))
    assert groups["a"] == groups["b"] == groups["c"] != groups["d"]


def test_what_is_unknown_is_nan() -> None:
    records = [response("a", 0.5, columns={"own": (0.1, 0.2)}), response("b")]
    np.testing.assert_array_equal(response_labels(records), [0.5, np.nan])
    np.testing.assert_array_equal(sentence_column(records, "own"), [0.1, 0.2, np.nan, np.nan])
    assert sentence_column([], "own").shape == response_labels([]).shape == (0,)


def test_labels_beside_the_responses_take_their_place() -> None:
    assert gather([response("a", 0.0), response("b", 0.0)], [1.0, None]).labels.tolist() == [1.0, 0.0]
    with pytest.raises(BadData, match="1 labels for 2 responses"):
        gather([response("a"), response("b")], [1.0])
    with pytest.raises(BadData, match="nothing to learn from"):
        gather([])
