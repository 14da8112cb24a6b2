"""What the readers of traces share: their options, rows that stand in one file together, and the outcome of a run."""

from __future__ import annotations

import copy
import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

import msgspec

from fractal.errors import BadData, BadSpec
from fractal.readers.base import Reader
from fractal.readers.jsonl import JsonLines
from fractal.readers.preview import previewed
from fractal.readers.session import ReadSession, Record, RowSchema
from fractal.readers.sniffing import guess_reader
from fractal.readers.sources import DAMAGED, BadRow, Row, name_of, open_bytes, peeked, read_document
from fractal.readers.traces.trace import Lengths, Trace, to_response
from fractal.readers.traces.turns import as_text

__all__ = ["OUTCOMES", "TASKS", "TraceReader", "first_of", "reach"]

OUTCOMES = ("reward", "success", "passed", "resolved", "score", "correct", "is_correct", "outcome", "label")
TASKS = ("group", "task_id", "task", "instance_id", "example_id", "reference_example_id")
AGENTS = ("agent", "agent_name", "model", "gen_ai.agent.name", "service.name")


@dataclasses.dataclass(frozen=True)
class TraceReader(Reader):
    """Runs of agents. A step is one message or call with the user's turn before it and the result after it."""

    outcome: str = ""  # the field, score or evaluation that says how the run ended; guessed where it is left out
    task: str = ""  # the field that runs of one task share; guessed where it is left out
    user: int = 400  # characters of the user's turn that are kept
    agent: int = 800  # … of the agent's message
    call: int = 700  # … of each call
    result: int = 400  # … of each result
    last_result: bool = False  # read the result of a call that ends the trace: it may tell the verdict

    def __post_init__(self) -> None:
        for part in ("user", "agent", "call", "result"):
            if getattr(self, part) < 20:
                raise BadSpec(f"{part}={getattr(self, part)}: keep at least 20 characters")

    @abstractmethod
    def traces(self, rows: Iterable[Row | BadRow], door: ReadSession) -> Iterator[tuple[Row | BadRow, Any]]:
        """Yield each run's first row, for its line, and what `trace` makes a trace of."""

    @abstractmethod
    def trace(self, gathered: Any, row: Row, door: ReadSession) -> Trace:
        """Return the trace of what was gathered, or say what is wrong with it."""

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the objects of a file of JSON lines or of one JSON array, or the rows of anything else that is read."""
        if not isinstance(source, str | Path) and not hasattr(source, "read"):
            return guess_reader(source).rows(source)
        return _json_rows(source)

    def records(self, source: Any, door: ReadSession) -> Iterator[Record]:
        """Yield the runs that the session accepts."""
        for row, gathered in previewed(self.traces(self.rows(source), door), door, self._first_look):
            if isinstance(row, BadRow):
                door.refuse(row.line, row.error, row.raw)
                continue
            tallies: list[Mapping[str, int]] = []
            accepted = door.accept(row, partial(self._made, gathered, row, door, tallies))
            yield from accepted
            for kind, count in chain.from_iterable(tally.items() for tally in tallies if accepted):
                door.report.tally(kind, count)

    def _first_look(self, item: tuple[Row | BadRow, Any]) -> tuple[Row | BadRow, RowSchema]:
        """Make a trace of a copy: what is counted in a run while it is read must count once."""
        row, gathered = item
        return row, lambda _, door, __: self._made(copy.deepcopy(gathered), cast(Row, row), door, [])

    def _made(
        self, gathered: Any, row: Row, door: ReadSession, tallies: list[Mapping[str, int]], *_: Any
    ) -> Iterator[Record]:
        trace = self.trace(gathered, row, door)
        tallies.append(trace.tally)
        lengths = Lengths(self.user, self.agent, self.call, self.result)
        yield to_response(trace, lengths, last_result=self.last_result)

    def outcome_of(self, values: Mapping[str, Any], trace: Trace, door: ReadSession) -> float | None:
        """Return the label of a run among named values: the one that was asked for, else one of a well-known name."""
        asked = self.outcome or door.report.columns.get("label", "")
        name = asked or next((name for name in OUTCOMES if values.get(name) is not None), "")
        if not name and len(values) == 1:
            name = next(iter(values))
        if not name and len(values) > 1:
            door.report.note(f"several scores and none is known as the outcome ({', '.join(sorted(values))}): name one")
        value = reach(values, name) if name else None
        if value is None:
            trace.tally["runs without an outcome"] += 1
            return None
        if not asked:
            door.report.guessed["label"] = door.report.columns["outcome"] = name
        return door.labels("label").read(value)

    def task_of(self, values: Mapping[str, Any], door: ReadSession) -> str | None:
        """Return what runs of one task share."""
        asked = self.task or door.report.columns.get("group", "")
        value = reach(values, asked) if asked else first_of(values, TASKS)
        return None if value is None or value == "" else as_text(value)

    @staticmethod
    def agent_of(values: Mapping[str, Any]) -> str:
        """Return who ran."""
        return as_text(first_of(values, AGENTS))


def first_of(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first value that is there."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def reach(values: Mapping[str, Any], name: str) -> Any:
    """Return a field by its name, or by a path with dots."""
    if name in values:
        return values[name]
    inner: Any = values
    for part in name.split("."):
        if not isinstance(inner, Mapping) or part not in inner:
            return None
        inner = inner[part]
    return inner


def _json_rows(source: Any) -> Iterator[Row | BadRow]:
    """Read JSON lines, or a file that is one array: exports of traces come in both."""
    with open_bytes(source) as stream:
        if peeked(stream).lstrip()[:1] != b"[":
            yield from JsonLines().rows(stream)
            return
        try:
            objects = msgspec.json.decode(read_document(stream, name_of(source)))
        except DAMAGED as error:
            problem = f"the compressed file is cut short or damaged ({error}): write it anew"
            raise BadData(problem, source=name_of(source), line=1) from error
        except BadData:
            raise
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as error:
            raise BadData(
                f"no JSON ({error}): write one array, or one object a line", source=name_of(source)
            ) from error
    for number, fields in enumerate(objects, 1):
        if isinstance(fields, dict):
            yield Row(number, fields)
        else:
            problem = f"found {type(fields).__name__} where an object should be"
            yield BadRow(number, BadData(problem), repr(fields)[:200])
