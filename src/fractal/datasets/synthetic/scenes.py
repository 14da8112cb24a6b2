"""What every task offers: a scene, which is a query with its context, and responses to it written to order."""

from __future__ import annotations

import dataclasses
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any


@dataclasses.dataclass(frozen=True)
class Written:
    """A sentence as it stands in a response, and the fault planted in it ("" where it is good)."""

    text: str
    fault: str = ""


class Scene(ABC):
    """A query and its context, to which any number of responses can be written."""

    query: str
    context: tuple[str, ...]
    lengths: tuple[int, ...]  # how many sentences a response may have
    in_runs = False  # faults come one after another, as they do where one step builds on the last

    @abstractmethod
    def write(self, truths: Sequence[float], rng: Random) -> list[Written]:
        """Write one sentence for each label: a good one for 1, a fault as grave as the label is low otherwise."""


@cache
def load_texts(name: str) -> dict[str, Any]:
    """Return one of the text files that ship with the package."""
    return tomllib.loads(files(__package__).joinpath("texts", f"{name}.toml").read_text(encoding="utf-8"))


def capitalised(text: str) -> str:
    """Return the sentence with a large first letter."""
    return text[:1].upper() + text[1:]


def choose_fault(
    truth: float, graded: bool, pools: dict[str, tuple[str, ...]], difficulty: float, rng: Random
) -> list[str]:
    """Return the names of fitting faults in the order in which to try them.

    The pools are `blunt` and `subtle` for labels of two grades; `grave`, `plain` and `slight` where there are more.
    """
    if graded:
        first = "grave" if truth == 0 else "plain" if truth < 0.5 else "slight"
        order = [first, "plain", "grave"]
    else:
        order = ["subtle", "blunt"] if rng.random() < 0.1 + 0.6 * difficulty else ["blunt", "subtle"]
    return [name for pool in order for name in rng.sample(pools[pool], len(pools[pool]))]
