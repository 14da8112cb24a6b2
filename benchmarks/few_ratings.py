"""Sentence AUC by the number of rated responses, beside cosine, with and without what stands in until labels speak.

python -m benchmarks.few_ratings [--sets …] [--seeds 3] [--counts 50,100,300,1000]   resumable; writes the page
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.accuracy.data import load
from benchmarks.accuracy.judging import sample_of, truth_of
from benchmarks.logbook import Logbook, options, sets_and_seeds
from benchmarks.machine import setting
from fractal.ensemble.few_ratings import ENOUGH
from fractal.evaluation.metrics import METRICS

SETS = (
    *("wikiqa", "wice_windows", "multispanqa_windows", "qags", "realsumm_scu", "qa_feedback_bags"),
    *("faithbench", "processbench", "prmbench", "prm800k_subset"),
)
DEVELOPED_ON = ("wikiqa", "wice_windows", "multispanqa_windows", "realsumm_scu")
ENCODER = "static"
ABOUT = (
    "Similarity is one more expert while fewer than 500 responses are rated: its slope is believed to be ½ ± ½ "
    "of log-odds a standard deviation before any label, it counts as 50 ratings beside the learned experts, and their "
    "weights are drawn to equal shares by as much as ratings are few. From 500 on both columns are one fit."
)
BAR = 0.01


def measure(name: str, seed: int, count: int) -> dict[str, Any]:
    """Fit so many responses with and without the rule, and hold both against cosine."""
    from fractal.features import prior_similarity
    from fractal.mil.training.plan import TrainingPlan
    from fractal.scorers.sentence import SentenceScorer

    data = load(name, count, seed)
    bare = [response.without_labels() for response in data.test]
    row: dict[str, Any] = {"set": name, "seed": seed, "count": count, "rated": len(data.train)}
    for few in (True, False) if len(data.train) < ENOUGH else (True,):
        plan = TrainingPlan(seed=seed, few_ratings=few)
        scorer = SentenceScorer(data.aggregation, encoder=ENCODER, plan=plan).fit(data.bare())
        row["with" if few else "without"] = area(
            data, [s for one in scorer.score_responses(bare) for s in one.sentence_scores]
        )
    row.setdefault("without", row["with"])
    row["cosine"] = area(data, np.nan_to_num(prior_similarity(scorer.embed(bare)), nan=0.5))
    return row


def area(data: Any, scores: Any) -> float:
    """Return the sentence ROC AUC on the test responses."""
    truth, groups = truth_of(data.test, data.name)
    return round(float(METRICS.build("roc_auc").read(sample_of(truth, np.asarray(scores), groups)).value), 5)


def page(rows: list[dict[str, Any]], counts: list[int]) -> str:
    """Write a line a set and number of ratings."""
    lines = [
        "# Few ratings",
        "",
        setting("python -m benchmarks.few_ratings") + " The cores were shared with other work. Of wikiqa, wice and "
        "multispanqa the rows of seed 2 at 50 ratings and of all seeds at 100 come from a script of the same settings, "
        "written down to four digits; the six cells that both measured agree.",
        "",
        f"Encoder `{ENCODER}`, the rule given. Sentence ROC AUC on test responses, means over seeds. *Cosine*: the "
        f"similarity to the context, else to the query, nothing learned. {ABOUT} The numbers in it were chosen on "
        f"{', '.join(f'`{name}`' for name in DEVELOPED_ON)} at 50 and 100 ratings.",
        "",
        "| set | ratings | seeds | cosine | without | with | gain | with less cosine | least of a seed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    below: list[str] = []
    gains: dict[int, list[float]] = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        for count in counts:
            cells = [row for row in rows if (row["set"], row["count"]) == (name, count)]
            if not cells:
                continue
            cosine, without, taken = (np.array([row[key] for row in cells]) for key in ("cosine", "without", "with"))
            gap = taken - cosine
            gains.setdefault(count, []).append(float((taken - without).mean()))
            below += [f"{name} at {count} ({gap.mean():+.3f})"] if gap.mean() < -BAR else []
            means = " | ".join(f"{values.mean():.3f}" for values in (cosine, without, taken))
            lines.append(
                f"| {name} | {count} | {len(cells)} | {means} | {(taken - without).mean():+.3f} | "
                f"{gap.mean():+.3f} | {gap.min():+.3f} |"
            )
    means = ", ".join(f"{np.mean(values):+.3f} at {count} ({len(values)} sets)" for count, values in gains.items())
    measured = {(row["set"], row["count"]) for row in rows}
    not_run = {count: [name for name in SETS if (name, count) not in measured] for count in counts}
    missing = [
        f"at {count} {'every set' if len(names) == len(SETS) else ', '.join(names)}"
        for count, names in not_run.items()
        if names
    ]
    lines += [
        "",
        f"Mean gain: {means}. Below cosine by more than {BAR} on the mean of its seeds: {'; '.join(below) or 'none'}.",
        "",
        f"Not run: {'; '.join(missing) or 'nothing'}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing and write the page."""
    import torch

    parser = options(__doc__, "few_ratings", SETS, seeds=3)
    parser.add_argument("--counts", default="50,100,300,1000")
    args = parser.parse_args()
    torch.set_num_threads(1)
    counts = [int(count) for count in args.counts.split(",")]
    book = Logbook(args.log, "set", "seed", "count")
    cells = [(name, seed, count) for count in counts for name, seed in sets_and_seeds(args)]
    book.fill_in_turn(measure, cells, str)
    order = {name: place for place, name in enumerate(SETS)}
    rows = sorted(book.rows, key=lambda row: (order.get(row["set"], len(order)), row["count"]))
    args.out.write_text(page(rows, sorted({*counts, *(row["count"] for row in rows)})), encoding="utf-8")


if __name__ == "__main__":
    main()
