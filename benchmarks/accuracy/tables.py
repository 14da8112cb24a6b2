"""The tables of a study: means over seeds, a row a set, a column a method; differences with intervals; a plot."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np

CEILING, OURS, AUTO = "supervised", "default", "auto"
BEATEN = ("cosine", "inherit", "response level", "bag loss only", "paper")
MACHINE = "AMD EPYC, 2 cores"  # of rows that do not say
OLDER = (
    "before responses were grouped by query and context, before sentence scores were drawn to their response's mean "
    "where ratings ask for it, and with `realsumm_scu` judged on 15 of its 362 test responses"
)
GOLD = {"default, 10% gold": 0.985, "default, 2% gold": 0.98}  # of full supervision, that are wanted
TABLES = (
    ("score", "auc", "Score: sentence ROC AUC"),
    ("score", "within", "Score: within-response ROC AUC"),
    ("score", "ap", "Score: average precision"),
    ("score", "worst", "Score: the worst sentence is truly bad"),
    ("score", "response", "Score: response pairs in order"),
    ("disaggregate", "auc", "Disaggregate: sentence ROC AUC (of others: their score × the response's label)"),
    ("disaggregate", "agree", "Disaggregate: responses whose hard sentence labels agree with their label"),
    ("", "cpu_s", "Processor seconds of a run, vectors at hand"),
)


class Study:
    """The rows of a study, by set and method."""

    def __init__(self, rows: list[dict]) -> None:
        self.rows = rows
        self.methods = sorted({row["method"] for row in rows}, key=_order)
        self.sets = list(dict.fromkeys(row["set"] for row in rows))
        self.seeds = sorted({row["seed"] for row in rows})

    def values(self, name: str, method: str, setting: str, key: str) -> list:
        """Return what was found under each seed."""
        own = [row for row in self.rows if row["set"] == name and row["method"] == method]
        found = [(row.get(setting, {}) if setting else row).get(key) for row in own]
        return [value for value in found if value is not None]

    def mean(self, name: str, method: str, setting: str, key: str) -> float:
        """Return the mean over seeds; nan where nothing was run."""
        found = self.values(name, method, setting, key)
        return float(np.mean(found)) if found else np.nan

    def macro(self, methods: list[str], method: str, key: str = "auc") -> float:
        """Return the macro-average of one method over the sets that all these have."""
        return float(np.nanmean([self.mean(n, method, "score", key) for n in self.shared(methods, "score", key)]))

    def shared(self, methods: list[str], setting: str, key: str) -> list[str]:
        """Return the sets on which all these methods have a value."""
        return [n for n in self.sets if not any(np.isnan(self.mean(n, m, setting, key)) for m in methods)]


def write_tables(rows: list[dict], path: Path, most: int | None) -> None:
    """Write every table of a study as Markdown, and its plot beside it."""
    import torch

    study = Study(rows)
    parts = [
        "# Accuracy on real data",
        "",
        f"Means over {len(study.seeds)} seeds (± their standard deviation; two for `attention` and the paper without a "
        "part) on the test splits; training on train and valid"
        + (f", at most {most} responses of each set" if most else "")
        + ". Only `supervised` and the methods "
        "with `gold` see sentence labels. Nothing is set per data set but its stated aggregation.",
        "",
        f"Encoder: {_told(rows, 'encoder', 'minilm')}. Machine: {_told(rows, 'machine', MACHINE)}, one thread a run; "
        f"Python {platform.python_version()}, torch {torch.__version__}. "
        f"Command: `python -m benchmarks.accuracy{f' --most {most}' if most else ''}`, "
        f"{sum(row['cpu_s'] for row in rows) / 60:.0f} minutes of processor time from cached vectors.",
        "",
        *_dates(study),
        *_honest(study),
        *_first_errors(study),
        *_goals(study),
        *_claims(study),
    ]
    for setting, key, title in TABLES:
        parts += [f"## {title}", "", *_table(study, setting, key), ""]
    path.write_text("\n".join(parts), encoding="utf-8")
    _plot(study, path.with_suffix(".png"))
    print(f"wrote {path}", flush=True)


def _told(rows: list[dict], key: str, usual: str) -> str:
    """Return what rows say of how they were measured, each once."""
    return ", ".join(dict.fromkeys(str(row.get(key, usual)) for row in rows))


def _order(method: str) -> tuple[int, str]:
    first = (CEILING, OURS, AUTO, "default, 10% gold", "default, 2% gold", *BEATEN)
    return (first.index(method) if method in first else len(first), method)


def _honest(study: Study) -> list[str]:
    """Write the rule given and auto side by side, as shares of supervision, and of what it has above chance."""
    methods = [CEILING, OURS, AUTO]
    sets = study.shared(methods[:2], "score", "auc")
    if not sets:
        return []
    rows = [
        ([study.mean(name, m, "score", key) for key in ("auc", "within") for m in methods], f"{name}") for name in sets
    ]
    rows.append((np.mean([values for values, _ in rows], axis=0).tolist(), f"**macro**, {len(sets)} sets"))
    lines = [
        "## What a user gets: the rule given, and auto",
        "",
        "Sentence ROC AUC, as a share of full supervision, and as a share of what supervision has above chance, "
        "(AUC − .5) / (supervised − .5); then ROC AUC inside responses. Sets of preferences leave `auto` nothing to "
        "choose.",
        "",
        "| set | supervised | rule given | auto | share, rule | share, auto | above chance, rule | above chance, auto "
        "| within: supervised | rule given | auto |",
        "|---|" + "---:|" * 10,
    ]
    for (top, rule, auto, *within), name in rows:
        shares = [f"{value / top:.1%}" for value in (rule, auto)]
        shares += [f"{(value - 0.5) / (top - 0.5):.1%}" for value in (rule, auto)]
        areas = [f"{value:.3f}" for value in (top, rule, auto)]
        lines.append(f"| {name} | " + " | ".join([*areas, *shares, *(f"{value:.3f}" for value in within)]) + " |")
    lines = [line.replace("nan%", "–").replace("nan", "–") for line in lines]
    judged = study.shared(methods, "score", "auc")
    return [*lines, "", *(_lead(study, judged) if judged else [f"`{AUTO}` was not run."]), ""]


def _dates(study: Study) -> list[str]:
    """Say when each method was measured; what has no date is older than today's defaults."""
    dates = {
        method: sorted({row.get("date", "") for row in study.rows if row["method"] == method})
        for method in study.methods
    }
    old = [method for method, days in dates.items() if "" in days]
    dated = [f"{method} {' to '.join(dict.fromkeys((days[0], days[-1])))}" for method, days in dates.items() if days[0]]
    lines = [f"Measured: {', '.join(dated)}."] if dated else []
    if old:
        lines.append(f"Measured up to 25 November 2026, {OLDER}: {', '.join(old)}.")
    return [*lines, ""]


