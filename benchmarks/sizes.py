"""What the `fast` encoder costs in accuracy beside `base`, on every real set.

    python -m benchmarks.sizes --seeds 3

`base` is not fitted again: its figures, for the same sets and seeds, are those of
`python -m benchmarks.accuracy --methods default --most 1500 --seeds 3 --out sizes_base`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np

from benchmarks.logbook import RESULTS, Logbook, options, sets_and_seeds
from benchmarks.machine import setting

os.environ.setdefault("OMP_NUM_THREADS", "1")

MOST = 1_500  # training responses of a set, as in the table of accuracy
FAST = "static"


def run_one(name: str, seed: int) -> dict:
    """Fit `fast` to one set with one seed, and judge it on the test sentences."""
    import torch

    from benchmarks.accuracy.data import load
    from benchmarks.accuracy.judging import judge
    from fractal.mil.training.plan import TrainingPlan
    from fractal.scorers.sentence import SentenceScorer

    torch.set_num_threads(1)
    data = load(name, MOST, seed)
    started = time.process_time()
    scorer = SentenceScorer(aggregation=data.aggregation, encoder=FAST, plan=TrainingPlan(seed=seed), cache=False)
    scored = scorer.fit(data.bare()).score_responses([response.without_labels() for response in data.test])
    spent = time.process_time() - started
    judged = judge(scored, data.test, name)
    return {"set": name, "seed": seed, "cpu_s": round(spent, 1), "auc": judged["auc"], "within": judged["within"]}


def table(fast: list[dict], base: list[dict], seeds: int) -> list[str]:
    """Return the lines of the table: means over the seeds that both have."""
    lines = ["| set | seeds | fast | base | fast / base |", "|---|---:|---:|---:|---:|"]
    rows = []
    for name in dict.fromkeys(row["set"] for row in fast):
        ours = {row["seed"]: row["auc"] for row in fast if row["set"] == name}
        theirs = {row["seed"]: row["score"]["auc"] for row in base if row["set"] == name}
        both = [seed for seed in range(seeds) if seed in ours and seed in theirs]
        if both:
            means = [float(np.mean([aucs[seed] for seed in both])) for aucs in (ours, theirs)]
            rows.append(means)
            lines.append(f"| {name} | {len(both)} | {means[0]:.3f} | {means[1]:.3f} | {means[0] / means[1]:.1%} |")
    mean = np.mean(rows, axis=0)
    means = f"**{mean[0]:.3f}** | **{mean[1]:.3f}** | **{mean[0] / mean[1]:.1%}**"
    return [*lines, f"| **macro-average, {len(rows)} sets** | | {means} |"]


def main() -> None:
    """Run what is missing, and write the table."""
    from benchmarks.accuracy.data import SETS

    parser = options(__doc__, "sizes", SETS, 3)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    book = Logbook(args.log, "set", "seed")
    cells = sets_and_seeds(args)
    book.fill(
        run_one, cells, args.jobs, lambda row: f"{row['set']} seed {row['seed']}: {row['auc']:.3f} in {row['cpu_s']} s"
    )
    with (RESULTS / "sizes_base.jsonl").open(encoding="utf-8") as lines:
        base = [row for row in map(json.loads, lines) if row["method"] == "default" and row["most"] == MOST]
    page = [
        "# The sizes of encoder",
        "",
        f"Sentence ROC AUC on test splits, means over up to {args.seeds} seeds, at most {MOST:,} training "
        "responses a set, the stated aggregation of each; `base` by `python -m benchmarks.accuracy --methods default "
        f"--most {MOST} --seeds {args.seeds} --out sizes_base`, the same sets and seeds.",
        "",
        setting(f"python -m benchmarks.sizes --seeds {args.seeds}"),
        "",
        *table(book.rows, base, args.seeds),
    ]
    Path(args.out).write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
