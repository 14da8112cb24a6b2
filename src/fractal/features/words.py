"""Words, numbers and names of a text, cut once and shared by every lexical feature."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from fractal.remembered import Remembered

STEM = 5  # letters kept of a longer word, so that inflected forms meet

_WORD = re.compile(r"\w+")
_BREAKS = bytes(ord(letter) if letter.isalnum() or letter == "_" else 32 for letter in map(chr, range(128))) + bytes(
    128
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")

_SPELLED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
SPELLED = {word: str(value) for value, word in enumerate(_SPELLED)}


class _Answers(Remembered[str]):
    """Answers to words, of which the empty one counts for nothing."""

    def of(self, words: Iterable[str]) -> set[str]:
        """Return what is said of these words, each answer once."""
        answers = set(map(self.__getitem__, words))
        answers.discard("")
        return answers


class _Stems(_Answers):
    """The first letters of longer words."""

    def answer(self, word: str) -> str:
        return word[:STEM] if len(word) > 3 else ""


class _Names(_Answers):
    """Capitalised words, without case."""

    def answer(self, word: str) -> str:
        return word.casefold() if word[0].isupper() and len(word) > 1 else ""


_STEMS, _NAMES = _Stems(), _Names()


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


def words_of(text: str) -> Words:
    """Cut a text; ASCII the faster way."""
    unspaced = False
    if text.isascii():
        spaced = text.encode().translate(_BREAKS).decode()
        written, words = spaced.split(), spaced.lower().split()
    else:
        written, words = _WORD.findall(text), _WORD.findall(text.casefold())
        unspaced = _UNSPACED.search(text) is not None
    if unspaced:
        words = [part for word in words for part in _character_pairs(word)]
    distinct = set(words)
    return Words(
        written=written,
        words=words,
        distinct=distinct,
        stems={word[:STEM] for word in distinct} if unspaced else _STEMS.of(distinct),
        pairs=set(map(hash, pairwise(words))),
        numbers={number(digits) for digits in _NUMBER.findall(text)},
    )


def names_in(sentence: Words) -> set[str]:
    """Return the capitalised words but the first, without case."""
    return _NAMES.of(sentence.written[1:])


def known_numbers(*sources: Words) -> set[str]:
    """Return the numbers that sources give, in digits or spelled out."""
    spelled = {SPELLED[word] for source in sources for word in source.distinct & SPELLED.keys()}
    return spelled.union(*(source.numbers for source in sources))
