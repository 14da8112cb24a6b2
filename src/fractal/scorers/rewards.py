"""Sentence scores as rewards for training a language model: one a response, one a sentence, or one a token."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.readers.chats import read_chat
from fractal.readers.columns import COMMON_NAMES
from fractal.records import REDUCTIONS, Response, ScoredResponse
from fractal.records.splitting import SPLITTERS, Splitter
from fractal.scorers.inputs import passages_of, refuse_missing
from fractal.scorers.token_places import places_of_ids, places_of_text

logger = logging.getLogger("fractal.rewards")
FORMS = ("response", "sentence", "token")
AUTO = "auto"  # as the scores were learned: the worst sentence under a minimum, the best under a maximum, or the mean
IMPLIED = "implied"  # the response score that the scorer's own aggregation gives
OPPOSITE = {"min": "max", "max": "min"}
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

    Texts are plain or chats. A column `context` of the data set (or the one that the scorer's training data had it in,
    or another well-known name), a text or a list of texts a row, is what completions are held against. Where the scorer
    learned with a context or a query and no completion comes with one, that is an error. The reward of a sentence is
    its score less `kappa` times the spread between the heads. Of several aspects the rewards are added by the weights
    of `aspects`, which are scaled to add up to 1. Token rewards are those of the trainer's own `completion_ids`, where
    it gives them. Completions are kept in no cache on disk.
    """

    scorer: Scorer
    form: str = "response"
    kappa: float = 0.0
    reduce: str = AUTO
    tokenizer: Any = None
    every_token: bool = True
    aspects: str | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UnknownName("form of reward", self.form, FORMS)
        if self.reduce not in (AUTO, *REDUCTIONS, IMPLIED):
            raise UnknownName("reduction of rewards", self.reduce, (AUTO, *REDUCTIONS, IMPLIED))
        if not (0 <= self.kappa < math.inf):
            raise BadSpec(f"kappa={self.kappa}: give 0 or more, the number of spreads that rewards are lowered by")
        if self.reduce == IMPLIED and self.kappa and self.form == "response":
            raise BadSpec(
                f"kappa={self.kappa:g} with reduce='implied': the spread lowers sentence scores, and the scorer's own "
                "response score is not made of the lowered ones; reduce by 'auto', 'min', 'max' or 'mean'"
            )
        if self.form == "token" and self.tokenizer is None:
            raise BadSpec("form='token' needs the tokenizer of the model that is trained: give tokenizer=…")
        self._refuse_opposite(getattr(self.scorer, "direction_", ""))
        weights = self._weights()
        if weights is not None and (not weights or min(weights.values()) < 0 or not sum(weights.values()) > 0):
            raise BadSpec(f"aspects={self.aspects!r}: give an aspect, or weights of at least 0 by aspect, one above 0")
        scored = getattr(self.scorer, "scorers_", None)
        for name in weights or ():
            if scored is not None and name not in scored:
                raise UnknownName("aspect", name, tuple(scored))

    def _weights(self) -> Mapping[str, float] | None:
        return {self.aspects: 1.0} if isinstance(self.aspects, str) else self.aspects

    def _refuse_opposite(self, rule: str) -> None:
        """Refuse the worst sentence of a scorer whose responses are as good as their best, and the other way round."""
        if self.form == "response" and rule and self.reduce == OPPOSITE.get(rule):
            raise BadSpec(
                f"reduce={self.reduce!r}, but these scores were learned under a {rule}: a response is as good as its "
                f"{'best' if rule == 'max' else 'worst'} sentence; leave reduce out, or give {rule!r} or 'mean'"
            )

    @property
    def __name__(self) -> str:  # trainers log rewards under the function's name
        return f"sentence_reward_{self.form}"

    def __call__(
        self, prompts: Sequence[Any] | None = None, completions: Sequence[Any] = (), **columns: Any
    ) -> list[Any]:
        """Return a number, a list of `SpanReward`, or a list of numbers a token, for each completion."""
        texts = [completion_text(completion) for completion in completions]
        scored = self.records(prompts, completions, **columns)
        ids = columns.get("completion_ids") if self.form == "token" else None
        if ids is not None and len(ids) != len(texts):
            raise BadData(f"{len(ids)} rows for {len(texts)} completions: give one each", field="completion_ids")
        drawn = [None] * len(texts) if ids is None else ids
        return [self._reward(*parts) for parts in zip(texts, scored, drawn, strict=True)]

    def records(
        self, prompts: Sequence[Any] | None = None, completions: Sequence[Any] = (), **columns: Any
    ) -> list[list[ScoredResponse]]:
        """Return the scores of each completion: one record an aspect, none of a completion without a sentence."""
        texts = [completion_text(completion) for completion in completions]
        queries = [prompt_text(prompt) for prompt in prompts] if prompts is not None else [""] * len(texts)
        contexts = self._contexts(columns) or [()] * len(texts)
        for name, rows in (("prompts", queries), ("context", contexts)):
            if len(rows) != len(texts):
                raise BadData(f"{len(rows)} {name} for {len(texts)} completions: give one a completion", field=name)
        return self._scored(texts, queries, [passages_of(context) for context in contexts], sorted(columns))

    @property
    def _uncached(self) -> Scorer:
        """The scorer without its cache on disk: completions never come again, and would fill it."""
        without = getattr(self.scorer, "without_cache", None)
        return self.scorer if without is None else without()

    def _contexts(self, columns: Mapping[str, Any]) -> Sequence[Any] | None:
        """Return the column that holds the contexts: as the scorer's training data named it, else by a known name."""
        memory = getattr(self.scorer, "memory_", {})
        remembered = memory.get("columns", {}).get("context", "")
        names = dict.fromkeys(("context", remembered, *COMMON_NAMES["context"]))
        taken = next((name for name in names if name and columns.get(name) is not None), None)
        if taken is None and columns:
            logger.info("no column is taken for the context; not used: %s", ", ".join(sorted(columns)))
        elif taken not in (None, "context"):
            logger.info("the column %r is taken for the context", taken)
        return None if taken is None else columns[taken]

    def _scored(
        self,
        texts: Sequence[str],
        queries: Sequence[str],
        contexts: Sequence[tuple[str, ...]],
        unused: Sequence[str] = (),
    ) -> list[list[ScoredResponse]]:
        """Score the completions that hold a sentence, all at once: one record an aspect; none for the others."""
        split: Splitter = SPLITTERS.build(self.scorer.splitter)
        cut = [split(text) for text in texts]
        places = [place for place, sentences in enumerate(cut) if sentences]
        responses = [
            Response(f"completion {place}", cut[place], texts[place], queries[place], contexts[place])
            for place in places
        ]
        refuse_missing(getattr(self.scorer, "memory_", {}), responses, unused)
        records = self._uncached.score_responses(responses) if responses else []
        each = len(records) // max(len(responses), 1)
        by_place = {place: records[i * each : (i + 1) * each] for i, place in enumerate(places)}
        return [by_place.get(place, []) for place in range(len(texts))]

    def _reward(self, text: str, records: Sequence[ScoredResponse], ids: Sequence[int] | None = None) -> Any:
        shares = self.shares(records)
        spans = weighted_spans([(scored, share, scored.conservative(self.kappa)) for scored, share in shares])
        if self.form == "sentence":
            return spans
        if self.form == "token":
            return token_rewards(text, spans, self.tokenizer, every_token=self.every_token, ids=ids)
        return sum(share * self._of_response(scored) for scored, share in shares) if shares else EMPTY

    def shares(self, records: Sequence[ScoredResponse]) -> list[tuple[ScoredResponse, float]]:
        """Return the records that count and how much each does."""
        weights = self._weights()
        if weights is None:
            return [(scored, 1 / len(records)) for scored in records]
        by_aspect = {scored.aspect: scored for scored in records}
        if missing := [name for name in weights if records and name not in by_aspect]:
            raise UnknownName("aspect", missing[0], tuple(by_aspect))
        total = sum(weights.values())
        return [(by_aspect[name], weight / total) for name, weight in weights.items() if records and weight]

    def _of_response(self, scored: ScoredResponse) -> float:
        self._refuse_opposite(scored.aggregation)
        if self.reduce == AUTO and not scored.aggregation and self.kappa:
            raise BadSpec("this scorer does not say how sentences make a response: give reduce='min', 'max' or 'mean'")
        reduction = scored.aggregation if self.reduce == AUTO else self.reduce
        if reduction in ("", IMPLIED):
            return scored.response_score
        return REDUCTIONS[reduction](scored.conservative(self.kappa))


