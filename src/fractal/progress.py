"""How far a long task is, on stderr: a bar with rate and time left on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

__all__ = ["Report", "progress"]

Report = Callable[[int, int], None]  # done, in all

LINE_EVERY = 10.0  # seconds between two lines where there is no terminal


@contextlib.contextmanager
def progress(total: int, what: str, quiet: bool = False) -> Iterator[Report]:
    """Show a task's progress while the block runs; call what it gives with how much is done, and of how much."""
    if quiet:
        yield _silent
    elif sys.stderr.isatty():
        with _bar(total, what) as report:
            yield report
    else:
        lines = _Lines(total, what)
        yield lines
        lines.close()


def _silent(done: int, total: int) -> None:
    """Show nothing."""


@contextlib.contextmanager
def _bar(total: int, what: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    start = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, rate="")

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, rate=_rate(done, time.monotonic() - start))

        yield report


class _Lines:
    """Plain lines: one now and then, and one at the end that says how long it took."""

    def __init__(self, total: int, what: str) -> None:
        self.done, self.total, self.what = 0, total, what
        self.start = self.shown = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        now = time.monotonic()
        if now - self.shown < LINE_EVERY or done >= total:
            return
        self.shown = now
        spent = now - self.start
        left = _duration(spent / done * (total - done)) if done else "unknown time"
        share = f" ({done / total:.0%})" if total else ""
        self._say(f"{self.what}: {done:,} of {total:,}{share}, {_rate(done, spent)}, {left} left")

    def close(self) -> None:
        """Say what was done in all."""
        spent = time.monotonic() - self.start
        if self.done:
            self._say(f"{self.what}: {self.done:,} in {_duration(spent)}, {_rate(self.done, spent)}")

    def _say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _rate(done: int, seconds: float) -> str:
    rate = done / max(seconds, 1e-9)
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
