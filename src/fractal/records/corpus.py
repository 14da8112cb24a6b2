"""Responses and preferences as one corpus: labels, groups and pairs as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData
from fractal.records import HARD_RULES, Preference, Response
from fractal.records.groups import Grouping, group_responses
from fractal.records.stored import RecordFile, StoredRecords, in_same_place

DIRECTIONS = HARD_RULES


@dataclass(frozen=True, eq=False)
class Corpus:
    """Every response once, and which of them are preferred over which."""

    responses: Sequence[Response]  # a tuple, or stored in a file
    pairs: NDArray[np.int64]  # (pair, 3): better, worse, tie
    aspects: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # of several labels each: (response,)
    folds: int = 5  # that the groups must be enough for

    @cached_property
    def labels(self) -> NDArray[np.float64]:
        """The label of each response, nan where it is unknown."""
        return response_labels(self.responses)

    @cached_property
    def label_columns(self) -> NDArray[np.float64]:
        """The labels to learn: (response,), or of several aspects (response, aspect)."""
        return np.stack(list(self.aspects.values()), 1) if len(self.aspects) > 1 else self.labels

    def of_aspect(self, name: str) -> Corpus:
        """Return the responses as one who rates only this aspect sees them."""
        if name not in self.aspects:
            return self
        if name in self._written:
            return self._written[name]
        labels = (None if np.isnan(label) else label for label in self.aspects[name].tolist())
        relabelled = in_same_place(self.responses, map(_relabelled, self.responses, labels))
        alone = Corpus(relabelled, self.pairs, folds=self.folds)
        vars(alone)["grouping"] = self.grouping  # labels have no part in it
        if isinstance(relabelled, StoredRecords):
            self._written[name] = alone
        return alone

    @cached_property
    def _written(self) -> dict[str, Corpus]:
        """What stands in files already, by aspect."""
        return {}

    def in_canonical_order(self) -> Corpus:
        """Return the same corpus in an order that its contents alone tell: whatever the place of a record in its file.

        Folds, batches and sums follow it, so that shuffled records teach the same scorer to the last bit.
        """
        aspects = np.stack([*self.aspects.values(), self.labels], 1).tolist()
        keys = [
            (_content(response), _hash((response.sentence_labels, labels)), response.id)
            for response, labels in zip(self.responses, aspects, strict=True)
        ]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        pairs = np.column_stack([place[self.pairs[:, 0]], place[self.pairs[:, 1]], self.pairs[:, 2]])
        turned = (pairs[:, 2] == 1) & (pairs[:, 0] > pairs[:, 1])  # neither answer of a tie is the better one
        pairs[turned] = pairs[turned][:, [1, 0, 2]]
        return Corpus(
            in_same_place(self.responses, (self.responses[number] for number in order)),
            pairs[np.lexsort(pairs.T[::-1])],
            {name: values[order] for name, values in self.aspects.items()},
            self.folds,
        )

    @cached_property
    def directions(self) -> tuple[str, ...]:
        """Which sentences a response's label may be about: the worst, the best, all; what the data state, or allow.

        The first is assumed where nothing tells them apart: graded labels are mostly shares of sentences.
        """
        if len(self.pairs):
            return ("mean",)
        stated = {str(response.extra.get("aggregation", "")).replace("avg", "mean") for response in self.responses}
        if len(stated) == 1 and stated <= {*DIRECTIONS}:
            return tuple(stated)
        if np.isnan(self.labels).all():
            return ("mean",)
        return DIRECTIONS if all_or_nothing(self.labels) else ("mean", "min", "max")

    @cached_property
    def grouping(self) -> Grouping:
        """What must not be torn apart when data are split, by what it was grouped, and why."""
        return group_responses(self.responses, self.pairs, self.folds)

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each response; a preference ties the groups of its two responses."""
        return self.grouping.groups


def _content(response: Response) -> bytes:
    """Return a hash of what a response says, its id left out: readers count ids by place."""
    spans = [(sentence.start, sentence.end) for sentence in response.sentences]
    columns = sorted(response.columns.items())
    return _hash((response.text, response.query, response.context, spans, response.group, columns))


