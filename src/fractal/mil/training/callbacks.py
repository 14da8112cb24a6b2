"""Who can listen to a training: any function, a file of JSON lines; trackers.py has more."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from fractal.files import lock_stream
from fractal.jsonable import jsonable

__all__ = ["Callback", "Closing", "Epoch", "JsonLines", "at_stage", "stages"]


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What callbacks receive after every epoch."""

    epoch: int
    epochs: int
    parts: dict[str, float]  # each term by name, mean over batches and members
    held_out: float  # mean over members of the cost of held-out response labels; nan where nothing is held out
    best: float
    sentences_per_second: float
    seconds_left: float
    auc: float = math.nan  # of held-out response labels: the share of pairs in order, mean over members
    stage: str = ""  # which of several trainings this is, from the outermost choice inwards
    held_out_by_member: tuple[float, ...] = ()  # nan for a member that holds nothing out
    auc_by_member: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("held_out_by_member", "auc_by_member"):  # lists, where a checkpoint is read again
            object.__setattr__(self, name, tuple(getattr(self, name)))


Callback = Callable[[Epoch], None]
T = TypeVar("T")


def at_stage(callbacks: Sequence[Callback], stage: str) -> tuple[Callback, ...]:
    """Return callbacks that receive epochs with the name of their stage; a stage inside another is named after it."""

    def named(callback: Callback) -> Callback:
        return lambda epoch: callback(
            dataclasses.replace(epoch, stage=f"{stage} · {epoch.stage}" if epoch.stage else stage)
        )

    return tuple(map(named, callbacks))


def stages(things: Sequence[T], name: Callable[[T], str]) -> Iterator[tuple[T, str]]:
    """Give each thing with what its stage is called: its name, and which of how many it is where there are several."""
    for number, thing in enumerate(things, 1):
        yield thing, f"{name(thing)} ({number} of {len(things)})" if len(things) > 1 else name(thing)


class Closing:
    """A callback that holds something open: use it in a `with` block, or close it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is open."""


class JsonLines(Closing):
    """Writes every epoch to a file, one JSON object a line; each line is whole as soon as it is written."""

    def __init__(self, path: str | Path, append: bool = True) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        lock_stream(self._file, self.path)
        if not append and self.path.is_file():
            self._file.truncate(0)

    def __call__(self, epoch: Epoch) -> None:
        self._file.write(json.dumps(jsonable(dataclasses.asdict(epoch)), ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
