"""What each expert of a blend is before it is trained: the columns it reads, and whether it has a hidden layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from fractal.features import RECIPE_SUMMARIES, RECIPES, feature_specs
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Response
from fractal.records.steps import is_step

__all__ = ["MEAN_EXPERTS", "PSEUDO_LABEL_EXPERTS", "RESPONSE_EXPERTS", "STEP_EXPERTS", "ExpertChoice", "ExpertSpec"]
__all__ += ["are_solutions", "are_traces", "experts_for", "in_order"]

LINEAR_STEP = 3.0  # what the learning rate is multiplied by where there is no hidden layer


@dataclass(frozen=True)
class ExpertSpec:
    """One expert before it is trained. A linear one errs otherwise than one with a hidden layer: an ensemble gains."""

    features: tuple[str, ...]
    linear: bool = False
    directions: int | None = None  # of its vectors, 0: the vectors as they are; None: what the settings say

    @classmethod
    def of(cls, recipe: str | Sequence[str], *, linear: bool = False, directions: int | None = None) -> Self:
        """Return the sketch of a recipe, or of features joined by `+`."""
        return cls(feature_specs(recipe), linear, directions)

    def plan(self, plan: TrainingPlan) -> TrainingPlan:
        """Return how this expert is trained, where `plan` says how the others are."""
        if not self.linear:
            return plan
        return replace(plan, hidden=(), dropout=0.0, learning_rate=plan.learning_rate * LINEAR_STEP)

    def with_columns(self, columns: tuple[str, ...]) -> Self:
        """Return the same expert with further columns, unless it reads vectors whole and nothing else."""
        alone = self.directions == 0
        return self if alone else replace(self, features=tuple(dict.fromkeys((*self.features, *columns))))

    def kept_directions(self, directions: int) -> int:
        """Return how many principal directions of its vectors are kept, where others keep so many."""
        return directions if self.directions is None else self.directions

    def __str__(self) -> str:
        alone = tuple(spec for spec in self.features if not spec.startswith("precomputed(")) or self.features
        named = next((name for name, features in RECIPES.items() if features == alone), None)
        features = f"{alone[0]} … {alone[-1]}" if len(alone) > 1 else f"{alone[0]} feature"
        own = " and columns of your own" if alone != self.features else ""
        return f"{RECIPE_SUMMARIES[named] if named else features}{own}{', linear' if self.linear else ''}"


def _experts(readers: str) -> tuple[ExpertSpec, ...]:
    return (
        ExpertSpec.of(readers),
        ExpertSpec.of(readers, linear=True),
        ExpertSpec.of("sentence", directions=0),
        ExpertSpec.of("default"),
    )


RESPONSE_EXPERTS = _experts("own")  # what recipe='auto' trains on the labels of responses
MEAN_EXPERTS = _experts(
    "relational"
)  # on means and on labels of sentences: no column satisfies them without the sentences
PSEUDO_LABEL_EXPERTS = (ExpertSpec.of("relational"), ExpertSpec.of("default"))  # on pseudo-labels
# On the outcomes of agents' runs: linear ones alone, as what a hidden layer gains on outcomes it loses on steps.
STEP_EXPERTS = (ExpertSpec.of("runs", linear=True), ExpertSpec.of("steps", linear=True))
STEPS_IN_ORDER = ExpertSpec.of("ordered")  # one more, of steps of reasoning: it knows what was said so far
ENOUGH_STEPS = 500  # rated responses from which on it is trained; it was measured with 600 and 1,500

EQUATION = re.compile(r"[\w)}\]$]\s*=\s*[-+\\$({\w]")
ADDRESS = re.compile(r"\S*://\S+")  # whose parameters look like equations
SAMPLED = 1000  # responses at most, by which it is judged whether they calculate
TRACE_SHARE = 0.9  # of the responses, whose first sentence is a step of an agent: then all are read as runs


@dataclass(frozen=True)
class ExpertChoice:
    """The experts of `recipe="auto"`: on labels of responses, on labels that are means, and on pseudo-labels."""

    experts: tuple[ExpertSpec, ...]
    mean_experts: tuple[ExpertSpec, ...] = ()
    pseudo_label_experts: tuple[ExpertSpec, ...] = ()
    why: str = ""  # where the data decided something


def experts_for(
    responses: Sequence[Response],
    splitter: str = "sentences",
    plan: TrainingPlan | None = None,
    *,
    supervised: bool = False,
) -> ExpertChoice:
    """Choose the experts for these responses: runs of agents have their own, and a user's columns join all scalars.

    Steps of reasoning have one more, which reads what was said so far.
    """
    traces = are_traces(responses)
    first = (STEP_EXPERTS, STEP_EXPERTS, STEP_EXPERTS) if traces else _TEXT_EXPERTS
    so_far = not (traces or supervised) and (plan or TrainingPlan()).so_far
    so_far = so_far and sum(response.label is not None for response in responses) >= ENOUGH_STEPS
    so_far = so_far and (splitter == "steps" or are_solutions(responses))
    first = ((*first[0], STEPS_IN_ORDER), *first[1:]) if so_far else first
    own = sorted({name for response in responses for name in response.columns})
    columns = tuple(feature_specs([f"precomputed(column={name!r})" for name in own])) if own else ()
    experts, mean_experts, pseudo = (tuple(spec.with_columns(columns) for spec in specs) for specs in first)
    reasons = ["the responses are runs of agents"] if traces else []
    steps = "sentences are" if splitter == "steps" else "most responses calculate, so sentences are taken for"
    reasons += [f"{steps} steps in order: one expert reads what was said so far"] if so_far else []
    reasons += [f"columns of your own are read: {', '.join(own)}"] if own else []
    why = "; ".join(reasons)
    return ExpertChoice(mean_experts, why=why) if supervised else ExpertChoice(experts, mean_experts, pseudo, why)


def are_traces(responses: Sequence[Response]) -> bool:
    """Whether nearly all responses are runs of agents, as the readers of traces write their steps."""
    rest = len(responses)
    for response in responses:
        rest -= not is_step(response.sentences[0].text)
        if rest < TRACE_SHARE * len(responses):  # most texts are no runs, and need not be read to the end
            return False
    return rest > 0


def are_solutions(responses: Sequence[Response]) -> bool:
    """Whether most responses calculate: then their sentences are the steps of a solution, however they were cut."""
    places = range(0, len(responses), len(responses) // SAMPLED + 1)
    calculate = sum(any(_calculates(sentence.text) for sentence in responses[place].sentences) for place in places)
    return 2 * calculate > len(places)


def _calculates(text: str) -> bool:
    return "=" in text and bool(EQUATION.search(ADDRESS.sub("", text)))


def in_order(splitter: str, responses: Sequence[Response]) -> bool:
    """Whether the order of sentences means something: they are steps, of a reasoning or of an agent's run."""
    return splitter == "steps" or are_traces(responses) or are_solutions(responses)


_TEXT_EXPERTS = (RESPONSE_EXPERTS, MEAN_EXPERTS, PSEUDO_LABEL_EXPERTS)
