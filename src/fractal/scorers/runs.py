"""What failed in runs of agents: the decisive step, or something that passed runs did and this one did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fractal.encoders.block import EncodedBlock, offsets_of
from fractal.errors import BadData
from fractal.features.passed_runs import FLOOR, RunMemory
from fractal.records import Response, ScoredResponse
from fractal.scorers.sentence import SentenceScorer

__all__ = ["RunVerdict", "run_verdicts"]

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


def run_verdicts(scorer: SentenceScorer, scored: Sequence[ScoredResponse]) -> list[RunVerdict]:
    """Say of each run which step is decisive, or what is missing; passed runs of its task must be in the training."""
    memory = run_memory(scorer)
    block = texts_only([item.response for item in scored])
    hazards = np.exp(memory(block).values[:, 0]) - FLOOR
    verdicts = []
    for bag, (item, (lack, tool)) in enumerate(zip(scored, memory.left_out(block), strict=True)):
        worst = float(hazards[block.offsets[bag] : block.offsets[bag + 1]].max())
        missing = tool if lack > FACTOR * (worst + FLOOR) else ""
        step = int(np.argmin(item.sentence_scores))
        verdicts.append(RunVerdict(item.response.id, step, worst, missing, lack))
    return verdicts


def run_memory(scorer: SentenceScorer) -> RunMemory:
    """Return the rated runs that a scorer remembers."""
    for expert in scorer.ensemble_.experts:
        for _, feature in expert.pipeline.fitted:
            if isinstance(feature, RunMemory):
                return feature
    raise BadData("this scorer was not fitted on runs of agents: train it on traces, or with recipe='steps'")


def texts_only(responses: Sequence[Response]) -> EncodedBlock:
    """Return a block without vectors, for features that read texts alone."""
    offsets = offsets_of([len(response.sentences) for response in responses])
    none = np.zeros((int(offsets[-1]), 0), np.float32)
    bags = np.zeros((len(responses), 0), np.float32)
    late = np.zeros((int(offsets[-1]), 10), np.float32)
    return EncodedBlock(tuple(responses), offsets, none, bags, none[:0], np.zeros(len(offsets), np.int64), late)
