"""The file of refused records: one for all sources that are read with it, and never one of these sources."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from fractal.errors import BadSpec
from fractal.files import lock_stream, same_file

FIELDS = ("source", "line", "field", "problem", "record")  # of every line


class RejectsFile:
    """Where refused records go, emptied when the first source is read; those of the next ones follow."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._started = False

    @classmethod
    def of(cls, given: str | Path | RejectsFile) -> RejectsFile:
        """Make one of a path; one that is shared by several sources passes through."""
        return given if isinstance(given, RejectsFile) else cls(given)

    def refuse_source(self, source: Any) -> None:
        """Refuse to be the source, by whatever name, or a file in the folder that is the source."""
        stream = sys.stdin if isinstance(source, str | Path) and str(source) == "-" else source
        inside = isinstance(source, str | Path) and Path(source).is_dir() and self.path.exists()
        if same_file(stream, self.path) or (inside and self.path.resolve().is_relative_to(Path(source).resolve())):
            raise BadSpec(f"The rejects would overwrite the source {source}: give them another file.")

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file for one source; no other process writes it meanwhile."""
        if not self._started:
            self._refuse_other_content()
        with self.path.open("ab") as stream:
            if self.path.is_file():
                lock_stream(stream, self.path)
                if not self._started:
                    stream.truncate(0)
            self._started = True
            yield stream

    def _refuse_other_content(self) -> None:
        """A file that was not written as rejects holds something that nobody asked to lose."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return
        with self.path.open("rb") as stream:
            first = stream.readline(1 << 20)
        try:
            fields = set(msgspec.json.decode(first)) if first.endswith(b"\n") else set(FIELDS)
        except (ValueError, TypeError, RecursionError):
            fields = set()
        if not fields >= set(FIELDS):
            raise BadSpec(f"{self.path} holds something else than rejected records: give the rejects a new file.")
