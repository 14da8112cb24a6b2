"""Responses that retell a source: what is told must stand there. Summaries and long answers are both of this kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from random import Random

from fractal.datasets.synthetic.facts import Fact, draw_fact, draw_subjects, worlds
from fractal.datasets.synthetic.faults import FAULTS, Case
from fractal.datasets.synthetic.scenes import Scene, Written, choose_fault, load_texts

UNTRUE = ("swapped value", "invented value", "wrong subject", "turned trend")  # false with or without a detail


def draw_source(rng: Random, rivals: int) -> list[Fact]:
    """Draw what a source tells: most of what can be said of one subject, and less about some rivals."""
    world = rng.choice(worlds())
    centre, *others = draw_subjects(world, 1 + rivals, rng)
    facts = [draw_fact(centre, schema, rng, 0.35) for schema in rng.sample(world.schemas, rng.randrange(6, 8))]
    for other in others:
        facts += [draw_fact(other, schema, rng, 0.35) for schema in rng.sample(world.schemas, rng.randrange(3, 5))]
    return facts


@dataclasses.dataclass(frozen=True)
class RetellingScene(Scene):
    """Facts with the words of the source, and the faults that a retelling of them may have."""

    query: str
    context: tuple[str, ...]
    lengths: tuple[int, ...]
    source: tuple[Fact, ...]
    wordings: tuple[int, ...]  # which words the source has for each fact
    pools: dict[str, tuple[str, ...]]
    difficulty: float
    graded: bool

    def write(self, truths: Sequence[float], rng: Random) -> list[Written]:
        chosen = sorted(self._choose(len(truths), rng))
        written: list[Written] = []
        said: list[int] = []
        for place, truth in zip(chosen, truths, strict=True):
            if truth == 1:
                written.append(Written(self._retell(place, rng)))
                said.append(place)
            else:
                written.append(self._err(place, truth, said, rng))
        return written

    def _choose(self, count: int, rng: Random) -> list[int]:
        """Pick what to tell: the subject in the centre first, its rivals where there is room."""
        centre = [place for place, fact in enumerate(self.source) if fact.subject == self.source[0].subject]
        others = [place for place in range(len(self.source)) if place not in centre]
        aside = min(len(others), max(count - len(centre), round(count * 0.4 * rng.random())))
        return rng.sample(centre, count - aside) + rng.sample(others, aside)

    def _retell(self, place: int, rng: Random) -> str:
        fact = self.source[place]
        if fact.tail and rng.random() < 0.5:
            fact = dataclasses.replace(fact, tail="")
        return self._put(fact, self.wordings[place], rng)

    def _put(self, fact: Fact, wording: int, rng: Random) -> str:
        """Say it, the more freely the harder the scene."""
        if rng.random() < 0.4 + 0.5 * self.difficulty:
            wording += rng.randrange(1, len(fact.schema.say))
        lead = rng.choice(load_texts("names")["leads"]) if rng.random() < 0.1 else ""
        # only the subject in the centre can be meant by "the museum"
        short = fact.subject == self.source[0].subject and rng.random() < 0.4
        return fact.say(rng, wording, short=short, rounding=0.3 * self.difficulty, lead=lead)

    def _err(self, place: int, truth: float, said: Sequence[int], rng: Random) -> Written:
        case = Case(self.source[place], self.source, [self.source[earlier] for earlier in said])
        for name in choose_fault(truth, self.graded, self.pools, self.difficulty, rng):
            fact = FAULTS[name](case, rng)
            if fact is None:
                continue
            if name in UNTRUE and rng.random() < 0.5:
                fact = dataclasses.replace(fact, tail="")
            if name == "said before" or not any(fact.agrees_with(stated) for stated in self.source):
                return Written(self._put(fact, self.wordings[place], rng), name)
        raise AssertionError("an off-topic sentence can always be written")
