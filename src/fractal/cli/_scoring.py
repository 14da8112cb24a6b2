"""Scored responses written as a stream: memory stays flat, and a run that was killed can go on to the same bytes."""

from __future__ import annotations

import functools
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import msgspec

from fractal.cli._output import note
from fractal.cli._progress import ProgressReporter
from fractal.errors import BadFolder, BadSpec
from fractal.files import exclusive, put_in_place
from fractal.records import SCORE_FIELDS, Preference, Response, ScoredResponse

if TYPE_CHECKING:
    from fractal.cli._options import ReadOptions
    from fractal.readers import ReadReport
    from fractal.scorers.aspects import AspectScorer
    from fractal.scorers.persistence import Saved
    from fractal.scorers.runtime import RuntimeScorer
    from fractal.scorers.sentence import SentenceScorer

__all__ = [
    "ScoreBatch",
    "loaded_for_scoring",
    "missing_option",
    "output_options",
    "read_as_in_training",
    "records_each",
    "write_scored",
]

ScoreBatch = Callable[[Sequence[Response]], list[ScoredResponse]]

LOOKED_AT = 2_048  # responses that are looked at before any is scored
BATCH = 2_048  # responses scored at once: bounds the memory, and what a kill can cost

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


missing_option = click.option(
    "--allow-missing",
    is_flag=True,
    help="Score though no response has the query or context that the scorer learned with.",
)


def loaded_for_scoring(folder: str, saved: Saved, cache: bool = True) -> RuntimeScorer | SentenceScorer | AspectScorer:
    """Read the scorer for scoring alone, which is quick; only what numpy cannot compute is read with torch."""
    from fractal.scorers.runtime import NeedsTorch, load_runtime

    try:
        return load_runtime(saved, cache=cache)
    except NeedsTorch:
        from fractal.scorers.aspects import load_scorer

        return load_scorer(folder, cache=cache)


def read_as_in_training(
    scorer: SentenceScorer | AspectScorer | RuntimeScorer,
    reading: ReadOptions,
    source: str,
    report: ReadReport | None = None,
    *,
    allow_missing: bool,
    quiet: bool,
) -> Iterator[Response]:
    """Read responses as the scorer's training data were read; of a preference both, the better one first."""
    records = records_as_in_training(scorer, reading, source, report, allow_missing=allow_missing, quiet=quiet)
    return chain.from_iterable(map(_responses_of, records))


def records_as_in_training(
    scorer: SentenceScorer | AspectScorer | RuntimeScorer,
    reading: ReadOptions,
    source: str,
    report: ReadReport | None = None,
    *,
    allow_missing: bool,
    quiet: bool,
) -> Iterator[Response | Preference]:
    """Read records as the scorer's training data were read, say what was taken, and stop where nothing fits.

    The first ones are looked at before any is scored.
    """
    from fractal.readers import ReadReport
    from fractal.scorers.inputs import likely_columns, refuse_missing

    report = ReadReport() if report is None else report
    memory = scorer.memory_
    records = reading.as_in_training(memory, source).records(source, report, splitter=scorer.splitter)
    first = list(islice(records, LOOKED_AT))
    if not allow_missing:
        responses = [*chain.from_iterable(map(_responses_of, first))]
        refuse_missing(memory, responses, likely_columns(responses))
    note(_taken(report), quiet)
    return chain(first, records)


def _responses_of(record: Response | Preference) -> tuple[Response, ...]:
    return (record.better, record.worse) if isinstance(record, Preference) else (record,)


def _taken(report: ReadReport) -> str:
    """Say which columns were taken for what, and which were not used."""
    taken = ", ".join(f"{role} = {column}" for role, column in sorted(report.columns.items())) or "the native fields"
    as_before = " (as in training)" if report.remembered else ""
    ignored = f"; not used: {', '.join(report.unused[:12])}" if report.unused else ""
    return f"{report.source}: {taken}{as_before}{ignored}"


