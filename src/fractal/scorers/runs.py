"""What failed in runs of agents: the decisive step, or something that passed runs did and this one did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from fractal.encoders.block import EncodedBlock, texts_only
from fractal.ensemble.experts import Ensemble
from fractal.errors import BadData
from fractal.features.passed_runs import FLOOR, RunMemory
from fractal.records import ScoredResponse
from fractal.records.steps import MISSING_CALL

__all__ = ["RunVerdict", "run_verdicts", "with_missing_calls"]

FACTOR = 2.0  # how much stronger what a run lacks must be than what speaks against its worst step


@dataclass(frozen=True)
class RunVerdict:
    """The answer for one run: a step, or that nothing wrong is seen and something is missing."""

    id: str
    step: int  # the lowest score
    hazard: float  # what speaks against the calls of the worst step, beside passed runs of the task
    missing: str = ""  # the tool whose call is missing, where that is the answer
    lack: float = 0.0  # how strongly

    def __str__(self) -> str:
        if self.missing:
            return f"{self.id}: nothing wrong is seen; passed runs of the task called {self.missing}, this one did not"
        return f"{self.id}: step {self.step + 1}"


class HasEnsemble(Protocol):
    """A fitted scorer."""

    ensemble_: Ensemble


def run_verdicts(scorer: HasEnsemble, scored: Sequence[ScoredResponse]) -> list[RunVerdict]:
    """Say of each run which step is decisive, or what is missing; passed runs of its task must be in the training."""
    memory = run_memory(scorer.ensemble_)
    if memory is None:
        raise BadData("this scorer was not fitted on runs of agents: train it on traces, or with recipe='steps'")
    return _verdicts(memory, texts_only([item.response for item in scored]), scored)


def with_missing_calls(
    ensemble: Ensemble, block: EncodedBlock, labelled: Iterator[ScoredResponse]
) -> Iterator[ScoredResponse]:
    """Name in `extra["missing_call"]` of failed runs the call that is missing, where that is the answer.

    `labelled` are the responses of the block, in its order; a scorer of texts changes none.
    """
    memory = run_memory(ensemble)
    if memory is None:
        yield from labelled
        return
    scored = list(labelled)
    for item, verdict in zip(scored, _verdicts(memory, block, scored), strict=True):
        response = item.response
        if verdict.missing and response.label is not None and response.label < 0.5:
            response = replace(response, extra={**response.extra, MISSING_CALL: verdict.missing})
            item = replace(item, response=response)
        yield item


def _verdicts(memory: RunMemory, block: EncodedBlock, scored: Sequence[ScoredResponse]) -> list[RunVerdict]:
    hazards = np.exp(memory(block).values[:, 0]) - FLOOR
    verdicts = []
    for bag, (item, (lack, tool)) in enumerate(zip(scored, memory.left_out(block), strict=True)):
        worst = float(hazards[block.offsets[bag] : block.offsets[bag + 1]].max())
        missing = tool if lack > FACTOR * (worst + FLOOR) else ""
        step = int(np.argmin(item.sentence_scores))
        verdicts.append(RunVerdict(item.response.id, step, worst, missing, lack))
    return verdicts


def run_memory(ensemble: Ensemble) -> RunMemory | None:
    """Return the rated runs that an ensemble remembers, if it was fitted on runs of agents."""
    for expert in ensemble.experts:
        for _, feature in expert.pipeline.fitted:
            if isinstance(feature, RunMemory):
                return feature
    return None
