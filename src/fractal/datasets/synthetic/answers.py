"""Long answers to open questions, with passages to draw on: the share of good sentences is what counts."""

from __future__ import annotations

import itertools
from random import Random

from fractal.datasets.synthetic.faithful import RetellingScene, draw_source

POOLS = {
    "blunt": ("invented value", "unsupported claim", "off topic", "said before"),
    "subtle": ("swapped value", "turned trend", "wrong subject", "added detail"),
    "grave": ("unsupported claim", "off topic"),
    "plain": ("invented value", "swapped value", "wrong subject"),
    "slight": ("added detail", "said before"),
}


def open_answer(rng: Random, difficulty: float, graded: bool) -> RetellingScene:
    """Draw an open question about a subject and three to five passages, some of them about its rivals."""
    source = draw_source(rng, rivals=2)
    wordings = [rng.randrange(3) for _ in source]
    sentences = [fact.say(rng, wording) for fact, wording in zip(source, wordings, strict=True)]
    for place in rng.sample(range(len(source)), 3):
        sentences[place] += " " + source[place].evade()
    count = rng.randrange(3, 6)
    cuts = [round(len(sentences) * part / count) for part in range(count + 1)]
    passages = [" ".join(sentences[start:end]) for start, end in itertools.pairwise(cuts)]
    rng.shuffle(passages)
    centre = source[0].subject
    query = rng.choice(centre.world.broad).format(subject=centre.name)
    lengths = tuple(range(3, min(12, len(source)) + 1))
    return RetellingScene(query, tuple(passages), lengths, tuple(source), tuple(wordings), POOLS, difficulty, graded)
