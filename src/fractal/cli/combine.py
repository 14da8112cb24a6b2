"""`fractal combine`: votes of several weak judges become one label a response, a pair or an aspect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._command import subcommand
from fractal.cli._options import json_option, pairs_of, quiet_option
from fractal.cli._output import note, print_json, target_of
from fractal.errors import BadData, BadSpec

if TYPE_CHECKING:
    from fractal.evaluation.weak_votes import WeakLabels

__all__ = ["command"]


@subcommand(
    "combine",
    "fractal combine votes.csv --votes ann,bob,model -o rated.jsonl",
    "fractal combine votes.jsonl --aspect factual=ann,bob,cy --aspect helpful=dan,eve,fay -o rated.jsonl",
)
@click.argument("source", default="-")
@click.option("-o", "--output", default="-", show_default=True, metavar="FILE")
@click.option(
    "--votes", multiple=True, metavar="COLUMN,…", help="A column a judge, or one that holds votes by judge. Repeatable."
)
@click.option("--aspect", "aspects", multiple=True, metavar="NAME=COLUMN,…", help="Judges of one aspect. Repeatable.")
@click.option("--levels", type=click.IntRange(2), metavar="K", help="Votes are levels 0 … K−1; the label is one too.")
@click.option("--pairs", is_flag=True, help="A row compares two responses; votes are a, b or tie (1, 0 or 0.5).")
@click.option("--reader", default="auto", metavar="SPEC", help="How the file is read; see `fractal list readers`.")
@click.option("--seed", default=0, show_default=True, help="Of the resamples behind the judges' intervals.")
@quiet_option
@json_option
def command(
    source: str,
    output: str,
    votes: tuple[str, ...],
    aspects: tuple[str, ...],
    levels: int | None,
    pairs: bool,
    reader: str,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Weigh weak judges by how well they foretell one another, and give every row one label; then train as usual.

    A judge that is surely near chance is dropped, one that contradicts the others is turned around, and it is said.
    Rows come out as they were read, with `label`, with `preference`, or with `aspects`; a row without votes that count
    keeps what it has. Judges that copy each other look right: leave out one of two that share a model.
    """
    from fractal.evaluation.weak_votes import label_levels, label_pairs, label_scores, vote_table

    if bool(votes) == bool(aspects):
        raise BadSpec("give --votes with the columns of judges, or --aspect NAME=COLUMN,… for each aspect")
    if pairs and (levels or aspects):
        raise BadSpec("--pairs says which of two responses is better: it goes without --levels and without --aspect")
    judges = {name: _columns((text,)) for name, text in pairs_of(aspects, "--aspect", "factual=ann,bob").items()}
    rows = _rows(source, reader)
    results = {}
    for name, columns in (judges or {"": _columns(votes)}).items():
        table, names = vote_table(rows, columns)
        if pairs:
            weak = label_pairs(table, names, seed)
        elif levels:
            weak = label_levels(table, names, levels, seed)
        else:
            weak = label_scores(table, names, seed)
        results[name] = weak
        for line in weak.report:
            note(f"{name}: {line}" if name else line, quiet)
    _write(rows, results, "preference" if pairs else "label", output)
    missing = sum(all(weak.labels[place] is None for weak in results.values()) for place in range(len(rows)))
    note(f"{len(rows) - missing:,} of {len(rows):,} rows labelled", quiet)
    if as_json:
        print_json(_summary(results, len(rows), missing), stderr=output == "-")


def _columns(texts: Sequence[str]) -> list[str]:
    return [column.strip() for text in texts for column in text.split(",") if column.strip()]


def _rows(source: str, reader: str) -> list[dict[str, Any]]:
    """Return the rows of a file as they are written."""
    from fractal.readers import READERS
    from fractal.readers.sniffing import guess_reader
    from fractal.readers.sources import BadRow, reopenable

    opened = reopenable(source)
    chosen = guess_reader(opened) if reader == "auto" else READERS.build(reader)
    rows = []
    for row in chosen.rows(opened):
        if isinstance(row, BadRow):
            raise BadData(f"{source}, row {row.line}: {row.error}")
        rows.append(dict(row.fields))
    if not rows:
        raise BadData(f"{source} holds no row: give responses with the votes of judges")
    return rows


def _write(rows: Sequence[dict[str, Any]], results: dict[str, WeakLabels], field: str, output: str) -> None:
    """Write the rows as JSON lines, with what the judges say."""
    from fractal.files import open_target
    from fractal.writers.jsonl import encoded

    with open_target(target_of(output)) as stream:
        for place, row in enumerate(rows):
            labels = {name: weak.labels[place] for name, weak in results.items() if weak.labels[place] is not None}
            if "" in labels:
                row = {**row, field: labels[""]}
            elif labels:
                row = {**row, "aspects": {**(row.get("aspects") or {}), **labels}}
            stream.write(encoded(row) + b"\n")


def _summary(results: dict[str, WeakLabels], rows: int, missing: int) -> dict[str, Any]:
    judges = [
        {
            "aspect": name,
            "judge": judge.name,
            "accuracy": judge.accuracy,
            "votes": judge.votes,
            "dropped": judge.dropped,
        }
        for name, weak in results.items()
        for model in weak.models
        for judge in model.judges
    ]
    return {"rows": rows, "labelled": rows - missing, "judges": judges}
