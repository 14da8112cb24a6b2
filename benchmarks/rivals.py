"""Rivals with our idea, on our columns and groups: sentence AUC from response labels alone, beside the default.

python -m benchmarks.rivals [--sets prmbench,processbench] [--seeds 2]      resumable: what was measured is kept
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

import numpy as np

from benchmarks.logbook import Logbook, options, sets_and_seeds
from benchmarks.machine import setting

SETS = (
    *("processbench", "prmbench", "prm800k_subset", "faithbench", "qags"),
    *("wikiqa", "multispanqa_windows", "wice_windows", "absa16_reviews", "realsumm_scu"),
)
MOST, EPOCHS = 600, 12  # training responses of a set; epochs of the default
RIVALS = (
    *("prefix_value", "prefix_ranking", "first_error_hazard", "softmax_pooling", "top_k", "buffer_class"),
    *("positive_unlabelled", "label_shift"),
)
METHODS = (*RIVALS, "noisy_copy", "attention", "default")
ORDERED = ("processbench", "prmbench", "prm800k_subset")


def measure(name: str, seed: int, method: str) -> dict:
    """Fit one method to a set and judge its sentence scores."""
    from benchmarks.accuracy.data import load
    from benchmarks.accuracy.judging import judge
    from fractal.mil.training.plan import TrainingPlan
    from fractal.scorers.baselines import BASELINES
    from fractal.scorers.sentence import SentenceScorer

    data = load(name, MOST, seed)
    test = [response.without_labels() for response in data.test]
    started = time.process_time()
    if method == "default":
        plan = TrainingPlan(seed=seed, epochs=EPOCHS)
        scorer = SentenceScorer(aggregation=data.aggregation, encoder="fast", plan=plan)
    else:
        scorer = BASELINES[method](aggregation=data.aggregation, encoder="fast", seed=seed)
    scored = scorer.fit(data.bare()).score_responses(test)
    spent = time.process_time() - started
    return {"set": name, "seed": seed, "method": method, "cpu_s": round(spent, 1), **judge(scored, data.test, name)}


def page(rows: list[dict]) -> str:
    """Write what was measured."""
    names = [name for name in SETS if any(row["set"] == name for row in rows)]
    seeds = {name: len({row["seed"] for row in rows if row["set"] == name}) for name in names}
    lines = [
        "# Rivals",
        "",
        setting("python -m benchmarks.rivals") + " The cores were shared with other work.",
        "",
        f"Sentence ROC AUC on test responses (inside responses), learned from response labels alone: at most {MOST} "
        "training responses of a set, encoder `fast`, the columns and groups that learned baselines share, the form "
        f"that each set states, means over seeds. The default has {EPOCHS} epochs and four experts; the rivals are one "
        "network each, which keeps the epoch that a held-out fifth of the groups likes best. They are their papers' "
        "ideas on frozen columns, not their papers' language models: `prefix_value` IPVRM, `prefix_ranking` SRM, "
        "`first_error_hazard` CRM, `softmax_pooling` LCA, `top_k` HaMI, `buffer_class` FreePRM, `label_shift` DDFA.",
        "",
        f"| set | seeds | {' | '.join(METHODS)} |",
        f"|---|---:|{'---|' * len(METHODS)}",
    ]
    lines += [f"| {name} | {seeds[name]} | {' | '.join(_cell(rows, [name], m) for m in METHODS)} |" for name in names]
    ordered = [name for name in names if name in ORDERED]
    lines.append(f"| **mean of steps** | | {' | '.join(_cell(rows, ordered, m) for m in METHODS)} |")
    lines.append(f"| **mean** | | {' | '.join(_cell(rows, names, m) for m in METHODS)} |")
    lines += ["", conclusion(rows, names)]
    return "\n".join(lines) + "\n"


def conclusion(rows: list[dict], names: list[str]) -> str:
    """Say in words where the default leads and where a rival does."""

    def mean(name: str, method: str, key: str) -> float:
        return float(np.mean([row[key] for row in rows if (row["set"], row["method"]) == (name, method)]))

    measured = {name: {row["method"] for row in rows if row["set"] == name} & set(METHODS[:-1]) for name in names}
    ahead = {
        key: [
            f"{method} on {name} ({mean(name, method, key):.3f} for {mean(name, 'default', key):.3f})"
            for name in names
            for method in [max(sorted(measured[name]), key=lambda one: mean(name, one, key))]
            if mean(name, method, key) > mean(name, "default", key)
        ]
        for key in ("auc", "within")
    }
    told = [
        f"{'over all sentences' if key == 'auc' else 'inside responses'} on {len(names) - len(better)} of {len(names)} "
        f"sets{'; ahead of it: ' * bool(better)}{', '.join(better)}"
        for key, better in ahead.items()
    ]
    return f"The default leads all rivals {'. It leads them '.join(told)}."


def _cell(rows: list[dict], names: list[str], method: str) -> str:
    by_set = [[row for row in rows if (row["set"], row["method"]) == (name, method)] for name in names]
    if not by_set or not all(by_set):
        return "–"
    area, inside = (np.mean([np.mean([row[key] for row in own]) for own in by_set]) for key in ("auc", "within"))
    return f"{area:.3f} ({inside:.3f})"


def main() -> None:
    """Measure what is missing and write the page."""
    import torch

    args = options(__doc__, "rivals", SETS, seeds=2).parse_args()
    torch.set_num_threads(1)
    book = Logbook(args.log, "set", "seed", "method")
    book.fill_in_turn(
        measure,
        [(*cell, method) for cell in sets_and_seeds(args) for method in METHODS],
        lambda row: f"{row['set']}, seed {row['seed']}, {row['method']}: {row['auc']:.3f}",
    )
    args.out.write_text(page(book.rows), encoding="utf-8")


if __name__ == "__main__":
    main()
