"""Words, numbers and names of a text, cut once and shared by every lexical feature."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import pairwise

STEM = 5  # letters kept of a longer word, so that inflected forms meet

_WORD = re.compile(r"\w+")
_BREAKS = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in map(chr, range(128)))
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")

_SPELLED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
SPELLED = {word: str(value) for value, word in enumerate(_SPELLED)}


@dataclasses.dataclass(slots=True)
class Words:
    """What lexical features compare; sets are not frozen, since making them is most of the work."""

    written: list[str]  # in order, as written
    words: list[str]  # in order, without case; pairs of characters in scripts that write no blanks
    distinct: set[str]
    stems: set[str]  # the beginnings of the longer words
    pairs: set[int]  # adjacent words, as the hash of both: tuples would cost a quarter more time
    numbers: set[str]


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


def _cut(text: str) -> list[str]:
    """Return the runs of letters, digits and underscores; ASCII the faster way."""
    return text.translate(_BREAKS).split() if text.isascii() else _WORD.findall(text)


def words_of(text: str) -> Words:
    """Cut a text."""
    written = _cut(text)
    words = _cut(text.casefold())
    unspaced = not text.isascii() and _UNSPACED.search(text) is not None
    if unspaced:
        words = [part for word in words for part in _character_pairs(word)]
    distinct = set(words)
    return Words(
        written=written,
        words=words,
        distinct=distinct,
        stems={word[:STEM] for word in distinct if unspaced or len(word) > 3},
        pairs=set(map(hash, pairwise(words))),
        numbers={number(digits) for digits in _NUMBER.findall(text)},
    )


def names_in(sentence: Words) -> set[str]:
    """Return the capitalised words but the first, without case."""
    return {word.casefold() for word in sentence.written[1:] if word[0].isupper() and len(word) > 1}


def known_numbers(*sources: Words) -> set[str]:
    """Return the numbers that sources give, in digits or spelled out."""
    spelled = {SPELLED[word] for source in sources for word in source.distinct & SPELLED.keys()}
    return spelled.union(*(source.numbers for source in sources))
