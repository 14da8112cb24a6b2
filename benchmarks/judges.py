"""Weak judges combined without truth, against the majority vote: generated judges, and real raters of dialogues.

python benchmarks/judges.py [--data FOLDER] > benchmarks/results/judges.md
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import platform
import time
from pathlib import Path

import numpy as np

from fractal.evaluation.label_model import combine
from fractal.evaluation.metrics import METRICS

SEEDS = 20
CASES = {
    "five that differ (.90 .80 .70 .60 .55)": {"rates": [0.9, 0.8, 0.7, 0.6, 0.55]},
    "one contradicts (.85 .80 .75 .70 .15)": {"rates": [0.85, 0.8, 0.75, 0.7, 0.15]},
    "three good, three by chance": {"rates": [0.85, 0.8, 0.75, 0.5, 0.5, 0.5]},
    "three good, three by chance, 100 responses": {"rates": [0.85, 0.8, 0.75, 0.5, 0.5, 0.5], "count": 100},
    "15 equally weak (.60)": {"rates": [0.6] * 15},
    "15 equally weak (.60), 200 responses": {"rates": [0.6] * 15, "count": 200},
    "25 very weak (.55)": {"rates": [0.55] * 25},
    "lenient and strict (.95/.60 .60/.95 .90/.70)": {"rates": [0.95, 0.6, 0.9], "on_bad": [0.6, 0.95, 0.7]},
    "85% good (.85 .80 .75 .70 .65)": {"rates": [0.85, 0.8, 0.75, 0.7, 0.65], "share": 0.85},
    "half of the votes missing (.90 .80 .70 .60 .55)": {"rates": [0.9, 0.8, 0.7, 0.6, 0.55], "missing": 0.5},
    "limit: two of five copy each other (.60 ×2, .80 ×3)": {"rates": [0.6, 0.6, 0.8, 0.8, 0.8], "copies": True},
}


def drawn(seed, rates, on_bad=None, count=1000, share=0.5, missing=0.0, copies=False):
    """Return the truth, and votes of judges who are right this often."""
    random = np.random.default_rng(seed)
    truth = (random.random(count) < share).astype(float)
    right = np.where(truth[:, None] > 0, rates, rates if on_bad is None else on_bad)
    votes = np.where(random.random(right.shape) < right, truth[:, None], 1 - truth[:, None])
    if copies:
        votes[:, 1] = votes[:, 0]
    votes[random.random(votes.shape) < missing] = np.nan
    return truth, votes


def accuracy(truth, scores):
    """Count labels on the right side; exactly in the middle is half right."""
    return float(np.where(scores == 0.5, 0.5, (scores > 0.5) == truth).mean())


def best_possible(truth, votes, rates, on_bad=None, share=0.5, **_):
    """Weigh the votes by the true accuracies: nobody who knows the judges does better, if they are independent."""
    good, bad = np.array(rates), 1 - np.array(rates if on_bad is None else on_bad)
    odds = np.where(votes > 0, np.log(good / bad), np.log((1 - good) / (1 - bad)))
    total = np.log(share / (1 - share)) + np.where(np.isnan(votes), 0, odds).sum(axis=1)
    return accuracy(truth, 1 / (1 + np.exp(-total)))


def one(seed, options):
    truth, votes = drawn(seed, **options)
    started = time.perf_counter()
    found = combine(votes, seed=seed)
    took = time.perf_counter() - started
    majority = np.nan_to_num(
        np.nanmean(np.where(np.isnan(votes).all(axis=1, keepdims=True), 0.5, votes), axis=1), nan=0.5
    )
    labels = np.nan_to_num(found.labels, nan=0.5)
    true = (np.array(options["rates"]) + options.get("on_bad", options["rates"])) / 2
    auc, gap = METRICS.build("roc_auc"), METRICS.build("calibration_error")
    return [
        accuracy(truth, majority),
        accuracy(truth, labels),
        accuracy(truth, np.nan_to_num(combine(votes, drop=False, seed=seed).labels, nan=0.5)),
        accuracy(truth, np.nan_to_num(combine(votes, contradicting="drop", seed=seed).labels, nan=0.5)),
        best_possible(truth, votes, **options),
        auc(truth, majority),
        auc(truth, labels),
        gap(truth, majority),
        gap(truth, labels),
        np.abs([judge.accuracy - rate for judge, rate in zip(found.judges, true, strict=True)]).mean(),
        np.mean([judge.low <= rate <= judge.high for judge, rate in zip(found.judges, true, strict=True)]),
        took,
    ]


def generated():
    head = (
        "| judges | accuracy: majority | **combined** | none dropped | contradicting dropped | true weights | "
        "AUC: majority | **combined** | calibration error: majority | **combined** | error of judge's accuracy | "
        "interval holds it | seconds |"
    )
    yield head
    yield "|---" * 13 + "|"
    for name, options in CASES.items():
        with np.errstate(all="ignore"):
            values = np.mean([one(seed, options) for seed in range(SEEDS)], axis=0)
        yield f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


def ratings(folder):
    """Return every dialogue's overall ratings, those with at least four raters, in the order in which they stand."""
    found = []
    for path in sorted(Path(folder, "uss_satisfaction").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found += [json.loads(line)["meta"]["overall_ratings"] for line in lines]
    return np.array([row[:4] for row in found if len(row) >= 4])


def real(folder):
    """Hold out each rater in turn as the truth, and combine the other three, alone and with useless judges added."""
    table = ratings(folder)
    random = np.random.default_rng(0)
    noise = random.choice(table.ravel(), size=(len(table), 2))
    concordance = METRICS.build("concordance")
    yield f"{len(table):,} dialogues with four or more raters; ratings 1–5. The held-out rater is the truth."
    yield ""
    yield "| judges | mean of the ratings | share at least 3 (majority) | **combined** |"
    yield "|---|---|---|---|"
    cases = {
        "three raters": lambda rest: rest,
        "three raters, two who rate by chance": lambda rest: np.column_stack([rest, noise]),
        "three raters, one scale turned around": lambda rest: np.column_stack([rest[:, :2], 6 - rest[:, 2]]),
    }
    for name, change in cases.items():
        rows = []
        for held in range(4):
            judges = change(np.delete(table, held, axis=1))
            truth = table[:, held]
            mean, majority = judges.mean(axis=1), (judges >= 3).mean(axis=1)
            rows.append([concordance(truth, scores) for scores in (mean, majority, combine(judges).labels)])
        yield f"| {name} | " + " | ".join(f"{value:.3f}" for value in np.mean(rows, axis=0)) + " |"
    agreed = [concordance(table[:, one], table[:, other]) for one, other in itertools.permutations(range(4), 2)]
    yield ""
    yield f"One rater against another: {np.mean(agreed):.3f}."


def processor():
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", default="", help="folder that holds uss_satisfaction")
    folder = options.parse_args().data
    print("# Weak judges, combined without truth\n")
    print("`OMP_NUM_THREADS=1 python benchmarks/judges.py --data FOLDER > benchmarks/results/judges.md`\n")
    print(f"{processor()}, 1 thread, Python {platform.python_version()}, numpy {np.__version__}.\n")
    print(f"## Generated judges: mean of {SEEDS} seeds, 1,000 responses unless said otherwise\n")
    print("*True weights* knows every judge's accuracy: the best that can be done with independent judges.\n")
    print("\n".join(generated()))
    if folder:
        print("\n## Real raters: concordance with a rater held out, mean over the four\n")
        print("\n".join(real(folder)))


if __name__ == "__main__":
    main()
