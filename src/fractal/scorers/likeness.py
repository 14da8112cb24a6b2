"""What training responses were like in language, length and domain, and which others are unlike them."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.errors import BadFolder
from fractal.evaluation.unlike import UnlikeTraining, unlike_counts, unlike_summary
from fractal.mil.inference.products import tiled_product
from fractal.prefixes import under
from fractal.records import Response, ScoredResponse
from fractal.records.groups import text_key, tied_together
from fractal.remembered import Remembered

if TYPE_CHECKING:
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["TrainingProfile", "marked", "sentence_far"]

Floats = NDArray[np.floating[Any]]

FEWEST = 40  # training responses below which nothing is said of what they were like
FEWEST_GROUPS = 10  # of them, likewise: what is like three questions is not known
MOST = 4_000  # training responses that are looked at
FAMILIAR = 150  # words of the most training responses
READ = 800  # characters of a response that its language is judged by
FEWEST_WORDS = 6  # of a response whose language is judged
CENTROIDS, EACH = 16, 8  # at most so many, each of so many responses or more
ROUNDS = 10
RARE = 0.01  # share of training responses that lie beyond a limit before it is widened
WIDER = 0.5  # of the way from the middle to that quantile, by which it is widened
UNSURE = 50  # responses of which a quantile is so unsure that it is widened twice as far
LEAST = {"language": 0.05, "sentences": math.log(1.5), "characters": math.log(1.5), "domain": 0.05}  # widened at least
REASONS = {"language": "language", "sentences": "length", "characters": "length", "domain": "domain"}
FAR = 5.0  # scales from the training mean beyond which a column's value is far

# signs of scripts that are written without blanks count as words
_WORD = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\\W\\d_]+")
_NO_LETTERS = "".join(letter if letter.isalpha() else " " for letter in map(chr, range(128)))


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingProfile:
    """What training responses were like: familiar words as hashes, centroids of their vectors, limits of measures."""

    limits: Mapping[str, tuple[float, float]]  # by measure: language, sentences, characters, domain
    words: NDArray[np.uint32]  # (word,), rising
    centroids: NDArray[np.float32]  # (centroid, dim), unit rows

    @classmethod
    def of(cls, block: EncodedBlock, groups: Sequence[str] = ()) -> TrainingProfile | None:
        """Learn from training responses; of too few nothing is known.

        Familiar words and centroids come from every second group of responses, or of those with one text, limits from
        the others: new responses are no part of either, and are mostly of questions that were not seen.
        """
        if len(block) < FEWEST:
            return None
        looked_at = np.arange(len(block))[:: -(-len(block) // MOST)]
        some = block.take(looked_at)
        numbers = _group_numbers(some.responses, [groups[place] for place in looked_at] if groups else [])
        if numbers.max() + 1 < FEWEST_GROUPS:
            return None
        learned = numbers % 2 == 0
        first, others = some.take(np.flatnonzero(learned)), some.take(np.flatnonzero(~learned))
        words, centroids = _familiar(first.responses), _centroids(_means(first))
        measured = _measured(others, _FamiliarWords(words), centroids)
        return cls({name: _limits(name, values) for name, values in measured.items()}, words, centroids)

    def unlike(self, block: EncodedBlock) -> list[tuple[str, ...]]:
        """Say of each response in what it is unlike training: of language, length and domain those that are."""
        if block.has_vectors and self.centroids.shape[1] not in (0, block.sentences.shape[1]):
            raise BadFolder(
                f"this scorer's centroids have {self.centroids.shape[1]} columns, its encoder gives "
                f"{block.sentences.shape[1]}: copy its folder again, or train anew"
            )
        beyond: dict[str, NDArray[np.bool_]] = {}
        for name, values in _measured(block, self._familiar, self.centroids).items():
            low, high = self.limits[name]
            reason = REASONS[name]
            beyond[reason] = beyond.get(reason, False) | (values < low) | (values > high)  # nan is neither
        return [tuple(name for name, far in beyond.items() if far[bag]) for bag in range(len(block))]

    @functools.cached_property
    def _familiar(self) -> _FamiliarWords:
        return _FamiliarWords(self.words)

    def config(self) -> dict[str, Any]:
        """Return the limits, as plain data."""
        return {name: list(limits) for name, limits in self.limits.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is saved beside the heads."""
        return {"profile.words": self.words, "profile.centroids": self.centroids}

    @classmethod
    def restored(cls, config: Mapping[str, Any] | None, arrays: Mapping[str, NDArray[Any]]) -> TrainingProfile | None:
        """Return what was saved; scorers of before have none."""
        saved = under("profile.", arrays)
        if not config or not saved:
            return None
        return cls({name: (low, high) for name, (low, high) in config.items()}, saved["words"], saved["centroids"])


