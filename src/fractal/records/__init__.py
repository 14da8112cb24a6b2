"""What goes in and what comes out: plain, frozen Python records, without numpy and without torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fractal.errors import BadData, BadSpec

__all__ = [
    "NATIVE_FIELDS",
    "REDUCTIONS",
    "SCORE_FIELDS",
    "Preference",
    "Response",
    "ScoredResponse",
    "Sentence",
    "checked_response",
    "join_sentences",
    "unchecked_response",
    "unchecked_sentence",
]

NATIVE_FIELDS = (  # what the native schema calls the parts of a record
    *("id", "query", "context", "response", "sentences", "offsets", "completions", "messages", "label"),
    *("sentence_labels", "group", "aspects", "columns", "extra", "chosen", "rejected", "a", "b", "preference"),
    *("responses", "ranking", "pairs"),
)
SCORE_FIELDS = (
    *("sentence_scores", "sentence_spread", "disaggregated_labels", "response_score", "aspect", "score_aggregation"),
    "score_relative",
    "unlike_training",
)
REDUCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"min": min, "max": max, "mean": lambda scores: sum(scores) / len(scores)}
)
HARD_RULES = (*REDUCTIONS,)  # a response is as good as its worst sentence, its best, or all of them

NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return NOTHING


def _plain(value: Any) -> Any:
    """Mapping proxies cannot be pickled; records travel as plain dictionaries."""
    return dict(value) if isinstance(value, MappingProxyType) else value


class _Picklable:
    """Frozen records with slots pickle by their fields."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return type(self), tuple(_plain(getattr(self, field.name)) for field in fields)


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """A part of a response: a sentence or a reasoning step, and where it stands in the response's text."""

    text: str
    start: int
    end: int
    label: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise BadData(f"a sentence runs from {self.start} to {self.end}: give 0 ≤ start ≤ end", field="sentences")
        check_label(self.label, "sentence_labels")


@dataclasses.dataclass(frozen=True, slots=True)
class Response(_Picklable):
    """A whole answer with what it answers to: the text, its sentences, its query and context, and its label if known.

    A label lies in [0, 1]: 0/1 for bad/good, a share or a rating scaled to it, or level / (levels − 1).
    """

    id: str
    sentences: tuple[Sentence, ...]
    text: str = ""  # where it is left out, the sentences joined by blanks
    query: str = ""
    context: tuple[str, ...] = ()
    label: float | None = None
    group: str | None = None  # responses of one group never fall on both sides of a split
    aspects: Mapping[str, float] = dataclasses.field(default_factory=_nothing, hash=False)  # further labels by name
    columns: Mapping[str, tuple[float, ...]] = dataclasses.field(
        default_factory=_nothing, hash=False
    )  # own columns, one value a sentence
    extra: Mapping[str, Any] = dataclasses.field(
        default_factory=_nothing, hash=False
    )  # unknown fields, carried through

    def __post_init__(self) -> None:
        if not self.sentences:
            raise BadData(f"the response {self.id!r} is empty: give at least one sentence", field="response")
        check_label(self.label, "label")
        if not self.text:
            object.__setattr__(self, "text", " ".join(sentence.text for sentence in self.sentences))
        self._check_offsets()
        for name, values in self.columns.items():
            if len(values) != len(self.sentences):
                raise BadData(
                    f"{len(values)} values for {len(self.sentences)} sentences: give one value a sentence",
                    field=f"columns.{name}",
                )
        for name, label in self.aspects.items():
            check_label(label, f"aspects.{name}")

    def _check_offsets(self) -> None:
        end = 0
        for sentence in self.sentences:
            cut = self.text[sentence.start : sentence.end]
            if sentence.start < end or sentence.end > len(self.text) or cut != sentence.text:
                raise BadData(
                    f"the sentence {sentence.text[:60]!r} does not stand at {sentence.start}–{sentence.end} "
                    "of the response's text, after the sentence before it",
                    field="sentences",
                )
            end = sentence.end

    @property
    def sentence_labels(self) -> tuple[float | None, ...]:
        """The label of every sentence, None where it is unknown."""
        return tuple(sentence.label for sentence in self.sentences)

    def label_of(self, aspect: str) -> float | None:
        """Return the label of an aspect; the empty name is the response's own label."""
        return self.aspects.get(aspect) if aspect else self.label

    @property
    def split_group(self) -> str:
        """What must stay together when data are split: the group, else the query, else the response alone."""
        return self.group or self.query or self.id

    def without_labels(self) -> Response:
        """Return the same response as one who has yet to rate it sees it."""
        bare = tuple(dataclasses.replace(sentence, label=None) for sentence in self.sentences)
        return dataclasses.replace(self, sentences=bare, label=None, aspects=NOTHING)

    @classmethod
    def from_sentences(
        cls, id: str, sentences: Sequence[str], *, labels: Sequence[float | None] | None = None, **fields: Any
    ) -> Response:
        """Make a response of sentences that are already cut; its text joins them by blanks."""
        if labels is not None and len(labels) != len(sentences):
            raise BadData(
                f"{len(labels)} labels for {len(sentences)} sentences: give one a sentence", field="sentence_labels"
            )
        text, parts = join_sentences(sentences, labels)
        return cls(id=id, sentences=parts, text=text, **fields)


