"""From arrays to the tensors that heads read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.initialisation import InitialLogits
from fractal.errors import BadData
from fractal.features import FeatureTable, prior_similarity
from fractal.mil.bags import Bags, Shared
from fractal.records.corpus import sentence_column, sentence_labels

__all__ = ["build_bags", "sentence_targets"]


def sentence_targets(block: EncodedBlock, columns: Sequence[str] = ()) -> dict[str, NDArray[np.float32]]:
    """Return what may pull single sentences: gold labels, the cosine target and the user's own columns."""
    gold = sentence_labels(block.responses).astype(np.float32)
    targets = {"gold": gold, "cosine": prior_similarity(block).astype(np.float32)}
    for name in columns:
        targets[name] = sentence_column(block.responses, name).astype(np.float32)
        if np.isnan(targets[name]).all():
            columns = sorted({column for r in block.responses for column in r.columns}) or ["none"]
            raise BadData(
                f"no response has the column {name!r}; the columns here are: {', '.join(columns)}", field="columns"
            )
    return targets


def build_bags(block: EncodedBlock, table: FeatureTable, initial: InitialLogits, **labels: Any) -> Bags:
    """Return the tensors of a block: what heads read, and for training the labels that `Bags.make` takes."""
    similarity = prior_similarity(block) if initial.scale else np.zeros(block.offsets[-1])
    return Bags.make(
        torch.from_numpy(table.dense),
        torch.from_numpy(table.offsets),
        shared=tuple(
            Shared(torch.from_numpy(s.values), torch.from_numpy(s.row_offsets), torch.from_numpy(s.index), s.every)
            for s in table.shared
        ),
        initial_logits=torch.from_numpy(initial(similarity)),
        **labels,
    )
