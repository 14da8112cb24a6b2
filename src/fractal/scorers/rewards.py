"""Sentence scores as rewards for training a language model: one a response, one a sentence, or one a token."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.readers.chats import read_chat
from fractal.records import Response, ScoredResponse
from fractal.records.splitting import SPLITTERS, Splitter

FORMS = ("response", "sentence", "token")
REDUCTIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "mean": lambda rewards: sum(rewards) / len(rewards),
}
IMPLIED = "implied"  # the response score that the scorer's own aggregation gives
EMPTY = 0.0  # the reward of a completion without a sentence: silence must not pay


class Scorer(Protocol):
    """What a reward asks of a scorer; `SentenceScorer` is one."""

    splitter: Any

    def score_responses(self, responses: Sequence[Response], /) -> list[ScoredResponse]:
        """Return each response with a score for every sentence."""


class SpanReward(NamedTuple):
    """The reward of one sentence, and where in the completion's text it stands."""

    start: int
    end: int
    reward: float


@dataclasses.dataclass(frozen=True)
class SentenceReward:
    """A reward function in the form that TRL's trainers call: `f(prompts, completions, **columns)`.

    Texts are plain or chats. A column `context` of the data set, a text or a list of texts a row, is what completions
    are held against. The reward of a sentence is its score less `kappa` times the spread between the heads.
    """

    scorer: Scorer
    form: str = "response"
    kappa: float = 0.0
    reduce: str = "min"
    tokenizer: Any = None
    every_token: bool = True

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UnknownName("form of reward", self.form, FORMS)
        if self.reduce not in (*REDUCTIONS, IMPLIED):
            raise UnknownName("reduction of rewards", self.reduce, (*REDUCTIONS, IMPLIED))
        if self.reduce == IMPLIED and self.kappa and self.form == "response":
            raise BadSpec(
                f"kappa={self.kappa:g} with reduce='implied': the spread lowers sentence scores, and the scorer's own "
                "response score is not made of the lowered ones; reduce by 'min' or 'mean'"
            )
        if self.form == "token" and self.tokenizer is None:
            raise BadSpec("form='token' needs the tokenizer of the model that is trained: give tokenizer=…")

    @property
    def __name__(self) -> str:  # trainers log rewards under the function's name
        return f"sentence_reward_{self.form}"

    def __call__(
        self, prompts: Sequence[Any] | None = None, completions: Sequence[Any] = (), **columns: Any
    ) -> list[Any]:
        """Return a number, a list of `SpanReward`, or a list of numbers a token, for each completion."""
        texts = [completion_text(completion) for completion in completions]
        queries = [prompt_text(prompt) for prompt in prompts] if prompts is not None else [""] * len(texts)
        contexts = columns.get("context") or [()] * len(texts)
        for name, rows in (("prompts", queries), ("context", contexts)):
            if len(rows) != len(texts):
                raise BadData(f"{len(rows)} {name} for {len(texts)} completions: give one a completion", field=name)
        scored = self._scored(texts, queries, [_passages(context) for context in contexts])
        return [self._reward(text, item) for text, item in zip(texts, scored, strict=True)]

    def _scored(
        self, texts: Sequence[str], queries: Sequence[str], contexts: Sequence[tuple[str, ...]]
    ) -> list[ScoredResponse | None]:
        """Score the completions that hold a sentence, all at once; None stands for the others."""
        split: Splitter = SPLITTERS.build(self.scorer.splitter)
        cut = [split(text) for text in texts]
        places = [place for place, sentences in enumerate(cut) if sentences]
        responses = [
            Response(f"completion {place}", cut[place], texts[place], queries[place], contexts[place])
            for place in places
        ]
        scored = dict(zip(places, self.scorer.score_responses(responses), strict=True)) if responses else {}
        return [scored.get(place) for place in range(len(texts))]

    def _reward(self, text: str, scored: ScoredResponse | None) -> Any:
        spans = [] if scored is None else self._spans(scored)
        if self.form == "sentence":
            return spans
        if self.form == "token":
            return token_rewards(text, spans, self.tokenizer, every_token=self.every_token)
        if scored is None:
            return EMPTY
        if self.reduce == IMPLIED:
            return scored.response_score
        return REDUCTIONS[self.reduce]([span.reward for span in spans])

    def _spans(self, scored: ScoredResponse) -> list[SpanReward]:
        rewards = scored.conservative(self.kappa)
        return [
            SpanReward(sentence.start, sentence.end, reward)
            for sentence, reward in zip(scored.response.sentences, rewards, strict=True)
        ]


def sentence_reward(
    scorer: Scorer,
    form: str = "response",
    kappa: float = 0.0,
    reduce: str = "min",
    *,
    tokenizer: Any = None,
    every_token: bool = True,
) -> SentenceReward:
    """Return a reward function `f(prompts, completions, **columns)` from a scorer.

    `form` is "response" (a number; `reduce` says how: "min", "mean", or "implied" by the scorer's aggregation),
    "sentence" (spans with rewards) or "token" (a reward for each token of `tokenizer`; with `every_token=False` only
    the last token of each sentence carries its reward). `kappa` lowers rewards where the heads disagree.
    """
    return SentenceReward(scorer, form, kappa, reduce, tokenizer, every_token)


def token_rewards(text: str, spans: Sequence[SpanReward], tokenizer: Any, *, every_token: bool = True) -> list[float]:
    """Return a reward for each token of the text: that of the sentence in which the token's first visible sign stands.

    Tokens between sentences get 0; so do all but a sentence's last token where `every_token` is off.
    """
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    rewards, last = [0.0] * len(offsets), [-1] * len(spans)
    here = 0
    for token, (start, end) in enumerate(offsets):
        first = start + len(text[start:end]) - len(text[start:end].lstrip())
        while here < len(spans) and spans[here].end <= first:
            here += 1
        if here < len(spans) and spans[here].start <= first < min(end, spans[here].end):
            rewards[token], last[here] = spans[here].reward, token
    if every_token:
        return rewards
    ends = set(last)
    return [reward if token in ends else 0.0 for token, reward in enumerate(rewards)]


def completion_text(completion: Any) -> str:
    """Return what the model itself said: a plain text, or the assistant's turns of a chat."""
    if isinstance(completion, str):
        return completion
    turns = [completion] if isinstance(completion, Mapping) else list(completion)
    spoken = [turn for turn in turns if not isinstance(turn, Mapping) or turn.get("role") == "assistant"]
    said = [read_chat([turn], "completions")[1] for turn in spoken]
    return "\n\n".join(text for text in said if text)


def prompt_text(prompt: Any) -> str:
    """Return what was asked: a plain text, or a chat written out."""
    if isinstance(prompt, str):
        return prompt
    return read_chat(prompt, "prompts", ends_in_response=False)[0] if prompt else ""


def _passages(context: Any) -> tuple[str, ...]:
    if not context:
        return ()
    return (context,) if isinstance(context, str) else tuple(map(str, context))
