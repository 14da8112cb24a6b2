"""The page of answers: a table a question, and what it costs to choose by response labels."""

from __future__ import annotations

import numpy as np

from benchmarks.logbook import RESULTS
from benchmarks.machine import cpu
from benchmarks.questions.asked import MOST, Question

PAGE = RESULTS / "questions.md"
CHOICES = (  # question, what the library takes by itself, how the variants begin that it could take
    ("auto", "auto", ""),
    ("recipes", "blend", ""),
    ("priors", "ours, auto", "ours"),
)


def write_page(rows: list[dict], questions: dict[str, Question]) -> None:
    """Write a table a question: sets × variants, mean AUC over seeds."""
    lines = [
        "# The paper's questions, on real sets",
        "",
        "Sentence ROC AUC on the test splits, learned from response labels alone where nothing else is said, mean over "
        f"the seeds; at most {MOST} training responses of a set, where their number is not the question. "
        f"Machine: {cpu()}, one thread a run. Command: `python -m benchmarks.questions`.",
        "",
    ]
    for title, question in questions.items():
        own = [row for row in rows if row["question"] == title]
        if own:
            seeds = len({row["seed"] for row in own})
            said = f"{question.asked.rstrip('?')}; {seeds} seed{'s' if seeds > 1 else ''}."
            lines += [f"## {title[0].upper()}{title[1:]}", "", said, "", *_table(own, question), ""]
    lines += _regret(rows)
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(f"wrote {PAGE}")


def _table(rows: list[dict], question: Question) -> list[str]:
    """Variants as rows where there are many, sets as columns."""
    sets = [name for name in question.sets if any(row["set"] == name for row in rows)]
    lines = ["| | " + " | ".join(sets) + " | mean |", "|---|" + "---:|" * (len(sets) + 1)]
    for variant in question.variants:
        values = [_mean(rows, name, variant, "auc") for name in sets]
        lines.append(
            f"| {variant} | " + " | ".join(_shown(v) for v in values) + f" | {_shown(float(np.mean(values)))} |"
        )
    if question.variants and any(row["kept"] for row in rows):
        tried = [row for row in rows if row["kept"]]
        lines += ["", f"Kept in {np.mean([row['kept'][0] == 'after' for row in tried]):.0%} of {len(tried)} runs."]
    return lines


def _mean(rows: list[dict], name: str, variant: str, key: str) -> float:
    found = [row[key] for row in rows if (row["set"], row["variant"]) == (name, variant)]
    return float(np.mean(found)) if found else np.nan


def _shown(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _regret(rows: list[dict]) -> list[str]:
    """What it costs to choose by held-out response labels instead of by the test sentences."""
    lines = [
        "## Choosing by response labels",
        "",
        "AUC lost by what the library chooses from response labels alone, against the best on the test sentences",
        "themselves (so a little of it is chance); mean over the seeds.",
        "",
        "| choice | set | its AUC | best by hand | its AUC | regret |",
        "|---|---|---:|---|---:|---:|",
    ]
    lost: dict[str, list[float]] = {}
    for title, taken, others in CHOICES:
        own = [row for row in rows if row["question"] == title and row["variant"].startswith(others)]
        for name in dict.fromkeys(row["set"] for row in own if row["variant"] == taken):
            auc = {variant: _mean(own, name, variant, "auc") for variant in {row["variant"]: 0 for row in own}}
            chosen = auc.pop(taken)
            best = max(auc, key=lambda v: auc[v])
            lost.setdefault(title, []).append(auc[best] - chosen)
            regret = lost[title][-1]
            lines.append(f"| {title}: {taken} | {name} | {chosen:.3f} | {best} | {auc[best]:.3f} | {regret:+.3f} |")
    for title, values in lost.items():
        lines.append(f"| **{title}**, mean of {len(values)} | | | | | **{np.mean(values):+.3f}** |")
    return [*lines, "", *_wider(rows)] if lost else []


def _wider(rows: list[dict]) -> list[str]:
    """Say what it would cost to choose one form out of all by held-out labels, which is why 'auto' does not."""
    lost = []
    for title in ("forms of MIN", "forms of MAX"):
        own = [row for row in rows if row["question"] == title]
        for name in dict.fromkeys(row["set"] for row in own):
            variants = {row["variant"]: 0 for row in own if row["set"] == name}
            auc = {variant: _mean(own, name, variant, "auc") for variant in variants}
            cost = {variant: _mean(own, name, variant, "cost") for variant in variants}
            lost.append(max(auc.values()) - auc[min(cost, key=lambda v: cost[v])])
    told = f"the form with the least held-out cost is {np.mean(lost):.3f} below the best" if lost else "not measured"
    return [
        f"Among all forms of MIN and of MAX, {told}: 'auto' tries one form of each direction, the product's kind.",
        "",
    ]
