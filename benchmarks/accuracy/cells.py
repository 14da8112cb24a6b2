"""One cell of the study: a method fitted to a set with a seed, and judged."""

from __future__ import annotations

import datetime
import time

RESAMPLES = 100  # of the test responses, the same for every method: differences are taken draw by draw
RULES = {"product": "min", "noisy_or": "max", "mean": "mean"}  # the hard rule behind each form


def run_one(name: str, method: str, seed: int, most: int | None) -> dict:
    """Fit and judge one cell of the table."""
    import torch

    from benchmarks.accuracy.data import load
    from benchmarks.accuracy.judging import judge
    from benchmarks.accuracy.methods import ENCODER, METHODS
    from benchmarks.machine import cpu

    torch.set_num_threads(1)
    data = load(name, most, seed)
    started = time.process_time()
    scored = METHODS[method](data, seed)
    spent = time.process_time() - started
    judged = {
        setting: judge(found, data.test, data.name, RULES[data.aggregation], RESAMPLES)
        for setting, found in scored.items()
    }
    facts = {"set": name, "method": method, "seed": seed, "most": most, "cpu_s": round(spent, 1)}
    setting = {"date": datetime.date.today().isoformat(), "machine": cpu(), "encoder": ENCODER}
    return {**facts, **setting, **judged}
