"""An expert: a trained ensemble of heads with the columns it reads, and the ensemble of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock, texts_only
from fractal.ensemble.initialisation import InitialLogits
from fractal.ensemble.tensors import build_bags
from fractal.ensemble.weighting import without_common
from fractal.features import Standardiser, reads_vectors
from fractal.features.pipeline import FeaturePipeline
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.mil.bags import Bags
from fractal.mil.head import Head, HeadShape
from fractal.mil.outputs import Outputs, read_outputs
from fractal.mil.training.validation import steady_logits
from fractal.prefixes import under
from fractal.records import Response

__all__ = ["Ensemble", "Expert", "Predictor", "block_for", "expert_arrays", "restored_experts"]


@dataclass(frozen=True, eq=False)
class Expert:
    """Heads trained on one recipe of columns: all that is needed to score sentences again."""

    pipeline: FeaturePipeline
    initial: InitialLogits
    head: Head
    outputs: Outputs | None = None  # which outputs are read of a head that aspects share; None: all

    def config(self) -> dict[str, Any]:
        """Return everything but the arrays, as plain data."""
        return {
            "recipe": list(self.pipeline.recipe),
            "standardiser": self.pipeline.standardiser.as_dict(),
            "initial_logits": {"scale": self.initial.scale, "centre": self.initial.centre},
            "head": self.head.shape.__dict__,
            "outputs": self.outputs,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights, and the directions that vectors are projected on."""
        arrays = {f"head.{name}": value.detach().cpu().numpy() for name, value in self.head.state_dict().items()}
        return arrays | self.pipeline.arrays()

    @classmethod
    def restored(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Expert:
        """Return the expert that `config` and `arrays` describe."""
        shape: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config["head"].items()}
        head = Head(HeadShape(**shape))
        head.load_state_dict(
            {name: torch.from_numpy(np.array(value)) for name, value in under("head.", arrays).items()}
        )
        head.eval()
        columns = FeaturePipeline.restored(config["recipe"], Standardiser.from_dict(config["standardiser"]), arrays)
        outputs = config.get("outputs")
        return cls(columns, InitialLogits(**config["initial_logits"]), head, tuple(outputs) if outputs else None)


def block_for(
    ensemble: Ensemble, responses: Sequence[Response], embed: Callable[[Sequence[Response]], EncodedBlock]
) -> EncodedBlock:
    """Return responses as the ensemble's experts read them: encoded, or as texts alone where none reads a vector."""
    return embed(responses) if ensemble.reads_vectors else texts_only(responses)


class Predictor:
    """One block as experts read it: columns that several read are laid once, a head that several have runs once."""

    def __init__(self, block: EncodedBlock) -> None:
        self.block = block
        self._bags: dict[tuple[FeaturePipeline, InitialLogits], Bags] = {}
        self._logits: dict[Head, Tensor] = {}

    def logits(self, expert: Expert) -> Tensor:
        """Return the expert's log-odds of every sentence: (sentence, [level − 1,] member)."""
        if expert.head not in self._logits:
            self._logits[expert.head] = steady_logits(expert.head, self._inputs(expert.pipeline, expert.initial))
        return read_outputs(self._logits[expert.head], expert.outputs)

    def _inputs(self, columns: FeaturePipeline, initial: InitialLogits) -> Bags:
        if (columns, initial) not in self._bags:
            self._bags[columns, initial] = build_bags(self.block, columns(self.block), initial)
        return self._bags[columns, initial]


def expert_arrays(experts: Sequence[Expert]) -> dict[str, NDArray[Any]]:
    """Return the arrays of every expert, each name after the expert's number."""
    return {f"{i}.{name}": value for i, expert in enumerate(experts) for name, value in expert.arrays().items()}


def restored_experts(configs: Sequence[Mapping[str, Any]], arrays: Mapping[str, NDArray[Any]]) -> tuple[Expert, ...]:
    """Return the experts that their configurations and `expert_arrays` describe."""
    return tuple(Expert.restored(part, under(f"{i}.", arrays)) for i, part in enumerate(configs))


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Experts whose log-odds are added by weight, and the aggregation that they were trained under."""

    experts: tuple[Expert, ...]
    weights: tuple[float, ...]
    shift: float
    aggregation: Aggregation
    topic_share: float = 0.0  # how much of what a response's sentences have in common is taken off

    def logits(self, read: Predictor) -> Tensor:
        """Return the weighed log-odds: (sentence, [level − 1,] member)."""
        parts = [w * read.logits(expert) for expert, w in zip(self.experts, self.weights, strict=True) if w]
        total = parts[0]
        for part in parts[1:]:  # one after another: a sum over an axis is taken differently at the end of a tensor
            total = total + part
        return without_common(total, torch.from_numpy(read.block.offsets), self.topic_share) + self.shift

    @property
    def reads_vectors(self) -> bool:
        """Whether an expert that counts reads vectors."""
        counted = (expert for expert, weight in zip(self.experts, self.weights, strict=True) if weight)
        return any(expert.initial.scale or reads_vectors(expert.pipeline.recipe) for expert in counted)

    def labelling_logits(self, read: Predictor, trained_on: NDArray[np.bool_]) -> Tensor:
        """Return the log-odds by which responses are labelled, of which some (bag,) were trained on."""
        return self.logits(read)

    def files(self) -> dict[str, bytes]:
        """Return what a saved scorer holds besides arrays: files by path."""
        return {}

    def config(self) -> dict[str, Any]:
        """Return everything but the arrays, as plain data."""
        return {
            "aggregation": AGGREGATIONS.spec(self.aggregation),
            "weights": list(self.weights),
            "shift": self.shift,
            "topic_share": self.topic_share,
            "experts": [expert.config() for expert in self.experts],
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of every expert, each name after the expert's number."""
        return expert_arrays(self.experts)

    @classmethod
    def restored(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Ensemble:
        """Return the ensemble that `config` and `arrays` describe."""
        experts = restored_experts(config["experts"], arrays)
        aggregation = AGGREGATIONS.build(config["aggregation"])
        shift, topic_share = float(config["shift"]), float(config.get("topic_share", 0.0))
        return cls(experts, tuple(config["weights"]), shift, aggregation, topic_share)
