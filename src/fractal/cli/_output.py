"""Where results and messages go: files written beside and renamed, tables on a terminal, plain text elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from fractal.jsonable import jsonable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "emit", "note", "print_json", "table", "target_of", "whole_file", "whole_stream"]

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
        click.echo(text, err=True)


def emit(text: str) -> None:
    """Print a line of results."""
    click.echo(text)


def print_json(value: Any, stderr: bool = False) -> None:
    """Print plain values as JSON; what is undefined is null."""
    click.echo(json.dumps(jsonable(value), indent=2, ensure_ascii=False, default=str), err=stderr)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], stderr: bool = False) -> None:
    """Print a table; numbers stand right. Names and values, where the first column has no name, need no head."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    rendered = Table(
        title=Text(title, "bold") if title else None,  # as text: an aspect's name is no markup
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_header=bool(head[0]),
    )
    for place, name in enumerate(head):
        numeric = bool(rows) and all(_numeric(row[place]) for row in rows)
        rendered.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        rendered.add_row(*(Text(cell) for cell in row))
    console(stderr).print(rendered)


def _numeric(cell: str) -> bool:
    return cell.strip("+-–%").replace(",", "").replace(".", "").isdigit() or cell in ("", "–")


def target_of(output: str) -> str | IO[bytes]:
    """Return where a library writes: stdout as a stream for `-`, so that a reader who goes away ends the command."""
    return sys.stdout.buffer if output == "-" else output


@contextlib.contextmanager
def whole_file(path: str, suffix: str = "") -> Iterator[Path]:
    """Give a path beside the target; what is written there becomes the target at the end, or vanishes on an error."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name}-", suffix=suffix or "".join(target.suffixes[-2:]), dir=target.parent
    )
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644 if not target.exists() else target.stat().st_mode & 0o777)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_stream(path: str) -> Iterator[IO[bytes]]:
    """Give a stream of bytes: stdout for `-`, else a file that appears when it is complete."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with whole_file(path) as beside, beside.open("wb") as stream:
            yield stream
