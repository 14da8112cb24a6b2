"""What is seen while a scorer trains: a live picture on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.live import Live

    from fractal.mil.training.callbacks import Epoch

__all__ = ["training_display"]

LINE_EVERY = 10.0  # seconds between two plain lines of one head
BAR = 24  # characters


@contextlib.contextmanager
def training_display(quiet: bool = False) -> Iterator[Callable[[Epoch], None]]:
    """Give a listener that shows every epoch: stage, loss parts, held-out cost and AUC, rate, time left."""
    if quiet:
        yield lambda epoch: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True, highlight=False), refresh_per_second=8, transient=True) as live:
            shown = _Picture(live)
            yield shown
            shown.close()
    else:
        lines = _Lines()
        yield lines
        lines.close()


class _Picture:
    """The head that trains now, redrawn in place; above it, a line for every head that is done."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.last: Epoch | None = None

    def __call__(self, epoch: Epoch) -> None:
        from rich.text import Text

        if epoch.epoch == 1:
            self.close()
        self.last = epoch
        done = round(BAR * epoch.epoch / epoch.epochs)
        text = Text(epoch.stage, style="bold").append("\n")
        text.append("━" * done, style="cyan").append("━" * (BAR - done), style="dim")
        text.append(f" epoch {epoch.epoch}/{epoch.epochs} · {_speed(epoch)}\n", style="not bold")
        text.append(_learned(epoch), style="not bold")
        self.live.update(text)

    def close(self) -> None:
        """Leave a line of the head that is done."""
        from rich.text import Text

        if self.last is not None:
            self.live.console.print(Text("✓ ", style="cyan").append(_ended(self.last), style="default"))
            self.last = None


class _Lines:
    """A line for every head that is done, and now and then one before."""

    def __init__(self) -> None:
        self.shown = 0.0
        self.last: Epoch | None = None

    def __call__(self, epoch: Epoch) -> None:
        if epoch.epoch == 1:
            self.close()
            self.shown = time.monotonic()
        elif time.monotonic() - self.shown > LINE_EVERY:
            self.shown = time.monotonic()
            told = f"epoch {epoch.epoch}/{epoch.epochs} · {_learned(epoch)} · {_speed(epoch)}"
            click.echo(f"{epoch.stage}: {told}", err=True)
        self.last = epoch

    def close(self) -> None:
        """Say how the last head ended."""
        if self.last is not None:
            click.echo(_ended(self.last), err=True)
            self.last = None


def _ended(epoch: Epoch) -> str:
    """Say in one line how a head ended."""
    return f"{epoch.stage}: done after {epoch.epoch} epochs · {_learned(epoch)}"


def _learned(epoch: Epoch) -> str:
    """Say what an epoch cost, and how well it orders responses that it did not learn from."""
    parts = " ".join(f"{name} {value:.3f}" for name, value in epoch.parts.items())
    cost = "" if math.isnan(epoch.held_out) else f" · held out {epoch.held_out:.3f} (best {epoch.best:.3f})"
    return parts + cost + ("" if math.isnan(epoch.auc) else f", AUC {epoch.auc:.3f}")


def _speed(epoch: Epoch) -> str:
    return f"{epoch.sentences_per_second:,.0f} sentences/s · at most {epoch.seconds_left:.0f} s left"
