"""One cell of a question: a variant fitted to a set with a seed, and judged."""

from __future__ import annotations

import time
from datetime import date


def run_one(question: str, name: str, variant: str, seed: int) -> dict:
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
    data = load(name, asked.most, seed)
    target = load(asked.tested_on) if asked.tested_on else data
    if asked.paper is None:
        options = {"aggregation": data.aggregation, **asked.options}
        scorer = SentenceScorer(**options, plan=TrainingPlan(seed=seed, **asked.plan))
    else:
        scorer = BASELINES["paper"](aggregation=data.aggregation, seed=seed, rounds=0).make()
        scorer.set_params(**asked.paper, **{f"plan__{key}": value for key, value in asked.plan.items()})
    used = time.process_time()
    scorer.fit(asked.data(data, seed))
    scored = scorer.score_responses([r.without_labels() for r in target.test])
    spent = time.process_time() - used
    found = judge(scored, target.test, target.name)
    kept = [choice.taken for choice in scorer.choices_ if choice.about.startswith("round")]
    where = {"question": question, "set": name, "variant": variant, "seed": seed}
    measured = {"date": date.today().isoformat(), "encoder": scorer.encoder, "cpu_s": round(spent, 1)}
    return {**where, **found, "cost": scorer.cost_, "kept": kept, **measured}
