"""What a tuned network says of sentences, in batches of like length that fill the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import chunk_context
from fractal.finetuning.inputs import CPU_BUDGET, GPU_BUDGET, FrozenStates, view_inputs
from fractal.finetuning.network import TunedNetwork
from fractal.finetuning.windows import Sequences

__all__ = ["nearest_passages", "read_columns", "read_logits"]


def read_logits(
    network: TunedNetwork,
    view: str,
    sequences: Sequences,
    device: torch.device,
    dtype: torch.dtype,
    sentences: NDArray[np.int64] | None = None,
    states: FrozenStates | None = None,
) -> Tensor:
    """Return the log-odds of sentences, of all or of some, as one view reads them: (sentence, [level − 1,] 1)."""
    states = states if network.backbone.is_cut else None
    return _read(lambda inputs: network(view, inputs), network, sequences, device, dtype, sentences, states)


def read_columns(
    network: TunedNetwork, view: str, sequences: Sequences, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return what the head of a view reads of every sentence: (sentence, column)."""
    return _read(network.columns, network, sequences, device, dtype)


def _read(
    function: Callable[[dict[str, Tensor]], Tensor],
    network: TunedNetwork,
    sequences: Sequences,
    device: torch.device,
    dtype: torch.dtype,
    sentences: NDArray[np.int64] | None = None,
    states: FrozenStates | None = None,
) -> Tensor:
    network.eval()
    chosen = np.arange(len(sequences.row)) if sentences is None else sentences
    parts, order = [], []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for batch in _sentence_batches(sequences, chosen, CPU_BUDGET if device.type == "cpu" else GPU_BUDGET):
            inputs = view_inputs(sequences, batch, network.backbone.filler, states).as_dict()
            parts.append(function({name: value.to(device) for name, value in inputs.items()}).float().cpu())
            order.append(batch)
    if not parts:
        width = network.outputs
        return torch.zeros(0, 1) if width == 1 else torch.zeros(0, width, 1)
    joined = torch.cat(parts)
    place = np.empty(len(chosen), np.int64)
    place[np.searchsorted(chosen, np.concatenate(order))] = np.arange(len(chosen))
    return joined[torch.from_numpy(place)].clone()


def _sentence_batches(sequences: Sequences, chosen: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Cut sentences into batches by the length of their sequence; those of one sequence stay together."""
    longest = sequences.lengths[sequences.row[chosen]]
    for companion in sequences.companions:
        of = companion[chosen]
        longest = np.maximum(longest, np.where(of >= 0, sequences.lengths[of], 0))
    order = np.lexsort((sequences.row[chosen], -longest))
    rows = sequences.row[chosen][order]
    first, last = 0, 0
    while first < len(order):
        width, count, last = int(longest[order[first]]), 0, first
        while last < len(order):
            fresh = last == first or rows[last] != rows[last - 1]
            count += int(fresh) * (1 + len(sequences.companions))
            if fresh and last > first and count * width > budget:
                break
            last += 1
        yield np.sort(chosen[order[first:last]])
        first = last


def nearest_passages(block: EncodedBlock) -> list[tuple[str, ...]]:
    """Return the passage of its context that each sentence is nearest to, by the block's vectors; none without one."""
    nearest: list[tuple[str, ...]] = []
    for number, response in enumerate(block.responses):
        vectors = block.chunks[block.chunk_offsets[number] : block.chunk_offsets[number + 1]]
        if not len(vectors):
            nearest.append(())
            continue
        chunks = chunk_context(response.context)
        own = block.sentences[block.offsets[number] : block.offsets[number + 1]]
        nearest.append(tuple(chunks[best] for best in (own @ vectors.T).argmax(1).tolist()))
    return nearest
