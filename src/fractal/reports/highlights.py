"""What stands out over a whole set: its worst sentences (or best, or furthest from a rival), and those that recur."""

from __future__ import annotations

import dataclasses
import re
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from fractal.records import ScoredResponse
from fractal.reports.rivals import Standing
from fractal.reports.summary import AIMS, Aim, aim_of

__all__ = ["Highlight", "RecurringSentence", "normalised", "recurring_sentences", "standouts"]

SHOWN = 10
FEWEST = 3  # responses that a recurring sentence stands in
WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True)
class Highlight:
    """One sentence that may stand out."""

    item: ScoredResponse
    place: int
    standing: Standing | None  # what it is held against, where scores are relative
    alike: int = 0  # further sentences of the set that say the same in the same words

    @property
    def score(self) -> float:
        """Return the sentence's score."""
        return self.item.sentence_scores[self.place]

    @property
    def middle(self) -> float | None:
        """Return the mean of its rivals, where scores are relative."""
        return self.standing.middle if self.standing else None

    @property
    def gap(self) -> float:
        """Return how far it lies from its rivals' mean; 0 where scores are not relative."""
        return self.score - self.standing.middle if self.standing else 0.0

    @property
    def text(self) -> str:
        """Return what the sentence says."""
        return self.item.response.sentences[self.place].text

    @property
    def label(self) -> float | None:
        """Return its known label."""
        return self.item.response.sentences[self.place].label


@dataclasses.dataclass(frozen=True)
class RecurringSentence:
    """A sentence that stands in several responses, in the same words."""

    text: str  # as it is written most often
    aspect: str
    aim: Aim
    responses: int
    mean: float
    low: float
    high: float
    gap: float | None  # how far from its rivals' mean, on average, where scores are relative
    example: ScoredResponse


def normalised(text: str) -> str:
    """Return a sentence as it is compared: its words in lower case, without marks between them."""
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


RANKS: dict[Aim, Callable[[Highlight], float]] = {
    "flag": lambda one: one.score,
    "find": lambda one: -one.score,
    "compare": lambda one: one.gap,
}


def standouts(
    scored: Sequence[ScoredResponse], standing: Sequence[Standing | None], most: int = SHOWN
) -> dict[Aim, tuple[Highlight, ...]]:
    """Return the sentences that stand out most, by what readers look for; those that say the same stand once."""
    by_aim: defaultdict[Aim, list[Highlight]] = defaultdict(list)
    for one in _sentences(scored, standing):
        by_aim[aim_of(one.item)].append(one)
    return {aim: tuple(_first_of_each(sorted(by_aim[aim], key=RANKS[aim]), most)) for aim in AIMS if by_aim[aim]}


def _first_of_each(ranked: Sequence[Highlight], most: int) -> Iterator[Highlight]:
    words = [normalised(one.text) or one.text for one in ranked]
    counts = Counter(words)
    first: dict[str, Highlight] = {}
    for text, one in zip(words, ranked, strict=True):
        first.setdefault(text, one)
    for text, one in islice(first.items(), most):
        yield dataclasses.replace(one, alike=counts[text] - 1)


def recurring_sentences(
    scored: Sequence[ScoredResponse], standing: Sequence[Standing | None], fewest: int = FEWEST
) -> list[RecurringSentence]:
    """Return sentences of the same words in several responses, those in most responses first."""
    by_words: defaultdict[tuple[str, str], list[Highlight]] = defaultdict(list)
    for one in _sentences(scored, standing):
        if words := normalised(one.text):
            by_words[one.item.aspect, words].append(one)
    groups = [
        _recurring(aspect, same)
        for (aspect, _), same in by_words.items()
        if len({one.item.response.id for one in same}) >= fewest
    ]
    return sorted(groups, key=lambda group: (-group.responses, group.mean, group.text))


def _recurring(aspect: str, same: Sequence[Highlight]) -> RecurringSentence:
    scores = [one.score for one in same]
    aim = aim_of(same[0].item)
    return RecurringSentence(
        text=Counter(one.text for one in same).most_common(1)[0][0],
        aspect=aspect,
        aim=aim,
        responses=len({one.item.response.id for one in same}),
        mean=statistics.fmean(scores),
        low=min(scores),
        high=max(scores),
        gap=statistics.fmean(one.gap for one in same) if aim == "compare" else None,
        example=min(same, key=RANKS[aim]).item,
    )


def _sentences(scored: Sequence[ScoredResponse], standing: Sequence[Standing | None]) -> Iterator[Highlight]:
    for item, held_against in zip(scored, standing, strict=True):
        for place in range(len(item.sentence_scores)):
            yield Highlight(item, place, held_against)
