"""What aggregation='auto' loses against the rule given, on every rated set whose labels leave the direction open.

python -m benchmarks.direction [--seeds 3] [--most 600] [--encoder static]     resumable; then writes the page
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace

import numpy as np

from benchmarks.accuracy.data import SETS, WITHOUT_RATINGS, RealSet, load
from benchmarks.logbook import RESULTS, Logbook
from benchmarks.machine import setting
from fractal.evaluation import evaluate
from fractal.mil.training.plan import TrainingPlan
from fractal.records.corpus import all_or_nothing, gather
from fractal.scorers.sentence import SentenceScorer

LOG, PAGE = RESULTS / "direction.jsonl", RESULTS / "direction.md"


def measured(data: RealSet, aggregation: str, encoder: str, seed: int) -> dict[str, object]:
    """Fit under a rule, or leave it to the library, and score the test responses."""
    scorer = SentenceScorer(aggregation, encoder=encoder, plan=TrainingPlan(seed=seed)).fit(data.bare())
    scored = scorer.score_responses([response.without_labels() for response in data.test])
    judged = [replace(item, response=response) for item, response in zip(scored, data.test, strict=True)]
    rows = evaluate(judged, ["roc_auc", "within_response_auc"], bootstrap=0).rows
    values = {row.metric: row.value for row in rows}
    check = next((f.sentence for f in scorer.checks_ if f.name == "aggregation"), "")
    return {
        "auc": values.get("roc_auc"),
        "within": values.get("within_response_auc"),
        "taken": scorer.aggregation_,
        "open": "The direction is open" in check,
        "check": check[:120],
    }


def main() -> None:
    """Run what is missing of sets × seeds, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=1500)
    parser.add_argument("--encoder", default="minilm")
    options = parser.parse_args()
    log = Logbook(LOG, "set", "seed", "most", "encoder", "asked")
    for name in (name for name in SETS if name not in WITHOUT_RATINGS):
        for seed in range(options.seeds):
            data = load(name, options.most, seed)
            if not all_or_nothing(gather(data.bare()).labels):
                continue  # graded labels are means: nothing is open
            for aggregation in (data.aggregation, "auto"):
                asked = "auto" if aggregation == "auto" else "rule"
                cell = (name, seed, options.most, options.encoder, asked)
                if cell not in log:
                    row = dict(zip(log.keys, cell, strict=True))
                    log.add({**row, **measured(data, aggregation, options.encoder, seed)})
                    print(log.rows[-1], flush=True)
    PAGE.write_text(page(log.rows, options), encoding="utf-8")


def page(rows: list[dict], options: argparse.Namespace) -> str:
    """Write the table: sentence AUC under the rule given and under auto, what was taken, how often it was open."""
    command = (
        f"python -m benchmarks.direction --seeds {options.seeds} --most {options.most} --encoder {options.encoder}"
    )
    lines = [
        "# The direction",
        "",
        f"{setting(command)} At most {options.most} training responses a set, {options.seeds} seeds, "
        f"encoder `{options.encoder}`; sentence ROC AUC (inside responses) on test "
        "responses. Lost: the rule given less `auto`, over seeds.",
        "",
        "| set | rule | rule given | auto | lost, mean | lost, worst | taken | open |",
        "|---|---|---:|---:|---:|---:|---|---:|",
    ]
    losses = []
    for name in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == name]
        auto = {row["seed"]: row for row in of_set if row["asked"] == "auto"}
        rule = {row["seed"]: row for row in of_set if row["asked"] != "auto"}
        lost = [rule[seed]["auc"] - auto[seed]["auc"] for seed in auto]
        losses += lost
        counts = Counter(row["taken"] for row in auto.values())
        taken = ", ".join(f"{spec} {count}" for spec, count in counts.most_common())
        lines.append(
            f"| {name} | {next(iter(rule.values()))['taken']} | {_cell(rule)} | {_cell(auto)} | {np.mean(lost):+.3f} | "
            f"{max(lost):+.3f} | {taken} | {sum(r['open'] for r in auto.values())} of {len(auto)} |"
        )
    lines.append(f"| **all** | | | | {np.mean(losses):+.4f} | {max(losses):+.3f} | | |")
    return "\n".join(lines) + "\n"


def _cell(rows: dict[int, dict]) -> str:
    means = [np.mean([row[key] for row in rows.values() if row[key] is not None]) for key in ("auc", "within")]
    return f"{means[0]:.3f} ({means[1]:.3f})"


if __name__ == "__main__":
    main()
