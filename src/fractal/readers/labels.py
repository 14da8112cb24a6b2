"""Labels as people write them (true, "pass", 👍, 4 of 5, "85%") → a number in [0, 1], one kind to a column."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from fractal.errors import BadData, BadSpec

THUMBS = {
    "👍": 1.0,
    "👎": 0.0,
    "up": 1.0,
    "down": 0.0,
    "thumbs up": 1.0,
    "thumbs down": 0.0,
    "thumbsup": 1.0,
    "thumbsdown": 0.0,
    "like": 1.0,
    "dislike": 0.0,
    "liked": 1.0,
    "disliked": 0.0,
    "upvote": 1.0,
    "downvote": 0.0,
    "upvoted": 1.0,
    "downvoted": 0.0,
}
WORDS = {
    "pass": 1.0,
    "fail": 0.0,
    "passed": 1.0,
    "failed": 0.0,
    "good": 1.0,
    "bad": 0.0,
    "true": 1.0,
    "false": 0.0,
    "yes": 1.0,
    "no": 0.0,
    "correct": 1.0,
    "incorrect": 0.0,
    "right": 1.0,
    "wrong": 0.0,
    "positive": 1.0,
    "negative": 0.0,
    "+": 1.0,
    "-": 0.0,
    "y": 1.0,
    "n": 0.0,
    "t": 1.0,
    "f": 0.0,
    "ok": 1.0,
    "okay": 1.0,
    "not ok": 0.0,
    "accept": 1.0,
    "reject": 0.0,
    "accepted": 1.0,
    "rejected": 0.0,
    "approve": 1.0,
    "approved": 1.0,
    "disapproved": 0.0,
    "helpful": 1.0,
    "unhelpful": 0.0,
    "not helpful": 0.0,
    "supported": 1.0,
    "unsupported": 0.0,
    "not supported": 0.0,
    "grounded": 1.0,
    "ungrounded": 0.0,
    "not grounded": 0.0,
    "faithful": 1.0,
    "unfaithful": 0.0,
    "hallucinated": 0.0,
    "not hallucinated": 1.0,
    "factual": 1.0,
    "not factual": 0.0,
    "accurate": 1.0,
    "inaccurate": 0.0,
    "relevant": 1.0,
    "irrelevant": 0.0,
    "not relevant": 0.0,
    "safe": 1.0,
    "unsafe": 0.0,
    "valid": 1.0,
    "invalid": 0.0,
    "success": 1.0,
    "failure": 0.0,
    "satisfied": 1.0,
    "unsatisfied": 0.0,
    "dissatisfied": 0.0,
    "acceptable": 1.0,
    "unacceptable": 0.0,
}
UNKNOWN = {
    "n/a",
    "na",
    "n.a.",
    "none",
    "null",
    "unknown",
    "unrated",
    "not rated",
    "skip",
    "skipped",
    "?",
    "–",
    "—",
}
STARS = re.compile(r"(★+)(☆*)|((?:⭐️?)+)")
NAMED_STARS = re.compile(r"(\d+(?:[.,]\d+)?)\s*[- ]?stars?", re.IGNORECASE)
FRACTION = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/|of|out of)\s*(\d+)(?:\s*stars?)?", re.IGNORECASE)
COUNTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SPELLED = re.compile(rf"\b({'|'.join(COUNTS)})\b", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
SKIN_TONE = re.compile("[\U0001f3fb-\U0001f3ff\ufe0f]")
GIVE_SCALE = "a label lies in [0, 1]; for ratings give their scale, as in scale=1..5, for levels their number"


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """A rating scale from its worst to its best value: `1..5`, or `5..1` where 1 is best."""

    worst: float
    best: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.worst) and math.isfinite(self.best)) or self.worst == self.best:
            raise BadSpec(
                f"The scale {self.worst:g}..{self.best:g} has no room: give two different numbers, as in 1..5."
            )

    @classmethod
    def parse(cls, scale: str | tuple[float, float] | Scale) -> Scale:
        """Read `1..5`; a pair of numbers and a scale pass through."""
        if isinstance(scale, Scale):
            return scale
        parts = scale.split("..") if isinstance(scale, str) else scale
        try:
            worst, best = (float(part) for part in parts)
        except (TypeError, ValueError) as error:
            raise BadSpec(f"{scale!r} is no rating scale: write worst..best, as in 1..5.") from error
        return cls(worst, best)

    def __str__(self) -> str:
        return f"{self.worst:g}..{self.best:g}"

    def share(self, value: float) -> float:
        """Return how far a rating stands between the worst (0) and the best (1)."""
        share = (value - self.worst) / (self.best - self.worst)
        if not 0.0 <= share <= 1.0:
            raise BadData(f"found {value:g}, outside the scale {self}: give the scale that holds every rating")
        return share


@dataclasses.dataclass(frozen=True, slots=True)
class LabelForm:
    """What the numbers of a label column mean: shares of 1, ratings on a scale, or one of so many levels."""

    scale: Scale | None = None
    levels: int | None = None
    words: tuple[tuple[str, float], ...] = ()  # the user's own, with what each means

    def __post_init__(self) -> None:
        if self.scale and self.levels:
            raise BadSpec(f"Give the scale ({self.scale}) or the number of levels ({self.levels}), not both.")
        if self.levels is not None and self.levels < 2:
            raise BadSpec(f"{self.levels} levels tell nothing apart: give at least 2.")

    @classmethod
    def of(
        cls,
        scale: str | tuple[float, float] | Scale | None = None,
        levels: int | None = None,
        words: Mapping[str, Any] | None = None,
    ) -> LabelForm:
        """Make a form of what a user wrote; `words` says what words mean: {"gut": "good", "mittel": 0.5}."""
        meanings = tuple((_plain_word(word), _meaning(word, value)) for word, value in (words or {}).items())
        return cls(None if scale is None else Scale.parse(scale), levels, meanings)

    def number(self, value: float) -> float:
        """Return a number's place in [0, 1]."""
        if not math.isfinite(value):
            raise BadData(f"found {'NaN' if math.isnan(value) else value}: leave a label out where it is unknown")
        if self.scale:
            return self.scale.share(value)
        if self.levels:
            if value != int(value) or not 0 <= value < self.levels:
                raise BadData(
                    f"found {value:g}: with levels={self.levels} a label is a whole number 0..{self.levels - 1}"
                )
            return value / (self.levels - 1)
        if not 0.0 <= value <= 1.0:
            raise BadData(f"found {value:g}: {GIVE_SCALE}")
        return float(value)


