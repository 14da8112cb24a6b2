"""How scores are judged: against sentence labels that no method but the supervised one has seen."""

from __future__ import annotations

import numpy as np

from fractal.evaluation.metrics import METRICS, Sample, resampled_weights
from fractal.records import Response, ScoredResponse

NEUTRAL_OUT = {"film_sentiment"}  # sentences labelled ½ are neither good nor bad
SENTENCE = {
    "auc": "roc_auc",
    "within": "within_response_auc",
    "ap": "average_precision",
    "worst": "worst_sentence_hit",
    "best": "best_sentence_hit",
}


def judge(
    scored: list[ScoredResponse], test: list[Response], name: str, rule: str = "mean", resamples: int = 0
) -> dict:
    """Return the sentence and response metrics of one run, and its areas under resampled responses if any."""
    truth = np.array([np.nan if s.label is None else s.label for r in test for s in r.sentences], dtype=float)
    if name in NEUTRAL_OUT:
        truth[truth == 0.5] = np.nan
    scores = np.array([score for one in scored for score in one.sentence_scores])
    groups = np.repeat(np.arange(len(test)), [len(r.sentences) for r in test])
    known = ~np.isnan(truth)
    sample = Sample.of(truth[known], scores[known], groups[known])
    found: dict = {}
    for key, word in SENTENCE.items():
        reading = METRICS.build(word).read(sample)
        found[key] = round(reading.value, 5)
        if resamples and key in ("auc", "within"):
            drawn = np.concatenate([reading.resampled(w) for w in resampled_weights(reading.responses, resamples)])
            found[f"{key}_drawn"] = [round(float(value), 4) for value in drawn]
    labels = np.array([np.nan if r.label is None else r.label for r in test], dtype=float)
    if all(one.sentence_labels for one in scored):
        found["agree"] = agreement(scored, labels, rule)
    whole = np.array([one.response_score for one in scored])
    if np.isfinite(labels).any():
        rated = np.isfinite(labels)
        found["response"] = round(float(METRICS.build("concordance")(labels[rated], whole[rated])), 5)
    return found


def agreement(scored: list[ScoredResponse], labels: np.ndarray, rule: str) -> float:
    """Return the share of rated responses whose hard sentence labels say what the response's label says."""
    pairs = [(one.sentence_labels, label) for one, label in zip(scored, labels, strict=True) if np.isfinite(label)]
    if rule == "mean":  # no count of sentences comes nearer to the rating
        right = [abs(sum(hard) - len(hard) * label) <= 0.5 + 1e-6 for hard, label in pairs]
    else:
        right = [(min if rule == "min" else max)(hard) == float(label >= 0.5) for hard, label in pairs]
    return float(np.mean(right))
