"""The tables of the study: means over seeds, a row a set, a column a method; differences with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.tables import Study
from benchmarks.machine import cpu
from fractal.ensemble.screening import MIN_GAIN_NATS

ORDER = (
    *("default", "tuned", "default + tuned", "mpnet", "mpnet + tuned"),
    *("default + mpnet", "default + mpnet + tuned", "supervised", "supervised tuned"),
)
KEYS = ("auc", "within")
FROZEN = ("default", "mpnet", "default + mpnet")
WIDEST = ("default", "tuned", "default + tuned", "supervised")  # run on all sets that have sentence labels


def without_share(rows: list[dict], sets: Sequence[str]) -> list[dict]:
    """Return rows for sets where the tuned encoder has no share and was not tuned: with it is as without it."""
    tuned = {row["set"] for row in rows if row["method"] == "tuned"}
    return [
        {**row, "method": f"{row['method']} + tuned"}
        for row in rows
        if row["set"] in sets and row["set"] not in tuned and row["method"] in FROZEN
    ]


def write_tables(
    rows: list[dict], path: Path, machine: str = "", notes: Sequence[str] = (), others: Sequence[list[dict]] = ()
) -> None:
    """Write every table as Markdown; `others`: rows of runs that tuned another encoder."""
    study, of_shared_seeds = Study(rows), Study(_of_shared_seeds(rows))
    methods = [method for method in ORDER if method in study.methods]
    most = max(row["most"] or 0 for row in rows)
    lines = [
        "# A tuned encoder",
        "",
        f"Means over seeds on the test splits; at most {most:,} training responses of each set. Only `supervised` and",
        f"`supervised tuned` see sentence labels. Machine: {machine or cpu()}. Command: `python -m benchmarks.tuned`.",
        "",
        "*default*: the experts on frozen MiniLM vectors; *tuned*: MiniLM tuned on response labels alone; *default +",
        "tuned*: both, the tuned encoder with the share that its held-out order inside responses earns it;",
        "*mpnet*: the default on all-mpnet-base-v2.",
        "",
        *notes,
    ]
    for key, title in (("auc", "Sentence ROC AUC"), ("within", "Within-response ROC AUC")):
        lines += [f"## {title}", "", *_table(of_shared_seeds, methods, key), ""]
    lines += _picked(study)
    lines += ["## Beside the default", "", *_differences(study, methods), ""]
    lines += ["## How the tuned encoder read, and its share", "", *_choices(study), ""]
    for more in others:
        lines += _other(Study(more))
    lines += ["## Seconds of a run", "", *_seconds(study, methods), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    print(f"wrote {path}", flush=True)


def _of_shared_seeds(rows: list[dict]) -> list[dict]:
    """Return rows of the seeds under which a set has all the methods that it has at all: means are of like runs."""
    kept = []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        by_method = [{row["seed"] for row in own if row["method"] == m} for m in {row["method"] for row in own}]
        kept += [row for row in own if row["seed"] in set.intersection(*by_method)]
    return kept


def _table(study: Study, methods: list[str], key: str) -> list[str]:
    lines = ["| set | seeds | " + " | ".join(methods) + " |", "|---|---:|" + "---:|" * len(methods)]
    for name in study.sets:
        means = [study.mean(name, method, "score", key) for method in methods]
        seeds = len(study.values(name, "default", "score", key))
        lines.append(f"| {name} | {seeds} | " + " | ".join("–" if np.isnan(m) else f"{m:.3f}" for m in means) + " |")
    widest = [method for method in methods if method in WIDEST]
    joined = [method for method in methods if method not in ("tuned", "supervised tuned")]
    shared = [study.shared(some, "score", key) for some in (widest, joined, methods)]
    for sets in dict.fromkeys(tuple(sets) for sets in shared if sets):
        means = [_macro(study, method, sets, key) for method in methods]
        lines.append(f"| **mean of {len(sets)} sets** | | " + " | ".join(means) + " |")
    return lines


def _macro(study: Study, method: str, sets: Sequence[str], key: str) -> str:
    values = [study.mean(name, method, "score", key) for name in sets]
    return "–" if not values or np.isnan(values).any() else f"**{np.mean(values):.3f}**"


def _differences(study: Study, methods: list[str]) -> list[str]:
    lines = [
        "Differences with 95% intervals by resampling test responses, the same draws for both.",
        "",
        "| method | sets | AUC − default's | within − default's | worst set, AUC | worst set, within |",
        "|---|---:|---:|---:|---|---|",
    ]
    for method in methods[1:]:
        sets = study.shared([method, "default"], "score", "auc")
        if not sets:
            continue
        cells = [_gap(study, method, sets, key) for key in ("auc", "within")]
        worst = []
        for key in ("auc", "within"):
            gaps = {n: float(_paired(study, n, method, key)) for n in sets}
            least = min(gaps, key=lambda name: np.nan_to_num(gaps[name], nan=1))
            worst.append(f"{least} {gaps[least]:+.3f}")
        lines.append(f"| {method} | {len(sets)} | {' | '.join(cells)} | {' | '.join(worst)} |")
    return lines


def _gap(study: Study, method: str, sets: list[str], key: str) -> str:
    means, draws = [], []
    for name in sets:
        means.append(_paired(study, name, method, key))
        draws.append(_paired(study, name, method, f"{key}_drawn"))
    low, high = np.nanpercentile(np.mean(draws, axis=0), [2.5, 97.5])
    return f"{np.nanmean(means):+.3f} [{low:+.3f}, {high:+.3f}]"


def _paired(study: Study, name: str, method: str, key: str) -> Any:
    """Return how far a method is ahead of the default on a set, the mean of the seeds that both have."""
    of = {
        m: {row["seed"]: row["score"][key] for row in study.rows if (row["set"], row["method"]) == (name, m)}
        for m in (method, "default")
    }
    seeds = of[method].keys() & of["default"].keys()
    return np.mean([np.subtract(of[method][s], of["default"][s], dtype=float) for s in seeds], axis=0)


def _picked(study: Study) -> list[str]:
    """Write what a user gets who takes the larger encoder only where held-out labels of responses gain by it."""
    sets = [
        name for name in study.shared(["default", "mpnet"], "score", "auc") if not np.isnan(_cost(study, name, "mpnet"))
    ]
    if not sets:
        return []
    lines = [
        "## The frozen encoder that held-out labels choose",
        "",
        f"mpnet where it saves {MIN_GAIN_NATS} nats of held-out log-loss a response, else MiniLM; AUC / within, "
        "without the tuned encoder and with it.",
        "",
        "| set | MiniLM costs | mpnet costs | taken | alone | with tuned |",
        "|---|---:|---:|---|---:|---:|",
    ]
    chosen = []
    for name in sets:
        costs = [_cost(study, name, method) for method in ("default", "mpnet")]
        taken = "mpnet" if costs[0] - costs[1] >= MIN_GAIN_NATS else "default"
        chosen.append([[study.mean(name, f"{taken}{more}", "score", key) for key in KEYS] for more in ("", " + tuned")])
        shown = " | ".join(" / ".join(f"{value:.3f}" for value in pair) for pair in chosen[-1])
        lines.append(f"| {name} | {costs[0]:.4f} | {costs[1]:.4f} | {taken.replace('default', 'MiniLM')} | {shown} |")
    means = " | ".join(" / ".join(f"**{value:.3f}**" for value in pair) for pair in np.mean(chosen, axis=0))
    return [*lines, f"| **mean of {len(sets)} sets** | | | | {means} |", ""]


def _cost(study: Study, name: str, method: str) -> float:
    rows = (row for row in study.rows if (row["set"], row["method"]) == (name, method))
    return float(np.mean([row.get("cost", np.nan) for row in rows]))


def _other(study: Study) -> list[str]:
    """Write what another tuned encoder gives, AUC / within-response AUC."""
    joined = (method.removeprefix("default + ") for method in study.methods if method.startswith("default + "))
    name = next(method for method in joined if not method.startswith("mpnet"))
    methods = [m for m in ("default", name, f"default + {name}", "mpnet", f"mpnet + {name}") if m in study.methods]
    lines = [
        f"## Another encoder: {name}",
        "",
        "Sentence ROC AUC / within responses.",
        "",
        "| set | seeds | " + " | ".join(methods) + " | share |",
        "|---|---:|" + "---:|" * (len(methods) + 1),
    ]
    for row in study.sets:
        seeds = len(study.values(row, "default", "score", "auc"))
        cells = [" / ".join(f"{study.mean(row, method, 'score', key):.3f}" for key in KEYS) for method in methods]
        share = study.mean(row, f"default + {name}", "", "share")
        lines.append(f"| {row} | {seeds} | {' | '.join(cells)} | {share:.2f} |")
    return [*lines, ""]


def _choices(study: Study) -> list[str]:
    lines = ["| set | reading | order inside responses like the default's | share |", "|---|---|---:|---:|"]
    for name in study.sets:
        tuned = [row for row in study.rows if row["set"] == name and row["method"] == "tuned"]
        both = [row for row in study.rows if row["set"] == name and row["method"] == "default + tuned"]
        if not tuned:
            continue
        readings = [row["reading"] for row in tuned]
        counted = ", ".join(f"{word} {readings.count(word)}×" for word in dict.fromkeys(readings))
        alike = np.mean([row["alike"] for row in tuned])
        lines.append(f"| {name} | {counted} | {alike:.2f} | {np.mean([row['share'] for row in both]):.2f} |")
    return lines


def _seconds(study: Study, methods: list[str]) -> list[str]:
    shown = [method for method in methods if "+" not in method]
    lines = ["| set | " + " | ".join(f"{m}, wall / CPU" for m in shown) + " |", "|---|" + "---:|" * len(shown)]
    for name in study.sets:
        cells = [
            f"{study.mean(name, method, '', 'wall_s'):.0f} / {study.mean(name, method, '', 'cpu_s'):.0f}"
            for method in shown
        ]
        lines.append(f"| {name} | " + " | ".join(cells).replace("nan / nan", "–").replace("nan", "–") + " |")
    return lines
