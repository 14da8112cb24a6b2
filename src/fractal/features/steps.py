"""What an agent's step is, what its calls brought, and whether what it says is what the tools returned."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fractal.encoders.block import EncodedBlock
from fractal.features.base import FEATURES, Columns, per_block, scalars
from fractal.records.steps import CUT, Step, call_arguments, call_name, is_step, step_of

__all__ = ["failed", "stable_hash", "steps_of"]

_FAILED = re.compile(
    r"error|exception|traceback|fail|invalid|denied|refused|not found|no such|cannot|timed? ?out", re.I
)
_BEGINS_FAILED = re.compile(r"\W*(error|exception|traceback|failed|failure)\b", re.I)
_EMPTY = {"", "[]", "{}", "null", "none", '""', "''", "()"}
_FACT = re.compile(r"[#$]?\w*\d(?:[\w.,:/-]*\w)?|[\w.+-]+@[\w.-]+")  # ids, amounts, dates, addresses of mail
REMEMBERED = 4096  # texts whose words and facts are kept: a policy is the context of every run
_WORD = re.compile(r"[^\W_]+(?:[_'.@-][^\W_]+)*")


@per_block
def steps_of(block: EncodedBlock) -> tuple[tuple[Step, ...], ...]:
    """Take every sentence apart into the parts of a step, once a block."""
    return tuple(tuple(step_of(sentence.text) for sentence in response.sentences) for response in block.responses)


def failed(result: str) -> bool:
    """Whether a result begins by saying that the call failed."""
    return _BEGINS_FAILED.match(result) is not None


def stable_hash(text: str) -> int:
    """Return 64 bits of a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@functools.lru_cache(REMEMBERED)
def _facts(text: str) -> frozenset[str]:
    """Return the ids and amounts of a text, written in one way."""
    return frozenset(match.strip("#$.,:").replace(",", "").casefold() for match in _FACT.findall(text))


@functools.lru_cache(REMEMBERED)
def _words(text: str) -> frozenset[str]:
    return frozenset(word.casefold() for word in _WORD.findall(text))


def _rows(rows: Sequence[Sequence[float]], names: Sequence[str], feature: str) -> Columns:
    table = np.array(rows, np.float32).reshape(len(rows), len(names))
    return scalars(feature, dict(zip(names, table.T, strict=True)))


@FEATURES.register("step_kind")
def step_kind(block: EncodedBlock) -> Columns:
    """Whether a step calls tools and how many, says something, answers the user, or ends the run."""
    names = ("is_step", "calls", "says", "answers", "final")
    rows = []
    for response, steps in zip(block.responses, steps_of(block), strict=True):
        for at, (sentence, step) in enumerate(zip(response.sentences, steps, strict=True)):
            final = at == len(steps) - 1
            kind = (is_step(sentence.text), np.log1p(len(step.calls)), bool(step.agent), bool(step.user), final)
            rows.append(kind)
    return _rows(rows, names, "step_kind")


@FEATURES.register("tool_name")
@dataclass(frozen=True)
class ToolName:
    """Which tools a step calls, each name in one of so many columns."""

    buckets: int = 24

    def __post_init__(self) -> None:
        if not 1 <= self.buckets <= 4096:
            raise ValueError(f"buckets={self.buckets}: give 1 to 4096 columns")

    def __call__(self, block: EncodedBlock) -> Columns:
        table = np.zeros((len(block.sentences), self.buckets), np.float32)
        steps = (step for run in steps_of(block) for step in run)
        for row, step in enumerate(steps):
            for call in step.calls:
                table[row, stable_hash(call_name(call)) % self.buckets] = 1
        return scalars("tool_name", {f"{column}": table[:, column] for column in range(self.buckets)})


@FEATURES.register("call_result")
def call_result(block: EncodedBlock) -> Columns:
    """What a step's calls brought: an error, words of failure, nothing; and whether the same call was made before."""
    names = ("failed", "failure_words", "empty", "missing", "length", "same_call", "same_tool", "after_failure")
    rows = []
    for steps in steps_of(block):
        calls_before: set[str] = set()
        tools_before: set[str] = set()
        failed_before = False
        for step in steps:
            tools = {call_name(call) for call in step.calls}
            bad = any(map(failed, step.results))
            rows.append(
                (
                    bad,
                    np.log1p(sum(len(_FAILED.findall(result)) for result in step.results)),
                    any(result.strip().casefold() in _EMPTY for result in step.results),
                    len(step.calls) > len(step.results),
                    np.log1p(sum(map(len, step.results))),
                    any(call in calls_before for call in step.calls),
                    bool(tools & tools_before),
                    failed_before,
                )
            )
            calls_before.update(step.calls)
            tools_before |= tools
            failed_before = bad
    return _rows(rows, names, "call_result")


@FEATURES.register("new_arguments")
def new_arguments(block: EncodedBlock) -> Columns:
    """Arguments of calls that stand nowhere before: not in the query, the context, the user's turns or the results."""
    rows = []
    for response, steps in zip(block.responses, steps_of(block), strict=True):
        heard = _Heard((response.query, *response.context))
        for step in steps:
            heard.add((step.user,))
            values = [value for call in step.calls for value in call_arguments(call).values() if CUT not in value]
            facts = set().union(*map(_facts, values)) if values else set()
            words = {word for value in values for word in _words(value) if len(word) > 1}
            new_facts, new_words = facts - heard.facts, words - heard.words
            share = len(new_words) / max(len(words), 1)
            rows.append((np.log1p(len(words)), share, np.log1p(len(new_facts)), len(new_facts) / max(len(facts), 1)))
            heard.add(step.results)
    return _rows(rows, ("words", "new_words", "new_facts", "share_of_facts"), "new_arguments")


@FEATURES.register("stated_facts")
def stated_facts(block: EncodedBlock) -> Columns:
    """Ids and amounts that the agent states and neither the user nor any tool gave before."""
    rows = []
    for response, steps in zip(block.responses, steps_of(block), strict=True):
        heard = _Heard((response.query, *response.context))
        for step in steps:
            heard.add((step.user,))
            stated = _facts(step.agent)
            new = stated - heard.facts
            rows.append((np.log1p(len(stated)), np.log1p(len(new)), len(new) / max(len(stated), 1)))
            heard.add(step.results)
    return _rows(rows, ("stated", "unheard", "share_unheard"), "stated_facts")


class _Heard:
    """The words and facts that stood anywhere before a step."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.words: set[str] = set()
        self.facts: set[str] = set()
        self.add(texts)

    def add(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.words |= _words(text)
            self.facts |= _facts(text)
