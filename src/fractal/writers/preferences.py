"""Scored responses as preferences for training a language model: pairs (DPO) and single thumbs (KTO)."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import IO, Any

from fractal.errors import BadData, BadSpec
from fractal.records import Preference, Response, ScoredResponse
from fractal.writers.base import WRITERS, Writer
from fractal.writers.jsonl import encoded
from fractal.writers.native import Writable
from fractal.writers.spans import scored_only


@dataclasses.dataclass(frozen=True)
class Evidence:
    """When the sentences speak clearly enough for a preference.

    A response is good where its lowest sentence lies at least `margin` above the threshold, even after `kappa` spreads
    are taken off; it is bad where a sentence lies at least `margin` below, even with `kappa` spreads added. What lies
    between is no evidence.
    """

    threshold: float = 0.5
    margin: float = 0.1
    kappa: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0 or self.margin < 0 or self.kappa < 0:
            raise BadSpec(
                f"threshold={self.threshold:g}, margin={self.margin:g}, kappa={self.kappa:g}: give a threshold between "
                "0 and 1, and neither margin nor kappa below 0"
            )

    def of(self, scored: ScoredResponse) -> bool | None:
        """Return whether the response is good, or None where its sentences leave it open."""
        spread = scored.sentence_spread or (0.0,) * len(scored.sentence_scores)
        widths = [self.kappa * width for width in spread]
        low = min(score - width for score, width in zip(scored.sentence_scores, widths, strict=True))
        high = min(score + width for score, width in zip(scored.sentence_scores, widths, strict=True))
        if low >= self.threshold + self.margin:
            return True
        return False if high <= self.threshold - self.margin else None


CLEAR = Evidence()


def dpo_pairs(
    scored: Iterable[ScoredResponse], evidence: Evidence = CLEAR, *, chat: bool = False, all_pairs: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield `prompt, chosen, rejected` with both response scores: a good response over a bad one to the same prompt.

    Of each prompt the widest pair is kept, or with `all_pairs` every one. A pair that the known labels of the two
    responses speak against is left out.
    """
    prompts: dict[tuple[str, str], tuple[list[ScoredResponse], list[ScoredResponse]]] = {}
    for item in scored:
        verdict = evidence.of(item)
        if verdict is not None and item.response.query:
            prompts.setdefault((item.aspect, prompt_of(item.response)), ([], []))[verdict].append(item)
    for (aspect, prompt), (bad, good) in prompts.items():
        pairs = [(chosen, rejected) for chosen in good for rejected in bad if not _contradicted(chosen, rejected)]
        taken = pairs if all_pairs else [max(pairs, key=_width)] if pairs else []
        for chosen, rejected in taken:
            yield {
                **_pair(prompt, chosen.response, rejected.response, chat),
                "score_chosen": chosen.response_score,
                "score_rejected": rejected.response_score,
                **({"aspect": aspect} if aspect else {}),
            }


def kto_rows(
    scored: Iterable[ScoredResponse], evidence: Evidence = CLEAR, *, chat: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield `prompt, completion, label`: true for a good response, false for a bad one; what is open is left out."""
    for item in scored:
        verdict = evidence.of(item)
        if verdict is not None:
            yield {
                "prompt": _message("user", prompt_of(item.response), chat),
                "completion": _message("assistant", item.response.text, chat),
                "label": verdict,
                "score": item.response_score,
            }


def prompt_of(response: Response) -> str:
    """Return what the response answers to as one text: the context, then the query."""
    return "\n\n".join(part for part in (*response.context, response.query) if part)


def _pair(prompt: str, chosen: Response, rejected: Response, chat: bool) -> dict[str, Any]:
    return {
        "prompt": _message("user", prompt, chat),
        "chosen": _message("assistant", chosen.text, chat),
        "rejected": _message("assistant", rejected.text, chat),
    }


def _message(role: str, text: str, chat: bool) -> Any:
    return [{"role": role, "content": text}] if chat else text


def _width(pair: tuple[ScoredResponse, ScoredResponse]) -> float:
    return min(pair[0].sentence_scores) - min(pair[1].sentence_scores)


def _contradicted(chosen: ScoredResponse, rejected: ScoredResponse) -> bool:
    labels = [item.response.label_of(item.aspect) for item in (chosen, rejected)]
    return labels[0] is not None and labels[1] is not None and labels[0] < labels[1]


@dataclasses.dataclass(frozen=True)
class PreferenceRows(Writer):
    """Rows of JSON lines, kept where the sentences give evidence."""

    threshold: float = 0.5
    margin: float = 0.1
    kappa: float = 0.0  # how many spreads must not change the verdict
    chat: bool = False  # messages with roles instead of plain texts

    def __post_init__(self) -> None:
        self.evidence()

    def evidence(self) -> Evidence:
        return Evidence(self.threshold, self.margin, self.kappa)

    @abstractmethod
    def rows(self, records: Iterable[Writable]) -> Iterator[dict[str, Any]]:
        """Yield what is written."""

    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> None:
        for row in self.rows(records):
            stream.write(encoded(row) + b"\n")


@WRITERS.register("dpo")
@dataclasses.dataclass(frozen=True)
class Dpo(PreferenceRows):
    """JSON lines of `prompt`, `chosen`, `rejected`: known preferences, or pairs that the sentences speak for."""

    all_pairs: bool = False  # every pair of a prompt, not the widest alone

    def rows(self, records: Iterable[Writable]) -> Iterator[dict[str, Any]]:
        """Write known preferences as they come (ties say nothing), and pair scored responses at the end."""
        scored: list[ScoredResponse] = []
        for record in records:
            if isinstance(record, ScoredResponse):
                scored.append(record)
            elif not isinstance(record, Preference):
                raise BadData("a Response has no sentence scores for dpo: score it first, or give preferences")
            elif not record.tie:
                yield _pair(prompt_of(record.better), record.better, record.worse, self.chat)
        yield from dpo_pairs(scored, self.evidence(), chat=self.chat, all_pairs=self.all_pairs)


@WRITERS.register("kto")
@dataclasses.dataclass(frozen=True)
class Kto(PreferenceRows):
    """JSON lines of `prompt`, `completion`, `label`: true where every sentence is good, false where one is bad."""

    def rows(self, records: Iterable[Writable]) -> Iterator[dict[str, Any]]:
        return kto_rows(scored_only(records, self.name), self.evidence(), chat=self.chat)
