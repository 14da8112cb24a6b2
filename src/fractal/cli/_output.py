"""Where results and messages go: tables on a terminal, plain text elsewhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from fractal.jsonable import jsonable
from fractal.printable import visible, visible_lines

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "emit", "note", "print_json", "table", "target_of"]

PLAIN_WIDTH = 120  # of tables where there is no terminal to ask


def console(stderr: bool = False) -> Console:
    """Return a console that colours on a terminal alone; `NO_COLOR` and `FORCE_COLOR` are heeded."""
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:  # rich would end with 1: here that means found wanting
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Ours(file=stream, width=width, highlight=False)


def note(text: str = "", quiet: bool = False) -> None:
    """Say something on stderr."""
    if not quiet:
        click.echo(visible_lines(text), err=True)


def emit(text: str) -> None:
    """Print a line of results."""
    click.echo(visible_lines(text))


def print_json(value: Any, stderr: bool = False) -> None:
    """Print plain values as JSON; what is undefined is null."""
    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False, default=str)
    if visible_lines(text) != text:  # JSON can say the same in plain signs
        text = json.dumps(jsonable(value), indent=2, default=str).replace("\x7f", "\\u007f")
    click.echo(text, err=stderr)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], stderr: bool = False) -> None:
    """Print a table; numbers stand right. Names and values, where the first column has no name, need no head."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    rendered = Table(
        title=Text(visible(title), "bold") if title else None,  # as text: an aspect's name is no markup
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_header=bool(head[0]),
    )
    for place, name in enumerate(head):
        numeric = bool(rows) and all(_numeric(row[place]) for row in rows)
        rendered.add_column(Text(visible(name)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        rendered.add_row(*(Text(visible_lines(cell)) for cell in row))
    console(stderr).print(rendered)


def _numeric(cell: str) -> bool:
    return cell.strip("+-–%").replace(",", "").replace(".", "").isdigit() or cell in ("", "–")


def target_of(output: str) -> str | IO[bytes]:
    """Return where a library writes: stdout as a stream for `-`, so that a reader who goes away ends the command."""
    return sys.stdout.buffer if output == "-" else output
