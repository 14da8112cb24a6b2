"""The formulas of embedding and features once more, in plain Python: slow, plain and easy to check by eye."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace

import numpy as np

DIM = 16


class WordEncoder:
    """A text is the mean of its words' vectors, and a word's vector comes from its letters; counts what it encodes."""

    dim = DIM
    fingerprint = "words"
    characters_at_once = 200_000

    def __init__(self):
        self.pooled, self.tokens = [], []

    def encode(self, texts):
        self.pooled.extend(texts)
        return np.stack([self._mean(self._words(text)) for text in texts])

    def encode_tokens(self, texts):
        self.tokens.extend(texts)
        words = [self._words(text) for text in texts]
        offsets = np.cumsum([0, *map(len, words)])
        return SimpleNamespace(
            vectors=np.concatenate(words), offsets=offsets, pooled=np.stack([self._mean(part) for part in words])
        )

    def _words(self, text):
        rows = [self._vector(word) for word in text.split()]
        return np.array(rows, np.float32).reshape(len(rows), DIM)

    def _vector(self, word):
        seed = int.from_bytes(hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()[:8], "little")
        row = np.random.default_rng(seed).normal(size=DIM)
        return row / np.linalg.norm(row)

    def _mean(self, words):
        mean = words.mean(axis=0) if len(words) else np.ones(DIM)
        return (mean / np.linalg.norm(mean)).astype(np.float32)


class DictCache:
    """The cache on disk, in memory; counts what it is asked and given."""

    def __init__(self):
        self.rows = {}
        self.puts = 0

    def get_many(self, namespace, keys):
        known = np.array([(namespace, key) in self.rows for key in keys], bool)
        found = [self.rows[namespace, key] for key in keys if (namespace, key) in self.rows]
        return np.array(found, np.float32), known

    def put_many(self, namespace, keys, rows):
        self.puts += len(keys)
        self.rows |= {(namespace, key): np.array(row) for key, row in zip(keys, rows, strict=True)}


def lower_fifth(values: Sequence[float]) -> float:
    return sorted(values)[int(0.2 * (len(values) - 1))]


def late_interaction(tokens: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> list[float]:
    if not len(tokens) or not len(other):
        return [0.0] * 5
    cosines = [[sum(a * b for a, b in zip(one, two, strict=True)) for two in other] for one in tokens]
    best = [max(row) for row in cosines]
    back = [max(row[column] for row in cosines) for column in range(len(other))]
    return [sum(best) / len(best), min(best), lower_fifth(best), sum(back) / len(back), lower_fifth(back)]


def words(text: str) -> list[str]:
    found = []
    for run in re.findall(r"\w+", text.casefold()):
        if len(run) > 1 and any("一" <= letter <= "鿿" for letter in run):
            found.extend(a + b for a, b in pairwise(run))
        else:
            found.append(run)
    return found


def share(some: set, of: set) -> float:
    return len(some & of) / len(of) if of else 0.0


def overlap(sentence: str, other: str) -> float:
    return share(set(words(other)), set(words(sentence)))


def coverage(sentence: str, other: str) -> float:
    return share(set(words(sentence)), set(words(other)))


def numbers(text: str) -> set[float]:
    found = set()
    for run in re.findall(r"\d+(?:[.,]\d+)*", text):
        groups = run.split(",")
        thousands = len(groups) > 1 and len(groups[0]) <= 3 and all(re.fullmatch(r"\d{3}", g) for g in groups[1:])
        found.add(float(run.replace(",", "") if thousands else run.replace(",", ".")))
    return found


def novel_numbers(sentence: str, given: str) -> float:
    own = numbers(sentence)
    spelled = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ]
    known = numbers(given) | {float(spelled.index(word)) for word in words(given) if word in spelled}
    return share(own - known, own)


def said_before(sentences: Sequence[str], place: int) -> float:
    earlier = {word for sentence in sentences[:place] for word in words(sentence)}
    return share(earlier, set(words(sentences[place])))


def nearest_earlier(vectors: Sequence[Sequence[float]], place: int) -> float:
    cosines = [sum(a * b for a, b in zip(vectors[place], other, strict=True)) for other in vectors[:place]]
    return max(cosines, default=0.0)


def rank(values: Sequence[float], place: int) -> float:
    others = [value for other, value in enumerate(values) if other != place]
    if not others:
        return 0.5
    return sum(1.0 if values[place] > o else 0.5 if values[place] == o else 0.0 for o in others) / len(others)
