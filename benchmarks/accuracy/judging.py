"""How scores are judged: against sentence labels that no method but the supervised one has seen."""

from __future__ import annotations

import numpy as np

from fractal.evaluation.metrics import METRICS, Sample, resampled_weights
from fractal.records import Response, ScoredResponse

NEUTRAL_OUT = {"film_sentiment"}  # sentences labelled ½ are neither good nor bad
FIRST_ERROR = {"processbench", "prm800k_subset"}  # labels are null after the first error: place tells of it
SENTENCE = {
    "auc": "roc_auc",
    "within": "within_response_auc",
    "ap": "average_precision",
    "worst": "worst_sentence_hit",
    "best": "best_sentence_hit",
}


def truth_of(test: list[Response], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the label of every test sentence, nan where it has none, and which response it is of."""
    truth = np.array([np.nan if s.label is None else s.label for r in test for s in r.sentences], dtype=float)
    if name in NEUTRAL_OUT:
        truth[truth == 0.5] = np.nan
    return truth, np.repeat(np.arange(len(test)), [len(r.sentences) for r in test])


def sample_of(truth: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> Sample:
    """Return the sentences that have a label."""
    labelled = ~np.isnan(truth)
    return Sample.of(truth[labelled], scores[labelled], groups[labelled])


def judge(
    scored: list[ScoredResponse], test: list[Response], name: str, rule: str = "mean", resamples: int = 0
) -> dict:
    """Return the sentence and response metrics of one run, and its areas under resampled responses if any."""
    truth, groups = truth_of(test, name)
    scores = np.array([score for one in scored for score in one.sentence_scores])
    sample = sample_of(truth, scores, groups)
    found: dict = {}
    for key, word in SENTENCE.items():
        reading = METRICS.build(word).read(sample)
        found[key] = round(reading.value, 5)
        if resamples and key in ("auc", "within"):
            drawn = np.concatenate([reading.resampled(w) for w in resampled_weights(reading.responses, resamples)])
            found[f"{key}_drawn"] = [round(float(value), 4) for value in drawn]
    labels = np.array([np.nan if r.label is None else r.label for r in test], dtype=float)
    if name in FIRST_ERROR:
        found |= first_error(truth, scores, groups)
    if all(one.sentence_labels for one in scored):
        found["agree"] = agreement(scored, labels, rule)
    whole = np.array([one.response_score for one in scored])
    if np.isfinite(labels).any():
        rated = np.isfinite(labels)
        found["response"] = round(float(METRICS.build("concordance")(labels[rated], whole[rated])), 5)
    return found


def first_error(truth: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Return the ROC AUC inside and over wrong solutions alone, and the F1 of finding the first error.

    Over all solutions a step's place tells of its label: only right ones have labels at their ends. Steps below ½ are
    taken for errors.
    """
    wrong = np.bincount(groups, weights=truth == 0) > 0
    rows = wrong[groups] & ~np.isnan(truth)
    alone = Sample.of(truth[rows], scores[rows], groups[rows])
    whole = Sample.of(truth, scores, groups)
    readings = {"auc_wrong": ("roc_auc", alone), "f1": ("first_error_f1", whole)}
    return {key: round(METRICS.build(word).read(sample).value, 5) for key, (word, sample) in readings.items()}


def agreement(scored: list[ScoredResponse], labels: np.ndarray, rule: str) -> float:
    """Return the share of rated responses whose hard sentence labels say what the response's label says."""
    pairs = [(one.sentence_labels, label) for one, label in zip(scored, labels, strict=True) if np.isfinite(label)]
    if rule == "mean":  # no count of sentences comes nearer to the rating
        right = [abs(sum(hard) - len(hard) * label) <= 0.5 + 1e-6 for hard, label in pairs]
    else:
        right = [(min if rule == "min" else max)(hard) == float(label >= 0.5) for hard, label in pairs]
    return float(np.mean(right))
