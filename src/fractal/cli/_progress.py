"""What is seen of a long task, always on stderr: a bar or a picture on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

if TYPE_CHECKING:
    from rich.live import Live

    from fractal.mil.training.callbacks import Epoch

__all__ = ["ProgressReporter", "TrainingReporter"]

LINE_EVERY = 10.0  # seconds between two plain lines
BAR = 24  # characters


class _Reporter:
    """What both reporters share: silence where it is asked for, the clock, and an end."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.start = self.last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the terminal, and say how the task ended."""

    def _line_is_due(self) -> bool:
        if time.monotonic() - self.last_line < LINE_EVERY:
            return False
        self.last_line = time.monotonic()
        return True


class ProgressReporter(_Reporter):
    """Shows how much of a task is done; call it with that, and of how much (0 where nobody knows, and no bar is drawn).

    It shows nothing before the first call, so that it may wait for its task.
    """

    def __init__(self, what: str, quiet: bool = False) -> None:
        super().__init__(quiet)
        self.what, self.done, self.total = what, 0, 0
        self._called = False
        self._bar: Any = None

    def __call__(self, done: int, total: int = 0) -> None:
        self.done, self.total, self._called = done, total, True
        if self.quiet:
            return
        if total and sys.stderr.isatty():
            self._draw()
        elif self._line_is_due() and not done >= total > 0:
            click.echo(f"{self.what}: {self._state()}", err=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._called and not self.quiet:
            seconds = time.monotonic() - self.start
            click.echo(f"{self.what}: {self.done:,} in {_duration(seconds)}, {_rate(self.done, seconds)}", err=True)
        self._called = False

    def _state(self) -> str:
        seconds = time.monotonic() - self.start
        if not self.total:
            return f"{self.done:,}, {_rate(self.done, seconds)}"
        left = _duration(seconds / self.done * (self.total - self.done)) if self.done else "unknown time"
        share = f"{self.done:,} of {self.total:,} ({self.done / self.total:.0%})"
        return f"{share}, {_rate(self.done, seconds)}, {left} left"

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None:
            name, speed = TextColumn("{task.description}"), TextColumn("{task.fields[rate]}")
            columns = (name, BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._bar.add_task(self.what, total=self.total, rate="")
        rate = _rate(self.done, time.monotonic() - self.start)
        self._bar.update(self._bar.task_ids[0], completed=self.done, total=self.total, rate=rate)


class TrainingReporter(_Reporter):
    """Shows every epoch: the head that trains now, loss parts, held-out loss and AUC, rate, time left.

    On a terminal the head that trains is redrawn in place; every head that is done leaves a line.
    """

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        self.epoch: Epoch | None = None
        self._live: Live | None = None

    def __call__(self, epoch: Epoch) -> None:
        if self.quiet:
            return
        if epoch.epoch == 1:
            self._end_head()
        self.epoch = epoch
        if sys.stderr.isatty():
            self._draw(epoch)
        elif self._line_is_due():
            progress = f"epoch {epoch.epoch}/{epoch.epochs} · {_losses(epoch)} · {_speed(epoch)}"
            click.echo(f"{epoch.stage}: {progress}", err=True)

    def close(self) -> None:
        self._end_head()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _end_head(self) -> None:
        """Leave a line of the head that is done."""
        if self.epoch is not None:
            line = f"{self.epoch.stage}: done after {self.epoch.epoch} epochs · {_losses(self.epoch)}"
            if self._live is None:
                click.echo(line, err=True)
            else:
                from rich.text import Text

                self._live.console.print(Text("✓ ", style="cyan").append(line, style="default"))
        self.epoch, self.last_line = None, time.monotonic()

    def _draw(self, epoch: Epoch) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            console = Console(stderr=True, highlight=False)
            self._live = Live(console=console, refresh_per_second=8, transient=True)
            self._live.start()
        done = round(BAR * epoch.epoch / epoch.epochs)
        text = Text(epoch.stage, style="bold").append("\n")
        text.append("━" * done, style="cyan").append("━" * (BAR - done), style="dim")
        text.append(f" epoch {epoch.epoch}/{epoch.epochs} · {_speed(epoch)}\n", style="not bold")
        text.append(_losses(epoch), style="not bold")
        self._live.update(text)


def _losses(epoch: Epoch) -> str:
    """Say what an epoch cost, and how well it orders responses that it did not learn from."""
    parts = " ".join(f"{name} {value:.3f}" for name, value in epoch.parts.items())
    loss = "" if math.isnan(epoch.held_out) else f" · held-out loss {epoch.held_out:.3f}"
    loss += "" if not loss or math.isnan(epoch.best) else f" (best {epoch.best:.3f})"
    return parts + loss + ("" if math.isnan(epoch.auc) else f", AUC {epoch.auc:.3f}")


def _speed(epoch: Epoch) -> str:
    return f"{epoch.sentences_per_second:,.0f} sentences/s · at most {epoch.seconds_left:.0f} s left"


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
