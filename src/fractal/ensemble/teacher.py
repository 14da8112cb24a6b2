"""The teacher of the hybrid prior: a frozen model of the sentence labels of a share of the responses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.config import FitConfig
from fractal.ensemble.experts import Predictor
from fractal.ensemble.result import Choice, FitResult
from fractal.ensemble.self_training import SelfTraining
from fractal.errors import BadData
from fractal.mil.aggregations import Aggregation
from fractal.mil.objectives.priors import TEACHER, HybridPrior
from fractal.mil.training.callbacks import Callback, at_stage
from fractal.records import Response
from fractal.records.corpus import Corpus
from fractal.records.stored import in_same_place

__all__ = ["with_teacher"]

Fit = Callable[..., dict[str, FitResult]]


def with_teacher(
    fit: Fit,
    block: EncodedBlock,
    corpus: Corpus,
    aggregation: Aggregation,
    config: FitConfig,
    callbacks: Sequence[Callback] = (),
) -> tuple[EncodedBlock, tuple[Choice, ...]]:
    """Return responses with the teacher's scores as a column, nan where it was taught, where a hybrid prior asks.

    Sentence labels outside the share that teaches are not used at all: so the share is what labelling would cost.
    """
    prior = next((term for term in config.priors if isinstance(term, HybridPrior)), None)
    if prior is None or config.supervised or any(TEACHER in response.columns for response in block.responses):
        return block, ()
    groups = np.array(corpus.groups)
    labelled = np.array([any(s.label is not None for s in r.sentences) for r in block.responses])
    if not labelled.any():
        raise BadData("the prior hybrid needs a teacher, but no sentence has a label", field="sentence_labels")
    drawn = np.random.default_rng(config.plan.seed).permutation(np.unique(groups[labelled]))
    drawn = drawn[: max(1, round(prior.share * len(drawn)))]
    teaching = labelled & np.isin(groups, drawn)
    if teaching.all():
        raise BadData(
            "every response teaches the teacher of the prior hybrid, and none is left to guide: give a smaller share, "
            "or learn_from='sentences'",
            field="sentence_labels",
        )
    pairs = zip(block.responses, teaching, strict=True)
    shown = in_same_place(block.responses, (r if teaches else _unlabelled(r) for r, teaches in pairs))
    alone = replace(
        config,
        priors=(),
        learn_from="sentences",
        self_training=SelfTraining(),
        checkpoints=config.checkpoints and config.checkpoints / "teacher",
    )
    heard = at_stage(callbacks, "teacher")
    result = fit(replace(block, responses=shown), corpus, {"": (aggregation,)}, alone, heard)[""]
    logits = result.ensemble.logits(Predictor(block)).mean(-1, keepdim=True)
    scores = result.ensemble.aggregation.sentence_scores(logits).squeeze(-1).double().tolist()

    def with_column(number: int, response: Response) -> Response:
        part = scores[int(block.offsets[number]) : int(block.offsets[number + 1])]
        column = tuple([float("nan")] * len(part) if teaching[number] else part)
        return replace(response, columns={**response.columns, TEACHER: column})

    taught = in_same_place(shown, itertools.starmap(with_column, enumerate(shown)))
    about = f"{int(teaching.sum()):,} of {int(labelled.sum()):,} responses with sentence labels"
    choice = Choice(
        "teacher of the prior hybrid", {}, about, "It scores the others; their sentence labels are not used."
    )
    return replace(block, responses=taught), (choice,)


def _unlabelled(response: Response) -> Response:
    return replace(response, sentences=tuple(replace(sentence, label=None) for sentence in response.sentences))
