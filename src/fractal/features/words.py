"""Words, numbers and names of a text, cut once and shared by every lexical feature."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import pairwise

STEM = 5  # letters kept of a longer word, so that inflected forms meet

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_NAME = re.compile(r"(?!\A)\b[A-ZÀ-ÖØ-ÞΑ-ΩА-Я]\w+")  # capitalised, not at the start of the sentence
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")

_SPELLED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
SPELLED = {word: str(value) for value, word in enumerate(_SPELLED)}


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """What lexical features compare."""

    words: tuple[str, ...]  # in order, without case; pairs of characters in scripts that write no blanks
    distinct: frozenset[str]
    stems: frozenset[str]  # the beginnings of the longer words
    pairs: frozenset[tuple[str, str]]  # adjacent words
    numbers: frozenset[str]
    names: frozenset[str]  # capitalised words, without case


def cut_words(text: str) -> tuple[str, ...]:
    """Return the words of a text without case; Chinese, Japanese, Korean and Thai as pairs of characters."""
    words = _WORD.findall(text.casefold())
    if text.isascii() or not _UNSPACED.search(text):
        return tuple(words)
    return tuple(part for word in words for part in _character_pairs(word))


def _character_pairs(word: str) -> Sequence[str]:
    if len(word) < 2 or not _UNSPACED.search(word):
        return (word,)
    return [word[place : place + 2] for place in range(len(word) - 1)]


def number(text: str) -> str:
    """Return one spelling for equal numbers: 1,000 is 1000, and 3.50 is 3.5."""
    text = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text.replace(",", ".")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.lstrip("0") or "0"


def numbers_in(text: str) -> frozenset[str]:
    """Return the numbers written in digits."""
    return frozenset(map(number, _NUMBER.findall(text)))


def words_of(text: str) -> Words:
    """Cut a text."""
    words = cut_words(text)
    distinct = frozenset(words)
    return Words(
        words=words,
        distinct=distinct,
        stems=frozenset([word[:STEM] for word in distinct if len(word) > 3 or not word.isascii()]),
        pairs=frozenset(pairwise(words)),
        numbers=numbers_in(text),
        names=frozenset([name.casefold() for name in _NAME.findall(text)]),
    )


def known_numbers(*sources: Words) -> frozenset[str]:
    """Return the numbers that sources give, in digits or spelled out."""
    spelled = {SPELLED[word] for source in sources for word in source.distinct & SPELLED.keys()}
    return frozenset(spelled).union(*(source.numbers for source in sources))
