"""What is seen while a scorer trains: a live line on a terminal, plain lines elsewhere, always on stderr."""

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

    from fractal.training import Epoch

__all__ = ["training_display"]

LINE_EVERY = 10.0  # seconds between two plain lines of one head


@contextlib.contextmanager
def training_display(quiet: bool = False) -> Iterator[Callable[[Epoch], None]]:
    """Give a listener that shows every epoch: stage, loss parts, held-out cost, rate, time left."""
    if quiet:
        yield lambda epoch: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True), refresh_per_second=8, transient=True) as live:
            yield _Bar(live)
    else:
        lines = _Lines()
        yield lines
        lines.close()


class _Bar:
    """The epoch of the head that trains now, redrawn in place."""

    def __init__(self, live: Live) -> None:
        self.live, self.head = live, 0

    def __call__(self, epoch: Epoch) -> None:
        from rich.text import Text

        self.head += epoch.epoch == 1
        done = round(20 * epoch.epoch / epoch.epochs)
        text = Text(f"head {self.head} ", style="bold")
        text.append("━" * done, style="cyan")
        text.append("━" * (20 - done), style="dim")
        text.append(f" {told(epoch)}", style="not bold")
        self.live.update(text)


class _Lines:
    """A line for every head that is done, and now and then one before."""

    def __init__(self) -> None:
        self.head, self.shown = 0, 0.0
        self.told: Epoch | None = None

    def __call__(self, epoch: Epoch) -> None:
        if epoch.epoch == 1:
            self.close()
            self.head += 1
            self.shown = time.monotonic()
        elif time.monotonic() - self.shown > LINE_EVERY:
            self.shown = time.monotonic()
            click.echo(f"head {self.head}: {told(epoch)}", err=True)
        self.told = epoch

    def close(self) -> None:
        """Say how the last head ended."""
        if self.told is not None:
            click.echo(f"head {self.head} done: {told(self.told)}", err=True)


def told(epoch: Epoch) -> str:
    """Say in one line how an epoch went."""
    parts = " ".join(f"{name} {value:.3f}" for name, value in epoch.parts.items())
    held_out = "" if math.isnan(epoch.held_out) else f" · held out {epoch.held_out:.3f} (best {epoch.best:.3f})"
    rate = f"{epoch.sentences_per_second:,.0f} sentences/s"
    return f"epoch {epoch.epoch}/{epoch.epochs} · {parts}{held_out} · {rate} · {epoch.seconds_left:.0f} s left"
