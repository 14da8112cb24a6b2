"""Scored responses as preferences for training a language model: pairs (DPO) and single thumbs (KTO)."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from fractal.errors import BadData, BadSpec
from fractal.records import REDUCTIONS, Preference, Response, ScoredResponse
from fractal.writers.base import WRITERS, Writer, Written
from fractal.writers.jsonl import encoded
from fractal.writers.native import Writable
from fractal.writers.spans import scored_only

NOTHING_ASKED = "without a query and a context to answer to"
RELATIVE = "with scores learned from preferences alone, which say what is better, not what is good"
OPEN = "with scores that leave open whether they are good"
NO_PARTNER = "with no clearly better or worse response to the same prompt"
AGAINST_LABELS = "in pairs that known labels speak against"
NARROWER = "in pairs narrower than the one taken of their prompt"
TIES = "preferences that are ties"


@dataclasses.dataclass(frozen=True)
class Evidence:
    """When the sentences speak clearly enough for a preference.

    What speaks is what the scores were learned under: the lowest sentence, the highest or the mean. A response is good
    where that lies at least `margin` above the threshold, even after `kappa` spreads are taken off; it is bad where
    it lies at least `margin` below, even with `kappa` spreads added. What lies between is no evidence.
    """

    threshold: float = 0.5
    margin: float = 0.1
    kappa: float = 0.0
    aggregation: str = ""  # min, max or mean, of records that do not say it

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0 or self.margin < 0 or self.kappa < 0:
            raise BadSpec(
                f"threshold={self.threshold:g}, margin={self.margin:g}, kappa={self.kappa:g}: give a threshold between "
                "0 and 1, and neither margin nor kappa below 0"
            )
        if self.aggregation and self.aggregation not in REDUCTIONS:
            raise BadSpec(f"aggregation={self.aggregation!r}: give 'min', 'max' or 'mean'")

    def of(self, scored: ScoredResponse) -> bool | None:
        """Return whether the response is good, or None where its sentences leave it open."""
        low, high = self._range(scored)
        if low >= self.threshold + self.margin:
            return True
        return False if high <= self.threshold - self.margin else None

    def leads(self, chosen: ScoredResponse, rejected: ScoredResponse) -> bool:
        """Return whether one response is as far above another as a good one is above a bad one, whatever either is."""
        return self._range(chosen)[0] - self._range(rejected)[1] >= max(2 * self.margin, 1e-9)

    def _range(self, scored: ScoredResponse) -> tuple[float, float]:
        """Return the response's strength with `kappa` spreads taken off, and with as many added."""
        strength = self._strength(scored)
        spread = scored.sentence_spread or (0.0,) * len(scored.sentence_scores)
        widths = [self.kappa * width for width in spread]
        low = strength([score - width for score, width in zip(scored.sentence_scores, widths, strict=True)])
        return low, strength([score + width for score, width in zip(scored.sentence_scores, widths, strict=True)])

    def lead(self, chosen: ScoredResponse, rejected: ScoredResponse) -> float:
        """Return by how much the first response is the stronger."""
        return self._strength(chosen)(chosen.sentence_scores) - self._strength(rejected)(rejected.sentence_scores)

    def _strength(self, scored: ScoredResponse) -> Callable[[Sequence[float]], float]:
        rule = scored.aggregation or self.aggregation
        if not rule:
            raise BadData(
                f"the record {scored.response.id!r} does not say whether a response is as good as its worst sentence, "
                "its best, or all of them: score it anew, or say it, as in kto(aggregation='min')",
                field="score_aggregation",
            )
        return REDUCTIONS[rule]


CLEAR = Evidence()


