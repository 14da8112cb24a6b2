"""Step scores for answers: fractal on the policy's own states, and what it is held against."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.downstream.chains import BEGIN, CODES, NEWLINE, PAD, PROMPT_WIDTH, Chain, judge, parsed
from benchmarks.downstream.policy import Policy
from fractal.encoders.base import Encoder, Progress, TokenVectors, Vectors, unit_rows
from fractal.records import Response, ScoredResponse
from fractal.records.splitting import SPLITTERS

LINES = "lines"  # the splitter: a step stands on a line
ROWS = 256  # texts that are read at once
CONFIDENCE = ("log_result", "log_step", "entropy")  # of the policy in a step: what it makes of its own tokens
_SIGN = re.compile(r"\d{1,2}|[-+*=]|<\w+>")


class Lines(NamedTuple):
    """What a policy made of the lines of one text."""

    vectors: np.ndarray  # (line, dim)
    confidence: np.ndarray  # (line, column)


@dataclasses.dataclass(frozen=True, eq=False)
class PolicyStates(Encoder):
    """The states of a frozen policy at the end of a text: a prompt and the steps so far, a line each.

    A step's vector holds what the policy made of the step and of all before it, and nothing of what follows: its state
    at the end of the step, and that from which it drew the result times the result's own vector, by component.
    """

    policy: Policy
    name = "policy_states"
    quick = True  # no text comes twice, so none is kept on disk

    @property
    def dim(self) -> int:
        return 2 * self.policy.size.width

    @property
    def fingerprint(self) -> str:
        return f"policy_states-{self.policy.size}"

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Read the texts that are no beginning of another, and take the states after each of their lines."""
        vectors = {text: np.zeros(self.dim, np.float32) for text in texts}
        whole = dict.fromkeys(text for text in texts if text)
        for text in [*whole]:
            for shorter in prefixes(text)[:-1]:
                whole.pop(shorter, None)
        for text, lines in zip(whole, self.lines([*whole]), strict=True):
            vectors.update(zip(prefixes(text), lines.vectors, strict=True))
        return unit_rows(np.stack([vectors[text] for text in texts]))

    def encode_tokens(self, texts: Sequence[str], progress: Progress | None = None) -> TokenVectors:
        """Return one token a text."""
        rows = self.encode(texts, progress)
        return TokenVectors(rows, np.arange(len(texts) + 1, dtype=np.int64), rows)

    def lines(self, texts: Sequence[str]) -> Iterator[Lines]:
        """Read whole texts, some at once: what the policy made of each line after the first."""
        for first in range(0, len(texts), ROWS):
            yield from self._read([_coded(text) for text in texts[first : first + ROWS]])

    @torch.inference_mode()
    def _read(self, coded: Sequence[tuple[list[int], list[int]]]) -> Iterator[Lines]:
        before = max(len(prompt) for prompt, _ in coded)
        after = max(len(answer) for _, answer in coded)
        rows = [[PAD] * (before - len(p)) + p + a + [PAD] * (after - len(a)) for p, a in coded]
        codes = torch.tensor(rows, device=self.policy.tokens.weight.device)
        states = self.policy.states(codes, before)[:, before - 1 :]  # of the last token of the prompt and all after it
        odds = self.policy.logits(states[:, :-1]).log_softmax(-1)
        drawn = odds.gather(-1, codes[:, before:, None]).squeeze(-1)
        spread = -(odds.exp() * odds).sum(-1)
        written = self.policy.tokens(codes[:, before:])
        places, shapes = [], []
        for row, (_, answer) in enumerate(coded):
            lines = list(_lines_of(answer))
            shapes.append(len(lines))
            places += [(row, *line) for line in lines]
        row, start, last = torch.tensor(places, device=codes.device).T
        vectors = torch.cat([states[row, last + 1], states[row, last] * written[row, last]], 1)
        so_far = torch.nn.functional.pad(drawn.cumsum(1), (1, 0))
        confidence = torch.stack([drawn[row, last], so_far[row, last + 1] - so_far[row, start], spread[row, last]], 1)
        cuts = np.cumsum(shapes)[:-1]
        for parts in zip(np.split(vectors.cpu().numpy(), cuts), np.split(confidence.cpu().numpy(), cuts), strict=True):
            yield Lines(*parts)


