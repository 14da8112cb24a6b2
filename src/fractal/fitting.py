"""How a scorer is fitted: candidates are trained, and held-out response labels choose among them and blend them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.aggregations import AGGREGATIONS, Aggregation
from fractal.bags import Bags
from fractal.embedding import EncodedBlock
from fractal.errors import BadData, BadSpec
from fractal.experts import Blend, Expert, blend_weights, response_cost, sentence_cost
from fractal.features import Standardiser, prior_similarity
from fractal.losses import PreferenceLoss, ResponseLoss, SentenceLoss
from fractal.network import Head
from fractal.preparation import Corpus, Prior, lay_bags, prior_logits, tabulate
from fractal.priors import ColumnPrior, CorrelationPrior, relate
from fractal.self_training import SelfTraining, guess_labels, surest
from fractal.terms import Term
from fractal.training import Epoch, Listener, Objective, TrainingPlan, fit_head, held_out_logits

__all__ = ["Fitted", "Settings", "fit_blend"]

FORMS = {
    "min": ("product",),
    "max": ("noisy_or",),
    "mean": ("mean",),
    "avg": ("mean",),
}  # what 'auto' tries, by direction


@dataclass(frozen=True)
class Settings:
    """What a fit may try and how: every choice that is not made by the labels."""

    aggregations: tuple[Aggregation, ...]
    recipes: tuple[tuple[str, ...], ...]
    later: tuple[tuple[str, ...], ...] = ()  # what heads see that train on guesses; as before if empty
    priors: tuple[Term, ...] = ()
    start: str = "auto"  # 'auto': at the similarity where held-out labels gain by it; 'prior' always; 'even' never
    self_training: SelfTraining = field(default_factory=SelfTraining)
    gold_weight: float = 1.0
    learn_from: str = "responses"  # 'sentences': full supervision, the ceiling that others are held against
    plan: TrainingPlan = field(default_factory=TrainingPlan)


@dataclass(frozen=True)
class Choice:
    """One thing that held-out labels decided: what was tried, what each cost, and what was taken."""

    about: str
    costs: dict[str, float]
    taken: str


@dataclass(frozen=True, eq=False)
class Fitted:
    """A blend, the held-out log-odds of every training sentence under it, and how it was chosen."""

    blend: Blend
    held_out: Tensor  # (sentence, [level − 1,] 1)
    cost: float
    choices: tuple[Choice, ...]
    history: tuple[Epoch, ...]
    weights: NDArray[np.float32]  # (bag, member): 0 where a member held a response out


@dataclass(frozen=True, eq=False)
class _Trained:
    laid: _Laid
    head: Head
    held_out: Tensor
    cost: float
    history: tuple[Epoch, ...]

    @property
    def expert(self) -> Expert:
        return Expert(self.laid.recipe, self.laid.standardiser, self.laid.prior, self.head)


def fit_blend(block: EncodedBlock, corpus: Corpus, settings: Settings, listeners: Sequence[Listener] = ()) -> Fitted:
    """Fit every candidate and keep what explains held-out response labels best."""
    _refuse_unlabelled(corpus, settings)
    choices: list[Choice] = []
    best: Fitted | None = None
    laid: list[_Laid] = []
    costs: dict[str, float] = {}
    for aggregation in settings.aggregations:
        trained, made = _fit_experts(block, corpus, aggregation, settings, listeners)
        fitted = _blended(trained, aggregation, settings)
        costs[AGGREGATIONS.spec(aggregation)] = fitted.cost
        if best is None or fitted.cost < best.cost:
            best, choices, laid = fitted, made, [part.laid for part in trained]
    if best is None:
        raise BadData("no aggregation to try: give at least one")
    if len(costs) > 1:
        choices.insert(0, Choice("aggregation", costs, AGGREGATIONS.spec(best.blend.aggregation)))
    rounds = settings.self_training.rounds if settings.learn_from == "responses" else 0
    if rounds and settings.later:
        laid = [_lay(block, corpus, recipe, settings) for recipe in settings.later]
    for number in range(rounds):
        better, choice = _retrained(best, laid, number, settings, listeners)
        choices.append(choice)
        if better is None:
            break
        best = better
    return replace(best, choices=(*choices, *best.choices))


def _fit_experts(
    block: EncodedBlock, corpus: Corpus, aggregation: Aggregation, settings: Settings, listeners: Sequence[Listener]
) -> tuple[list[_Trained], list[Choice]]:
    """Train one expert a recipe, each from the start that held-out labels prefer."""
    trained, choices = [], []
    for recipe in settings.recipes:
        laid = _lay(block, corpus, recipe, settings)
        objective = _objective(laid.bags, aggregation, settings)
        tried = {
            name: _fit(laid.starting_at(prior), objective, settings.plan, listeners)
            for name, prior in _starts(block, laid.bags, aggregation, settings.start).items()
        }
        taken = min(tried, key=lambda name: tried[name].cost)
        if len(tried) > 1:
            costs = {name: candidate.cost for name, candidate in tried.items()}
            choices.append(Choice(f"start of {_short(recipe)}", costs, taken))
        trained.append(tried[taken])
    return trained, choices


@dataclass(frozen=True, eq=False)
class _Laid:
    """The bags of one recipe's columns, and what is needed to lay others alike."""

    bags: Bags
    recipe: tuple[str, ...]
    standardiser: Standardiser
    similarity: NDArray[np.float32]
    prior: Prior = Prior()  # noqa: RUF009 (frozen)

    def starting_at(self, prior: Prior) -> _Laid:
        """Return the same bags for a head that starts at a prior."""
        return replace(self, prior=prior, bags=replace(self.bags, prior=torch.from_numpy(prior(self.similarity))))

    def told(self, guesses: Tensor) -> _Laid:
        """Return the same bags with guessed sentence labels."""
        return replace(self, bags=self.bags.with_targets(pseudo=guesses))


