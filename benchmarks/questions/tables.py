"""The page of answers: a table a question, and what it costs to choose by response labels."""

from __future__ import annotations

import numpy as np

from benchmarks.logbook import RESULTS
from benchmarks.machine import cpu
from benchmarks.questions.asked import Question
from benchmarks.questions.conclusions import CONCLUSIONS

PAGE = RESULTS / "questions.md"
CEILING = "supervised"
CHOICES = (  # question, what the library takes by itself, how the variants begin that it could take
    ("auto", "auto", ""),
    ("recipes", "blend", ""),
    ("priors", "ours, auto", "ours"),
)


def write_page(rows: list[dict], questions: dict[str, Question], encoder: str, most: int) -> None:
    """Write a table a question: sets × variants, mean AUC over seeds; and what a user can take from it."""
    rows = [row for row in rows if (row["encoder"], row["most"]) == (encoder, most)]
    lines = [
        "# The paper's questions, on real sets",
        "",
        "Sentence ROC AUC on the test splits, learned from response labels alone where nothing else is said, mean over "
        f"the seeds; encoder `{encoder}`, at most {most} training responses of a set, where their number is not the "
        "question. Behind a mean over the sets stands how far its seeds lie from each other (standard deviation); "
        "a mean without it has one seed of some sets. Much "
        "of it was asked before with MiniLM and 1,200 responses, one seed, of the defaults of 25 November 2026: "
        f"[questions_minilm.md](questions_minilm.md). Machine: {cpu()}, one thread a run, shared with other work. "
        "Command: `python -m benchmarks.questions`.",
        "",
    ]
    for title, question in questions.items():
        own = [row for row in rows if row["question"] == title]
        if own:
            lines += [f"## {title[0].upper()}{title[1:]}", "", _setting(own, question), "", *_table(own, question), ""]
            lines += [f"**{CONCLUSIONS[title]}**", ""] if title in CONCLUSIONS else []
    lines += _regret(rows)
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(f"wrote {PAGE}")


def _setting(rows: list[dict], question: Question) -> str:
    """Say what is asked, of how many seeds, and when."""
    counts = {name: len({row["seed"] for row in rows if row["set"] == name}) for name in question.sets}
    least, most = min(counts.values()), max(counts.values())
    seeds = f"{most} seed{'s' if most > 1 else ''}"
    if least < most:
        seeds = "seeds: " + ", ".join(f"{count} of {name}" for name, count in counts.items())
    dates = " and ".join(sorted({row["date"] for row in rows}))
    return f"{question.asked.rstrip('?')}; {seeds}; measured on {dates}."


def _table(rows: list[dict], question: Question) -> list[str]:
    """Variants as rows where there are many, sets as columns."""
    sets = [name for name in question.sets if any(row["set"] == name for row in rows)]
    lines = ["| | " + " | ".join(sets) + " | mean |", "|---|" + "---:|" * (len(sets) + 1)]
    for variant in question.variants:
        values = [_mean(rows, name, variant, "auc") for name in sets]
        mean = f"{_shown(float(np.mean(values)))}{_spread(rows, sets, variant)}"
        lines.append(f"| {variant} | " + " | ".join(map(_shown, values)) + f" | {mean} |")
    if CEILING in question.variants:
        lines += ["", f"The same as shares of `{CEILING}`; the last column is the share of the mean:", "", *lines[:2]]
        lines += [f"| {variant} | {' | '.join(_shares(rows, sets, variant))} |" for variant in question.variants]
    if taught := [row for row in rows if "taught" in row]:
        said = "What the fresh heads were taught, sentence ROC AUC on training responses whose labels are known:"
        lines += ["", said, "", "| | " + " | ".join(sets) + " |", "|---|" + "---:|" * len(sets)]
        for variant in dict.fromkeys(row["variant"] for row in taught):
            shown = " | ".join(_shown(_mean(taught, name, variant, "taught")) for name in sets)
            lines.append(f"| {variant} | {shown} |")
    return lines


def _shares(rows: list[dict], sets: list[str], variant: str) -> list[str]:
    """Return what a variant reaches of the ceiling on each set, and on the mean of all."""
    reached, ceiling = (np.array([_mean(rows, name, each, "auc") for name in sets]) for each in (variant, CEILING))
    shares = [*(reached / ceiling), reached.mean() / ceiling.mean()]
    return ["–" if np.isnan(share) else f"{share:.1%}" for share in shares]


def _spread(rows: list[dict], sets: list[str], variant: str) -> str:
    """Say how far the seeds' means over the sets lie from each other."""
    own = [row for row in rows if row["variant"] == variant]
    by_seed = {seed: [r["auc"] for r in own if r["seed"] == seed] for seed in {row["seed"] for row in own}}
    whole = [float(np.mean(values)) for values in by_seed.values() if len(values) == len(sets)]
    return f" ± {np.std(whole, ddof=1):.3f}" if len(whole) > 1 else ""


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
