"""A question and a paragraph: which of its sentences answer the question? One is enough for the paragraph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from random import Random

from fractal.datasets.synthetic.facts import Fact, Subject, draw_fact, draw_subjects, draw_tail, worlds
from fractal.datasets.synthetic.scenes import Scene, Written, choose_fault, load_texts

POOLS = {
    "blunt": ("other fact", "other fact", "other fact and subject", "off topic"),
    "subtle": ("other subject", "no answer"),
    "grave": ("off topic", "other fact and subject"),
    "plain": ("other fact", "other subject"),
    "slight": ("no answer",),
}


@dataclasses.dataclass(frozen=True)
class QuestionScene(Scene):
    """One fact that is asked for, and subjects that it could be mistaken for."""

    query: str
    context: tuple[str, ...]
    lengths: tuple[int, ...]
    asked: Fact
    rivals: tuple[Subject, ...]
    difficulty: float
    graded: bool

    def write(self, truths: Sequence[float], rng: Random) -> list[Written]:
        covered: set[tuple[str, str]] = set()  # no two sentences tell of the same matter
        return [self._answer(rng) if truth == 1 else self._miss(truth, covered, rng) for truth in truths]

    def _answer(self, rng: Random) -> Written:
        tail = draw_tail(rng) if rng.random() < 0.2 else ""
        return Written(self._put(dataclasses.replace(self.asked, tail=tail), rng))

    def _miss(self, truth: float, covered: set[tuple[str, str]], rng: Random) -> Written:
        for name in [*choose_fault(truth, self.graded, POOLS, self.difficulty, rng), *["off topic"] * 9]:
            fact = self.asked if name == "no answer" else self._beside(name, rng)
            matter = (fact.subject.name, fact.schema.vague)
            if matter not in covered:
                break
        covered.add(matter)
        short = fact.subject == self.asked.subject and rng.random() < 0.4
        return Written(fact.evade(short=short) if name == "no answer" else self._put(fact, rng), name)

    def _beside(self, name: str, rng: Random) -> Fact:
        """Return a fact that does not answer the question, of the wanted kind."""
        schemas = [schema for schema in self.asked.subject.world.schemas if schema is not self.asked.schema]
        other = draw_fact(self.asked.subject, rng.choice(schemas), rng, tails=0.2)
        if name == "off topic":
            world = rng.choice([world for world in worlds() if world is not self.asked.subject.world])
            (stranger,) = draw_subjects(world, 1, rng)
            return draw_fact(stranger, rng.choice(world.schemas), rng, tails=0.2)
        if name == "other subject":
            return draw_fact(rng.choice(self.rivals), self.asked.schema, rng, tails=0.2)
        if name == "other fact and subject":
            return dataclasses.replace(other, subject=rng.choice(self.rivals))
        return other

    def _put(self, fact: Fact, rng: Random) -> str:
        lead = rng.choice(load_texts("names")["leads"]) if rng.random() < 0.1 else ""
        short = fact.subject == self.asked.subject and rng.random() < 0.2 + 0.5 * self.difficulty
        return fact.say(rng, rng.randrange(3), short=short, rounding=0.1, lead=lead)


def open_question(rng: Random, difficulty: float, graded: bool) -> QuestionScene:
    """Draw a question about one fact of one subject."""
    world = rng.choice(worlds())
    centre, *rivals = draw_subjects(world, 4, rng)
    asked = draw_fact(centre, rng.choice(world.schemas), rng)
    return QuestionScene(asked.ask(rng), (), tuple(range(2, 10)), asked, tuple(rivals), difficulty, graded)
