"""Labels of whole responses by judge models: a rubric, a cache, an estimate before, a bill after, several combined."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fractal.datasets.corruption.openai import OpenAI, text_of
from fractal.errors import BadData, BadSpec
from fractal.evaluation.label_model import MIN_JUDGES, combine_responses
from fractal.records import Response
from fractal.registry import Registry

__all__ = ["JUDGES", "RUBRIC", "Bill", "Judgements", "OpenAIJudge", "estimate", "rate"]

RUBRIC = "Is the response right, complete and supported by its context? 1: yes, without a fault. 0: no."
CHARACTERS_A_TOKEN = 4  # of English; what a bill is estimated by
ANSWER_TOKENS = 15
_SCORE = re.compile(r'"score"\s*:\s*"?(-?\d+(?:\.\d+)?|true|false)', re.IGNORECASE)
_WORDS = {"true": 1.0, "false": 0.0}


@dataclasses.dataclass
class Bill:
    """What judging took, or would take."""

    calls: int = 0
    cached: int = 0
    unreadable: int = 0  # answers without a score, and servers that were busy to the end
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    counted: bool = True  # by the server; else estimated by characters

    def __str__(self) -> str:
        how = "" if self.counted else " (estimated by characters)"
        tokens = f"{self.input_tokens:,} tokens in and {self.output_tokens:,} out{how}"
        asked = f"{self.calls:,} calls, {self.cached:,} from the cache, {self.unreadable:,} without a score"
        return f"{asked}; {tokens}; cost {self.cost:.4f}"


JUDGES: Registry[OpenAIJudge] = Registry("judge")


@JUDGES.register("openai")
@dataclasses.dataclass(frozen=True)
class OpenAIJudge(OpenAI):
    """A model behind any OpenAI-compatible endpoint: `openai(model='…', base_url='http://127.0.0.1:8000/v1')`."""

    temperature: float = 0.0
    input_price: float = 0.0  # of a million tokens, in your currency
    output_price: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise ValueError("model='': name the model of the judge")

    def judge(self, prompt: str, seed: int, bill: Bill) -> str | None:
        """Return the answer, and put what it took on the bill."""
        bill.calls += 1
        usage: list[tuple[int, int]] = []
        answer = _Metered(**vars(self), spent=usage.append).complete(prompt, seed)
        for heard, said in usage:
            bill.input_tokens += heard
            bill.output_tokens += said
            bill.cost += self.price(heard, said)
        bill.counted = bill.counted and bool(usage)
        return answer

    def price(self, heard: int, said: int) -> float:
        """Return what so many tokens cost."""
        return (heard * self.input_price + said * self.output_price) / 1e6


@dataclasses.dataclass(frozen=True)
class _Metered(OpenAIJudge):
    """The same judge, telling what each answer took."""

    spent: Callable[[tuple[int, int]], None] = lambda usage: None

    def _ask(self, prompt: str, seed: int) -> str | None:
        content = self._send(prompt, seed)
        try:
            usage = json.loads(content)["usage"]
            self.spent((int(usage["prompt_tokens"]), int(usage["completion_tokens"])))
        except (ValueError, LookupError, TypeError):
            pass
        return text_of(content)


class Judgements:
    """Answers that were paid for, a JSON line each, so that none is asked for twice."""

    def __init__(self, path: str | Path | None) -> None:
        self.path = Path(path) if path is not None else None
        self._answers: dict[str, str] = {}
        if self.path is not None and self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                    self._answers[str(row["key"])] = str(row["answer"])
                except (ValueError, LookupError, TypeError):
                    continue  # the last line of a run that was killed

    def get(self, key: str) -> str | None:
        """Return a kept answer."""
        return self._answers.get(key)

    def put(self, key: str, answer: str) -> None:
        """Keep an answer at once."""
        self._answers[key] = answer
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "answer": answer}) + "\n")


def prompt_for(response: Response, rubric: str) -> str:
    """Return what a judge is asked."""
    parts = [f"Rubric:\n{rubric.strip()}"]
    parts += [f"Context:\n{chr(10).join(response.context)}"] if response.context else []
    parts += [f"Query:\n{response.query}"] if response.query else []
    parts.append(f"Response:\n{response.text}")
    parts.append(
        'Judge the response by the rubric alone. Answer with JSON and nothing else: {"score": a number from 0 to 1}'
    )
    return "\n\n".join(parts)


def score_in(answer: str) -> float | None:
    """Return the score of an answer in [0, 1]; nothing where it has none."""
    match = _SCORE.search(answer)
    if match is None:
        return None
    word = match.group(1).lower()
    score = _WORDS[word] if word in _WORDS else float(word)
    return score if 0 <= score <= 1 and math.isfinite(score) else None


def estimate(responses: Sequence[Response], judges: Sequence[OpenAIJudge], rubric: str, kept: Judgements) -> Bill:
    """Return what judging would take; what is in the cache takes nothing."""
    bill = Bill(counted=False)
    for judge, prompt in _questions(responses, judges, rubric):
        if kept.get(_key(judge, prompt)) is not None:
            bill.cached += 1
            continue
        heard = -(-len(prompt) // CHARACTERS_A_TOKEN)
        bill.calls += 1
        bill.input_tokens += heard
        bill.output_tokens += ANSWER_TOKENS
        bill.cost += judge.price(heard, ANSWER_TOKENS)
    return bill


def rate(
    responses: Sequence[Response],
    judges: Sequence[OpenAIJudge],
    *,
    rubric: str = RUBRIC,
    kept: Judgements | None = None,
    bill: Bill | None = None,
    seed: int = 0,
) -> tuple[list[Response], tuple[str, ...]]:
    """Return the responses with the label that judges give them, and what the label model says of the judges.

    One judge's score is the label; two are averaged; from three on each counts by how well the others foretell it. The
    scores stand in `extra["votes"]` by the judge's name. A response that no judge scored has no label.
    """
    if not judges:
        raise BadSpec("give at least one judge, as in openai(model='…')")
    names = [
        f"{judge.model} {number}" if _twice(judge, judges) else judge.model for number, judge in enumerate(judges, 1)
    ]
    kept, bill = kept or Judgements(None), bill or Bill()
    voted = [
        dataclasses.replace(
            response,
            label=None,
            extra={**response.extra, "votes": dict(_votes(response, judges, names, rubric, kept, bill, seed))},
        )
        for response in responses
    ]
    if not any(response.extra["votes"] for response in voted):
        raise BadData("no judge gave a score: look at an answer in the cache, and at the rubric")
    if len(judges) < MIN_JUDGES:
        return [_averaged(response) for response in voted], ()
    labelled, combined = combine_responses(voted)
    return labelled, combined.report


def _votes(
    response: Response,
    judges: Sequence[OpenAIJudge],
    names: Sequence[str],
    rubric: str,
    kept: Judgements,
    bill: Bill,
    seed: int,
) -> Iterator[tuple[str, float]]:
    prompt = prompt_for(response, rubric)
    for name, judge in zip(names, judges, strict=True):
        key = _key(judge, prompt)
        answer = kept.get(key)
        bill.cached += answer is not None
        if answer is None:
            answer = judge.judge(prompt, seed, bill)
            if answer is not None:
                kept.put(key, answer)
        score = score_in(answer) if answer is not None else None
        if score is None:
            bill.unreadable += 1
        else:
            yield name, score


def _averaged(response: Response) -> Response:
    votes = list(response.extra["votes"].values())
    return dataclasses.replace(response, label=sum(votes) / len(votes)) if votes else response


def _questions(
    responses: Iterable[Response], judges: Sequence[OpenAIJudge], rubric: str
) -> Iterator[tuple[OpenAIJudge, str]]:
    for response in responses:
        prompt = prompt_for(response, rubric)
        for judge in judges:
            yield judge, prompt


def _twice(judge: OpenAIJudge, judges: Sequence[OpenAIJudge]) -> bool:
    return sum(other.model == judge.model for other in judges) > 1


def _key(judge: OpenAIJudge, prompt: str) -> str:
    asked: dict[str, Any] = {"model": judge.model, "base_url": judge.base_url, "temperature": judge.temperature}
    return hashlib.blake2b(json.dumps([asked, prompt]).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
