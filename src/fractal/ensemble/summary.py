"""What can be said of a fit without one sentence label: its data, and what held-out responses tell of its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fractal.ensemble.config import FitConfig
from fractal.ensemble.result import Choice, FitResult
from fractal.evaluation.calibration import Calibrator, fit_calibrator
from fractal.evaluation.metrics import METRICS
from fractal.mil.aggregations import Aggregation
from fractal.mil.outputs import flat
from fractal.records import Response
from fractal.records.corpus import Corpus, all_or_nothing, response_labels, sentence_labels

__all__ = ["calibrated", "concordance", "contradictions", "described", "held_out_metrics", "preferences_right"]
__all__ += ["settled"]


def settled(config: FitConfig, aspect: str = "") -> tuple[Choice, ...]:
    """Return what was settled before any fit: the covariates that are controlled, and experts that suit the data."""
    controls = config.control.choices[aspect] if config.control else ()
    experts = (Choice("experts", {}, "for this data", config.why_experts),) if config.why_experts else ()
    return (*controls, *experts)


def described(corpus: Corpus) -> dict[str, Any]:
    """Count what a scorer learned from."""
    labels = corpus.labels[~np.isnan(corpus.labels)]
    labelled = [label is not None for response in corpus.responses for label in response.sentence_labels]
    described: dict[str, Any] = {
        "responses": len(corpus.responses),
        "sentences": len(labelled),
        "labelled responses": len(labels),
        "groups": corpus.grouping.count,
        "grouped by": corpus.grouping.by,
    }
    if len(labels):
        described["mean label"] = float(labels.mean())
    return {**described, "preferences": len(corpus.pairs), "sentence labels": sum(labelled)}


def contradictions(aggregation: Aggregation, responses: Sequence[Response]) -> int:
    """Count the responses whose label cannot be, given the labels of their sentences."""
    truths = torch.from_numpy(sentence_labels(responses))
    if bool(truths.isnan().all()):
        return 0
    offsets = torch.tensor([0, *(len(response.sentences) for response in responses)]).cumsum(0)
    return int(aggregation.contradicted(offsets, torch.from_numpy(response_labels(responses)), truths).sum())


def calibrated(fitted: FitResult, offsets: NDArray[np.int64], corpus: Corpus) -> Calibrator | None:
    """Learn from held-out responses what their scores mean; preferences alone say nothing of that."""
    rated = ~np.isnan(corpus.labels)
    if (rated & judged(fitted)).any():
        rated &= judged(fitted)
    if not rated.any():
        return None
    implied = fitted.ensemble.aggregation.from_logits(fitted.held_out, torch.from_numpy(offsets)).sigmoid()
    groups = np.unique(np.array(corpus.groups)[rated], return_inverse=True)[1]
    return fit_calibrator(flat(implied).double().numpy()[rated], corpus.labels[rated], groups=groups)


def held_out_metrics(fitted: FitResult, offsets: NDArray[np.int64], corpus: Corpus) -> dict[str, Any]:
    """What can be said without a sentence label: how held-out responses are told apart; nothing where none were."""
    held_out = judged(fitted)
    logits = flat(fitted.ensemble.aggregation.from_logits(fitted.held_out, torch.from_numpy(offsets))).numpy()
    if not held_out.any():
        return {}
    if len(corpus.pairs):
        pairs = corpus.pairs[held_out[corpus.pairs[:, 0]] & (corpus.pairs[:, 2] == 0)]
        return {"held-out preference accuracy": preferences_right(pairs, logits)} if len(pairs) else {}
    labels = np.where(held_out, corpus.labels, np.nan)
    measure = (
        "ROC AUC" if all_or_nothing(corpus.labels) else "concordance"
    )  # the same, under its name for graded labels
    values = {f"held-out response {measure}": concordance(labels, logits), "held-out log-loss": fitted.cost}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def judged(fitted: FitResult) -> NDArray[np.bool_]:
    """Which responses some member held out: only of them can a figure be held out (response,)."""
    return np.asarray((fitted.weights == 0).any(1))


def preferences_right(pairs: NDArray[np.int64], scores: NDArray[Any]) -> float:
    """Share of strict preferences whose better response has the higher score; equal scores count half."""
    strict = pairs[pairs[:, 2] == 0]
    lead = scores[strict[:, 0]] - scores[strict[:, 1]]
    return float(np.mean(np.where(lead == 0, 0.5, lead > 0)))


def concordance(labels: NDArray[np.float64], scores: NDArray[Any]) -> float:
    """Share of pairs with different known labels that the scores put in order; ties count half."""
    rated = ~np.isnan(labels)
    return float(METRICS.build("concordance")(labels[rated], np.asarray(scores, dtype=np.float64)[rated]))
