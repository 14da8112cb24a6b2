"""What a worker does: reads a unit, scores it, writes its shard, and then the record that it is done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from fractal.engine.storage import open_folder
from fractal.engine.units import Unit, line_before, open_unit
from fractal.errors import BadData
from fractal.evaluation.unlike import UnlikeTraining, unlike_counts
from fractal.readers.report import ReadReport
from fractal.records import Preference, Response, ScoredResponse
from fractal.registry import parse
from fractal.writers import WRITERS
from fractal.writers.native import Writable

__all__ = ["HIDDEN", "Job", "UnitRecord", "Worker", "shard_name"]

HIDDEN = "_fractal"  # the folder inside the output where unfinished work is recorded
RESPONSES_AT_ONCE = 2_048
ENDINGS = {"jsonl": ".jsonl", "csv": ".csv", "tsv": ".tsv", "parquet": ".parquet"}

Score = Callable[[Iterable[Response]], Iterator[Writable]]


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker must be told: what to do, with which scorer, and how to read and write."""

    task: str  # "score", "disaggregate", "embed"
    model: str  # folder of the scorer, or the encoder's specification
    output: str
    writer: str = "jsonl"
    cache: str | bool = True
    reading: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # options of `fractal.readers.read`

    def options(self) -> dict[str, Any]:
        """Return what decides the bytes that are written."""
        return {"task": self.task, "writer": self.writer, "reading": dict(self.reading)}


@dataclasses.dataclass(frozen=True)
class UnitRecord:
    """What became of a unit; the same however often and wherever it is worked on."""

    number: int
    responses: int
    sentences: int
    rejected: int
    lines: int
    reasons: Mapping[str, int]
    unlike: Mapping[str, int] = dataclasses.field(default_factory=dict)  # responses by in what they are unlike
    shard: str = ""
    size: int = 0  # bytes of the shard
    blake2b: str = ""

    def line(self) -> bytes:
        """Return the record as a line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> UnitRecord:
        """Read what `line` wrote."""
        return cls(**json.loads(line))


def shard_name(unit: Unit, writer: str) -> str:
    """Return the name of a unit's shard."""
    name, _ = parse(writer, "writer")
    endings = getattr(WRITERS[name], "endings", ())
    return unit.name + ENDINGS.get(name, endings[0] if endings else ".jsonl")


