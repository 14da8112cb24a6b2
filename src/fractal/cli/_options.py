"""The options that several commands share: how data are read, and how much is said."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fractal.cli._output import note
from fractal.cli._shell import in_shell_words
from fractal.errors import BadSpec
from fractal.files import same_file

if TYPE_CHECKING:
    from fractal.readers import ReadReport, RejectsFile
    from fractal.records import Preference, Response, ScoredResponse

__all__ = [
    "ReadOptions",
    "json_option",
    "pairs_of",
    "quiet_option",
    "reading_options",
    "scored_options",
    "trust_option",
]

Function = Callable[..., Any]
TRUSTED = "FRACTAL_TRUST_PATHS"  # which `fractal.scorers.trust` reads

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")


def _trust(ctx: click.Context, parameter: click.Parameter, trusted: bool) -> None:
    """Say it in the environment, for the processes that a command starts; only as long as the command runs."""
    before = os.environ.get(TRUSTED)
    if trusted:
        os.environ[TRUSTED] = "1"
        ctx.call_on_close(lambda: os.environ.update({TRUSTED: before}) if before else os.environ.pop(TRUSTED, None))


trust_option = click.option(
    "--trust-paths",
    is_flag=True,
    expose_value=False,
    callback=_trust,
    help="Let the scorer's folder name an encoder outside of it, or one of the Hub without a pinned revision.",
)


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
    label_words: tuple[str, ...] = ()
    remembered: Mapping[str, str] = dataclasses.field(default_factory=dict)  # columns of a scorer's training data
    read_by: Mapping[str, str] = dataclasses.field(default_factory=dict)  # other fields: the option that names each
    reports: list[ReadReport] = dataclasses.field(default_factory=list, init=False, compare=False)  # one a source

    def as_in_training(self, reading: Mapping[str, Any], source: str) -> ReadOptions:
        """Return these options with what a scorer remembers of its own training data, where nothing else is said."""
        from fractal.readers.sources import endings

        changes: dict[str, Any] = {"remembered": reading.get("columns", {})}
        if self.scale is None and self.levels is None:
            changes |= {"scale": reading.get("scale"), "levels": reading.get("levels")}
        if self.reader == "auto" and reading.get("reader") and [*endings(source)] == reading.get("endings"):
            changes["reader"] = reading["reader"]
        if not self.label_words:
            changes["label_words"] = tuple(reading.get("label_words", ()))
        return self.changed(**changes)

    def changed(self, **changes: Any) -> ReadOptions:
        """Return these options but for some; what is left out is said of both."""
        alike = dataclasses.replace(self, **changes)
        object.__setattr__(alike, "reports", self.reports)
        return alike

    def memory(self, sources: Sequence[str], reports: Sequence[ReadReport]) -> dict[str, Any]:
        """Return what a scorer is to remember of how its training data were read."""
        from fractal.readers.sources import endings

        columns = {role: column for report in reports for role, column in report.columns.items() if column}
        facts: dict[str, Any] = {"columns": columns, "scale": self.scale, "levels": self.levels}
        facts["label_words"] = [*self.label_words]
        if self.reader != "auto":
            facts |= {"reader": self.reader, "endings": [*endings(sources[0])]}
        return {name: value for name, value in facts.items() if value}

    @property
    def columns(self) -> Mapping[str, str]:
        """Fields by the columns that hold them."""
        return pairs_of(self.column, "--column", "response=answer")

    def flags(self) -> list[str]:
        """Return the flags that say the same to another command."""
        single = {"--reader": self.reader, "--splitter": self.splitter, "--scale": self.scale, "--levels": self.levels}
        usual = {"--reader": "auto", "--splitter": "sentences"}
        flags = [
            part
            for name, value in single.items()
            if value not in (None, usual.get(name))
            for part in (name, str(value))
        ]
        flags += [part for pair in self.column for part in ("--column", pair)]
        flags += [part for pair in self.label_words for part in ("--label", pair)]
        return [*flags, *self.error_flags()]

    def error_flags(self) -> list[str]:
        """Return the flags that treat wrong records alike: no scorer remembers them."""
        return [] if self.on_error == "raise" else ["--on-error", self.on_error]

    @property
    def words(self) -> Mapping[str, str]:
        """What the user's own label words mean: {"gut": "good"}."""
        pairs = [part for text in self.label_words for part in text.split(",")]
        meanings = [pair.partition("=") for pair in pairs]
        for meaning, sign, word in meanings:
            if not sign or not meaning.strip() or not word.strip():
                raise BadSpec(f"--label {','.join(pairs)!r}: write meaning=word, as in --label good=gut,bad=schlecht")
        return {word.strip(): meaning.strip() for meaning, _, word in meanings}

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
                first = in_shell_words(next(iter(report.examples.values()), ""))
                note(f"{report.source}: {report.rejected:,} records left out, {report.read:,} read; {first}{where}")

    def records(
        self, source: str, report: ReadReport | None = None, splitter: str | None = None
    ) -> Iterator[Response | Preference]:
        """Yield responses and preferences."""
        from fractal.readers import read

        return read(source, self.reader, **self._common(report), splitter=splitter or self.splitter)

    @staticmethod
    def refuse_read_once(source: str) -> None:
        """Refuse what cannot be read again, where a command reads its data several times."""
        from fractal.readers.sources import is_read_once, name_of

        if is_read_once(source):
            raise BadSpec(f"{name_of(source)} can be read only once, and is needed again: give a file")

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
        report.read_by = dict(self.read_by)
        self.reports.append(report)
        return {
            "columns": self.columns,
            "label_scale": self.scale,
            "levels": self.levels,
            "on_error": self.on_error,
            "rejects": self.rejects_file,
            "report": report,
            "remembered": self.remembered,
            "label_words": self.words,
        }