SHARES = LabelForm()


def read_label(value: Any, form: LabelForm = SHARES) -> tuple[float | None, str]:
    """Return the label in [0, 1] (None where it is unknown) and the kind of writing that it was given in."""
    if isinstance(value, float):
        return form.number(value), "number"
    if value is None:
        return None, ""
    if isinstance(value, bool):
        return float(value), "boolean"
    if isinstance(value, int):
        return form.number(_float(value)), "number"
    if isinstance(value, str):
        return _read_text(value.strip(), form)
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a numpy scalar
        return read_label(value.item(), form)
    raise BadData(f"found {str(value)[:60]!r} ({type(value).__name__}): a label is a number, true or false, or a word")


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _read_text(text: str, form: LabelForm) -> tuple[float | None, str]:
    word = _plain_word(text)
    for own, label in form.words:
        if word == own:
            return label, "word"
    if not text or word in UNKNOWN:
        return None, ""
    if NUMBER.fullmatch(text):
        return form.number(float(text)), "number as text"
    if text.endswith("%") and NUMBER.fullmatch(text[:-1].rstrip()):
        share = float(text[:-1]) / 100
        if not 0.0 <= share <= 1.0:
            raise BadData(f"found {text!r}: a percentage lies between 0% and 100%")
        return share, "percentage"
    if (rating := _stars(text, form)) is not None:
        return rating, "stars"
    if word in THUMBS:
        return THUMBS[word], "thumbs"
    if word in WORDS:
        return WORDS[word], "word"
    raise BadData(
        f"found {text[:60]!r}: a label is a number, a percentage, stars, '4/5', thumbs up or down, or one of "
        f"{', '.join(list(WORDS)[:12])}, …; say what your words mean, as in label_words={{{text[:30]!r}: 'bad'}}"
    )


def _plain_word(text: str) -> str:
    return SKIN_TONE.sub("", text).casefold().replace("_", " ").replace("-", " " if len(text) > 1 else "-").strip(": ")


def _meaning(word: str, value: Any) -> float:
    """Return what a user says that a word means: a share, or a word that is known."""
    label = read_label(value)[0]
    if label is None:
        raise BadSpec(f"label_words: {word!r} means {value!r}, which is no label: give good, bad or a number in [0, 1]")
    return label


def _stars(text: str, form: LabelForm) -> float | None:
    """Return the share of '4/5', which is 0.8, or of stars, which are 1 to 5; or either on the scale that was given.

    Counts may be spelled out: 'four stars', 'four out of five'.
    """
    text = SPELLED.sub(lambda match: str(COUNTS.index(match[0].casefold())), text)
    if match := FRACTION.fullmatch(text):
        value, most = float(match[1]), float(match[2])
        return form.scale.share(value) if form.scale else Scale(0.0, most).share(value) if most else None
    if match := NAMED_STARS.fullmatch(text):
        return (form.scale or Scale(1.0, 5.0)).share(float(match[1].replace(",", ".")))
    if match := STARS.fullmatch(text):
        full = len(match[1] or match[3].replace("\ufe0f", ""))
        most = max(full + len(match[2] or ""), 5)
        return (form.scale or Scale(1.0, float(most))).share(float(full))
    return None


class LabelColumn:
    """One column of labels, all written in one kind: words and numbers side by side are a mistake, not a label."""

    def __init__(self, name: str, form: LabelForm = SHARES) -> None:
        self.name, self.form = name, form
        self.kind = ""
        self._pending = ""

    def read(self, value: Any) -> float | None:
        """Return a label in [0, 1]; the kind that it is written in counts once its record is kept."""
        try:
            label, kind = read_label(value, self.form)
        except BadData as error:
            raise BadData(error.problem, field=self.name) from None
        if not kind:
            return None
        settled = self.kind or self._pending
        if settled and kind != settled:
            raise BadData(
                f"found {value!r} ({kind}) where the labels before it are of the kind {settled!r}: "
                "write all labels of a column in one way",
                field=self.name,
            )
        self._pending = kind
        return label

    def keep(self) -> None:
        """The record was taken: its kind of label is the column's."""
        self.kind = self.kind or self._pending
        self._pending = ""

    def forget(self) -> None:
        """The record was refused: its label says nothing about the column."""
        self._pending = ""
