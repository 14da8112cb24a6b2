"""`fractal fetch`: the official files of a published data set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import click

from fractal.cli._command import subcommand
from fractal.cli._options import json_option, quiet_option
from fractal.cli._output import emit, note, print_json, table
from fractal.cli._progress import ProgressReporter

__all__ = ["command"]


@subcommand(
    "fetch",
    "fractal fetch prm800k -o data/prm800k",
    "fractal fetch wikicatsum --from ~/Downloads/wikicatsum -o data/wikicatsum",
)
@click.argument("name", required=False)
@click.option("-o", "--output", metavar="FOLDER", help="Where the files go.  [default: data/NAME]")
@click.option("--from", "from_folder", metavar="FOLDER", help="Files that were got by hand, in place of the network.")
@click.option("--base-url", metavar="URL", help="A mirror that has the same files.")
@click.option("--only", multiple=True, metavar="FILE", help="One of the files alone. Repeatable.")
@quiet_option
@json_option
def command(
    name: str | None,
    output: str | None,
    from_folder: str | None,
    base_url: str | None,
    only: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Fetch the official files of a published data set, or list the sets that are known.

    What was broken off goes on where it stopped; a file appears when it is complete and its checksum is right.
    """
    from fractal.datasets.fetch import SOURCES, fetch

    if name is None:
        rows = [(label, source.licence, source.by_hand or source.base) for label, source in SOURCES.items()]
        if as_json:
            print_json([dict(zip(("name", "licence", "from"), row, strict=True)) for row in rows])
        else:
            table("", ("name", "licence", "from"), rows)
        return
    with _progress_of_files(quiet) as report:
        paths = fetch(
            name, output or f"data/{name}", from_folder=from_folder, base_url=base_url, only=only, report=report
        )
    if as_json:
        print_json([str(path) for path in paths])
        return
    for path in paths:
        emit(str(path))
    note(f"Licence: {SOURCES[name].licence}. Read it with `--reader {name}`; see `fractal list readers`.", quiet)


@contextlib.contextmanager
def _progress_of_files(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far each file is."""
    reporters: dict[str, ProgressReporter] = {}
    with contextlib.ExitStack() as stack:

        def report(name: str, done: int, total: int) -> None:
            if name not in reporters:
                stack.close()
                reporters[name] = stack.enter_context(ProgressReporter(f"bytes of {name}", quiet))
            reporters[name](done, total)

        yield report
