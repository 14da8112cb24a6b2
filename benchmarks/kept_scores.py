"""Fits whose scores are kept: held-out log-odds of what was trained on, and those of the test set, by member."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.data import load
from benchmarks.accuracy.judging import truth_of
from fractal.ensemble.experts import Predictor
from fractal.ensemble.fit import fit_ensembles
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.sentence import SentenceScorer


def kept_scores(name: str, seed: int, most: int, encoder: str, rule: str, folder: Path) -> Mapping[str, Any]:
    """Read the scores of a set and seed, or fit and keep them; the rule is 'given' or 'auto'.

    held (sentence,), offsets, labels (response,) with nan where no member held the response out, groups (response,)
    and gold (sentence,) that no fit has seen; test (sentence, member), test_offsets, test_labels, test_groups, truth.
    """
    path = folder / f"{name}-{seed}-{most}-{encoder}-{rule}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, **_fitted(name, seed, most, encoder, rule))
    return dict(np.load(path))


def _fitted(name: str, seed: int, most: int, encoder: str, rule: str) -> dict[str, Any]:
    data = load(name, most, seed)
    aggregation = data.aggregation if rule == "given" else "auto"
    scorer = SentenceScorer(aggregation, encoder=encoder, plan=TrainingPlan(seed=seed))
    corpus, config = scorer.prepare(data.bare())
    block = scorer.embed(corpus.responses)
    result = fit_ensembles(block, corpus, {"": scorer.forms(corpus)}, config)[""]
    test = scorer.embed([response.without_labels() for response in data.test])
    gold = {response.id: response.sentence_labels for response in data.train}
    return {
        "form": AGGREGATIONS.spec(result.ensemble.aggregation),
        "held": result.held_out.squeeze(-1).double().numpy(),
        "offsets": block.offsets,
        "labels": np.where((result.weights == 0).any(1), corpus.labels, np.nan),
        "groups": _codes(corpus.groups),
        "gold": np.array([label for each in corpus.responses for label in gold[each.id]], dtype=float),
        "test": result.ensemble.logits(Predictor(test)).double().numpy(),
        "test_offsets": test.offsets,
        "test_labels": np.array([response.label for response in data.test], dtype=float),
        "test_groups": _codes([response.split_group for response in data.test]),
        "truth": truth_of(data.test, name)[0],
    }


def _codes(groups: object) -> np.ndarray:
    return np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