def dpo_pairs(
    scored: Iterable[ScoredResponse],
    evidence: Evidence = CLEAR,
    *,
    chat: bool = False,
    all_pairs: bool = False,
    left_out: Counter[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield `prompt, chosen, rejected` with both response scores: a good response over a bad one to the same prompt.

    Of relative scores, learned from preferences alone, nothing is good or bad: there a response stands over another to
    the same prompt by its lead. Of each prompt the widest pair is kept, or with `all_pairs` every one. A pair that the
    known labels of the two responses speak against is left out. `left_out` counts the responses in no pair, by the
    reason.
    """
    reasons = Counter[str]() if left_out is None else left_out
    prompts: dict[tuple[str, str], _Answers] = {}
    for item in scored:
        prompt = prompt_of(item.response)
        verdict = None if item.relative else evidence.of(item)
        if not prompt:
            reasons[NOTHING_ASKED] += 1
        elif verdict is None and not item.relative:
            reasons[OPEN] += 1
        else:
            prompts.setdefault((item.aspect, prompt), _Answers()).side(verdict).append(item)
    for (aspect, prompt), answers in prompts.items():
        clear = answers.pairs(evidence)
        pairs = [pair for pair in clear if not _contradicted(*pair)]
        taken = pairs if all_pairs or not pairs else [max(pairs, key=lambda pair: evidence.lead(*pair))]
        _count_unpaired(answers, clear, pairs, taken, reasons)
        for chosen, rejected in taken:
            yield {
                **_pair(prompt, chosen.response, rejected.response, chat),
                "score_chosen": chosen.response_score,
                "score_rejected": rejected.response_score,
                **({"aspect": aspect} if aspect else {}),
            }


Pairs = Sequence[tuple[ScoredResponse, ScoredResponse]]


@dataclasses.dataclass(frozen=True)
class _Answers:
    """The responses to one prompt that can stand in a pair."""

    good: list[ScoredResponse] = dataclasses.field(default_factory=list)
    bad: list[ScoredResponse] = dataclasses.field(default_factory=list)
    relative: list[ScoredResponse] = dataclasses.field(default_factory=list)

    def side(self, verdict: bool | None) -> list[ScoredResponse]:
        """Return where a response of this verdict stands; without one its scores are relative."""
        return self.relative if verdict is None else self.good if verdict else self.bad

    def pairs(self, evidence: Evidence) -> Pairs:
        """Return who clearly stands over whom."""
        ordered = [(one, other) for one in self.relative for other in self.relative if evidence.leads(one, other)]
        return [*((chosen, rejected) for chosen in self.good for rejected in self.bad), *ordered]


def _count_unpaired(answers: _Answers, clear: Pairs, pairs: Pairs, taken: Pairs, reasons: Counter[str]) -> None:
    """Count the responses to a prompt that are in no pair that is written, by the reason."""
    in_clear, possible, written = ({id(item) for pair in part for item in pair} for part in (clear, pairs, taken))
    for item in (*answers.good, *answers.bad, *answers.relative):
        if id(item) not in possible:
            reasons[AGAINST_LABELS if id(item) in in_clear else NO_PARTNER] += 1
        elif id(item) not in written:
            reasons[NARROWER] += 1


def kto_rows(
    scored: Iterable[ScoredResponse],
    evidence: Evidence = CLEAR,
    *,
    chat: bool = False,
    left_out: Counter[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield `prompt, completion, label`: true for a good response, false for a bad one; what is open is left out.

    So are relative scores, learned from preferences alone: no threshold parts good from bad among them.
    """
    for item in scored:
        verdict = None if item.relative else evidence.of(item)
        if verdict is not None:
            yield {
                "prompt": _message("user", prompt_of(item.response), chat),
                "completion": _message("assistant", item.response.text, chat),
                "label": verdict,
                "score": item.response_score,
            }
        elif left_out is not None:
            left_out[RELATIVE if item.relative else OPEN] += 1


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
    aggregation: str = ""  # min, max or mean, of records that do not say what their scores were learned under

    def __post_init__(self) -> None:
        self.evidence()

    def evidence(self) -> Evidence:
        return Evidence(self.threshold, self.margin, self.kappa, self.aggregation)

    @abstractmethod
    def rows(self, records: Iterable[Writable], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
        """Yield what is written, and count what is not."""

    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> Written:
        left_out, rows = Counter[str](), 0
        for row in self.rows(records, left_out):
            stream.write(encoded(row) + b"\n")
            rows += 1
        return Written(rows, left_out)


@WRITERS.register("dpo")
@dataclasses.dataclass(frozen=True)
class Dpo(PreferenceRows):
    """JSON lines of `prompt`, `chosen`, `rejected`: known preferences, or pairs that the sentences speak for."""

    all_pairs: bool = False  # every pair of a prompt, not the widest alone

    def rows(self, records: Iterable[Writable], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
        """Write known preferences as they come (ties say nothing), and pair scored responses at the end."""
        scored: list[ScoredResponse] = []
        for record in records:
            if isinstance(record, ScoredResponse):
                scored.append(record)
            elif not isinstance(record, Preference):
                raise BadData("a Response has no sentence scores for dpo: score it first, or give preferences")
            elif record.tie:
                left_out[TIES] += 1
            else:
                yield _pair(prompt_of(record.better), record.better, record.worse, self.chat)
        yield from dpo_pairs(scored, self.evidence(), chat=self.chat, all_pairs=self.all_pairs, left_out=left_out)


@WRITERS.register("kto")
@dataclasses.dataclass(frozen=True)
class Kto(PreferenceRows):
    """JSON lines of `prompt`, `completion`, `label`: true for a good response, false for a bad one, by its scores."""

    def rows(self, records: Iterable[Writable], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
        return kto_rows(scored_only(records, self.name), self.evidence(), chat=self.chat, left_out=left_out)
