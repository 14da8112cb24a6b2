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
from fractal.encoded import EncodedBlock
from fractal.features import Projection, Standardiser
from fractal.joint import Outputs, read_outputs
from fractal.network import Head, HeadShape
from fractal.preparation import Columns, Prior, lay_bags
from fractal.segments import segment_mean
from fractal.training import predict_logits

__all__ = [
    "Blend",
    "Expert",
    "Reading",
    "blend_weights",
    "expert_arrays",
    "response_cost",
    "restored_experts",
    "sentence_cost",
]

DRAWN = 0.02  # how strongly blending weights are drawn to equal shares, in units of the cost


@dataclass(frozen=True, eq=False)
class Expert:
    """Heads trained on one recipe of columns: all that is needed to score sentences again."""

    columns: Columns
    prior: Prior
    head: Head
    outputs: Outputs | None = None  # which outputs are read of a head that aspects share; None: all

    def config(self) -> dict[str, Any]:
        """Return everything but the arrays, as plain data."""
        return {
            "recipe": list(self.columns.recipe),
            "standardiser": self.columns.standardiser.as_dict(),
            "prior": {"scale": self.prior.scale, "centre": self.prior.centre},
            "head": self.head.shape.__dict__,
            "outputs": self.outputs,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights, and the directions that vectors are projected on."""
        arrays = {f"head.{name}": value.detach().cpu().numpy() for name, value in self.head.state_dict().items()}
        projection = self.columns.projection.arrays() if self.columns.projection else {}
        return arrays | {f"projection.{name}": value for name, value in projection.items()}

    @classmethod
    def restored(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Expert:
        """Return the expert that `config` and `arrays` describe."""
        shape: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config["head"].items()}
        head = Head(HeadShape(**shape))
        head.load_state_dict(
            {name: torch.from_numpy(np.array(value)) for name, value in _under("head.", arrays).items()}
        )
        head.eval()
        projected = _under("projection.", arrays)
        standardiser = Standardiser.from_dict(config["standardiser"])
        columns = Columns(tuple(config["recipe"]), standardiser, Projection.restored(projected) if projected else None)
        outputs = config.get("outputs")
        return cls(columns, Prior(**config["prior"]), head, tuple(outputs) if outputs else None)


class Reading:
    """One block as experts read it: columns that several read are laid once, a head that several have runs once."""

    def __init__(self, block: EncodedBlock) -> None:
        self.block = block
        self._bags: dict[tuple[Columns, Prior], Bags] = {}
        self._said: dict[Head, Tensor] = {}

    def logits(self, expert: Expert) -> Tensor:
        """Return the expert's log-odds of every sentence: (sentence, [level − 1,] member)."""
        if expert.head not in self._said:
            self._said[expert.head] = predict_logits(expert.head, self._laid(expert.columns, expert.prior))
        return read_outputs(self._said[expert.head], expert.outputs)

    def _laid(self, columns: Columns, prior: Prior) -> Bags:
        if (columns, prior) not in self._bags:
            self._bags[columns, prior] = lay_bags(self.block, columns(self.block), prior)
        return self._bags[columns, prior]


def expert_arrays(experts: Sequence[Expert]) -> dict[str, NDArray[Any]]:
    """Return the arrays of every expert, each name after the expert's number."""
    return {f"{i}.{name}": value for i, expert in enumerate(experts) for name, value in expert.arrays().items()}


def restored_experts(configs: Sequence[Mapping[str, Any]], arrays: Mapping[str, NDArray[Any]]) -> tuple[Expert, ...]:
    """Return the experts that their configurations and `expert_arrays` describe."""
    return tuple(Expert.restored(part, _under(f"{i}.", arrays)) for i, part in enumerate(configs))


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


@dataclass(frozen=True, eq=False)
class Blend:
    """Experts whose log-odds are added by weight, and the aggregation that they were trained under."""

    experts: tuple[Expert, ...]
    weights: tuple[float, ...]
    shift: float
    aggregation: Aggregation
    common: float = 0.0  # how much of what a response's sentences have in common is taken off

    def logits(self, read: Reading) -> Tensor:
        """Return the blended log-odds: (sentence, [level − 1,] member)."""
        parts = [w * read.logits(expert) for expert, w in zip(self.experts, self.weights, strict=True) if w]
        return less_common(torch.stack(parts).sum(0), torch.from_numpy(read.block.offsets), self.common) + self.shift

    def config(self) -> dict[str, Any]:
        """Return everything but the arrays, as plain data."""
        return {
            "aggregation": AGGREGATIONS.spec(self.aggregation),
            "weights": list(self.weights),
            "shift": self.shift,
            "common": self.common,
            "experts": [expert.config() for expert in self.experts],
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of every expert, each name after the expert's number."""
        return expert_arrays(self.experts)

    @classmethod
    def restored(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Blend:
        """Return the blend that `config` and `arrays` describe."""
        experts = restored_experts(config["experts"], arrays)
        aggregation = AGGREGATIONS.build(config["aggregation"])
        shift, common = float(config["shift"]), float(config.get("common", 0.0))
        return cls(experts, tuple(config["weights"]), shift, aggregation, common)


def less_common(logits: Tensor, offsets: Tensor, share: float) -> Tensor:
    """Take a share of their mean off the log-odds of a response's sentences: (sentence, …, member)."""
    if not share:
        return logits
    return logits - share * segment_mean(logits, offsets).repeat_interleave(offsets.diff().to(logits.device), dim=0)


def pair_likeness(logits: Tensor, offsets: Tensor, pairs: Tensor) -> float:
    """How alike the two responses of a pair are beside other responses: the correlation of their means, at least 0."""
    means = segment_mean(logits, offsets)[pairs[:, :2]]  # (pair, 2, …, 1)
    apart = means - means.mean()
    spread = float(apart.square().mean())
    return max(float(apart.prod(1).mean()) / spread, 0.0) if spread > 0 else 0.0


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
        known = bags.advantage[better] - bags.advantage[worse]
        return _refined(strength[better] - strength[worse], 1.0 - 0.5 * tie.float(), shift=False, known=known)
    known = ~bags.labels.isnan()
    return _refined(found[known], bags.labels[known], shift=True)


def _refined(lead: Tensor, target: Tensor, *, shift: bool, known: Tensor | None = None) -> float:
    """Cross-entropy of the best line through the log-odds, by Newton's steps; a negative slope is not allowed.

    What is `known` already is added to the line as it is.
    """
    lead, target = lead.double(), target.double()
    known = torch.zeros_like(lead) if known is None else known.double()
    lead = lead.clamp(-30, 30)
    columns = torch.stack([lead, torch.ones_like(lead)], 1) if shift else lead.unsqueeze(1)
    line = columns.new_zeros(columns.shape[1])
    for _ in range(25):
        chance = torch.sigmoid(columns @ line + known)
        slope = columns.T @ (chance - target) / len(lead) + 1e-4 * line
        bend = (columns * (chance * (1 - chance)).unsqueeze(1)).T @ columns / len(lead)
        step = torch.linalg.solve(bend + 1e-4 * torch.eye(len(line), dtype=bend.dtype), slope)
        line = line - step.clamp(-2, 2)
    if line[0] < 0:  # pointing the wrong way is no better than saying nothing
        line[0] = 0.0
        if shift:
            line[1] = torch.logit(target.mean(), eps=1e-6)
    fitted = columns @ line + known
    return float((F.softplus(fitted) - target * fitted).mean())


def blend_weights(held_out: Sequence[Tensor], cost_of: Callable[[Tensor], Tensor]) -> tuple[tuple[float, ...], float]:
    """Choose how much each expert counts, and a shift, by what held-out labels cost: (weights of at least 0, shift).

    Few labels cannot tell weights apart, so all are drawn a little to equal shares.
    """
    stacked = torch.stack([logits.detach() for logits in held_out])  # (expert, sentence, …, 1)
    equal = 1 / len(stacked)
    weights = torch.full((len(stacked),), equal, requires_grad=True)
    shift = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, shift], max_iter=60, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        optimiser.zero_grad()
        blended = (stacked * weights.clamp(min=0).view(-1, *(1,) * (stacked.dim() - 1))).sum(0) + shift
        total = cost_of(blended) + DRAWN * (weights - equal).square().sum()
        total.backward()
        return total

    optimiser.step(cost)
    found = weights.detach().clamp(min=0)
    if not bool(found.isfinite().all() & shift.isfinite().all()) or float(found.sum()) == 0:
        return (equal,) * len(stacked), 0.0
    return tuple(found.tolist()), float(shift.detach())
