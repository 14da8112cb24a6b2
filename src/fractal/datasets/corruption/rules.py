"""Corruption without a language model: swaps of what the source, or another summary, says elsewhere."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random

from fractal.datasets.corruption.base import GENERATORS, Case, Generator
from fractal.datasets.corruption.facts import DAYS, MONTHS, OPPOSITES, Fact, find_facts, find_words, plain
from fractal.records import Response
from fractal.records.splitting import SPLITTERS

MOST_SENTENCES = 40  # sentences of other summaries that are looked at
CLOSEST = 3  # of them, by length, one is taken
MOST_YEARS = 30
LENGTHS = (0.7, 1.4)  # of a new sentence, beside the old one


@GENERATORS.register("rules")
@dataclasses.dataclass(frozen=True)
class Rules(Generator):
    """Offline: swaps names, numbers, dates, opposites and roles; sentences come from other summaries, renamed."""

    elsewhere: float = 0.3  # share of swaps that borrow from other summaries although the source has something

    def replace_sentence(self, case: Case, place: int, rng: Random) -> str | None:
        """Return a sentence of our source made wrong, or of another summary, renamed, near the old one in length."""
        old = case.response.sentences[place].text
        ways = [self._from_source, self._from_others]
        for way in ways if rng.random() < 0.5 else ways[::-1]:
            if sentence := way(case, old, rng):
                return sentence
        return None

    def _from_source(self, case: Case, old: str, rng: Random) -> str | None:
        """Say what the source says elsewhere, with every name, number and date of it exchanged."""
        response_sentences = {plain(sentence.text) for sentence in case.response.sentences}
        texts = [text for text in _source_sentences(case.source) if plain(text) not in response_sentences]
        for text in _near(texts, old)[:CLOSEST]:
            facts = [fact for fact in find_facts(text) if fact.kind in ("name", "number", "date", "opposite")]
            swaps = [KINDS[fact.kind](fact, case, self.elsewhere, rng) for fact in facts]
            for fact, new in reversed(list(zip(facts, swaps, strict=True))):
                text = text[: fact.start] + (new or fact.text) + text[fact.end :]
            if any(swaps):
                return text
        return None

    def _from_others(self, case: Case, old: str, rng: Random) -> str | None:
        theirs = [(other, sentence.text) for other in case.others for sentence in other.sentences]
        drawn = rng.sample(theirs, min(MOST_SENTENCES, len(theirs)))
        near = _near({_renamed(text, other, case.response) for other, text in drawn}, old)
        return rng.choice(near[:CLOSEST]) if near else None

    def replace_words(self, case: Case, facts: Sequence[Fact], rng: Random) -> Sequence[str] | None:
        """Return something of the same kind for each fact; two names of one sentence may change places."""
        swapped = _roles(case.response, facts, rng)
        if swapped:
            return swapped
        words = [KINDS[fact.kind](fact, case, self.elsewhere, rng) for fact in facts]
        return [new for new in words if new is not None] if all(new is not None for new in words) else None


@functools.lru_cache(maxsize=256)
def _source_sentences(source: str) -> tuple[str, ...]:
    return tuple(sentence.text for sentence in SPLITTERS.build("sentences")(source))


def _near(texts: Iterable[str], old: str) -> list[str]:
    """Return those that are about as long as the old sentence, the nearest first."""
    least, most = (share * len(old) for share in LENGTHS)
    fit = sorted(text for text in texts if least <= len(text) <= most and text != old)
    return sorted(fit, key=lambda text: abs(len(text) - len(old)))


def _renamed(text: str, other: Response, ours: Response) -> str:
    """Say of our main name what is said of theirs, as far as both have one."""
    old, new = _main_name(other), _main_name(ours)
    return text.replace(old, new) if old and new else text


def _main_name(response: Response) -> str:
    text = " ".join((response.text, *response.context))
    names = Counter(fact.text for fact in find_facts(text) if fact.kind == "name")
    here = [name for name, _ in names.most_common() if name in response.text]
    return here[0] if here else ""


def _roles(response: Response, facts: Sequence[Fact], rng: Random) -> Sequence[str] | None:
    """Let the two facts of one sentence change places, where they are two names."""
    if len(facts) != 2 or {fact.kind for fact in facts} != {"name"} or facts[0].text == facts[1].text:
        return None
    together = any(s.start <= facts[0].start and facts[1].end <= s.end for s in response.sentences)
    return [facts[1].text, facts[0].text] if together and rng.random() < 0.5 else None


def _nearest(fact: Fact, candidates: Iterable[str], rng: Random) -> str | None:
    """Return one of the candidates that are nearest in length: longer or shorter words would give themselves away."""
    fit = sorted({text for text in candidates if plain(text) != plain(fact.text)})
    fit.sort(key=lambda text: abs(len(text) - len(fact.text)))
    near = [text for text in fit if abs(len(text) - len(fact.text)) <= 2 + len(fact.text) // 3]
    return rng.choice(near[:8]) if near else None


def _candidates(fact: Fact, case: Case, elsewhere: float, rng: Random) -> list[list[str]]:
    """Return what the source and the other summaries say of the same kind, in the order in which to look."""
    texts = [
        [other.text for other in facts if other.kind == fact.kind] for facts in (case.source_facts, case.other_facts)
    ]
    return texts[::-1] if rng.random() < elsewhere else texts


def _name(fact: Fact, case: Case, elsewhere: float, rng: Random) -> str | None:
    words = fact.text.count(" ")
    for texts in _candidates(fact, case, elsewhere, rng):
        same = [text for text in texts if (text.count(" ") > 0) == (words > 0) and not _shares(text, fact.text)]
        if name := _nearest(fact, same, rng):
            return name
    return None


def _shares(one: str, other: str) -> bool:
    """Whether one name is part of the other: 'Ada' for 'Ada Byron' would not be wrong."""
    return bool({*plain(one).split()} & {*plain(other).split()})


def _number(fact: Fact, case: Case, elsewhere: float, rng: Random) -> str | None:
    form = _form(fact.text)
    for texts in _candidates(fact, case, elsewhere, rng):
        if number := _nearest(fact, [text for text in texts if _form(text) == form], rng):
            return number
    return _other_digits(fact.text, rng)


def _form(number: str) -> str:
    return "".join("9" if char.isdigit() else char for char in number)


def _other_digits(number: str, rng: Random) -> str | None:
    """Draw other digits; the zeros at the end stay, so that round numbers stay round."""
    body = number.rstrip("0,.") or number[:1]
    for _ in range(20):
        drawn = "".join(rng.choice("123456789") if char.isdigit() else char for char in body)
        if drawn != body:
            return drawn + number[len(body) :]
    return None


def _date(fact: Fact, case: Case, elsewhere: float, rng: Random) -> str | None:
    for names in (MONTHS, DAYS):
        if fact.text in names:
            texts = [text for facts in _candidates(fact, case, elsewhere, rng) for text in facts if text in names]
            others = [text for text in texts or names if text != fact.text] or [n for n in names if n != fact.text]
            return rng.choice(others)
    years = [text for text in _candidates(fact, case, elsewhere, rng)[0] if text.isdecimal() and text != fact.text]
    near = [text for text in years if abs(int(text) - int(fact.text)) <= MOST_YEARS]
    return rng.choice(near) if near else str(int(fact.text) - rng.randint(1, MOST_YEARS))


def _opposite(fact: Fact, case: Case, elsewhere: float, rng: Random) -> str | None:
    return OPPOSITES[fact.text]


def _negation(fact: Fact, case: Case, elsewhere: float, rng: Random) -> str | None:
    """Take a negation away. None is put in: where true summaries hold few, each would give itself away."""
    return ""


def _word(fact: Fact, case: Case, elsewhere: float, rng: Random) -> str | None:
    texts = (case.source, " ".join(other.text for other in case.others))
    for text in texts[::-1] if rng.random() < elsewhere else texts:
        alike = [w.text for w in find_words(text) if w.text[-3:] == fact.text[-3:] and w.text[:4] != fact.text[:4]]
        if word := _nearest(fact, alike, rng):
            return word
    return None


Swap = Callable[[Fact, Case, float, Random], str | None]
KINDS: dict[str, Swap] = {
    "name": _name,
    "number": _number,
    "date": _date,
    "opposite": _opposite,
    "negation": _negation,
    "word": _word,
}
