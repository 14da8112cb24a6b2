"""The page of tables about agents' runs, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.agent_runs import (
    AIRLINE,
    RETAIL,
    best_of_runs,
    hit_rates,
    load,
    lowest_three,
    marked,
    outcome_auc,
    rules,
    with_interval,
)
from benchmarks.machine import setting
from fractal.records import Response

KINDS = {"silver": "silver", "people": "human", "people, agent at fault": "agent"}
ABOUT = """Sets: agents_tau_retail (1,155 runs of 79 groups of tasks, 393 failed) and agents_tau_airline (299 runs).
60 epochs, batches of 128, five members; experts, aggregation and blend as `recipe="auto"` takes them for traces,
without an encoder, as these experts read no vectors. A figure is the mean over seeds; its interval of 95% draws tasks
anew. *top-1*: the marked step has the lowest score; *top-3*: it is among the lowest three. *silver*: a machine's marks,
of failed runs that no person judged. Nobody tells the scorer which tools change state; the rules that speak of writing
calls are told."""


def page(rows: Sequence[dict], *, human: bool) -> str:
    """Return the tables; people's marks are read where `human` says so."""
    retail, airline = load(RETAIL), load(AIRLINE)
    by_way: dict[str, list[dict]] = {}
    for row in rows:
        by_way.setdefault(row["way"], []).append(row)
    kinds = {name: kind for name, kind in KINDS.items() if human or kind == "silver"}
    counts = ", ".join(f"{len(marked(retail, kind))} {name}" for name, kind in kinds.items())
    command = "python -m benchmarks.agents --seeds 5, then python -m benchmarks.agents --page"
    lines = ["# Which step broke the run", "", setting(command + " --human" * human), ""]
    lines += [*ABOUT.splitlines(), f"Marked steps of retail: {counts}.", ""]
    lines += _steps(retail, airline, by_way, kinds)
    lines += _learning_curve(retail, by_way)
    lines += _missing(retail, by_way)
    lines += _picking(retail, airline, by_way)
    return "\n".join(lines) + "\n"


def _steps(retail: list[Response], airline: list[Response], by_way: dict, kinds: dict[str, str]) -> list[str]:
    heads = [f"{name} {top}" for name in kinds for top in ("top-1", "top-3")]
    lines = [
        "| way | seeds | " + " | ".join([*heads, "AUC of outcomes"]) + " |",
        "|---|---:" + "|---:" * (len(heads) + 1) + "|",
    ]
    for name, scores in rules(retail).items():
        cells = [_told(rate) for kind in kinds.values() for rate in hit_rates(retail, [lowest_three(scores)], kind)]
        lines.append(f"| rule: {name} | – | {' | '.join(cells)} | – |")
    for way, rows in by_way.items():
        if "of the tasks" in way:
            continue
        runs = airline if way == "transfer to airline" else retail
        lowest = [_lowest(runs, row) for row in rows]
        cells = []
        for kind in kinds.values():
            some = bool(marked(runs, kind))
            cells += [_told(rate) for rate in hit_rates(runs, lowest, kind)] if some else ["–", "–"]
        blind = way.startswith(("score", "transfer"))  # elsewhere the outcome is known, and there is nothing to tell
        auc = _told(outcome_auc(runs, [row["outcomes"] for row in rows])) if blind else "–"
        lines.append(f"| **{way}** | {len(rows)} | {' | '.join(cells)} | {auc} |")
    return [*lines, ""]


def _lowest(runs: Sequence[Response], row: dict) -> list[list[int]]:
    return [row["lowest"].get(run.id, [-1]) for run in runs]


def _learning_curve(retail: list[Response], by_way: dict) -> list[str]:
    lines = [
        "## How many rated tasks it takes",
        "",
        "Silver marks of the rated tasks; all of a task's runs are rated.",
        "",
    ]
    lines += ["| rated | seeds | top-1 | top-3 |", "|---|---:|---:|---:|"]
    for way, rows in by_way.items():
        if "of the tasks" in way:
            rates = []
            for row in rows:
                rated = [run for run in retail if run.id in row["lowest"]]
                rates.append([rate[0] for rate in hit_rates(rated, [_lowest(rated, row)], "silver")])
            lines.append(f"| {way} | {len(rows)} | {' | '.join(_spread(column) for column in np.transpose(rates))} |")
    rows = by_way.get("disaggregate", [])
    rates = [[rate[0] for rate in hit_rates(retail, [_lowest(retail, row)], "silver")] for row in rows]
    lines.append(f"| all tasks | {len(rows)} | {' | '.join(_spread(column) for column in np.transpose(rates))} |")
    return [*lines, "", "In brackets: the lowest and the highest seed (and choice of tasks).", ""]


def _missing(retail: list[Response], by_way: dict) -> list[str]:
    failed = [run for run in retail if run.label == 0]
    lines = [
        "## Something is missing",
        "",
        "Which failures get the answer that something is missing, by `run_verdicts`.",
        "",
    ]
    lines += ["| failures | runs | share with the answer |", "|---|---:|---:|"]
    for name, wanted in (("without a wrong step (silver)", True), ("with one", False)):
        places = [at for at, run in enumerate(failed) if (run.extra["meta"]["silver_step"] is None) == wanted]
        said = np.mean([np.isin(places, row["missing"]) for row in by_way.get("disaggregate", [])], axis=0)
        groups = [str(failed[at].group) for at in places]
        rate = with_interval(groups, lambda weights, said=said: float(weights @ said / max(weights.sum(), 1)))
        lines.append(f"| {name} | {len(places)} | {_told(rate)} |")
    return [*lines, ""]


def _picking(retail: list[Response], airline: list[Response], by_way: dict) -> list[str]:
    lines = ["## Picking one of several runs of a task", "", "The share of tasks whose picked run passes.", ""]
    picks = ("by score", "at random", "the shortest", "the best there is")
    lines += [f"| way | {' | '.join(picks)} |", "|---" + "|---:" * len(picks) + "|"]
    for way, rows in by_way.items():
        if way.startswith(("score", "transfer")):
            runs = airline if way == "transfer to airline" else retail
            rates = best_of_runs(runs, [row["outcomes"] for row in rows])
            lines.append(f"| {way} | {' | '.join(_told(rates[pick]) for pick in picks)} |")
    return [*lines, ""]


def _told(rate: Sequence[float]) -> str:
    return f"{rate[0]:.3f} [{rate[1]:.2f}, {rate[2]:.2f}]"


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} [{np.min(values):.2f}, {np.max(values):.2f}]"