def _hash(content: tuple[Any, ...]) -> bytes:
    return hashlib.blake2b(repr(content).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def response_labels(responses: Sequence[Response]) -> NDArray[np.float64]:
    """Return the label of each response: (response,), nan where it is unknown."""
    if isinstance(responses, StoredRecords):
        return responses.labels
    return np.fromiter((np.nan if r.label is None else r.label for r in responses), np.float64, len(responses))


def sentence_labels(responses: Sequence[Response]) -> NDArray[np.float64]:
    """Return the label of each sentence: (sentence,), nan where it is unknown."""
    labels = (label for response in responses for label in response.sentence_labels)
    return np.fromiter((np.nan if label is None else label for label in labels), dtype=np.float64)


def sentence_column(responses: Sequence[Response], name: str) -> NDArray[np.float64]:
    """Return a column that the user brought, one value a sentence: (sentence,), nan where a response lacks it."""
    rows = (r.columns.get(name, (np.nan,) * len(r.sentences)) for r in responses)
    return np.fromiter((value for row in rows for value in row), dtype=np.float64)


def all_or_nothing(labels: NDArray[np.float64]) -> bool:
    """Whether some labels are known, and all that are known are 0 or 1."""
    labels = labels[~np.isnan(labels)]
    return bool(len(labels) and np.isin(labels, (0.0, 1.0)).all())


def _relabelled(response: Response, label: float | None) -> Response:
    return replace(response.without_labels(), label=label)


def gather_aspects(responses: Sequence[Response], names: Sequence[str], folds: int = 5) -> Corpus:
    """Collect responses with labels of aspects; each is known by the mean of its labels, by which folds are dealt."""
    columns = [[np.nan if (label := r.label_of(name)) is None else label for r in responses] for name in names]
    labels = np.array(columns, dtype=np.float64)  # (aspect, response)
    rated = ~np.isnan(labels)
    means = np.where(rated, labels, 0.0).sum(0) / rated.sum(0).clip(min=1)
    wholes = np.where(rated.any(0), means, np.nan).tolist()
    bare = (_relabelled(r, None if np.isnan(whole) else whole) for r, whole in zip(responses, wholes, strict=True))
    no_pairs = np.empty((0, 3), dtype=np.int64)
    return Corpus(in_same_place(responses, bare), no_pairs, dict(zip(names, labels, strict=True)), folds)


def gather(X: Sequence[Response | Preference], y: Sequence[float | None] | None = None, folds: int = 5) -> Corpus:
    """Collect responses and preferences; `y`, where given, replaces the labels of responses.

    Groups are made for so many `folds`.
    """
    if isinstance(X, StoredRecords) and not X.compared and y is None:
        return Corpus(X, np.empty((0, 3), dtype=np.int64), folds=folds)
    places: dict[bytes, int] = {}
    responses: list[Response] | RecordFile = RecordFile(X.folder) if isinstance(X, StoredRecords) else []
    pairs: list[tuple[int, int, int]] = []

    def place(response: Response) -> int:
        number = places.setdefault(_hash((response.id, response.query, response.text)), len(responses))
        if number == len(responses):
            responses.append(response)
        return number

    if y is not None and len(y) != len(X):
        raise BadData(f"{len(y)} labels for {len(X)} responses: give one a response", field="y")
    for number, record in enumerate(X):
        if isinstance(record, Preference):
            pairs.append((place(record.better), place(record.worse), int(record.tie)))
        else:
            label = record.label if y is None or y[number] is None else float(y[number])  # type: ignore[arg-type]
            responses.append(replace(record, label=label) if label != record.label else record)
    if not len(responses):
        raise BadData("there is nothing to learn from: give at least one response or preference")
    whole = tuple(responses) if isinstance(responses, list) else responses.records()
    return Corpus(whole, np.array(pairs, dtype=np.int64).reshape(-1, 3), folds=folds)
