"""The two corruptions of the paper: whole sentences replaced, or single words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from random import Random

from fractal.datasets.corruption.base import CORRUPTORS, Case, Corruptor, Generator
from fractal.datasets.corruption.facts import Fact, find_facts, find_words
from fractal.datasets.corruption.vetting import vetted
from fractal.errors import BadSpec


@CORRUPTORS.register("sentences")
@dataclasses.dataclass(frozen=True)
class Sentences(Corruptor):
    """Sentence replacement: one to half of the sentences become others, any of them, the first too."""

    most: float = 0.5  # share of a summary's sentences, at least one

    def __post_init__(self) -> None:
        _check_share(self.most, "most")

    def __call__(self, case: Case, generator: Generator, rng: Random) -> Mapping[int, str] | str:
        """Replace sentences one by one."""
        count = len(case.response.sentences)
        places = sorted(rng.sample(range(count), rng.randint(1, max(1, int(count * self.most)))))
        replaced = {}
        for place in places:
            old = case.response.sentences[place].text
            new = vetted(generator.replace_sentence(case, place, rng), old, case)
            if new is None:
                return "no other sentence fits"
            replaced[place] = new
        return replaced


@CORRUPTORS.register("words")
@dataclasses.dataclass(frozen=True)
class Words(Corruptor):
    """Word replacement: one to a fifth of the names, numbers, dates and other words become others."""

    most: float = 0.2  # share of what can be changed, at least one

    def __post_init__(self) -> None:
        _check_share(self.most, "most")

    def __call__(self, case: Case, generator: Generator, rng: Random) -> Mapping[int, str] | str:
        """Replace words, and see which sentences have changed."""
        facts = self._chosen(case, rng)
        if not facts:
            return "nothing to change"
        words = generator.replace_words(case, facts, rng)
        if words is None or len(words) != len(facts):
            return "no other words fit"
        replaced = _with_words(case, facts, words)
        for place, text in replaced.items():
            if vetted(text, case.response.sentences[place].text, case) != text:
                return "the new words change nothing, or do not fit"
        return replaced

    def _chosen(self, case: Case, rng: Random) -> Sequence[Fact]:
        """Draw what is to change; names, numbers and dates where there are some, else other words."""
        text = case.response.text
        inside = [
            fact
            for fact in find_facts(text) or find_words(text)
            if any(s.start <= fact.start and fact.end <= s.end for s in case.response.sentences)
        ]
        count = rng.randint(1, max(1, int(len(inside) * self.most)))
        return sorted(rng.sample(inside, min(count, len(inside))), key=lambda fact: fact.start)


def _with_words(case: Case, facts: Sequence[Fact], words: Sequence[str]) -> dict[int, str]:
    """Return the sentences that hold the new words."""
    replaced: dict[int, str] = {}
    for fact, word in reversed(list(zip(facts, words, strict=True))):  # from the end: places before it stay true
        for place, sentence in enumerate(case.response.sentences):
            if sentence.start <= fact.start and fact.end <= sentence.end:
                text = replaced.get(place, sentence.text)
                replaced[place] = text[: fact.start - sentence.start] + word + text[fact.end - sentence.start :]
    return replaced


def _check_share(share: float, option: str) -> None:
    if not 0 < share <= 1:
        raise BadSpec(f"{option}={share}: give a share above 0, at most 1.")
