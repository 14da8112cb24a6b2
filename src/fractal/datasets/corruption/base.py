"""What corrupts a summary, what writes the false text, and what they are told: the interfaces and their registries."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from random import Random
from typing import ClassVar

from fractal.datasets.corruption.facts import Fact, find_facts
from fractal.errors import FractalError
from fractal.records import Response
from fractal.registry import Registry


class GeneratorFailed(FractalError, RuntimeError):
    """A generator cannot work at all: no server, no model, no right to ask; says what would work."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A summary that is to be corrupted, and others of the same kind to borrow from, none of its own group."""

    response: Response
    others: Sequence[Response]

    @cached_property
    def source(self) -> str:
        """The texts that the summary is to agree with."""
        return "\n".join((self.response.query, *self.response.context))

    @cached_property
    def source_facts(self) -> tuple[Fact, ...]:
        """Names, numbers, dates and turns of phrase of the source: what can be swapped in."""
        return find_facts(self.source)

    @cached_property
    def other_facts(self) -> tuple[Fact, ...]:
        """The same of the other summaries."""
        return tuple(fact for other in self.others for fact in find_facts(other.text))


class Generator(ABC):
    """Writes text that the source does not support. A frozen dataclass; None where it found nothing fit."""

    name: ClassVar[str]

    @abstractmethod
    def replace_sentence(self, case: Case, place: int, rng: Random) -> str | None:
        """Return another sentence for the one at that place of the summary."""

    @abstractmethod
    def replace_words(self, case: Case, facts: Sequence[Fact], rng: Random) -> Sequence[str] | None:
        """Return other words for these places of the summary's text, one for each."""


class Corruptor(ABC):
    """A way to corrupt. A frozen dataclass; says what each changed sentence becomes."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, case: Case, generator: Generator, rng: Random) -> Mapping[int, str] | str:
        """Return the new sentences by their places, or the reason why there are none."""


CORRUPTORS: Registry[Corruptor] = Registry("corruptor")
GENERATORS: Registry[Generator] = Registry("generator")
