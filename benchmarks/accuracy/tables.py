"""The tables of a study: means over seeds, a row a set, a column a method, and the macro-average."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import numpy as np

from benchmarks.machine import cpu


def write_tables(rows: list[dict], path: Path, args: argparse.Namespace) -> None:
    """Write every table of a study as Markdown."""
    import torch

    methods = list(dict.fromkeys(row["method"] for row in rows))
    sets = list(dict.fromkeys(row["set"] for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    parts = [
        "# Accuracy on real data",
        "",
        f"Means over {len(seeds)} seeds on the test splits; training on train and valid"
        + (f", at most {args.most} responses of each set" if args.most else "")
        + ". No method but `supervised` and the `gold` ones sees a sentence label.",
        "",
        f"Machine: {cpu()}, one thread a run; Python {platform.python_version()}, torch {torch.__version__}. "
        f"Command: `python -m benchmarks.accuracy {' '.join(sys.argv[1:])}`.",
        "",
    ]
    for setting, key, title in (
        ("score", "auc", "Score: sentence ROC AUC"),
        ("score", "within", "Score: within-response ROC AUC"),
        ("score", "ap", "Score: average precision"),
        ("score", "worst", "Score: the worst sentence is truly bad"),
        ("score", "response", "Score: response pairs in order"),
        ("disaggregate", "auc", "Disaggregate: sentence ROC AUC (others: their score × the response's label)"),
    ):
        parts += [f"## {title}", "", *_table(rows, methods, sets, setting, key), ""]
    parts += ["## Processor seconds", "", *_table(rows, methods, sets, "", "cpu_s"), ""]
    path.write_text("\n".join(parts), encoding="utf-8")
    print(f"wrote {path}", flush=True)


def _table(rows: list[dict], methods: list[str], sets: list[str], setting: str, key: str) -> list[str]:
    means = np.full((len(sets), len(methods)), np.nan)
    spread = np.full_like(means, np.nan)
    for i, name in enumerate(sets):
        for j, method in enumerate(methods):
            own = [r for r in rows if r["set"] == name and r["method"] == method]
            values = [(r[setting] if setting else r).get(key, np.nan) for r in own]
            if values:
                means[i, j], spread[i, j] = np.mean(values), np.std(values)
    lines = ["| set | " + " | ".join(methods) + " |", "|---|" + "---:|" * len(methods)]
    digits = 0 if key == "cpu_s" else 3
    for i, name in enumerate(sets):
        cells = [_cell(means[i, j], spread[i, j], digits) for j in range(len(methods))]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    whole = ~np.isnan(means).any(axis=1)
    if whole.sum() > 1:
        macro = means[whole].mean(axis=0)
        lines.append(
            f"| **macro** ({whole.sum()} sets) | " + " | ".join(f"**{value:.{digits}f}**" for value in macro) + " |"
        )
    return lines


def _cell(mean: float, spread: float, digits: int) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if digits and spread > 0 else "")
