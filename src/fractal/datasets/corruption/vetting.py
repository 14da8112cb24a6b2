"""Whether a new sentence may stand in for the old one: wrong for the right reason, and not to be told by its looks."""

from __future__ import annotations

import re

from fractal.datasets.corruption.base import Case
from fractal.datasets.corruption.facts import plain

MARKS = re.compile(
    r"\[\s*mask\s*\]|<\s*/?\s*(?:mask|unk|pad|s|eos|bos)\s*>|<\|.*?\|>|\[\d+\]|_{3,}|\[(?:unk|sep|cls|pad)\]", re.I
)
TALK = re.compile(
    r"^(?:sure|here (?:is|are)|certainly|of course|as an ai|i (?:cannot|can't)|next sentence|note)\b", re.I
)
ENDS = ".!?…"
LENGTHS = (0.5, 2.0)  # of a new sentence, beside the old one
SUPPORTED = 0.9  # share of its words that one sentence of the source holds, in order of nothing


def vetted(new: str | None, old: str, case: Case) -> str | None:
    """Return the sentence as it may stand, its looks fitted to the old one; nothing where it may not."""
    if new is None:
        return None
    text = _fitted(new, old)
    if not text or plain(text) == plain(old) or MARKS.search(text) or TALK.search(text) or "\n" in text:
        return None
    if not LENGTHS[0] * len(old) <= len(text) <= LENGTHS[1] * len(old):
        return None
    sentences = {plain(sentence.text) for sentence in case.response.sentences}
    return None if plain(text) in sentences or _supported(text, case.source) else text


def _fitted(new: str, old: str) -> str:
    """Give the new sentence the old one's case, end and spacing before it."""
    text = " ".join(new.split()).strip('"“” ') if '"' not in old else " ".join(new.split())
    if old == old.lower() and text != text.lower():
        text = text.lower()
    if text and text[0].isupper() and old[0].islower():
        text = text[0].lower() + text[1:]
    elif text and text[0].islower() and old[0].isupper():
        text = text[0].upper() + text[1:]
    body, end = old.rstrip(ENDS), old[len(old.rstrip(ENDS)) :]
    gap = " " if end and body.endswith(" ") else ""
    return text.rstrip(ENDS + " ") + gap + end if text else ""


def _supported(text: str, source: str) -> bool:
    """Whether the source says the same, nearly word for word."""
    words = set(plain(text).split())
    numbers = {word for word in words if word[0].isdigit()}
    for sentence in re.split(r"(?<=[.!?])\s+|\n", source):
        there = set(plain(sentence).split())
        if words and len(words & there) >= SUPPORTED * len(words) and numbers <= there:
            return plain(text) in plain(sentence)
    return False