def sentence_reward(
    scorer: Scorer,
    form: str = "response",
    kappa: float = 0.0,
    reduce: str = AUTO,
    *,
    tokenizer: Any = None,
    every_token: bool = True,
    aspects: str | Mapping[str, float] | None = None,
) -> SentenceReward:
    """Return a reward function `f(prompts, completions, **columns)` from a scorer.

    `form` is "response" (a number), "sentence" (spans with rewards) or "token" (a reward for each token of
    `tokenizer`; with `every_token=False` only the last token of each sentence carries its reward). `reduce` says how
    sentences make the number: "auto" as the scores were learned (the worst sentence under a minimum, the best under a
    maximum, else the mean), "min", "max", "mean", or "implied" by the scorer's aggregation. `kappa` lowers rewards
    where the heads disagree. Of an `AspectScorer` every aspect counts alike; `aspects` names one, or gives weights.
    """
    return SentenceReward(scorer, form, kappa, reduce, tokenizer, every_token, aspects)


def weighted_spans(parts: Sequence[tuple[ScoredResponse, float, Sequence[float]]]) -> list[SpanReward]:
    """Add up what each sentence earns by every aspect: of each a record, its weight, and a number a sentence."""
    if not parts:
        return []
    sentences = parts[0][0].response.sentences
    rewards = zip(*([share * number for number in numbers] for _, share, numbers in parts), strict=True)
    return [
        SpanReward(sentence.start, sentence.end, sum(earned))
        for sentence, earned in zip(sentences, rewards, strict=True)
    ]


def token_rewards(
    text: str,
    spans: Sequence[SpanReward],
    tokenizer: Any,
    *,
    every_token: bool = True,
    ids: Sequence[int] | None = None,
) -> list[float]:
    """Return a reward for each token of the text: that of the sentence in which the token's first visible sign stands.

    The tokens are those of `ids`, as the model drew them, else those that the tokenizer cuts the text into. Tokens
    between sentences and special tokens get 0; so do all but a sentence's last token where `every_token` is off.
    """
    offsets = places_of_text(text, tokenizer) if ids is None else places_of_ids(ids, text, tokenizer)
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