def _lines_of(answer: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give the places of each line's first token and of its last before the line break: the result."""
    start = 0
    for place, code in enumerate(answer):
        if code != NEWLINE:
            continue
        yield start, max(place - 1, start)
        start = place + 1


def prefixes(text: str) -> list[str]:
    """Return the beginnings of a text that end with a line, from the prompt with its first step on."""
    lines = text.split("\n")
    return ["\n".join(lines[:count]) for count in range(2, len(lines) + 1)]


def _coded(text: str) -> tuple[list[int], list[int]]:
    prompt, *lines = text.split("\n")
    answer = [code for line in lines for code in (*_codes(line), NEWLINE)]
    return [*_codes(prompt)[: PROMPT_WIDTH - 1], BEGIN], answer


def _codes(line: str) -> list[int]:
    return [CODES[str(int(sign)) if sign.isdigit() else sign] for sign in _SIGN.findall(line)]


@dataclasses.dataclass(frozen=True)
class OnPolicyStates:
    """A scorer that learned from steps with all before them, as rewards ask for it: of plain answers."""

    inner: Any  # a fitted SentenceScorer or baseline
    states: PolicyStates
    confidence: bool
    splitter: str = LINES
    direction_: str = "min"

    def score_responses(self, responses: Sequence[Response], /) -> list[ScoredResponse]:
        """Score every line of every answer."""
        scored = self.inner.score_responses(with_prefixes(responses, self.states, self.confidence))
        return [dataclasses.replace(item, response=response) for item, response in zip(scored, responses, strict=True)]


def with_prefixes(responses: Sequence[Response], states: PolicyStates, confidence: bool) -> list[Response]:
    """Return responses whose sentences are their steps, each with the prompt and all steps before it.

    With `confidence` they carry columns: what the policy makes of its own tokens.
    """
    wholes = ["\n".join([response.query, *(step.text for step in response.sentences)]) for response in responses]
    columns: list[dict] = [{} for _ in responses]
    if confidence:
        values = [lines.confidence.T.tolist() for lines in states.lines(wholes)]
        columns = [dict(zip(CONFIDENCE, map(tuple, rows), strict=True)) for rows in values]
    return [
        Response.from_sentences(
            response.id,
            prefixes(whole),
            labels=response.sentence_labels,
            label=response.label,
            group=response.query,
            columns=some,
        )
        for response, whole, some in zip(responses, wholes, columns, strict=True)
    ]


def responses_of(chains: Sequence[Chain], answers: Sequence[str], *, truth: bool = False) -> list[Response]:
    """Return answers with their outcomes, empty ones left out; with `truth` every step carries whether it is right."""
    split = SPLITTERS.build(LINES)
    rows = []
    for place, (chain, answer) in enumerate(zip(chains, answers, strict=True)):
        sentences = split(answer)
        if not sentences:
            continue
        judged = judge(chain, answer)
        if truth:
            sentences = tuple(
                dataclasses.replace(sentence, label=float(right))
                for sentence, right in zip(sentences, judged.steps, strict=True)
            )
        rows.append(Response(f"answer {place}", sentences, answer, chain.prompt, label=float(judged.right)))
    return rows


@dataclasses.dataclass(frozen=True)
class ExactSteps:
    """The oracle: 1 for a right step, 0 for a wrong one."""

    splitter: str = LINES
    direction_: str = "min"

    def score_responses(self, responses: Sequence[Response], /) -> list[ScoredResponse]:
        """Check every step."""
        return [
            _record(item, [float(right) for right in judge(parsed(item.query), item.text).steps]) for item in responses
        ]


@dataclasses.dataclass
class RandomScores:
    """A score for every step that says nothing."""

    rng: np.random.Generator
    splitter: str = LINES
    direction_: str = "min"

    def score_responses(self, responses: Sequence[Response], /) -> list[ScoredResponse]:
        """Draw evenly from 0 to 1."""
        return [_record(item, self.rng.random(len(item.sentences)).tolist()) for item in responses]


def _record(response: Response, scores: Sequence[float]) -> ScoredResponse:
    return ScoredResponse(response, tuple(scores), min(scores), aggregation="min")