def records_each(scorer: SentenceScorer | AspectScorer | RuntimeScorer) -> int:
    """Return how many records a scorer gives of one response: one an aspect."""
    return int(getattr(scorer, "records_each", 0)) or len(getattr(scorer, "scorers_", [scorer]))


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
    from fractal.evaluation.unlike import UnlikeTraining, unlike_summary

    unlike: Counter[str] = Counter()
    score = _counting(score, unlike, each)
    with ProgressReporter("responses scored", quiet) as progress:
        scored = _batches(score, responses, batch, progress)
        if not lines:
            from fractal.writers import write

            write(_flat(scored), output, writer)
        elif output == "-":
            _append(sys.stdout.buffer, scored)
        else:
            Path(output).parent.mkdir(parents=True, exist_ok=True)
            with exclusive(output):
                _write_part(score, responses, progress, Path(output), resume, batch, each, belongs_to)
        done = progress.done
    if summary := unlike_summary(unlike):
        warnings.warn(summary, UnlikeTraining, stacklevel=2)
    return done


def _counting(score: ScoreBatch, unlike: Counter[str], each: int) -> ScoreBatch:
    """Score batch by batch and count what is unlike training, to be said once of all."""
    from fractal.evaluation.unlike import UnlikeTraining, unlike_counts

    def counted(responses: Sequence[Response]) -> list[ScoredResponse]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnlikeTraining)
            scored = score(responses)
        unlike.update(unlike_counts(item.unlike for item in scored[::each]))
        return scored

    return counted


def _write_part(
    score: ScoreBatch,
    responses: Iterable[Response],
    progress: ProgressReporter,
    target: Path,
    resume: bool,
    batch: int,
    each: int,
    belongs_to: str,
) -> None:
    """Write to `FILE.part`, which a later run can take up, and rename it when it is complete."""
    part, facts = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    run = {"scorer": belongs_to, "batch": batch}
    rest = iter(responses)
    if resume and part.exists():
        _refuse_other(facts, run)
        done = _keep_whole_batches(part, batch * each) // each
        _skip(rest, part, each)
        note(f"{target}: goes on after {done:,} responses", progress.quiet)
    else:
        facts.write_text(json.dumps(run), encoding="utf-8")
        part.write_bytes(b"")
    try:
        with part.open("ab") as stream:
            _append(stream, _batches(score, rest, batch, progress))
    except KeyboardInterrupt:
        note(f"Kept what was scored in {part}: the same command with --resume goes on.", progress.quiet)
        raise
    put_in_place(part, target)
    facts.unlink(missing_ok=True)


def _append(stream: IO[bytes], scored: Iterable[list[ScoredResponse]]) -> None:
    from fractal.writers.jsonl import encode_line

    for run in scored:
        stream.write(b"".join(map(encode_line, run)))
        stream.flush()


def _batches(
    score: ScoreBatch, responses: Iterable[Response], size: int, progress: ProgressReporter
) -> Iterator[list[ScoredResponse]]:
    """Score batch by batch; a batch counts as done when it is written."""
    rest = iter(responses)
    progress(0)
    while batch := list(islice(rest, size)):
        yield score(batch)
        progress(progress.done + len(batch))


def _flat(runs: Iterable[list[ScoredResponse]]) -> Iterator[ScoredResponse]:
    return (item for run in runs for item in run)


def _refuse_other(facts: Path, run: dict[str, Any]) -> None:
    try:
        stopped = json.loads(facts.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stopped = None
    if stopped != run:
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
    """Pass over what is scored already, and make sure that it is the same: each line holds the whole response."""
    with part.open("rb") as stream:
        for number, line in enumerate(islice(stream, 0, None, each), 1):
            response, written = next(responses, None), _response_of(line, part, number)
            if response is None or _plain(response) != written:
                here = "nothing" if response is None else repr(response.id)
                same_id = response is not None and response.id == written.get("id")
                raise BadFolder(
                    f"{part} has {written.get('id')!r} as response {number:,}, the data have "
                    f"{'another response under that id' if same_id else here}: "
                    "give the same data, or leave out --resume to start anew"
                )


def _response_of(line: bytes, part: Path, number: int) -> dict[str, Any]:
    """Return what a line says of the response itself."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise BadFolder(f"{part}, line {number}, is damaged ({error}): leave out --resume to start anew") from error
    return {name: value for name, value in fields.items() if name not in SCORE_FIELDS}


def _plain(response: Response) -> dict[str, Any]:
    from fractal.writers.jsonl import encoded
    from fractal.writers.native import response_fields

    return dict(msgspec.json.decode(encoded(response_fields(response, whole=True)), type=dict[str, Any]))
