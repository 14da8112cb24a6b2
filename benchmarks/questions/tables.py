"""The page of answers: a table a question, and what it costs to choose by response labels."""

from __future__ import annotations

import numpy as np

from benchmarks.logbook import RESULTS
from benchmarks.machine import cpu
from benchmarks.questions.asked import MOST, Question

PAGE = RESULTS / "questions.md"
CEILING = "supervised"
CHOICES = (  # question, what the library takes by itself, how the variants begin that it could take
    ("auto", "auto", ""),
    ("recipes", "blend", ""),
    ("priors", "ours, auto", "ours"),
)


OLDER = (
    "Where no date stands: measured up to 25 November 2026 on an AMD EPYC of 2 cores, older than today's defaults: "
    "before responses were grouped by query and context, before sentence scores were drawn to their response's mean "
    "where ratings ask for it, and before an open direction was scored by all that is likely "
    "([the direction](direction.md), [drawn to the response](shrinking.md))."
)


def write_page(rows: list[dict], questions: dict[str, Question]) -> None:
    """Write a table a question: sets × variants, mean AUC over seeds."""
    lines = [
        "# The paper's questions, on real sets",
        "",
        OLDER,
        "",
        "Sentence ROC AUC on the test splits, learned from response labels alone where nothing else is said, mean over "
        f"the seeds; at most {MOST} training responses of a set, where their number is not the question. "
        f"Machine: {cpu()}, one thread a run. Command: `python -m benchmarks.questions`.",
        "",
    ]
    for title, question in questions.items():
        own = [row for row in rows if row["question"] == title]
        if own:
            lines += [f"## {title[0].upper()}{title[1:]}", "", _setting(own, question), "", *_table(own, question), ""]
            lines += [question.answer, ""] if question.answer else []
    lines += _regret(rows)
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(f"wrote {PAGE}")


def _setting(rows: list[dict], question: Question) -> str:
    """Say what is asked, and of how many seeds; of newer rows when and with which encoder."""
    counts = {name: len({row["seed"] for row in rows if row["set"] == name}) for name in question.sets}
    least, most = min(counts.values()), max(counts.values())
    seeds = f"{most} seed{'s' if most > 1 else ''}"
    if least < most:
        seeds = "seeds: " + ", ".join(f"{count} of {name}" for name, count in counts.items())
    dates = sorted({row["date"] for row in rows if "date" in row})
    encoders = ", ".join(sorted({f"`{row['encoder']}`" for row in rows if "encoder" in row}))
    when = f" Measured on {' and '.join(dates)}, encoder {encoders}." if dates else ""
    return f"{question.asked.rstrip('?')}; {seeds}.{when}"


def _table(rows: list[dict], question: Question) -> list[str]:
    """Variants as rows where there are many, sets as columns."""
    sets = [name for name in question.sets if any(row["set"] == name for row in rows)]
    lines = ["| | " + " | ".join(sets) + " | mean |", "|---|" + "---:|" * (len(sets) + 1)]
    for variant in question.variants:
        values = [_mean(rows, name, variant, "auc") for name in sets]
        lines.append(
            f"| {variant} | " + " | ".join(_shown(v) for v in values) + f" | {_shown(float(np.mean(values)))} |"
        )
    if CEILING in question.variants:
        lines += ["", f"The same as shares of `{CEILING}`; the last column is the share of the mean:", "", *lines[:2]]
        lines += [f"| {variant} | {' | '.join(_shares(rows, sets, variant))} |" for variant in question.variants]
    if question.variants and any(row["kept"] for row in rows):
        tried = [row for row in rows if row["kept"]]
        lines += ["", f"Kept in {np.mean([row['kept'][0] == 'after' for row in tried]):.0%} of {len(tried)} runs."]
    return lines


def _shares(rows: list[dict], sets: list[str], variant: str) -> list[str]:
    """Return what a variant reaches of the ceiling on each set, and on the mean of all."""
    reached, ceiling = (np.array([_mean(rows, name, each, "auc") for name in sets]) for each in (variant, CEILING))
    shares = [*(reached / ceiling), reached.mean() / ceiling.mean()]
    return ["–" if np.isnan(share) else f"{share:.1%}" for share in shares]


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