TABLES = "fractal.tables"  # in the context: what a file of settings holds as tables, by option


def with_table(ctx: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]) -> tuple[str, ...]:
    """Put the flags after the pairs of the file of settings: key by key, the flag wins."""
    from_file = ctx.meta.get(TABLES, {}).get(parameter.name, ())
    named = {text.partition("=")[0].strip(): text for text in (*from_file, *pairs)} if from_file else {}
    return tuple(named.values()) if from_file else pairs


READ_OPTIONS = (
    click.option("--reader", default="auto", metavar="SPEC", help="How the file is read; see `fractal list readers`."),
    click.option(
        "--column",
        multiple=True,
        callback=with_table,
        metavar="FIELD=COLUMN",
        help="Which column holds a field. Repeatable.",
    ),
    click.option("--scale", metavar="WORST..BEST", help="The scale of numeric labels, as in 1..5 (5..1: 1 is best)."),
    click.option("--levels", type=click.IntRange(2), metavar="K", help="Labels are levels 0 … K−1."),
    click.option(
        "--on-error",
        type=click.Choice(["raise", "reject"]),
        default="raise",
        help="Stop at a wrong record, or leave it out and count it.",
    ),
    click.option(
        "--rejects", type=click.Path(dir_okay=False), metavar="FILE", help="Leave wrong records out, into this file."
    ),
)
LABELS = click.option(
    "--label",
    "label_words",
    multiple=True,
    metavar="MEANING=WORD,…",
    help="What your label words mean, as in good=gut,bad=schlecht,0.5=mittel.",
)
SPLITTER = click.option(
    "--splitter", default="sentences", metavar="SPEC", help="How texts are cut; see `fractal list splitters`."
)


def reading_options(function: Function | None = None, *, splitter: bool = True, labels: bool = True) -> Any:
    """Give a command the options of reading; it receives them as one `reading`."""
    if function is None:
        return functools.partial(reading_options, splitter=splitter, labels=labels)
    inner = function

    @functools.wraps(inner)
    def with_read_options(**options: Any) -> Any:
        values = {
            field.name: options.pop(field.name) for field in dataclasses.fields(ReadOptions) if field.name in options
        }
        context = click.get_current_context()
        if values.get("rejects") and context.get_parameter_source("on_error") is ParameterSource.DEFAULT:
            values["on_error"] = "reject"
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

    chosen = (*READ_OPTIONS, *((LABELS,) if labels else ()), *((SPLITTER,) if splitter else ()))
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


scored_options = reading_options(splitter=False, labels=False)


def pairs_of(texts: tuple[str, ...], option: str, example: str) -> dict[str, str]:
    """Split `name=value` texts."""
    values = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise BadSpec(f"{option} {text!r}: write name=value, as in {option} {example}")
        values[name.strip()] = value.strip()
    return values
