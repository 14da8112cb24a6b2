"""What language models are asked, and what is made of their answers; every answer is checked, none is trusted."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from random import Random

from fractal.datasets.corruption.base import Case, Generator
from fractal.datasets.corruption.facts import Fact

NEXT = """Here is the beginning of a text:

{left}

Write the sentence that comes next, in the same style, with about {words} words. Print that sentence alone."""

FILL = """In this text some places are marked [1], [2] and so on:

{text}

Fill each place with something that fits in kind and length, but is not {old}. Print one line for each place: its \
number, a colon, and what stands there. Print nothing else."""

LINE = re.compile(r"^\s*\[?(\d+)\]?\s*[:.)]\s*(.+?)\s*$", re.MULTILINE)


class Prompted(Generator):
    """A generator that asks a language model: the context of the summary is kept from it, so that it has to invent."""

    @abstractmethod
    def complete(self, prompt: str, seed: int) -> str | None:
        """Return the model's answer; nothing where it has none."""

    def replace_sentence(self, case: Case, place: int, rng: Random) -> str | None:
        """Ask for the next sentence after those before it; for the first one, after the query."""
        before = " ".join(sentence.text for sentence in case.response.sentences[:place])
        left = before or case.response.query or case.response.sentences[-1].text
        words = len(case.response.sentences[place].text.split())
        return self.complete(NEXT.format(left=left, words=words), rng.randrange(2**31))

    def replace_words(self, case: Case, facts: Sequence[Fact], rng: Random) -> Sequence[str] | None:
        """Ask for other words at numbered places; the rest of the text is not the model's to change."""
        text = case.response.text
        for number, fact in reversed(list(enumerate(facts, 1))):
            text = f"{text[: fact.start]}[{number}]{text[fact.end :]}"
        old = ", ".join(repr(fact.text) for fact in facts)
        answer = self.complete(FILL.format(text=text, old=old), rng.randrange(2**31))
        answers = {int(number): words for number, words in LINE.findall(answer or "")}
        if set(answers) != set(range(1, len(facts) + 1)):
            return None
        words = [answers[number].strip("\"'") for number in sorted(answers)]
        changed = all(new.casefold() != fact.text.casefold() for new, fact in zip(words, facts, strict=True))
        return words if changed else None
