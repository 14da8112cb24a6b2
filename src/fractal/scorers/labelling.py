"""Labels of sentences given what is known of their responses: how probable each is, and the likeliest that agree."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.mil.aggregations import Aggregation, labels_given
from fractal.mil.segments import bag_index
from fractal.records import Response
from fractal.records.corpus import response_labels, sentence_labels
from fractal.scorers.output import Run

__all__ = ["labels_in_run"]


def labels_in_run(
    responses: Sequence[Response],
    run: Run,
    aggregation: Aggregation,
    share: Tensor,
    pairs: NDArray[np.int64] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return probabilities and hard labels of a run's sentences (sentence,), and the labels of its responses (bag,).

    `share` (bag, member) says which members may label each response; `pairs` which of them is better than which.
    """
    logits, offsets, bags = run.logits, run.offsets, len(share)
    by = share[bag_index(offsets)]
    middle = (logits * by.view(len(by), *(1,) * (logits.dim() - 2), -1)).sum(-1, keepdim=True)
    scores = aggregation.probabilities(middle)
    labels = torch.full((bags,), torch.nan)
    labels[: len(responses)] = torch.from_numpy(response_labels(responses).astype(np.float32))
    truths = torch.full((len(logits),), torch.nan)
    of_sentences = torch.from_numpy(sentence_labels(responses).astype(np.float32))
    truths[: len(of_sentences)] = of_sentences
    evidence = (labels, None if pairs is None else torch.from_numpy(pairs), truths)
    soft, impossible = labels_given(aggregation, scores, offsets, *evidence, soft=True)
    hard, _ = labels_given(aggregation, scores, offsets, *evidence, soft=False)
    if count := int(impossible.sum()):
        warnings.warn(
            f"{count:,} responses are compared in ways that no labels of their sentences can satisfy: these "
            "comparisons say nothing of them",
            stacklevel=5,
        )
    return soft, hard, labels