def _lead(study: Study, sets: list[str]) -> list[str]:
    """Say by how much auto stands above each method that is to be beaten, with intervals by test response."""
    lines = ["`auto` less each other method, macro-averages with 95% intervals by resampled test responses:", ""]
    for method in (m for m in BEATEN if m in study.methods):
        own = [n for n in sets if study.values(n, method, "score", "auc")]
        gaps = (f"{word} {_gap(study, method, own, key, AUTO)}" for key, word in (("auc", "AUC"), ("within", "within")))
        lines.append(f"- {method}, {len(own)} sets: {', '.join(gaps)}")
    return lines


def _first_errors(study: Study) -> list[str]:
    """Write what place does not tell: sets whose labels end at the first error, judged on wrong solutions alone."""
    sets = [name for name in study.sets if any(study.values(name, m, "score", "f1") for m in study.methods)]
    if not sets:
        return []
    lines = [
        "## First errors, without what place tells",
        "",
        "Only right solutions have labels at their ends, so over all of them a step's place tells of its label. "
        "ROC AUC over all solutions, over the steps of wrong ones alone, and the F1 of finding the first error "
        "(steps below ½).",
        "",
        "| method | " + " | ".join(f"{name}: all | wrong ones | F1" for name in sets) + " |",
        "|---|" + "---:|" * (3 * len(sets)),
    ]
    for method in study.methods:
        cells = [_cell(study.values(n, method, "score", key), 3) for n in sets for key in ("auc", "auc_wrong", "f1")]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _goals(study: Study) -> list[str]:
    """What the defaults were to reach, and what they reach."""
    if not {OURS, CEILING, "copy", *GOLD, *BEATEN} <= set(study.methods):
        return []
    lines = ["## Goals", ""]
    for method, wanted in ((OURS, 0.97), *GOLD.items()):
        ours, its = (study.macro([method, CEILING], m) for m in (method, CEILING))
        lines.append(
            f"- {method}: {ours / its:.2%} of full supervision ({ours:.3f} of {its:.3f}); wanted {wanted:.1%}."
        )
    lead = study.macro([OURS, "paper"], OURS) - study.macro([OURS, "paper"], "paper")
    lines.append(f"- Above the paper's recipe: {lead:+.3f}; wanted +0.10.")
    behind = []
    for name in study.sets:
        best = max(BEATEN, key=lambda method: study.mean(name, method, "score", "auc"))
        gap = study.mean(name, OURS, "score", "auc") - study.mean(name, best, "score", "auc")
        behind += [f"{name}, {_gap(study, best, [name], 'auc')} to {best}"] if gap < -0.01 else []
    lines.append(f"- More than 0.01 below the best of {', '.join(BEATEN)}: {'; '.join(behind) or 'on no set'}.")
    for key, words in (("auc", "sentence AUC"), ("within", "within-response AUC")):
        not_above = [m for m in BEATEN if study.macro([OURS, m], OURS, key) <= study.macro([OURS, m], m, key)]
        lines.append(f"- Macro-average {words} not above: {', '.join(not_above) or 'none of them'}.")
    rated = study.shared([OURS], "disaggregate", "agree")
    gaps = {n: np.subtract(*(study.mean(n, m, "disaggregate", "auc") for m in (OURS, "copy"))) for n in rated}
    least = min(gaps, key=lambda name: gaps[name])
    agree = min(study.mean(name, OURS, "disaggregate", "agree") for name in rated)
    lines.append(
        f"- Disaggregate above copying by {np.mean(list(gaps.values())):+.3f}, least on {least} ({gaps[least]:+.3f}); "
        f"wanted +0.05, and above on every set. Hard labels agree with {agree:.1%} of the response labels or more."
    )
    return [*lines, ""]


