"""Scored responses written as a stream: memory stays flat, and a run that was killed can go on to the same bytes."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from fractal.cli._output import note, whole_stream
from fractal.errors import BadFolder, BadSpec
from fractal.records import Response, ScoredResponse

if TYPE_CHECKING:
    from fractal.scorers.aspects import AspectScorer
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["ScoreBatch", "output_options", "records_each", "write_scored"]

ScoreBatch = Callable[[Sequence[Response]], list[ScoredResponse]]

BATCH = 2_048  # responses scored at once: bounds the memory, and what a kill can cost
TOLD_EVERY = 10.0  # seconds between two lines about the progress

OUTPUT = (
    click.option(
        "-o",
        "--output",
        default="-",
        metavar="FILE",
        help="Written beside and renamed when complete.  [default: stdout]",
    ),
    click.option(
        "--to",
        "writer",
        default="auto",
        metavar="SPEC",
        help="See `fractal list writers`.  [default: by ending, else jsonl]",
    ),
    click.option("--resume", is_flag=True, help="Go on where a run to the same -o FILE was stopped."),
    click.option("--batch", default=BATCH, show_default=True, type=click.IntRange(1), help="Responses scored at once."),
)


def output_options(function: Callable[..., Any]) -> Any:
    """Give a command the options of a stream of results."""
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(OUTPUT), function)


def records_each(scorer: SentenceScorer | AspectScorer) -> int:
    """Return how many records a scorer gives of one response: one an aspect."""
    return len(getattr(scorer, "scorers_", [scorer]))


def write_scored(
    score: ScoreBatch,
    responses: Iterable[Response],
    *,
    each: int,
    output: str,
    writer: str,
    resume: bool,
    batch: int,
    belongs_to: str,
    quiet: bool,
) -> int:
    """Score batch by batch, `each` records a response, and write as it goes; return how many responses were scored."""
    lines = writer == "jsonl" or (writer == "auto" and (output == "-" or Path(output).suffix in (".jsonl", ".ndjson")))
    if resume and (output == "-" or not lines):
        raise BadSpec("--resume goes on with a file of JSON lines: give -o scores.jsonl")
    told = _Told(quiet, each)
    scored = told(_batches(score, responses, batch))
    if not lines:
        from fractal.writers import write

        write(_flat(scored), output, writer)
    elif output == "-":
        with whole_stream("-") as stream:
            _append(stream, scored)
    else:
        _write_part(score, responses, told, Path(output), resume, batch, belongs_to)
    return told.close()


def _write_part(
    score: ScoreBatch,
    responses: Iterable[Response],
    told: _Told,
    target: Path,
    resume: bool,
    batch: int,
    belongs_to: str,
) -> None:
    """Write to `FILE.part`, which a later run can take up, and rename it when it is complete."""
    part, facts = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    own = {"scorer": belongs_to, "batch": batch}
    rest = iter(responses)
    if resume and part.exists():
        _refuse_other(facts, own)
        done = _keep_whole_batches(part, batch * told.each) // told.each
        _skip(rest, part, told.each)
        note(f"{target}: goes on after {done:,} responses", told.quiet)
    else:
        facts.write_text(json.dumps(own), encoding="utf-8")
        part.write_bytes(b"")
    try:
        with part.open("ab") as stream:
            _append(stream, told(_batches(score, rest, batch)))
    except KeyboardInterrupt:
        note(f"Kept what was scored in {part}: the same command with --resume goes on.", told.quiet)
        raise
    part.replace(target)
    facts.unlink(missing_ok=True)


def _append(stream: IO[bytes], scored: Iterable[list[ScoredResponse]]) -> None:
    from fractal.writers.jsonl import encode_line

    for run in scored:
        stream.write(b"".join(map(encode_line, run)))
        stream.flush()


def _batches(score: ScoreBatch, responses: Iterable[Response], size: int) -> Iterator[list[ScoredResponse]]:
    rest = iter(responses)
    while run := list(islice(rest, size)):
        yield score(run)


def _flat(runs: Iterable[list[ScoredResponse]]) -> Iterator[ScoredResponse]:
    return (item for run in runs for item in run)


def _refuse_other(facts: Path, own: dict[str, Any]) -> None:
    try:
        found = json.loads(facts.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found != own:
        raise BadFolder(f"{facts.with_suffix('')} is of another scorer or --batch: leave out --resume to start anew")


def _keep_whole_batches(part: Path, batch: int) -> int:
    """Cut the file after its last whole batch, so that the rest falls into the same batches; return what stays."""
    ends, lines, place = 0, 0, 0
    with part.open("r+b") as stream:
        for line in stream:
            place += len(line)
            if line.endswith(b"\n"):
                lines += 1
                if lines % batch == 0:
                    ends = place
        stream.truncate(ends)
    return lines - lines % batch


def _skip(responses: Iterator[Response], part: Path, each: int) -> None:
    """Pass over what is scored already, and make sure that it is the same."""
    with part.open("rb") as stream:
        for number, line in enumerate(islice(stream, 0, None, each), 1):
            response, kept = next(responses, None), json.loads(line)["id"]
            if response is None or response.id != kept:
                found = "nothing" if response is None else repr(response.id)
                raise BadFolder(
                    f"{part} has {kept!r} as response {number:,}, the data have {found}: "
                    "give the same data, or leave out --resume to start anew"
                )


class _Told:
    """Passes batches through and says now and then how far it is; the number in all is not known."""

    def __init__(self, quiet: bool, each: int) -> None:
        self.quiet, self.each, self.count = quiet, each, 0
        self.start = self.shown = time.monotonic()

    def __call__(self, runs: Iterable[list[ScoredResponse]]) -> Iterator[list[ScoredResponse]]:
        for run in runs:
            yield run
            self.count += len(run) // self.each
            if time.monotonic() - self.shown > TOLD_EVERY:
                self.shown = time.monotonic()
                self._say()

    def close(self) -> int:
        """Say what was done in all."""
        self._say()
        return self.count

    def _say(self) -> None:
        rate = self.count / max(time.monotonic() - self.start, 1e-9)
        note(f"{self.count:,} responses scored, {rate:,.0f}/s", self.quiet)