def _lay(block: EncodedBlock, corpus: Corpus, recipe: tuple[str, ...], settings: Settings) -> _Laid:
    plan = settings.plan
    table, standardiser = tabulate(block, recipe)
    columns = [term.column for term in settings.priors if isinstance(term, ColumnPrior)]
    folding = {"members": plan.members, "folds": plan.folds, "seed": plan.seed}
    bags = lay_bags(block, table, Prior(), corpus=corpus, columns=columns, **folding)
    if any(isinstance(term, CorrelationPrior) for term in settings.priors):
        bags = replace(bags, relations=relate(replace(bags, vectors=torch.from_numpy(block.sentences))))
    return _Laid(bags, recipe, standardiser, prior_similarity(block))


def _objective(bags: Bags, aggregation: Aggregation, settings: Settings) -> Objective:
    if settings.learn_from == "sentences":
        return Objective((SentenceLoss(),), aggregation, judged_by="gold")
    has_pairs = bags.pairs is not None and len(bags.pairs) > 0
    terms: list[Term] = [PreferenceLoss()] if has_pairs else [ResponseLoss()]
    if has_pairs and not bool(bags.labels.isnan().all()):
        terms.append(ResponseLoss())
    if not bool(bags.targets["gold"].isnan().all()) and settings.gold_weight > 0:
        terms.append(SentenceLoss(weight=settings.gold_weight))
    return Objective((*terms, *settings.priors), aggregation)


def _fit(laid: _Laid, objective: Objective, plan: TrainingPlan, listeners: Sequence[Listener]) -> _Trained:
    fitted = fit_head(laid.bags, objective, plan, listeners)
    held_out = held_out_logits(fitted.head, laid.bags)
    cost_of = sentence_cost if objective.judged_by == "gold" else response_cost
    return _Trained(laid, fitted.head, held_out, cost_of(held_out, laid.bags, objective.aggregation), fitted.history)


def _blended(trained: Sequence[_Trained], aggregation: Aggregation, settings: Settings) -> Fitted:
    bags = trained[0].laid.bags
    held_out = [candidate.held_out for candidate in trained]
    weights, cost = blend_weights(held_out, bags, aggregation, _cost_of(settings.learn_from))
    return Fitted(
        blend=Blend(tuple(candidate.expert for candidate in trained), weights, aggregation),
        held_out=torch.stack([w * z for w, z in zip(weights, held_out, strict=True)]).sum(0),
        cost=cost,
        choices=_blend_choice(trained, weights, cost),
        history=tuple(epoch for candidate in trained for epoch in candidate.history),
        weights=bags.weights.numpy(),
    )


def _blend_choice(trained: Sequence[_Trained], weights: Sequence[float], cost: float) -> tuple[Choice, ...]:
    if len(trained) == 1:
        return ()
    parts = [f"{weight:g} × {_short(t.expert.recipe)}" for t, weight in zip(trained, weights, strict=True) if weight]
    costs = {_short(candidate.expert.recipe): candidate.cost for candidate in trained}
    return (Choice("blend", {**costs, "blend": cost}, " + ".join(parts)),)


