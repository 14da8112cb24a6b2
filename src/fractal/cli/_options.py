"""The options that several commands share: how data are read, and how much is said."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._output import note
from fractal.errors import BadSpec
from fractal.files import same_file

if TYPE_CHECKING:
    from fractal.readers import ReadReport, RejectsFile
    from fractal.records import Preference, Response, ScoredResponse

__all__ = ["ReadOptions", "json_option", "pairs_of", "quiet_option", "reading_options", "scored_options"]

Function = Callable[..., Any]

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How records are read: the options of `fractal.readers.read`, as they were given."""

    reader: str = "auto"
    column: tuple[str, ...] = ()
    splitter: str = "sentences"
    scale: str | None = None
    levels: int | None = None
    on_error: str = "raise"
    rejects: str | None = None
    reports: list[ReadReport] = dataclasses.field(default_factory=list, init=False, compare=False)  # one a source

    @property
    def columns(self) -> Mapping[str, str]:
        """Fields by the columns that hold them."""
        return pairs_of(self.column, "--column", "response=answer")

    @functools.cached_property
    def rejects_file(self) -> RejectsFile | None:
        """The file of rejected records, one for all sources of a command."""
        from fractal.readers import RejectsFile

        return None if self.rejects is None else RejectsFile(self.rejects)

    @property
    def rejected(self) -> int:
        """How many records were left out so far."""
        return sum(report.rejected for report in self.reports)

    def tell_rejected(self) -> None:
        """Say of every source how many of its records were left out, and why the first one was."""
        for report in self.reports:
            if report.rejected:
                where = f"; they are in {self.rejects}" if self.rejects else ""
                first = next(iter(report.examples.values()), "")
                note(f"{report.source}: {report.rejected:,} records left out, {report.read:,} read; {first}{where}")

    def records(
        self, source: str, report: ReadReport | None = None, splitter: str | None = None
    ) -> Iterator[Response | Preference]:
        """Yield responses and preferences."""
        from fractal.readers import read

        return read(source, self.reader, **self._common(report), splitter=splitter or self.splitter)

    def responses(
        self, source: str, report: ReadReport | None = None, splitter: str | None = None
    ) -> Iterator[Response]:
        """Yield responses; of a preference both, the better one first."""
        from fractal.records import Preference

        for record in self.records(source, report, splitter):
            if isinstance(record, Preference):
                yield record.better
                yield record.worse
            else:
                yield record

    def scored(self, source: str, report: ReadReport | None = None) -> Iterator[ScoredResponse]:
        """Yield scored responses."""
        from fractal.readers import read_scored

        return read_scored(source, self.reader, **self._common(report))

    def _common(self, report: ReadReport | None) -> dict[str, Any]:
        from fractal.readers import ReadReport

        report = ReadReport() if report is None else report
        self.reports.append(report)
        return {
            "columns": self.columns,
            "label_scale": self.scale,
            "levels": self.levels,
            "on_error": self.on_error,
            "rejects": self.rejects_file,
            "report": report,
        }


READ_OPTIONS = (
    click.option("--reader", default="auto", metavar="SPEC", help="How the file is read; see `fractal list readers`."),
    click.option("--column", multiple=True, metavar="FIELD=COLUMN", help="Which column holds a field. Repeatable."),
    click.option("--scale", metavar="WORST..BEST", help="The scale of numeric labels, as in 1..5 (5..1: 1 is best)."),
    click.option("--levels", type=click.IntRange(2), metavar="K", help="Labels are levels 0 … K−1."),
    click.option(
        "--on-error",
        type=click.Choice(["raise", "reject"]),
        default="raise",
        help="Stop at a wrong record, or leave it out and count it.",
    ),
    click.option("--rejects", type=click.Path(dir_okay=False), metavar="FILE", help="Where rejected records go."),
)
SPLITTER = click.option(
    "--splitter", default="sentences", metavar="SPEC", help="How texts are cut; see `fractal list splitters`."
)


def reading_options(function: Function | None = None, *, splitter: bool = True) -> Any:
    """Give a command the options of reading; it receives them as one `reading`."""
    if function is None:
        return functools.partial(reading_options, splitter=splitter)
    inner = function

    @functools.wraps(inner)
    def with_read_options(**options: Any) -> Any:
        values = {
            field.name: options.pop(field.name) for field in dataclasses.fields(ReadOptions) if field.name in options
        }
        reading = ReadOptions(**values)
        if reading.rejects is not None:
            _refuse_rejects(reading.rejects, options)
        try:
            return inner(**options, reading=reading)
        except BrokenPipeError:  # nobody is listening any more
            reading.reports.clear()
            raise
        finally:
            reading.tell_rejected()

    chosen = (*READ_OPTIONS, SPLITTER) if splitter else READ_OPTIONS
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(chosen), with_read_options)


def _refuse_rejects(rejects: str, options: Mapping[str, Any]) -> None:
    """Refuse rejects that would overwrite another file that the command is about."""
    output = options.get("output")
    for value in options.values():
        for path in value if isinstance(value, tuple) else (value,):
            exists = isinstance(path, str) and path != "-" and Path(path).exists()
            if exists and same_file(path, rejects):
                raise BadSpec(f"--rejects {rejects} is the file {path}: give the rejects another file")
    if isinstance(output, str) and same_file(sys.stdout if output == "-" else output, rejects):
        raise BadSpec(f"--rejects {rejects} is where the output goes: give the rejects another file")


scored_options = reading_options(splitter=False)


def pairs_of(texts: tuple[str, ...], option: str, example: str) -> dict[str, str]:
    """Split `name=value` texts."""
    values = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise BadSpec(f"{option} {text!r}: write name=value, as in {option} {example}")
        values[name.strip()] = value.strip()
    return values
