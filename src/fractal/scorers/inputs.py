"""What a scorer's training data came with, and whether what it is to score comes with the same."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.errors import BadData
from fractal.records import Response, ScoredResponse
from fractal.scorers.likeness import TrainingProfile, marked

__all__ = ["Remembers", "input_shares", "missing_inputs", "passages_of", "refuse_missing"]
__all__ += ["relative_scores", "warn_of_another_encoder", "warn_of_missing"]

NEEDED = 0.5  # share of the training responses that had it, from which a scorer counts on it
FEWER = 0.5  # of that share; below, a word is said


class Remembers:
    """Remembers how training data were read, what share of them had a query and a context, and what they were like."""

    inputs_: dict[str, float]
    reading_: dict[str, Any]
    profile_: TrainingProfile | None = None

    @property
    def memory_(self) -> dict[str, Any]:
        """What the scorer remembers of its training data: columns, scale, and what share had a query and a context."""
        return {**self.reading_, **self.inputs_}

    def remember_reading(self, reading: Mapping[str, Any]) -> None:
        """Keep how the training data were read, so that what is scored is read alike."""
        self.reading_ = dict(reading)

    def remember_inputs(self, block: EncodedBlock, groups: Sequence[str]) -> None:
        """Keep what share of the training data had a query and a context, and what they were like.

        How they were read is not known yet.
        """
        self.inputs_ = {f"with {name}": share for name, share in input_shares(block.responses).items()}
        self.reading_ = {}
        self.profile_ = TrainingProfile.of(block, groups)

    def marked(self, block: EncodedBlock, records: Iterable[ScoredResponse], each: int = 1) -> Iterator[ScoredResponse]:
        """Return the block's records, `each` a response, with what is unlike training."""
        return marked(self.profile_, block, records, each)

    def profile_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is saved of the profile beside its limits."""
        return self.profile_.arrays() if self.profile_ else {}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take what a saved scorer remembers."""
        self.inputs_ = {name: value for name, value in memory.items() if name.startswith("with ")}
        self.reading_ = {name: value for name, value in memory.items() if name not in self.inputs_}


def relative_scores(data: Mapping[str, Any]) -> bool:
    """Whether a scorer learned from preferences alone, by the counts of its training data: it knows no good or bad."""
    return bool(data.get("preferences")) and not (data.get("labelled responses") or data.get("sentence labels"))


def passages_of(context: str | Sequence[Any] | None) -> tuple[str, ...]:
    """Return what a response is held against as passages: of one text, of several, or of nothing."""
    if not context:
        return ()
    return (context,) if isinstance(context, str) else tuple(map(str, context))


def input_shares(responses: Sequence[Response]) -> dict[str, float]:
    """Return the share of responses with a query, and with a context."""
    having = Counter[str]()
    for response in responses:
        having.update(query=bool(response.query), context=any(response.context))
    return {name: having[name] / max(len(responses), 1) for name in ("query", "context")}


def missing_inputs(memory: Mapping[str, Any], responses: Sequence[Response]) -> dict[str, tuple[float, float]]:
    """Return what most training responses had and fewer than half as many of these have: {name: (then, here)}."""
    here = input_shares(responses)
    then = {name: float(memory.get(f"with {name}", 0.0)) for name in here}
    return {
        name: (then[name], here[name])
        for name in here
        if responses and then[name] >= NEEDED and here[name] < FEWER * then[name]
    }


def refuse_missing(memory: Mapping[str, Any], responses: Sequence[Response], columns: Sequence[str] = ()) -> None:
    """Refuse responses none of which has what the scorer learned with; `columns` may hold it under another name."""
    for name, (then, here) in missing_inputs(memory, responses).items():
        if here == 0.0:
            listed = f" Columns that are not used here: {', '.join(columns)[:400]}." if columns else ""
            example = columns[0] if columns else f"my_{name}"
            raise BadData(
                f"{then:.0%} of the responses that the scorer learned from had a {name}, and none of these "
                f"{len(responses):,} has one: scores would mean nothing.{listed} Map its column, as in "
                f"columns={{{name!r}: {example!r}}}",
                field=name,
            )


def warn_of_missing(memory: Mapping[str, Any], responses: Sequence[Response]) -> None:
    """Say so where far fewer responses have what the scorer learned with."""
    for name, (then, here) in missing_inputs(memory, responses).items():
        warnings.warn(
            f"{then:.0%} of the responses that this scorer learned from had a {name}, {here:.0%} of these "
            f"{len(responses):,} have one: scores without it mean less",
            stacklevel=4,
        )


def warn_of_another_encoder(learned: str, here: str) -> None:
    """Say so when what was learned on one encoder's vectors reads another's, if only of another precision."""
    if learned and learned != here:
        warnings.warn(
            f"this scorer learned with the encoder {learned}, here it is {here}: scores may differ", stacklevel=4
        )


def likely_columns(responses: Sequence[Response]) -> list[str]:
    """Return the names of carried fields, those that hold the longest texts first."""
    sizes: dict[str, int] = {}
    for response in responses[:200]:
        for name, value in response.extra.items():
            sizes[name] = sizes.get(name, 0) + (len(str(value)) if isinstance(value, str | list | tuple | dict) else 0)
    return sorted(sizes, key=lambda name: -sizes[name])