def _retrained(
    before: Fitted, laid: Sequence[_Laid], number: int, settings: Settings, listeners: Sequence[Listener]
) -> tuple[Fitted | None, Choice]:
    """One round of PsLab: fresh heads on guesses of the blend, kept if held-out response labels gain by it."""
    aggregation, how = before.blend.aggregation, settings.self_training
    guesses = surest(guess_labels(before.held_out, laid[0].bags, aggregation, soft=how.soft), how.share(number))
    plan = replace(settings.plan, seed=settings.plan.seed + 1000 * (number + 1))
    objective = Objective((SentenceLoss(target="pseudo"),), aggregation)
    after = _blended([_fit(part.told(guesses), objective, plan, listeners) for part in laid], aggregation, settings)
    kept = after.cost < before.cost
    name = f"round {number + 1} of self-training"
    choice = Choice(name, {"before": before.cost, "after": after.cost}, "after" if kept else "before")
    return (after if kept else None), choice


def _starts(block: EncodedBlock, bags: Bags, aggregation: Aggregation, start: str) -> dict[str, Prior]:
    """Where a head may start: at even odds, or at the calibrated similarity to what the response answers to."""
    even = {"even odds": Prior()}
    similarity = prior_similarity(block)
    if start == "even" or bool(np.isnan(similarity).all()):
        return even
    prior = calibrated_prior(similarity, bags, aggregation)
    if prior.scale <= 0:
        return even  # the similarity points the wrong way, or nowhere
    return {"prior": prior} if start == "prior" else {**even, "prior": prior}


def calibrated_prior(similarity: NDArray[np.float32], bags: Bags, aggregation: Aggregation) -> Prior:
    """Return the scale and centre under which the similarity alone explains the response labels best."""
    similarity_logits = prior_logits(similarity)
    middle, spread = float(np.nanmean(similarity_logits)), float(np.nanstd(similarity_logits)) or 1.0
    given = torch.from_numpy(np.nan_to_num((similarity_logits - middle) / spread)).float()
    line = torch.zeros(2, requires_grad=True)  # slope, height
    objective = _objective(bags, aggregation, Settings((aggregation,), (), gold_weight=0.0))
    optimiser = torch.optim.LBFGS([line], max_iter=50, line_search_fn="strong_wolfe")
    flat = replace(bags, weights=torch.ones(len(bags), 1))

    def cost() -> Tensor:
        from fractal.terms import Scores

        optimiser.zero_grad()
        logits = (given * line[0] + line[1]).view(-1, *(1,) * (1 + (aggregation.thresholds > 1)))
        logits = logits.expand(-1, aggregation.thresholds, 1) if aggregation.thresholds > 1 else logits
        scores = Scores(logits, flat.offsets, aggregation)
        total = (
            torch.stack([term.weight * term(scores, flat) for term in objective.terms]).sum()
            + 1e-4 * line.square().sum()
        )
        total.backward()
        return total

    optimiser.step(cost)
    slope, height = line.detach().tolist()
    if not (np.isfinite(slope) and np.isfinite(height)) or slope <= 0:
        return Prior()
    return Prior(scale=slope / spread, centre=middle - height * spread / slope)


def _cost_of(learn_from: str) -> Callable[[Tensor, Bags, Aggregation], float]:
    return sentence_cost if learn_from == "sentences" else response_cost


def _refuse_unlabelled(corpus: Corpus, settings: Settings) -> None:
    if settings.learn_from not in ("responses", "sentences"):
        raise BadSpec(f"learn_from={settings.learn_from!r}: give 'responses' or 'sentences'")
    if settings.learn_from == "sentences":
        if all(sentence.label is None for response in corpus.responses for sentence in response.sentences):
            raise BadData("no sentence has a label: learn_from='sentences' needs some", field="sentence_labels")
        return
    labels = corpus.labels[~np.isnan(corpus.labels)]
    if len(corpus.pairs):
        return
    if not len(labels):
        raise BadData(
            "no response has a label and there are no preferences: there is nothing to learn from", field="label"
        )
    if labels.min() == labels.max():
        raise BadData(
            f"all {len(labels)} labels are {labels[0]:g}: give responses with different labels, both good and bad ones",
            field="label",
        )


def _short(recipe: Sequence[str]) -> str:
    """Name a recipe by its first and last feature."""
    return recipe[0] if len(recipe) == 1 else f"{recipe[0]} … {recipe[-1]}"
