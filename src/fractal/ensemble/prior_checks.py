"""Does a prior tell good responses from bad by itself? Its own aggregate against response labels or preferences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.evaluation.findings import Finding
from fractal.evaluation.outcomes import Outcome
from fractal.features import prior_similarity
from fractal.mil.objectives.base import Term
from fractal.mil.objectives.priors import ColumnPrior, CorrelationPrior, CosinePrior
from fractal.records import Response
from fractal.records.corpus import Corpus, sentence_column

__all__ = ["MIN_RESPONSES", "prior_findings", "serving"]

Floats = NDArray[np.float64]

MIN_RESPONSES = 100  # rated responses; with fewer an interval says too little


def serving(responses: Sequence[Response], columns: Sequence[str] = ()) -> tuple[Term, ...]:
    """Return every prior that could serve: the similarity, and the columns named, or all there are."""
    names = columns or sorted({name for response in responses for name in response.columns})
    return (CosinePrior(), *(ColumnPrior(name) for name in names))


def prior_findings(
    block: EncodedBlock, corpus: Corpus, terms: Sequence[Term], direction: str, seed: int = 0
) -> dict[Term, Finding]:
    """Return what response labels or preferences say of each prior; one of which they say nothing is left out."""
    outcome = Outcome.of(corpus.responses, corpus.pairs, seed, corpus.groups)
    if len(outcome) < MIN_RESPONSES or not outcome.differs:
        return {}
    findings = {}
    for term in terms:
        name, wholes = _read(term, block, direction)
        if (finding := _signal(name, wholes, outcome, seed)) is not None:
            findings[term] = finding
    return findings


def _read(term: Term, block: EncodedBlock, direction: str) -> tuple[str, Floats]:
    """What a prior is called, and what it alone makes of every response: (bag,), nan where that is nothing."""
    if isinstance(term, CorrelationPrior):
        return "likeness of sentences", _likeness(block, direction)
    if isinstance(term, CosinePrior):
        name = f"similarity to the {_compared_with(block)}"
        return name, _aggregate(prior_similarity(block).astype(np.float64), block, direction)
    if isinstance(term, ColumnPrior):
        values = sentence_column(block.responses, term.column)
        return f"column '{term.column}'", _aggregate(values, block, direction)
    return "", np.full(len(block), np.nan)


def _compared_with(block: EncodedBlock) -> str:
    """Name what sentences are compared with: the context of their response, or the query where there is none."""
    if not block.has_context.any():
        return "query" if block.has_query.any() else "context"
    return "context or query" if (block.has_query & ~block.has_context).any() else "context"


def _aggregate(values: Floats, block: EncodedBlock, direction: str) -> Floats:
    starts = block.offsets[:-1]
    if direction == "mean":
        return np.asarray(np.add.reduceat(values, starts) / np.diff(block.offsets))
    return np.asarray((np.minimum if direction == "min" else np.maximum).reduceat(values, starts))


def _likeness(block: EncodedBlock, direction: str) -> Floats:
    """Mean correlation of two sentences: like ones share a label, so a response of unlike ones holds good and bad.

    That is a bad response under a minimum, a good one under a maximum, and neither under a mean.
    """
    if direction == "mean":
        return np.full(len(block), np.nan)
    squares = np.concatenate([_squared_sums(tile) for tile in block.tiles()])
    count = np.diff(block.offsets).astype(np.float64)
    pairs = np.where(count > 1, count * (count - 1), np.nan)
    mean = (squares - count) / pairs
    return np.asarray(mean if direction == "min" else -mean)


def _squared_sums(block: EncodedBlock) -> Floats:
    """The squared length of the sum of each response's vectors, each brought to mean 0 and length 1: (bag,)."""
    vectors = block.sentences - block.sentences.mean(1, keepdims=True)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    sums = np.add.reduceat(vectors.astype(np.float64), block.offsets[:-1])
    return np.asarray((sums**2).sum(1))


def _signal(name: str, wholes: Floats, outcome: Outcome, seed: int) -> Finding | None:
    cases = outcome.of_values(wholes)
    present = np.flatnonzero(~np.isnan(cases))
    outcome = outcome.take(present)
    if len(outcome) < MIN_RESPONSES or not outcome.differs:
        return None
    area = outcome.area(cases[present], seed)
    whose = "preferences" if len(outcome.second) else "labels of responses"
    shown = f"AUC {area.value:.2f} [{area.low:.2f}, {area.high:.2f}] on {whose}"
    title = f"prior: {name}"
    if area.low > 0.5:
        return Finding(title, "ok", f"The {name} carries signal: {shown}.", area.value, area.low, area.high)
    if area.high < 0.5:
        sentence = f"The {name} points the wrong way ({shown}): as a prior it deserves no weight."
        return Finding(title, "fail", sentence, area.value, area.low, area.high, "drop")
    sentence = f"The {name} carries no clear signal ({shown}): as a prior it deserves no weight."
    return Finding(title, "warn", sentence, area.value, area.low, area.high, "drop")