class Worker:
    """Holds the scorer, loaded once, and works on one unit after another."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = open_folder(job.output)
        self.splitter, self.score = _loaded(job)

    def __call__(self, unit: Unit) -> UnitRecord:
        """Work on a unit; its shard and its record are written whole, the record last."""
        report = ReadReport()
        with tempfile.TemporaryDirectory(prefix="fractal-") as scratch:
            rejects = Path(scratch) / "rejects.jsonl"
            try:
                record = self._written(unit, report, rejects)
            except BadData as error:
                if error.line is None or error.source != unit.path:
                    raise
                raise error.at(unit.path, error.line + line_before(unit)) from error
            if report.rejected:
                with self.folder.write(f"{HIDDEN}/rejects/{unit.name}.jsonl") as stream:
                    stream.write(rejects.read_bytes())
        with self.folder.write(f"{HIDDEN}/done/{unit.name}.json") as stream:
            stream.write(record.line())
        return record

    def _written(self, unit: Unit, report: ReadReport, rejects: Path) -> UnitRecord:
        with open_unit(unit) as (reader, source):
            lines = _lines_of(source) if unit.kind == "bytes" else 0
            records = reader.read(source, **self._reading(report, rejects))
            responses = responses_of(records, compared=self.job.task == "disaggregate")
            counted = _Counted(responses)
            scored = self.score(counted)
            if self.job.task == "embed":
                for _ in scored:
                    pass
                return _record(unit, counted, report, lines)
            name = shard_name(unit, self.job.writer)
            unlike: Counter[str] = Counter()
            with self.folder.write(name) as stream, warnings.catch_warnings():
                warnings.simplefilter("ignore", UnlikeTraining)  # counted here, and said once of all units
                hashed = _Hashed(stream)
                WRITERS.build(self.job.writer).write_to(cast(IO[bytes], hashed), _counted_unlike(scored, unlike))
        return dataclasses.replace(
            _record(unit, counted, report, lines),
            unlike=dict(sorted(unlike.items())),
            shard=name,
            size=hashed.size,
            blake2b=hashed.digest.hexdigest(),
        )

    def _reading(self, report: ReadReport, rejects: Path) -> dict[str, Any]:
        options = {"splitter": self.splitter, **self.job.reading, "report": report}
        return options | ({"rejects": str(rejects)} if options.get("on_error") == "reject" else {})


def _record(unit: Unit, counted: _Counted, report: ReadReport, lines: int) -> UnitRecord:
    reasons = dict(sorted(report.reasons.items()))
    return UnitRecord(unit.number, counted.responses, counted.sentences, report.rejected, lines, reasons)


def _lines_of(source: IO[bytes]) -> int:
    content = cast(Any, source).getbuffer()
    lines = bytes(content).count(b"\n")
    return lines + (len(content) > 0 and content[-1] != 10)


def responses_of(records: Iterable[Response | Preference], *, compared: bool = False) -> Iterator[Response]:
    for record in records:
        if isinstance(record, Preference):
            if compared:
                raise BadData(
                    "preferences are labelled with all they are compared with, not shard by shard: give one file, "
                    "as in `fractal disaggregate scorer/ pairs.jsonl -o labelled.jsonl`",
                    field="preference",
                )
            yield record.better
            yield record.worse
        else:
            yield record


def _counted_unlike(scored: Iterable[Writable], unlike: Counter[str]) -> Iterator[Writable]:
    """Count responses by in what they are unlike training, as their records pass: of several aspects by the first."""
    first: str | None = None
    for record in scored:
        if isinstance(record, ScoredResponse):
            first = record.aspect if first is None else first
            if record.aspect == first:
                unlike.update(unlike_counts([record.unlike]))
        yield record


class _Counted:
    """Counts responses as they pass."""

    def __init__(self, responses: Iterable[Response]) -> None:
        self._rest, self.responses, self.sentences = iter(responses), 0, 0

    def __iter__(self) -> Iterator[Response]:
        for response in self._rest:
            self.responses += 1
            self.sentences += len(response.sentences)
            yield response


class _Hashed:
    """A stream that hashes and counts what goes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.size, self.digest = stream, 0, hashlib.blake2b(digest_size=16)
        self.closed = False
        self.mode = "wb"

    def write(self, content: Any) -> int:
        """Pass bytes on."""
        self.digest.update(content)
        self.size += len(content)
        self._stream.write(content)
        return len(content)

    def tell(self) -> int:
        """Return how many bytes went through."""
        return self.size

    def flush(self) -> None:
        """Pass everything on."""
        self._stream.flush()

    def close(self) -> None:
        """Leave closing to the stream's owner."""
        self.flush()

    def writable(self) -> bool:
        """It is for writing alone."""
        return True

    def readable(self) -> bool:
        """It cannot be read."""
        return False

    def seekable(self) -> bool:
        """One cannot jump in it."""
        return False


def _loaded(job: Job) -> tuple[str, Score]:
    """Return how texts are cut, and what turns responses into records."""
    if job.task == "embed":
        return "sentences", _embedding(job)
    if job.task == "disaggregate":
        from fractal.scorers.aspects import load_scorer

        scorer = load_scorer(job.model, cache=job.cache)
        return scorer.splitter, _in_runs(scorer.disaggregate)
    from fractal.scorers.runtime import NeedsTorch, load_runtime

    try:
        quick = load_runtime(job.model, cache=job.cache)
    except NeedsTorch:
        from fractal.scorers.aspects import load_scorer

        scorer = load_scorer(job.model, cache=job.cache)
        return scorer.splitter, scorer.stream
    return quick.splitter, quick.stream


def _in_runs(whole: Callable[[Iterable[Response]], list[Any]]) -> Score:
    def stream(responses: Iterable[Response]) -> Iterator[Writable]:
        rest = iter(responses)
        while run := list(islice(rest, RESPONSES_AT_ONCE)):
            yield from whole(run)

    return stream


def _embedding(job: Job) -> Score:
    from fractal.encoders import ENCODERS, EmbeddingCache
    from fractal.encoders.embedding import embed

    encoder, cache = ENCODERS.build(job.model), EmbeddingCache.at(job.cache)

    def stream(responses: Iterable[Response]) -> Iterator[Writable]:
        rest = iter(responses)
        while run := list(islice(rest, RESPONSES_AT_ONCE)):
            embed(run, encoder, cache)
            yield from run

    return stream
