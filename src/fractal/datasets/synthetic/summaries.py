"""Summaries of source documents: a summary is as faithful as its worst sentence."""

from __future__ import annotations

from random import Random

from fractal.datasets.synthetic.faithful import RetellingScene, draw_source

POOLS = {
    "blunt": ("invented value", "invented value", "unsupported claim", "off topic"),
    "subtle": ("swapped value", "turned trend", "wrong subject", "added detail"),
    "grave": ("unsupported claim", "off topic"),
    "plain": ("invented value", "swapped value", "wrong subject"),
    "slight": ("added detail",),
}


def open_summary(rng: Random, difficulty: float, graded: bool) -> RetellingScene:
    """Draw one or two documents about a subject and its rivals."""
    source = draw_source(rng, rivals=rng.randrange(1, 3))
    wordings = [rng.randrange(3) for _ in source]
    centre = source[0].subject
    sentences = [fact.say(rng, wording) for fact, wording in zip(source, wordings, strict=True)]
    sentences[2] += " " + source[-1].evade()
    main = [text for text, fact in zip(sentences, source, strict=True) if fact.subject == centre]
    aside = [text for text, fact in zip(sentences, source, strict=True) if fact.subject != centre]
    context = (" ".join(main), " ".join(aside)) if rng.random() < 0.7 else (" ".join(main + aside),)
    return RetellingScene("", context, tuple(range(2, 8)), tuple(source), tuple(wordings), POOLS, difficulty, graded)
