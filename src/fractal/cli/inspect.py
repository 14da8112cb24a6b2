"""`fractal inspect`: what is in a file of responses, and what in it would mislead a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from fractal.cli._command import subcommand
from fractal.cli._options import Reading, json_option, quiet_option, reading_options
from fractal.cli._output import emit, print_json, table
from fractal.cli._survey import Survey, leaks, survey

__all__ = ["command"]

FOUND_BAD = 1


@subcommand(
    "inspect",
    "fractal inspect ratings.jsonl",
    "fractal inspect train.jsonl valid.jsonl test.jsonl --strict",
)
@click.argument("sources", nargs=-1, required=True, metavar="DATA...")
@click.option("--strict", is_flag=True, help="Exit with 1 where anything suspicious was found.")
@click.option("-n", "--limit", default=5, show_default=True, help="Suspicious rows to show of each kind.")
@reading_options
@json_option
@quiet_option
def command(sources: tuple[str, ...], strict: bool, limit: int, as_json: bool, quiet: bool, reading: Reading) -> int:
    """Say what is in files, and what in them would mislead.

    Counts, label balance, lengths, duplicates, suspicious rows, as one text with opposite labels, and checks of what
    training rests on, as labels that length alone gives away. Leaks are looked for between every two files given: the
    same response, or the same query or group on both sides. Wrong records stop it; with --on-error reject they are
    counted.
    """
    surveys = [survey(source, reading) for source in sources]
    crossings = leaks(surveys)
    suspicious = sum(len(found) for one in surveys for found in one.suspicious.values()) + len(crossings)
    checks = [one.checks() for one in surveys]
    failed = any(finding.verdict != "ok" for found in checks for finding in found)
    if as_json:
        files = [
            {**one.facts(), "checks": [finding.to_dict() for finding in found]}
            for one, found in zip(surveys, checks, strict=True)
        ]
        print_json({"files": files, "leaks": crossings, "suspicious": suspicious})
    elif not quiet:
        for one, found in zip(surveys, checks, strict=True):
            _show(one, limit)
            rows = [(finding.verdict, finding.name, finding.sentence) for finding in found]
            if rows:
                table("Checks of the assumptions", ("verdict", "check", "what it says"), rows)
        _show_leaks(sources, crossings)
    return FOUND_BAD if strict and (suspicious or failed) else 0


def _show(one: Survey, limit: int) -> None:
    emit(str(one.report))
    table("", ("", "value"), [(name, _written(value)) for name, value in one.numbers().items()])
    _show_labels("Labels of responses", one.labels)
    for aspect, counts in sorted(one.aspects.items()):
        _show_labels(f"Labels of the aspect {aspect}", counts)
    for kind, found in one.suspicious.items():
        if found:
            more = f" (the first {limit})" if len(found) > limit else ""
            table(f"{kind}: {len(found):,}{more}", ("id", "what"), found[:limit])
    if not any(one.suspicious.values()):
        emit("Nothing suspicious." if one.sentences else "There is nothing in it.")


def _show_labels(title: str, counts: Mapping[str, int]) -> None:
    if counts:
        total, most = sum(counts.values()), max(counts.values())
        rows = [
            (label, f"{count:,}", f"{count / total:.0%}", "█" * max(1, round(30 * count / most)))
            for label, count in sorted(counts.items())
        ]
        table(title, ("label", "count", "share", ""), rows)


def _show_leaks(sources: Sequence[str], crossings: Iterable[dict[str, Any]]) -> None:
    rows = [
        (found["first"], found["second"], found["what"], f"{found['count']:,}", found["example"]) for found in crossings
    ]
    if rows:
        table("Leaks between files", ("first", "second", "what", "count", "for example"), rows)
    elif len(sources) > 1:
        emit("No leaks between the files.")


def _written(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}" if isinstance(value, float) else str(value)