def marked(
    profile: TrainingProfile | None, block: EncodedBlock, records: Iterable[ScoredResponse], each: int = 1
) -> Iterator[ScoredResponse]:
    """Return the block's records, `each` a response, with what is unlike training, and warn where many are."""
    if profile is None:
        return iter(records)
    reasons = profile.unlike(block)
    if summary := unlike_summary(unlike_counts(reasons)):
        warnings.warn(summary, UnlikeTraining, stacklevel=4)
    of_records = (reason for reason in reasons for _ in range(each))
    pairs = zip(records, of_records, strict=True)
    return (dataclasses.replace(record, unlike=reason) if reason else record for record, reason in pairs)


def sentence_far(scorer: SentenceScorer, responses: Sequence[Response]) -> list[list[bool]]:
    """Say of each sentence whether some scalar column of some expert lies far from those of training."""
    if not responses:
        return []
    block = scorer.embed(responses)
    far = np.zeros(len(block.sentences), bool)
    for pipeline in {id(expert.pipeline): expert.pipeline for expert in scorer.ensemble_.experts}.values():
        table = pipeline(block)
        if table.scalars.any():
            far |= (np.abs(table.dense[:, table.scalars]) > FAR).any(1)
    return [part.tolist() for part in np.split(far, block.offsets[1:-1])]


def _group_numbers(responses: Sequence[Response], groups: Sequence[str]) -> NDArray[np.int64]:
    """Number the groups of responses in the order in which they first stand; those with one text are of one group."""
    texts = [text_key(response.text) for response in responses]
    tied = tied_together(len(responses), [texts, groups] if groups else [texts], None)
    _, places, numbers = np.unique(tied, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(places))[numbers], np.int64)


def _limits(name: str, values: Floats) -> tuple[float, float]:
    """Return between which values those of like responses lie."""
    values = values[~np.isnan(values)]
    if not len(values):
        return -1e9, 1e9
    low, middle, high = np.quantile(values, [RARE, 0.5, 1 - RARE])
    wider = WIDER * (1 + UNSURE / len(values))
    below, above = (max(wider * abs(end - middle), LEAST[name]) for end in (low, high))
    ends = (float(low - below), float(high + above))
    if name == "language":  # another one has a tenth of the familiar words
        return min(ends[0], float(middle) / 2), 1e9
    return (-1e9, ends[1]) if name == "domain" else ends


def _measured(block: EncodedBlock, familiar: _FamiliarWords, centroids: NDArray[np.float32]) -> dict[str, Floats]:
    """Return the measures of each response: (bag,), nan where one says nothing."""
    shares = np.full(len(block), np.nan)
    for bag, response in enumerate(block.responses):
        spoken = _words(response)
        if len(spoken) >= FEWEST_WORDS:
            shares[bag] = sum(map(familiar.__getitem__, spoken)) / len(spoken)
    sizes = np.fromiter((len(response.text) for response in block.responses), np.float64, len(block))
    nearest: Floats = np.full(len(block), np.nan)  # where nothing reads vectors, there are none
    if len(block) and block.sentences.shape[1] == centroids.shape[1] > 0:
        nearest = tiled_product(_means(block), centroids.T).max(axis=1)
    return {
        "language": shares,
        "sentences": np.log(np.diff(block.offsets)),
        "characters": np.log(np.maximum(sizes, 1)),
        "domain": 1.0 - nearest,
    }


def _words(response: Response) -> list[str]:
    """Return the words that the response begins with; ASCII the faster way."""
    text = response.text[:READ].lower()
    return text.translate(_NO_LETTERS).split() if text.isascii() else _WORD.findall(text)


def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


class _FamiliarWords(Remembered[bool]):
    """Whether words are familiar; each is hashed once."""

    def __init__(self, hashes: NDArray[np.uint32]) -> None:
        super().__init__()
        self.hashes = frozenset(hashes.tolist())

    def answer(self, word: str) -> bool:
        return _hash(word) in self.hashes


def _familiar(responses: Sequence[Response]) -> NDArray[np.uint32]:
    """Return the hashes of the words that the most responses use; the words themselves are nobody's business."""
    counts = Counter(word for response in responses for word in set(_words(response)))
    most = sorted(counts, key=lambda word: (-counts[word], word))[:FAMILIAR]
    return np.unique(np.array([_hash(word) for word in most], np.uint32))


def _means(block: EncodedBlock) -> NDArray[np.float32]:
    """Return the mean direction of each response's sentences: (bag, dim)."""
    means = np.add.reduceat(block.sentences, block.offsets[:-1], axis=0) if len(block) else block.sentences[:0]
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12), np.float32)


def _centroids(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return centroids by Lloyd's rounds, begun at vectors that lie far from each other."""
    count = max(1, min(CENTROIDS, len(vectors) // EACH))
    mean = vectors.mean(0)
    centroids = [vectors[np.argmax(vectors @ mean)]]
    nearest = vectors @ centroids[0]
    while len(centroids) < count:
        centroids.append(vectors[np.argmin(nearest)])
        nearest = np.maximum(nearest, vectors @ centroids[-1])
    places = np.array(centroids)
    for _ in range(ROUNDS):
        cluster = np.argmax(vectors @ places.T, axis=1)
        sums = np.stack([vectors[cluster == number].sum(0) for number in range(count)])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        places = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), places)
    return places.round(5).astype(np.float32)
