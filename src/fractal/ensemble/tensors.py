"""From records to what training reads: responses and pairs gathered, their columns standardised, their bags laid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.prior import InitialLogits
from fractal.errors import BadData
from fractal.evaluation.folds import member_weights
from fractal.features import FeatureTable, prior_similarity
from fractal.mil.bags import Bags, Shared
from fractal.records.corpus import Corpus, sentence_column

__all__ = ["build_bags", "sentence_targets"]


def sentence_targets(block: EncodedBlock, columns: Sequence[str] = ()) -> dict[str, NDArray[np.float32]]:
    """Return what may pull single sentences: gold labels, the cosine target and the user's own columns."""
    gold = [np.nan if s.label is None else s.label for r in block.responses for s in r.sentences]
    targets = {"gold": np.array(gold, dtype=np.float32), "cosine": prior_similarity(block).astype(np.float32)}
    for name in columns:
        targets[name] = sentence_column(block.responses, name).astype(np.float32)
        if np.isnan(targets[name]).all():
            columns = sorted({column for r in block.responses for column in r.columns}) or ["none"]
            raise BadData(
                f"no response has the column {name!r}; the columns here are: {', '.join(columns)}", field="columns"
            )
    return targets


def build_bags(
    block: EncodedBlock,
    table: FeatureTable,
    initial: InitialLogits,
    *,
    corpus: Corpus | None = None,
    members: int = 1,
    folds: int = 0,
    seed: int = 0,
    columns: Sequence[str] = (),
    length_offset: NDArray[np.float32] | None = None,
) -> Bags:
    """Lay the tensors of a block: with a corpus also its labels, its pairs and who holds out what."""
    targets = sentence_targets(block, columns) if corpus is not None else {}
    weights = None
    if corpus is not None:
        weights = torch.from_numpy(member_weights(corpus.groups, corpus.labels, members, folds, seed))
    return Bags.make(
        torch.from_numpy(table.dense),
        torch.from_numpy(table.offsets),
        torch.from_numpy(corpus.labels.astype(np.float32)) if corpus is not None else None,
        shared=tuple(
            Shared(torch.from_numpy(s.values), torch.from_numpy(s.row_offsets), torch.from_numpy(s.index))
            for s in table.shared
        ),
        targets={name: torch.from_numpy(values) for name, values in targets.items()},
        initial_logits=torch.from_numpy(initial(prior_similarity(block))),
        pairs=torch.from_numpy(corpus.pairs) if corpus is not None and len(corpus.pairs) else None,
        weights=weights,
        length_offset=None if length_offset is None else torch.from_numpy(length_offset),
    )
