"""What can be swapped in a text without a parser: dates, numbers, names, opposite words, and other words."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator

Span = tuple[int, int]
CALENDAR = (
    "January February March April May June July August September October November December Monday Tuesday "
    "Wednesday Thursday Friday Saturday Sunday"
)
MONTHS, DAYS = CALENDAR.split()[:12], CALENDAR.split()[12:]
PAIRS = (
    "rose fell, rise fall, rises falls, risen fallen, grew shrank, grown shrunk, increased decreased, "
    "increase decrease, increases decreases, up down, higher lower, high low, more fewer, larger smaller, "
    "largest smallest, most least, best worst, first last, before after, earlier later, early late, opened closed, "
    "opens closes, began ended, begins ends, won lost, wins loses, gained dropped, bought sold, buys sells, "
    "above below, north south, east west, northern southern, eastern western, male female, old new, older younger, "
    "long short, longer shorter, always never, accepted rejected, joined left, "
    "inside outside, positive negative, success failure"
)
OPPOSITES = {word: other for pair in PAIRS.split(", ") for word, other in (pair.split(), pair.split()[::-1])}

DATE = re.compile(rf"\b(?:{'|'.join(MONTHS + DAYS)})\b|\b(?:1[5-9]|20)\d\d\b(?![,.]?\d)")
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?!\w)")
NAME = re.compile(r"\b[A-Z][\w'’-]*[a-z0-9][\w'’-]*(?: (?:(?:of|de|von|van) )?[A-Z][\w'’-]*[\w])*")
WORD = re.compile(r"[^\W\d_]{4,}(?:-[^\W\d_]+)*")
NOT = re.compile(r"\b(?:not|never) ")
SENTENCE_START = re.compile(r"(?:^|[.!?:\n][\"'”’)]*)\s*$")
GRAMMAR = (
    "about above after again against also although among another because been before being below between both "
    "could does doing down during each either every from further have having here hers herself himself however "
    "into itself just many more most much neither once only other others ours over same several shall should some "
    "such than that their theirs them themselves then there these they this those though through under until upon "
    "very were what when where whether which while whom whose will with within without would your yours"
)
FUNCTION_WORDS = frozenset(GRAMMAR.split())
BEGINNINGS = "The A An In On At It He She They This That These Those After Before When While From For But And"
OPENERS = frozenset(BEGINNINGS.split())


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """A place of a text that says something that could be otherwise: its words, its kind, and where it stands."""

    text: str
    kind: str  # date, number, name, opposite, negation, word
    start: int
    end: int


@functools.lru_cache(maxsize=4096)
def find_facts(text: str) -> tuple[Fact, ...]:
    """Return what stands in a text, in order and without overlap; dates come before numbers, numbers before names."""
    taken = [False] * len(text)
    facts = []
    for kind, span in _candidates(text):
        start, end = span
        if not any(taken[start:end]):
            taken[start:end] = [True] * (end - start)
            facts.append(Fact(text[start:end], kind, start, end))
    return tuple(sorted(facts, key=lambda fact: fact.start))


def find_words(text: str) -> tuple[Fact, ...]:
    """Return the other words that carry meaning: what is left to change in a text without names and numbers."""
    taken = [(fact.start, fact.end) for fact in find_facts(text)]
    words = (match for match in WORD.finditer(text) if match[0].islower() and match[0] not in FUNCTION_WORDS)
    return tuple(
        Fact(match[0], "word", *match.span())
        for match in words
        if not any(start < match.end() and match.start() < end for start, end in taken)
    )


def plain(text: str) -> str:
    """Return a text's words alone, to compare."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _candidates(text: str) -> Iterator[tuple[str, Span]]:
    for kind, pattern in (("date", DATE), ("number", NUMBER)):
        for match in pattern.finditer(text):
            yield kind, match.span()
    for match in NAME.finditer(text):
        yield from _names(text, match)
    for match in NOT.finditer(text):
        yield "negation", match.span()
    for match in re.finditer(r"[a-z]+", text):
        if match[0] in OPPOSITES:
            yield "opposite", match.span()


def _names(text: str, match: re.Match[str]) -> Iterator[tuple[str, Span]]:
    """Leave out the capital letter that only begins a sentence."""
    start, end = match.span()
    first, _, rest = match[0].partition(" ")
    if first in OPENERS:
        start, first = (start + len(first) + 1, rest) if rest else (end, "")
        if not rest or not rest[0].isupper():
            return
    elif not rest and SENTENCE_START.search(text[max(0, start - 4) : start]):
        return
    if start < end:
        yield "name", (start, end)
