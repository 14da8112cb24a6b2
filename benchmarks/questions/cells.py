"""One cell of a question: a variant fitted to a set with a seed, and judged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fractal.records import Response

NEUTRAL = 0.5


def run_one(question: str, name: str, variant: str, seed: int, encoder: str, most: int) -> dict:
    """Fit one variant on one set, and judge it."""
    import torch

    from benchmarks.accuracy.data import load
    from benchmarks.accuracy.judging import judge
    from benchmarks.questions.asked import questions
    from fractal.mil.training.plan import TrainingPlan
    from fractal.scorers.baselines.variants import BASELINES
    from fractal.scorers.sentence import SentenceScorer

    torch.set_num_threads(1)
    asked = questions()[question].variants[variant]
    data = load(name, None if asked.whole else asked.most or most, seed)
    target = load(asked.tested_on) if asked.tested_on else data
    if asked.paper is None:
        options = {"aggregation": data.aggregation, "encoder": encoder, **asked.options}
        scorer = SentenceScorer(**options, plan=TrainingPlan(seed=seed, **asked.plan))
    else:
        scorer = BASELINES["paper"](aggregation=data.aggregation, encoder=encoder, seed=seed, rounds=0).make()
        scorer.set_params(**asked.paper, **{f"plan__{key}": value for key, value in asked.plan.items()})
    used = time.process_time()
    with noisy_teacher(asked.teacher_noise, seed) as taught:
        scorer.fit(records := asked.data(data, seed))
    scored = scorer.score_responses([r.without_labels() for r in target.test])
    spent = time.process_time() - used
    where = {"question": question, "set": name, "variant": variant, "seed": seed, "encoder": encoder, "most": most}
    judged = judge(scored, target.test, target.name)
    quality = teacher_quality(taught[0], scorer.prepare(records)[0].responses, data.train) if taught else {}
    measured = {"date": date.today().isoformat(), "cpu_s": round(spent, 1)}
    return {**where, **judged, "cost": scorer.cost_, **quality, **measured}


@contextlib.contextmanager
def noisy_teacher(noise: float | None, seed: int) -> Iterator[list[np.ndarray]]:
    """Disturb what a first model says of sentences before others learn it; collect the labels that they learn."""
    import torch

    from fractal.ensemble import fit

    pseudo_labels, taught = fit.pseudo_labels, []
    if noise is None:
        yield taught
        return

    def disturbed(logits: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        drawn = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed + 17))
        labels = pseudo_labels(logits + noise * logits.std() * drawn, *rest, **options)
        taught.append(labels.numpy().copy())
        return labels

    fit.pseudo_labels = disturbed
    try:
        yield taught
    finally:
        fit.pseudo_labels = pseudo_labels


def teacher_quality(taught: np.ndarray, order: Sequence[Response], train: Sequence[Response]) -> dict[str, float]:
    """Return the area under the curve of what was taught, in the order of a fit, by labels that no fit has seen."""
    from benchmarks.accuracy.judging import sample_of
    from fractal.evaluation.metrics import METRICS

    known = {response.id: response for response in train}
    labels = (s.label for response in order for s in known[response.id].sentences)
    truth = np.array([np.nan if label in (None, NEUTRAL) else label for label in labels], dtype=float)
    scores = taught.reshape(-1)
    truth[np.isnan(scores)] = np.nan
    sample = sample_of(truth, scores, np.zeros(len(truth), int))
    return {"taught": round(METRICS.build("roc_auc").read(sample).value, 5)}
