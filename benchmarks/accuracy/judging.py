"""How scores are judged: against sentence labels that no method but the supervised one has seen."""

from __future__ import annotations

import numpy as np

from fractal.metrics import METRICS
from fractal.records import Response, ScoredResponse

NEUTRAL_OUT = {"film_sentiment"}  # sentences labelled ½ are neither good nor bad


def judge(scored: list[ScoredResponse], test: list[Response], name: str) -> dict[str, float]:
    """Return the sentence and response metrics of one run."""
    truth = np.array([np.nan if s.label is None else s.label for r in test for s in r.sentences], dtype=float)
    if name in NEUTRAL_OUT:
        truth[truth == 0.5] = np.nan
    scores = np.array([score for one in scored for score in one.sentence_scores])
    groups = np.repeat(np.arange(len(test)), [len(r.sentences) for r in test])
    known = ~np.isnan(truth)
    metrics = {
        "auc": "roc_auc",
        "within": "within_response_auc",
        "ap": "average_precision",
        "worst": "worst_sentence_hit",
        "best": "best_sentence_hit",
    }
    found = {
        key: float(METRICS.build(word)(truth[known], scores[known], groups[known])) for key, word in metrics.items()
    }
    labels = np.array([np.nan if r.label is None else r.label for r in test], dtype=float)
    whole = np.array([one.response_score for one in scored])
    if np.isfinite(labels).any():
        found["response"] = float(METRICS.build("concordance")(labels[np.isfinite(labels)], whole[np.isfinite(labels)]))
    return found
