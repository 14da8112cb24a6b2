"""Whether response probabilities mean what they say: calibration error on test responses, before and after the curve.

python -m benchmarks.calibration [--sets faithbench,qags] [--seeds 5]      resumable: what was measured is kept
"""

from __future__ import annotations

import copy
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.logbook import Logbook, options
from benchmarks.machine import setting
from fractal.evaluation.calibration import calibration_error
from fractal.evaluation.metrics import METRICS, mass_bins

SETS = (  # the sets whose responses are rated good or bad
    *("wikiqa", "multispanqa_windows", "wice_windows", "absa16_reviews", "faithbench", "qags"),
    *("prmbench", "processbench", "prm800k_subset", "film_sentiment"),
)
BINS = 10
DRAWS = 500
WANTED = 0.05


def measure(name: str, seed: int) -> dict:
    """Fit the default to a set and hold its response probabilities against the test labels."""
    from benchmarks.accuracy.data import load
    from fractal.mil.training.plan import TrainingPlan
    from fractal.scorers.sentence import SentenceScorer

    data = load(name)
    scorer = SentenceScorer(aggregation=data.aggregation, plan=TrainingPlan(seed=seed)).fit(data.bare())
    raw = copy.copy(scorer)
    raw.calibrator_ = None
    test = [response for response in data.test if response.label is not None]
    truth = np.array([response.label for response in test], dtype=float)
    bare = [response.without_labels() for response in test]
    before, after = raw.predict(bare), scorer.predict(bare)
    return {
        "set": name,
        "seed": seed,
        "learned from": len(data.train),
        "test": len(test),
        "kind": scorer.calibrator_.kind if scorer.calibrator_ else "identity",
        "gap": float(after.mean() - truth.mean()),
        "area": float(METRICS.build("concordance")(truth, after)),
        "before": calibration_error(truth, before, bins=BINS),
        "after": calibration_error(truth, after, bins=BINS),
        "debiased": debiased(truth, after),
        **floor(after, seed),
    }


def floor(chances: np.ndarray, seed: int) -> dict[str, float]:
    """Return the error that probabilities show on so few labels even if every one of them is true."""
    rng = np.random.default_rng(seed)
    drawn = [
        calibration_error((rng.random(len(chances)) < chances).astype(float), chances, bins=BINS) for _ in range(DRAWS)
    ]
    return {"floor": float(np.mean(drawn)), "floor_95": float(np.quantile(drawn, 0.95))}


def debiased(truth: np.ndarray, chances: np.ndarray) -> float:
    """Return the root mean squared gap of the bins less what chance alone puts there; the better part of a bin's gap.

    A bin of n labels with mean m is off by chance by m (1 − m) / (n − 1), squared, which is taken away.
    """
    place = mass_bins(chances, BINS)
    total = 0.0
    for each in np.unique(place):
        mine = place == each
        count, mean = int(mine.sum()), float(truth[mine].mean())
        by_chance = mean * (1 - mean) / (count - 1) if count > 1 else 0.25
        total += count / len(truth) * ((chances[mine].mean() - mean) ** 2 - by_chance)
    return float(np.sqrt(max(total, 0.0)))


def table(rows: list[dict]) -> list[str]:
    """Write one line a set, means over its seeds."""
    lines = [
        "| set | learned from | test | seeds | AUC | before | after | floor [95%] | debiased | mean − rate | curve |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    means = []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        mean = {key: float(np.mean([row[key] for row in own])) for key in own[0] if key not in ("set", "kind")}
        means.append(mean)
        kinds = ", ".join(sorted({row["kind"] for row in own}))
        lines.append(
            f"| {name} | {mean['learned from']:.0f} | {mean['test']:.0f} | {len(own)} | {mean['area']:.3f} "
            f"| {mean['before']:.3f} | {mean['after']:.3f} | {mean['floor']:.3f} [{mean['floor_95']:.3f}] "
            f"| {mean['debiased']:.3f} | {mean['gap']:+.3f} | {kinds} |"
        )
    if means:
        shown = {key: float(np.mean([mean[key] for mean in means])) for key in means[0]}
        lines.append(
            f"| mean | | | | {shown['area']:.3f} | {shown['before']:.3f} | {shown['after']:.3f} "
            f"| {shown['floor']:.3f} [{shown['floor_95']:.3f}] | {shown['debiased']:.3f} | | |"
        )
    return lines


def page(rows: list[dict]) -> str:
    """Write what was measured."""
    head = [
        "# Calibration of response probabilities",
        "",
        setting("python -m benchmarks.calibration"),
        "",
        f"Expected calibration error on test responses in {BINS} bins of equal mass, wanted: at most {WANTED}. "
        "*Before* and *after* the curve that held-out training responses choose. *Floor*: what probabilities show "
        "that are all true, on so many labels, and what one such draw in twenty exceeds. *Debiased*: the root mean "
        "squared gap less what chance puts into it. *Mean − rate*: mean probability less the share of good test "
        "responses. The form is the one each set states; no test label is used but to judge.",
        "",
    ]
    return "\n".join([*head, *table(rows)]) + "\n"


def main() -> None:
    """Measure what is missing and write the page."""
    args = options(__doc__, "calibration", SETS, seeds=5).parse_args()
    torch.set_num_threads(1)
    book = Logbook(args.log, "set", "seed")
    for name in args.sets.split(","):
        for seed in range(args.seeds):
            if (name, seed) not in book:
                row = book.add(measure(name, seed))
                print(f"{name}, seed {seed}: {row['before']:.3f} before, {row['after']:.3f} after", flush=True)
    args.out.write_text(page(book.rows), encoding="utf-8")


if __name__ == "__main__":
    main()
