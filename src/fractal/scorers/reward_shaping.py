"""Rewards that resist being gamed: no sentence that is added can raise them, and a bad one lowers them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.scorers.rewards import Scorer, SentenceReward, SpanReward, prompt_text, weighted_spans

if TYPE_CHECKING:
    from fractal.records import Response, ScoredResponse

__all__ = ["FORMS", "TRANSFORMS", "ShapedReward", "WorstOfMembers"]

FORMS = ("worst", "soft_worst", "sum")
TRANSFORMS = ("log", "log_sigmoid", "none")
CENTRES = ("none", "prompt", "outcome")
Weights = list[tuple["ScoredResponse", float]]


@dataclasses.dataclass(frozen=True)
class ShapedReward:
    """A reward function in the form that TRL's trainers call, of parts that keep laws.

    Given the scores of its sentences, a response earns no more with any sentence added than without it: so neither
    length nor the repetition of a good sentence pays. One that is worse than all others always costs.

    - `transform` of a sentence's score p: "log" is log p = log(1 − hazard), "log_sigmoid" log σ(logit p −
      logit `reference`), which pays little for what is better than the reference, "none" is p. Scores below `floor`
      count as it.
    - `form`: "worst" is the lowest sentence, "soft_worst" −T log Σ exp(−u / T), "sum" Σ u, which needs a transform
      that is never above 0.
    - several aspects are joined by a logical *and*: the weighed sum of what each earns, so that no aspect can pay for
      another under the logarithm. Every aspect counts alike, or by `aspects`.
    - `kappa` spreads between the heads are taken off each score first; `members="worst"` takes the lowest head.
    - `centre`: "prompt" takes the mean of the completions of one prompt off, "outcome" the mean of those of one prompt
      with one outcome (a column `outcomes`) and adds `outcome_weight` times the outcome, so that rewards order
      completions among equal outcomes.

    An empty completion earns as little as the worst of its batch, and never more than a sentence at the floor.
    """

    scorer: Scorer
    form: str = "worst"
    transform: str = "log"
    reference: float = 0.5
    temperature: float = 0.1
    kappa: float = 0.0
    members: str = "mean"
    centre: str = "none"
    outcome_weight: float = 1.0
    aspects: str | Mapping[str, float] | None = None
    floor: float = 1e-3

    def __post_init__(self) -> None:
        for kind, name, names in (
            ("form of reward", self.form, FORMS),
            ("transform of rewards", self.transform, TRANSFORMS),
            ("centre of rewards", self.centre, CENTRES),
            ("choice of members", self.members, ("mean", "worst")),
        ):
            if name not in names:
                raise UnknownName(kind, name, names)
        for name, value, most in (
            ("reference", self.reference, 1.0),
            ("floor", self.floor, 0.5),
            ("temperature", self.temperature, math.inf),
            ("outcome_weight", self.outcome_weight, math.inf),
        ):
            if not 0 < value < most:
                raise BadSpec(f"{name}={value}: give a number above 0" + (f" and below {most:g}" if most < 2 else ""))
        self._refuse_lawless()
        SentenceReward(self.scorer, kappa=self.kappa, reduce="mean", aspects=self.aspects)  # refuses what it would

    def _refuse_lawless(self) -> None:
        """Refuse what would let a policy earn by adding sentences, or what says two things at once."""
        _refuse_maximum(_rules(self.scorer))
        if self.form == "sum" and self.transform == "none":
            raise BadSpec(
                "form='sum' with transform='none' pays for every sentence, so the longest answer earns most: give "
                "'log' or 'log_sigmoid', under which a sentence costs what it lacks"
            )
        if self.members == "worst" and self.kappa:
            raise BadSpec(
                f"members='worst' with kappa={self.kappa:g}: the lowest head leaves no spread; give one of the two"
            )
        if self.members == "worst" and not _has_members(self.scorer):
            raise BadSpec(
                f"members='worst' needs a fitted SentenceScorer with its heads, not a {type(self.scorer).__name__}"
            )

    @property
    def __name__(self) -> str:  # trainers log rewards under the function's name
        return f"shaped_reward_{self.form}"

    def __call__(
        self, prompts: Sequence[Any] | None = None, completions: Sequence[Any] = (), **columns: Any
    ) -> list[float]:
        """Return a number for each completion."""
        weighed = self._weighed(prompts, completions, columns)
        totals = [sum(share * self.total(item) for item, share in some) if some else None for some in weighed]
        lowest = min([self.utility(0.0), *(total for total in totals if total is not None)])
        rewards = [lowest if total is None else total for total in totals]
        return self._centred(rewards, prompts, columns)

    def spans(
        self, prompts: Sequence[Any] | None = None, completions: Sequence[Any] = (), **columns: Any
    ) -> list[list[SpanReward]]:
        """Return what each sentence carries of its completion's reward before that is centred, and where it stands."""
        return [
            weighted_spans([(item, share, self.credits(item)) for item, share in some])
            for some in self._weighed(prompts, completions, columns)
        ]

    def total(self, item: ScoredResponse) -> float:
        """Return what a response earns by one aspect."""
        return sum(self.credits(item))

    def credits(self, item: ScoredResponse) -> tuple[float, ...]:
        """Share what a response earns among its sentences: the worst carries it, or all as far as they are bad."""
        utilities = [self.utility(score) for score in item.conservative(self.kappa)]
        if self.form == "sum":
            return tuple(utilities)
        if self.form == "worst":
            worst = utilities.index(min(utilities))
            return tuple(utility if place == worst else 0.0 for place, utility in enumerate(utilities))
        lowest = min(utilities)
        parts = [math.exp((lowest - utility) / self.temperature) for utility in utilities]
        total = lowest - self.temperature * math.log(sum(parts))
        return tuple(total * part / sum(parts) for part in parts)

    def utility(self, score: float) -> float:
        """Transform the score of a sentence; it rises with the score."""
        bounded = min(max(score, self.floor), 1.0)
        if self.transform == "none":
            return bounded
        if self.transform == "log":
            return math.log(bounded)
        # log σ(logit p − logit r) = log p (1 − r) / (p (1 − r) + (1 − p) r)
        better, worse = bounded * (1 - self.reference), (1 - bounded) * self.reference
        return math.log(better) - math.log(better + worse)

    def _weighed(
        self, prompts: Sequence[Any] | None, completions: Sequence[Any], columns: Mapping[str, Any]
    ) -> list[Weights]:
        """Score the completions: of each a record an aspect with its weight; none of one without a sentence."""
        scorer = WorstOfMembers(self.scorer) if self.members == "worst" else self.scorer
        plain = SentenceReward(scorer, reduce="mean", aspects=self.aspects)
        weighed = [plain.shares(items) for items in plain.records(prompts, completions, **columns)]
        _refuse_maximum({item.aggregation for some in weighed for item, _ in some})
        return weighed

    def _centred(self, rewards: list[float], prompts: Sequence[Any] | None, columns: Mapping[str, Any]) -> list[float]:
        """Take the mean of each group of completions off, as asked."""
        if self.centre == "none":
            return rewards
        if prompts is None:
            raise BadData(f"centre={self.centre!r} needs the prompts: completions of one prompt belong together")
        keys: list[Any] = [prompt_text(prompt) for prompt in prompts]
        outcomes = [0.0] * len(rewards)
        if self.centre == "outcome":
            outcomes = _outcomes(columns.get("outcomes"), len(rewards))
            keys = list(zip(keys, outcomes, strict=True))
        groups: dict[Any, list[float]] = {}
        for key, reward in zip(keys, rewards, strict=True):
            groups.setdefault(key, []).append(reward)
        means = {key: math.fsum(group) / len(group) for key, group in groups.items()}
        return [
            self.outcome_weight * outcome + reward - means[key]
            for key, reward, outcome in zip(keys, rewards, outcomes, strict=True)
        ]


