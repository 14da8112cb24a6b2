"""What is tuned: one encoder with a head for each way of reading, whose log-odds are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fractal.finetuning.backbone import Backbone
from fractal.mil.segments import segment_mean

__all__ = ["TunedNetwork", "ViewHead", "ViewInputs"]

LEAST_SPREAD = 0.2  # of the median: a dimension that hardly changes must not rule the gradient


@dataclass(frozen=True)
class ViewInputs:
    """Sequences of a batch as tensors, and where the sentences stand in them."""

    tokens: Tensor  # (sequence, token) ids, or (sequence, token, width) states of the lower layers
    mask: Tensor  # (sequence, token)
    rows: Tensor  # (token of a sentence,): its place in the flattened sequences
    offsets: Tensor  # (sentence + 1,): where each sentence's tokens start
    companions: Tensor  # (text, sentence): the sequence each is compared with, −1 for none

    def as_dict(self) -> dict[str, Tensor]:
        """Return the tensors by name, as the trainer moves them."""
        return dict(self.__dict__)


class ViewHead(nn.Module):
    """A linear head on standardised columns; it starts where a probe of the frozen states ended."""

    mean: Tensor
    scale: Tensor

    def __init__(self, columns: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))
        self.linear = nn.Linear(columns, outputs)

    def standardise(self, columns: Tensor) -> Tensor:
        """Return the columns at mean 0 and about unit length a sentence."""
        return (columns.float() - self.mean) * self.scale

    def forward(self, columns: Tensor) -> Tensor:
        """Return the log-odds (sentence, [level − 1,] 1)."""
        logits: Tensor = self.linear(self.standardise(columns))
        return logits if logits.shape[1] == 1 else logits.unsqueeze(-1)

    def learn_scale(self, columns: Tensor) -> None:
        """Set mean and scale by the training sentences' columns."""
        spread = columns.float().std(0, correction=0)
        usual = spread[spread > 0].median() if bool((spread > 0).any()) else spread.new_ones(())
        spread = spread.clamp(min=LEAST_SPREAD * float(usual))
        self.mean.copy_(columns.float().mean(0))
        self.scale.copy_(1 / (spread * columns.shape[1] ** 0.5))


class TunedNetwork(nn.Module):
    """An encoder and a head for each view; outputs are log-odds of sentences."""

    def __init__(self, backbone: Backbone, views: tuple[str, ...], outputs: int, companions: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.views = views
        self.outputs = outputs
        self.compared = companions
        columns = backbone.width + companions * (backbone.width + 1)
        self.heads = nn.ModuleDict({view: ViewHead(columns, outputs) for view in views})

    def head(self, view: str) -> ViewHead:
        """Return the head of a view."""
        return cast(ViewHead, self.heads[view])

    def forward(self, view: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of every sentence as one view reads it: (sentence, [level − 1,] 1)."""
        columns = self.columns(inputs)
        with torch.autocast(columns.device.type, enabled=False):  # log-odds in 16 bits would be rounded to steps
            logits: Tensor = self.head(view)(columns)
        return logits

    def columns(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return what the head reads: the mean of a sentence's states, and how it compares with its companions."""
        states = self.backbone(inputs["tokens"], inputs["mask"])  # (sequence, token, width)
        flat = states.reshape(-1, states.shape[-1])
        sentences = segment_mean(flat.index_select(0, inputs["rows"]).float(), inputs["offsets"])
        if not self.compared:
            return sentences
        mask = inputs["mask"].unsqueeze(-1).float()
        whole = normalize((states.float() * mask).sum(1), dim=-1)  # (sequence, width)
        unit = normalize(sentences, dim=-1)
        parts = [sentences]
        for companion in inputs["companions"]:
            other = whole.index_select(0, companion.clamp(min=0)) * (companion >= 0).unsqueeze(-1)
            product = unit * other
            parts += [product, product.sum(-1, keepdim=True)]
        return torch.cat(parts, -1)
