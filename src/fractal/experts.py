"""An expert: a trained ensemble of heads with the columns it reads, and the blend of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fractal.aggregations import AGGREGATIONS, Aggregation
from fractal.bags import Bags
from fractal.embedding import EncodedBlock
from fractal.features import Standardiser
from fractal.network import Head, HeadShape
from fractal.preparation import Prior, lay_bags, tabulate
from fractal.segments import segment_mean
from fractal.training import predict_logits

__all__ = ["Blend", "Expert", "blend_weights", "response_cost", "sentence_cost"]

Cost = Callable[[Tensor, Bags, Aggregation], float]


@dataclass(frozen=True, eq=False)
class Expert:
    """Heads trained on one recipe of columns: all that is needed to score sentences again."""

    recipe: tuple[str, ...]
    standardiser: Standardiser
    prior: Prior
    head: Head

    def logits(self, block: EncodedBlock) -> Tensor:
        """Return the log-odds of every sentence of a block: (sentence, [level − 1,] member)."""
        table, _ = tabulate(block, self.recipe, self.standardiser)
        return predict_logits(self.head, lay_bags(block, table, self.prior))

    def config(self) -> dict[str, Any]:
        """Return everything but the weights, as plain data."""
        return {
            "recipe": list(self.recipe),
            "standardiser": self.standardiser.as_dict(),
            "prior": {"scale": self.prior.scale, "centre": self.prior.centre},
            "head": self.head.shape.__dict__,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights."""
        return {name: value.detach().cpu().numpy() for name, value in self.head.state_dict().items()}

    @classmethod
    def restored(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Expert:
        """Return the expert that `config` and `arrays` describe."""
        shape: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config["head"].items()}
        head = Head(HeadShape(**shape))
        head.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        head.eval()
        return cls(
            tuple(config["recipe"]), Standardiser.from_dict(config["standardiser"]), Prior(**config["prior"]), head
        )


@dataclass(frozen=True, eq=False)
class Blend:
    """Experts whose log-odds are averaged by weight, and the aggregation that they were trained under."""

    experts: tuple[Expert, ...]
    weights: tuple[float, ...]
    aggregation: Aggregation

    def logits(self, block: EncodedBlock) -> Tensor:
        """Return the blended log-odds: (sentence, [level − 1,] member)."""
        parts = [
            weight * expert.logits(block) for expert, weight in zip(self.experts, self.weights, strict=True) if weight
        ]
        return torch.stack(parts).sum(0)

    def config(self) -> dict[str, Any]:
        """Return everything but the weights of the heads, as plain data."""
        return {
            "aggregation": AGGREGATIONS.spec(self.aggregation),
            "weights": list(self.weights),
            "experts": [expert.config() for expert in self.experts],
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights of every expert, each name after the expert's number."""
        return {
            f"{i}.{name}": value for i, expert in enumerate(self.experts) for name, value in expert.arrays().items()
        }

    @classmethod
    def restored(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Blend:
        """Return the blend that `config` and `arrays` describe."""
        experts = []
        for number, part in enumerate(config["experts"]):
            prefix = f"{number}."
            own = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
            experts.append(Expert.restored(part, own))
        return cls(tuple(experts), tuple(config["weights"]), AGGREGATIONS.build(config["aggregation"]))


def sentence_cost(logits: Tensor, bags: Bags, aggregation: Aggregation) -> float:
    """What known sentence labels cost under these log-odds, scaled and shifted as suits them best."""
    scores = aggregation.sentence_scores(logits).squeeze(-1)
    known = ~bags.targets["gold"].isnan()
    return _refined(torch.logit(scores[known], eps=1e-6), bags.targets["gold"][known], shift=True)


def response_cost(logits: Tensor, bags: Bags, aggregation: Aggregation) -> float:
    """What known response labels or preferences cost under these log-odds of sentences (sentence, [level − 1,] 1).

    The log-odds of the response are first scaled and shifted as suits the labels best: forms of aggregation differ in
    how sure they are, and are here compared by how well they tell responses apart.
    """
    found = aggregation.from_logits(logits, bags.offsets).squeeze(-1)
    found = found if found.dim() == 1 else found.mean(1)
    if bags.pairs is not None and len(bags.pairs):
        strength = segment_mean(logits.squeeze(-1), bags.offsets)
        better, worse, tie = bags.pairs.unbind(1)
        return _refined(strength[better] - strength[worse], 1.0 - 0.5 * tie.float(), shift=False)
    known = ~bags.labels.isnan()
    return _refined(found[known], bags.labels[known], shift=True)


def _refined(lead: Tensor, target: Tensor, *, shift: bool) -> float:
    """Cross-entropy of the best line through the log-odds, by Newton's steps; a negative slope is not allowed."""
    lead, target = lead.double(), target.double()
    lead = lead.clamp(-30, 30)
    columns = torch.stack([lead, torch.ones_like(lead)], 1) if shift else lead.unsqueeze(1)
    line = columns.new_zeros(columns.shape[1])
    for _ in range(25):
        chance = torch.sigmoid(columns @ line)
        slope = columns.T @ (chance - target) / len(lead) + 1e-4 * line
        bend = (columns * (chance * (1 - chance)).unsqueeze(1)).T @ columns / len(lead)
        step = torch.linalg.solve(bend + 1e-4 * torch.eye(len(line), dtype=bend.dtype), slope)
        line = line - step.clamp(-2, 2)
    if line[0] < 0:  # pointing the wrong way is no better than saying nothing
        line[0] = 0.0
        if shift:
            line[1] = torch.logit(target.mean(), eps=1e-6)
    fitted = columns @ line
    return float((F.softplus(fitted) - target * fitted).mean())


def blend_weights(
    held_out: Sequence[Tensor], bags: Bags, aggregation: Aggregation, cost_of: Cost, steps: int = 4
) -> tuple[tuple[float, ...], float]:
    """Choose how much each expert counts by held-out labels: (weights that sum to 1, their cost).

    A grid, not an optimiser: the labels of a few hundred responses cannot tell finer weights apart.
    """
    best: tuple[tuple[float, ...], float] | None = None
    for weights in _simplex(len(held_out), steps):
        blended = torch.stack([w * z for w, z in zip(weights, held_out, strict=True)]).sum(0)
        cost = cost_of(blended, bags, aggregation)
        if best is None or cost < best[1]:
            best = (weights, cost)
    if best is None:
        raise ValueError("there is nothing to blend")
    return best


def _simplex(parts: int, steps: int) -> list[tuple[float, ...]]:
    if parts == 1:
        return [(1.0,)]
    return [
        (k / steps, *(w * (1 - k / steps) for w in rest))
        for k in range(steps + 1)
        for rest in _simplex(parts - 1, steps)
    ]