class WorstOfMembers:
    """A fitted scorer whose scores are those of the head that thinks least of each sentence."""

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer.without_cache()  # completions never come again, and would fill it
        self.splitter, self.memory_, self.direction_ = scorer.splitter, scorer.memory_, scorer.direction_

    def score_responses(self, responses: Sequence[Response], /) -> list[ScoredResponse]:
        """Return a score for every sentence; heads agree by construction, so the spread is 0."""
        from fractal.ensemble.experts import Predictor, block_for

        ensemble = self._scorer.ensemble_
        block = block_for(ensemble, responses, self._scorer.embed)
        logits = ensemble.logits(Predictor(block)).amin(-1, keepdim=True)
        return list(self._scorer.to_records(block, logits))


def _has_members(scorer: Any) -> bool:
    return all(hasattr(scorer, name) for name in ("ensemble_", "embed", "to_records"))


def _rules(scorer: Any) -> set[str]:
    """Return the rules that the scorer's scores were learned under, as far as it says so."""
    scorers = getattr(scorer, "scorers_", None)
    several = scorers.values() if scorers is not None else (scorer,)
    return {str(getattr(one, "direction_", "")) for one in several}


def _refuse_maximum(rules: set[str]) -> None:
    """Refuse scores under which bad sentences are free."""
    if "max" in rules:
        raise BadSpec(
            "these scores were learned under a maximum: a response is as good as its best sentence, so any number of "
            "bad ones is free; take sentence_reward, or scores learned under a minimum or a mean"
        )


def _outcomes(column: Any, count: int) -> list[float]:
    if column is None or len(column) != count:
        what = "none" if column is None else f"{len(column)}"
        raise BadData(f"{what} outcomes for {count} completions: give a number a completion", field="outcomes")
    return [float(outcome) for outcome in column]
