"""Small scored responses for tests of reports and exports: true labels with noise, and texts that mean harm."""

from __future__ import annotations

import random
from dataclasses import dataclass

from fractal.records import Response, ScoredResponse

PLACES = ("harbour", "museum", "old mill", "library", "viaduct", "botanical garden", "signal tower", "market hall")
YEARS = (1871, 1884, 1902, 1911, 1926, 1937, 1954, 1968)
FACTS = (
    ("The {place} opened in {year}.", "The {place} opened in {other}."),
    ("It was paid for by {count} subscribers.", "It was paid for by the king."),
    ("Visitors reach it by the number {count} tram.", "There is no way to reach it."),
    ("The roof was renewed after the storm of {year}.", "The roof burnt down and was never rebuilt."),
    ("On Mondays the {place} is closed.", "The {place} is open every single day."),
    ("A plaque beside the door names the architect.", "Nobody knows who built it, and no record survives."),
    ("Admission is free for children under {count}.", "Children are not admitted."),
)

HOSTILE = (
    "<script>window.harmed = 1</script>",
    "</script><script>window.harmed = 2</script>",
    "<img src=x onerror='window.harmed=3'>",
    '"><svg onload=window.harmed=4>',
    "{{ 7*7 }} {% raw %} ${7*7}",
    "<!-- <script> \u2028\u2029 ]]> &lt;b&gt; &amp;",
    "javascript:alert(1) ' \" ` \\ \x07",
    "half a character: \ud83d, and a whole one: 🙂 מימין לשמאל",
)


@dataclass(frozen=True)
class Finding:
    """A check's answer, as reports take it."""

    name: str
    verdict: str
    sentence: str
    value: float | None


FINDINGS = (
    Finding("labels", "ok", "Both labels occur: 62% of the responses are good.", 0.62),
    Finding("<i>length</i>", "warn", "Longer responses are rated worse; a scorer may learn length.", 0.31),
    Finding("leaks", "fail", "Twelve texts stand on both sides of the split.", 12),
)


def make_scored(count: int, seed: int = 0, aspect: str = "") -> list[ScoredResponse]:
    """Return scored responses whose scores are noisy versions of the true sentence labels."""
    rng = random.Random(seed)
    return [_scored(number, rng, aspect) for number in range(count)]


def _scored(number: int, rng: random.Random, aspect: str) -> ScoredResponse:
    place, (year, other), tram = rng.choice(PLACES), rng.sample(YEARS, 2), rng.randrange(3, 90)
    words = {"place": place, "year": year, "other": other, "count": tram}
    chosen = rng.sample(FACTS, rng.randrange(2, 7))
    labels = [float(rng.random() < 0.78) for _ in chosen]
    sentences = [fact[0 if label else 1].format(**words) for fact, label in zip(chosen, labels, strict=True)]
    context = (" ".join(fact[0].format(**words) for fact in FACTS), "Trams run until midnight. Dogs are welcome.")
    response = Response.from_sentences(
        f"r{number:05d}",
        sentences,
        labels=labels,
        query=f"What should a visitor know about the {place}?",
        context=context,
        label=min(labels),
        aspects={aspect: min(labels)} if aspect else {},
    )
    scores = tuple(min(0.995, max(0.005, 0.5 + (label - 0.5) * 0.62 + rng.gauss(0, 0.24))) for label in labels)
    spread = tuple(0.02 + 0.1 * rng.random() for _ in labels)
    return ScoredResponse(response, scores, min(scores), spread, tuple(float(score > 0.5) for score in scores), aspect)


def hostile() -> ScoredResponse:
    """Return a response whose every text tries to get out of the page."""
    response = Response.from_sentences(
        HOSTILE[1],
        HOSTILE,
        labels=[0.0] * len(HOSTILE),
        query=HOSTILE[0],
        context=(HOSTILE[2], HOSTILE[1] + ". " + HOSTILE[3]),
        label=0.0,
    )
    return ScoredResponse(response, (0.1,) * len(HOSTILE), 0.1, (0.05,) * len(HOSTILE))
