"""Is it good enough? What a summary of training comes to, in a few plain sentences at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["marked", "verdict"]

FEW = 50  # rated responses; below, figures say little
CHANCE, GOOD = 0.6, 0.75  # held-out AUC: hardly better than chance below, useful above
ORDER = {"ok": 0, "warn": 1, "fail": 2}
MARKS = {"ok": "ok", "warn": "! warn", "fail": "✗ fail"}


def marked(checks: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return rows of checks, marked, those that matter last, where they are read."""
    ordered = sorted(checks, key=lambda check: ORDER[check["verdict"]])
    return [(MARKS[check["verdict"]], check["name"], check["sentence"]) for check in ordered]


def verdict(summary: Mapping[str, Any]) -> list[str]:
    """Say whether the scorer is good enough to use, by what held-out labels and the checks say."""
    areas = {name: value for name, value in summary["held out"].items() if name.endswith(("AUC", "accuracy", "dance"))}
    lines = [_of_area(name, value) for name, value in areas.items()]
    if not areas:
        lines.append(
            "Is it good enough? Nothing was held out, so nothing is known: keep responses apart, as --valid DATA."
        )
    counts = {
        name: int(value) for name, value in summary["data"].items() if name.endswith(("responses", "preferences"))
    }
    rated = max((value for name, value in counts.items() if name.endswith("labelled responses")), default=0)
    compared = counts.get("preferences", 0)
    if max(rated, compared) < FEW:
        what = f"{compared} answers are compared" if compared > rated else f"{rated} responses are rated"
        more = "Compare more." if compared > rated else "Rate more, bad ones too."
        lines.append(f"Only {what}: figures of fewer than {FEW} say little. {more}")
    lines += [curve for curve in summary.get("learning curves", {}).values() if curve]
    lines += [
        check["sentence"]
        for check in summary["checks"]
        if check["name"] == "aggregation" and check["verdict"] == "warn"
    ]
    failed = [check["name"] for check in summary["checks"] if check["verdict"] == "fail"]
    if failed:
        lines.append(f"Look first at what fails: {', '.join(failed)}.")
    return lines


def _of_area(name: str, value: float) -> str:
    told = f"{name} {value:.3f}, where 0.5 is chance"
    if value < CHANCE:
        return f"Is it good enough? No: {told}. See docs/first-hour.md, Troubleshooting."
    if value < GOOD:
        return f"Is it good enough? Hardly: {told}. Use it to sort, not to decide."
    return f"Is it good enough? As far as labels of whole responses tell, yes: {told}. Label some sentences to be sure."
