"""Corrupts a share of good responses; what cannot be corrupted is left out and counted, never kept as good."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from random import Random

from fractal.datasets.corruption.base import CORRUPTORS, GENERATORS, Case, Corruptor, Generator
from fractal.errors import BadData, BadSpec
from fractal.records import Response, Sentence

PAPER = ("sentences", "sentences", "sentences", "words")  # 5,500 of 7,500 negatives have whole sentences replaced
BORROWED = 60  # other responses that a case may borrow from


@dataclasses.dataclass
class CorruptionReport:
    """What became of the responses that were to be corrupted."""

    unchanged: int = 0  # good responses that stay as they are
    corrupted: Counter[str] = dataclasses.field(default_factory=Counter)  # by corruptor
    discarded: Counter[str] = dataclasses.field(default_factory=Counter)  # by reason
    not_good: int = 0  # labelled bad already: passed through

    def __str__(self) -> str:
        """Say in a line what was made and what was left out."""
        by_corruptor = ", ".join(f"{count:,} by {name}" for name, count in sorted(self.corrupted.items())) or "none"
        lost = ", ".join(f"{count:,} because {reason}" for reason, count in self.discarded.most_common()) or "none"
        return f"corrupted: {by_corruptor}; discarded: {lost}; kept as they are: {self.unchanged + self.not_good:,}"


def corrupt(
    responses: Sequence[Response],
    corruptors: Sequence[str | Corruptor] = PAPER,
    generator: str | Generator = "rules",
    *,
    share: float = 0.5,
    keep_originals: bool = False,
    attempts: int = 4,
    seed: int = 0,
    report: CorruptionReport | None = None,
) -> list[Response]:
    """Return the responses with a share of the good ones corrupted, in their order.

    A corrupted response has label 0; its changed sentences have label 0 and the others the label that they had (1 where
    the response was good). It stays in its original's group. The same seed corrupts the same responses in the same way,
    whatever their order. With `keep_originals` the original stands before its corrupted version.
    """
    if not 0 <= share <= 1:
        raise BadSpec(f"share={share}: give a share between 0 and 1.")
    ways = [CORRUPTORS.build(way) for way in corruptors]
    if not ways:
        raise BadSpec("give at least one corruptor, as in corruptors=['words']")
    if not all(isinstance(response, Response) for response in responses):
        raise BadData("corruption is for responses: preferences say already which is worse")
    writer = GENERATORS.build(generator)
    report = report or CorruptionReport()
    in_order = sorted(responses, key=lambda response: response.id)
    good = [response.id for response in in_order if response.label in (None, 1.0)]
    drawn = set(Random(seed).sample(good, round(share * len(good))))
    results: list[Response] = []
    for response in responses:
        if response.id not in drawn:
            report.not_good += response.label not in (None, 1.0)
            report.unchanged += response.label in (None, 1.0)
            results.append(response)
            continue
        if keep_originals:
            results.append(_rated(response))
        bad = _corrupted(_case(response, in_order, seed), ways, writer, attempts, seed, report)
        results += [bad] if bad else []
    return [_rated(response) if response.label is None else response for response in results]


def _case(response: Response, in_order: Sequence[Response], seed: int) -> Case:
    """Draw whom to borrow from."""
    others = Random(f"{seed} others {response.id}").sample(in_order, min(BORROWED, len(in_order)))
    return Case(response, [other for other in others if other.split_group != response.split_group])


def _corrupted(
    case: Case,
    ways: Sequence[Corruptor],
    writer: Generator,
    attempts: int,
    seed: int,
    report: CorruptionReport,
) -> Response | None:
    response = case.response
    rng = Random(f"{seed} {response.id}")
    way = ways[rng.randrange(len(ways))]
    reason = ""
    for _ in range(attempts):
        outcome = way(case, writer, rng)
        if not isinstance(outcome, str):
            report.corrupted[way.name] += 1
            return _rewritten(response, dict(outcome), way.name)
        reason = outcome
    report.discarded[reason] += 1
    return None


def _rewritten(response: Response, new: dict[int, str], way: str) -> Response:
    """Put the new sentences into the text; what stands between sentences stays."""
    parts, pieces, end, length = [], [], 0, 0
    for place, sentence in enumerate(response.sentences):
        between = response.text[end : sentence.start]
        text, label = new.get(place, sentence.text), 0.0 if place in new else sentence.label
        start = length + len(between)
        parts.append(Sentence(text, start, start + len(text), 1.0 if label is None else label))
        pieces += [between, text]
        end, length = sentence.end, start + len(text)
    return dataclasses.replace(
        response,
        id=f"{response.id}/corrupted",
        sentences=tuple(parts),
        text="".join(pieces) + response.text[end:],
        label=0.0,
        group=response.split_group,
        columns={},  # they were about other sentences
        extra={**response.extra, "corruption": way, "aggregation": "min"},
    )


def _rated(response: Response) -> Response:
    """A reference that nobody rated counts as good: its sentences too."""
    parts = tuple(
        sentence if sentence.label is not None else dataclasses.replace(sentence, label=1.0)
        for sentence in response.sentences
    )
    return dataclasses.replace(response, sentences=parts, label=1.0 if response.label is None else response.label)