@dataclasses.dataclass(frozen=True, slots=True)
class Preference:
    """Two responses to one query of which the first is better (or neither, where it is a tie)."""

    better: Response
    worse: Response
    tie: bool = False
    id: str = ""

    def __post_init__(self) -> None:
        same = self.better.id == self.worse.id or (self.better.text, self.better.query) == (
            self.worse.text,
            self.worse.query,
        )
        if same and not self.tie:
            raise BadData(
                f"the response {self.better.id!r} is preferred over itself: give two responses", field="preference"
            )

    @property
    def split_group(self) -> str:
        """What must stay together when data are split."""
        return self.better.split_group


@dataclasses.dataclass(frozen=True, slots=True)
class ScoredResponse(_Picklable):
    """A response with a score for each of its sentences and the response score that they imply."""

    response: Response
    sentence_scores: tuple[float, ...]
    response_score: float
    sentence_spread: tuple[float, ...] = ()  # how far the heads disagree, a standard deviation
    sentence_labels: tuple[float, ...] = ()  # hard labels that agree with the response's label (disaggregate)
    aspect: str = ""  # which label this is about, where a response carries several
    aggregation: str = ""  # the hard rule that the scores were learned under: min, max or mean; empty: unknown
    relative: bool = False  # learned from preferences alone: scores say what is better, not what is good
    unlike: tuple[str, ...] = ()  # in what the response is unlike those of training: language, length, domain

    def __post_init__(self) -> None:
        count = len(self.response.sentences)
        for name in ("sentence_scores", "sentence_spread", "sentence_labels"):
            values = getattr(self, name)
            if len(values) != count and (values or name == "sentence_scores"):
                raise BadData(f"{len(values)} values for {count} sentences: give one a sentence", field=name)
        if self.aggregation not in ("", *HARD_RULES):
            raise BadData(f"found {self.aggregation!r}: give min, max or mean", field="score_aggregation")
        for score in (*self.sentence_scores, self.response_score):
            if not 0.0 <= score <= 1.0:
                raise BadData(f"a score of {score}: a score lies in [0, 1]", field="sentence_scores")

    def conservative(self, kappa: float = 1.0) -> tuple[float, ...]:
        """Return score − κ · spread, cut at 0: the scores to reward with, where over-optimisation is feared."""
        if not (0 <= kappa < math.inf):
            raise BadSpec(f"kappa={kappa}: give 0 or more; below 0 the spread would raise scores above 1")
        spread = self.sentence_spread or (0.0,) * len(self.sentence_scores)
        return tuple(max(0.0, score - kappa * width) for score, width in zip(self.sentence_scores, spread, strict=True))


def check_label(label: float | None, field: str) -> None:
    """Refuse a label outside [0, 1]."""
    if label is not None and not (0.0 <= label <= 1.0):
        shown = "NaN" if isinstance(label, float) and math.isnan(label) else repr(label)
        raise BadData(
            f"found {shown}: a label lies in [0, 1]; for ratings give their scale, as in scale=1..5", field=field
        )


def join_sentences(
    sentences: Sequence[str], labels: Sequence[float | None] | None = None
) -> tuple[str, tuple[Sentence, ...]]:
    """Join sentences by blanks and say where each stands."""
    for label in labels or ():
        check_label(label, "sentence_labels")
    return " ".join(sentences), tuple(_parts(sentences, labels or [None] * len(sentences)))


def checked_response(
    id: str,
    sentences: Sequence[str],
    labels: Sequence[float | None] | None,
    query: str,
    context: tuple[str, ...],
    label: float | None,
    group: str | None,
    extra: Mapping[str, Any],
) -> Response:
    """Make a response of joined sentences whose values were checked already, several times as fast as `Response`."""
    parts = tuple(_parts(sentences, labels or [None] * len(sentences)))
    return unchecked_response(id, parts, " ".join(sentences), query, context, label, group, NOTHING, NOTHING, extra)


def unchecked_response(*values: Any) -> Response:
    """Make a response of the values of its fields, in their order, that stood in one before."""
    response = object.__new__(Response)
    for put, value in zip(_RESPONSE_SLOTS, values, strict=True):
        put(response, value)
    return response


def unchecked_sentence(*values: Any) -> Sentence:
    """Make a sentence of the values of its fields, in their order, that stood in one before."""
    sentence = object.__new__(Sentence)
    for put, value in zip(_SENTENCE_SLOTS, values, strict=True):
        put(sentence, value)
    return sentence


def _parts(sentences: Sequence[str], labels: Sequence[float | None]) -> list[Sentence]:
    """Make sentences that stand one blank apart; their places are right by construction, so nothing is checked."""
    new, (put_text, put_start, put_end, put_label) = object.__new__, _SENTENCE_SLOTS
    parts, start = [], 0
    for text, label in zip(sentences, labels, strict=True):
        part = new(Sentence)
        end = start + len(text)
        put_text(part, text)
        put_start(part, start)
        put_end(part, end)
        put_label(part, label)
        parts.append(part)
        start = end + 1
    return parts


def _slots(record: type) -> tuple[Callable[[Any, Any], None], ...]:
    """Return what sets each field of a frozen record."""
    return tuple(record.__dict__[field.name].__set__ for field in dataclasses.fields(record))


_SENTENCE_SLOTS, _RESPONSE_SLOTS = _slots(Sentence), _slots(Response)