def _claims(study: Study) -> list[str]:
    """Differences between the default and each other method, by draws of test responses that both share."""
    if OURS not in study.methods:
        return []
    lines = [
        "## The default beside each other method",
        "",
        "Macro-averages over the sets that both have; differences with 95% intervals by resampling test responses,",
        "the same draws for both; the worst set is the one on which the default is furthest behind.",
        "",
        "| method | sets | its AUC | default − it | its within | default − it | default / it | worst set |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for method in (m for m in study.methods if m != OURS):
        sets = study.shared([method, OURS], "score", "auc")
        if not sets:
            continue
        gaps = {n: study.mean(n, OURS, "score", "auc") - study.mean(n, method, "score", "auc") for n in sets}
        worst = min(gaps, key=lambda name: gaps[name])
        its, ours = (np.mean([study.mean(n, m, "score", "auc") for n in sets]) for m in (method, OURS))
        inside = np.nanmean([study.mean(n, method, "score", "within") for n in sets])
        lines.append(
            f"| {method} | {len(sets)} | {its:.3f} | {_gap(study, method, sets, 'auc')} | {inside:.3f} "
            f"| {_gap(study, method, sets, 'within')} | {ours / its:.1%} | {worst} {gaps[worst]:+.3f} |"
        )
    return [*lines, ""]


def _gap(study: Study, method: str, sets: list[str], key: str, over: str = OURS) -> str:
    means, draws = [], []
    for name in sets:
        means.append(study.mean(name, over, "score", key) - study.mean(name, method, "score", key))
        ours, its = (
            np.mean(np.array(study.values(name, m, "score", f"{key}_drawn"), dtype=float), axis=0)
            for m in (over, method)
        )
        draws.append(ours - its)
    low, high = np.nanpercentile(np.mean(draws, axis=0), [2.5, 97.5])
    return f"{np.mean(means):+.3f} [{low:+.3f}, {high:+.3f}]"


def _table(study: Study, setting: str, key: str) -> list[str]:
    digits = 0 if key == "cpu_s" else 3
    methods = [m for m in study.methods if any(study.values(n, m, setting, key) for n in study.sets)]
    lines = ["| set | " + " | ".join(methods) + " |", "|---|" + "---:|" * len(methods)]
    for name in study.sets:
        cells = [_cell(study.values(name, method, setting, key), digits) for method in methods]
        if set(cells) != {"–"}:
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    whole = study.shared(methods, setting, key)
    if len(whole) > 1:
        macro = [np.mean([study.mean(name, method, setting, key) for name in whole]) for method in methods]
        lines.append(f"| **macro**, {len(whole)} sets | " + " | ".join(f"**{v:.{digits}f}**" for v in macro) + " |")
    return lines


def _cell(values: list, digits: int) -> str:
    if not values or np.isnan(values).all():
        return "–"
    spread = np.std(values)
    return f"{np.mean(values):.{digits}f}" + (f" ± {spread:.{digits}f}" if digits and spread >= 0.0005 else "")


def _plot(study: Study, path: Path) -> None:
    """Draw each set's AUC under the main methods, sets in order of the ceiling."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [m for m in (CEILING, OURS, *BEATEN) if m in study.methods]
    by = CEILING if CEILING in shown else shown[0]
    sets = sorted(study.sets, key=lambda name: np.nan_to_num(study.mean(name, by, "score", "auc"), nan=2.0))
    figure, axes = pyplot.subplots(figsize=(8, 0.36 * len(sets) + 1.4), layout="constrained")
    markers = dict(zip((CEILING, OURS, *BEATEN), "|osD^vx", strict=False))
    for method in shown:
        values = [study.mean(name, method, "score", "auc") for name in sets]
        main = method in (CEILING, OURS)
        axes.plot(
            values, range(len(sets)), markers[method], label=method, markersize=9 if main else 5,
            color={CEILING: "black", OURS: "#0072b2"}.get(method), alpha=1.0 if main else 0.65, zorder=3 if main else 2,
        )  # fmt: skip
    axes.set_yticks(range(len(sets)), sets)
    axes.set_xlabel("sentence ROC AUC on test responses")
    axes.axvline(0.5, color="0.8", zorder=1)
    axes.grid(axis="x", color="0.92")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
