"""From token sequences to padded batches: what the trainer draws, and the states of frozen layers, computed once."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.batching import token_batches
from fractal.encoders.block import offsets_of
from fractal.finetuning.backbone import Backbone
from fractal.finetuning.network import ViewInputs
from fractal.finetuning.windows import Sequences
from fractal.mil.bags import Bags

__all__ = ["Collator", "FrozenStates", "Units", "batch_bags", "read_batches", "view_inputs"]

CPU_BUDGET, GPU_BUDGET = 4_096, 65_536  # tokens of a batch that is only read
BUCKET = 50  # batches whose units are sorted by length together
LEAST_FREE = 0.5  # of the disk's free room that kept states may fill


@dataclass(frozen=True, eq=False)
class FrozenStates:
    """What the frozen layers say of every token of some sequences, in 16 bits, in a file."""

    values: NDArray[np.float16]  # (token, width)
    offsets: NDArray[np.int64]  # (sequence + 1,)

    @classmethod
    def of(
        cls, backbone: Backbone, sequences: Sequences, device: torch.device, dtype: torch.dtype
    ) -> FrozenStates | None:
        """Run the lower layers once over all sequences; nothing where the disk has no room for them."""
        offsets = offsets_of(sequences.lengths)
        folder = Path(tempfile.mkdtemp(prefix="fractal-states-"))
        needed = int(offsets[-1]) * backbone.width * 2
        if needed > LEAST_FREE * shutil.disk_usage(folder).free:
            shutil.rmtree(folder)
            return None
        shape = (max(int(offsets[-1]), 1), backbone.width)
        values: Any = np.memmap(folder / "states", np.float16, "w+", shape=shape)
        backbone.to(device).eval()
        for batch, tokens, mask in read_batches(sequences, backbone.filler, device):
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                states = backbone.lower_states(tokens, mask)
            rows = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in batch])
            values[rows] = states[mask.bool()].half().cpu().numpy()
        kept = cls(values, offsets)
        weakref.finalize(kept, shutil.rmtree, folder, ignore_errors=True)
        return kept

    def padded(self, sequences: NDArray[np.int64], width: int) -> Tensor:
        """Return the states of these sequences, padded to so many tokens: (sequence, token, width)."""
        out = torch.zeros(len(sequences), width, self.values.shape[1], dtype=torch.float16)
        for place, sequence in enumerate(sequences):
            first, last = self.offsets[sequence], self.offsets[sequence + 1]
            out[place, : last - first] = torch.from_numpy(np.array(self.values[first:last]))
        return out


def read_batches(
    sequences: Sequences, filler: int, device: torch.device
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Yield batches of like length that fill the device: which sequences, their tokens, their mask."""
    budget = CPU_BUDGET if device.type == "cpu" else GPU_BUDGET
    for batch in token_batches(sequences.lengths.tolist(), budget):
        tokens, mask = _padded(sequences, batch, filler)
        yield batch, tokens.to(device), mask.to(device)


def _padded(sequences: Sequences, chosen: NDArray[np.int64], filler: int) -> tuple[Tensor, Tensor]:
    lengths = sequences.lengths[chosen]
    real = np.arange(lengths.max(initial=1)) < lengths[:, None]
    tokens = np.full(real.shape, filler, np.int64)
    if len(chosen):
        tokens[real] = np.concatenate([np.asarray(sequences.ids[i], np.int64) for i in chosen])
    return torch.from_numpy(tokens), torch.from_numpy(real.astype(np.int64))


def view_inputs(
    sequences: Sequences, sentences: NDArray[np.int64], filler: int, states: FrozenStates | None = None
) -> ViewInputs:
    """Return the sequences that these sentences stand in and are compared with, each once."""
    wanted = [sequences.row[sentences], *(of[sentences] for of in sequences.companions)]
    everything = np.concatenate(wanted) if len(sentences) else np.zeros(0, np.int64)
    chosen = np.unique(everything[everything >= 0])
    tokens, mask = _padded(sequences, chosen, filler)
    if states is not None:
        tokens = states.padded(chosen, mask.shape[1])
    place = np.searchsorted(chosen, wanted[0])
    first, last = sequences.start[sentences], sequences.end[sentences]
    offsets = offsets_of(last - first)
    shift = np.repeat(place * mask.shape[1] + first - offsets[:-1], last - first)
    companions = [np.where(of >= 0, np.searchsorted(chosen, of), -1) for of in wanted[1:]]
    return ViewInputs(
        tokens,
        mask,
        torch.from_numpy(shift + np.arange(int(offsets[-1]))),
        torch.from_numpy(offsets),
        torch.from_numpy(np.stack(companions)) if companions else torch.zeros(0, len(sentences), dtype=torch.long),
    )


class Units(torch.utils.data.Dataset[dict[str, Any]]):
    """What the trainer draws: a response that carries a label, or the two responses of a preference."""

    def __init__(self, bags: Bags, weights: Tensor, tokens: NDArray[np.int64]) -> None:
        self._tokens = tokens
        labelled = ~bags.labels.isnan().view(len(bags), -1).all(1)
        if "gold" in bags.targets:
            known = (~bags.targets["gold"].isnan()).float()
            labelled |= torch.zeros(len(bags)).index_add_(0, bags.sentence_bag, known) > 0
        pairs = bags.pairs if bags.pairs is not None else torch.zeros(0, 3, dtype=torch.long)
        learned = weights > 0
        pairs = pairs[learned[pairs[:, 0]] & learned[pairs[:, 1]]]
        labelled[pairs[:, :2].flatten()] = False
        single = (labelled & learned).nonzero().squeeze(1)
        self.units: list[tuple[int, ...]] = [
            *(tuple(pair) for pair in pairs.tolist()),
            *((bag,) for bag in single.tolist()),
        ]
        self._order = list(range(len(self.units)))

    @property
    def most_bags(self) -> int:
        """How many responses a unit has at most."""
        return 2 if self.units and len(self.units[0]) == 3 else 1

    def deal(self, draws: int, batch: int, seed: int) -> None:
        """Set the order of so many draws: all units in a pass, shuffled, those of like length in one batch.

        It depends on the seed alone, so that every process deals alike, and a run that goes on deals as before.
        """
        lengths = np.array([self._tokens[list(unit[:2])].sum() for unit in self.units])
        rng = np.random.default_rng(seed)
        order: list[int] = []
        while len(order) < draws:
            shuffled = rng.permutation(len(self.units))
            buckets = np.array_split(shuffled, range(batch * BUCKET, len(shuffled), batch * BUCKET))
            sorted_in = [bucket[np.argsort(-lengths[bucket], kind="stable")] for bucket in buckets]
            batches = [part for bucket in sorted_in for part in np.split(bucket, range(batch, len(bucket), batch))]
            order += [int(unit) for number in rng.permutation(len(batches)) for unit in batches[number]]
        self._order = order[:draws]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"unit": self.units[self._order[number]]}


@dataclass(frozen=True, eq=False)
class Collator:
    """Turns units into what the network and the terms of the objective read."""

    bags: Bags  # labels, targets and pairs of all responses; no columns
    sequences: Mapping[str, Sequences]
    states: Mapping[str, FrozenStates | None]
    filler: int

    def __call__(self, drawn: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        units = [one["unit"] for one in drawn]
        numbers = sorted({bag for unit in units for bag in unit[:2]})
        place = {bag: i for i, bag in enumerate(numbers)}
        chosen = torch.tensor(numbers)
        part = self.bags.take(chosen)
        pairs = [(place[unit[0]], place[unit[1]], unit[2]) for unit in units if len(unit) == 3]
        offsets = self.bags.offsets.numpy()
        sentences = np.concatenate([np.arange(offsets[bag], offsets[bag + 1]) for bag in numbers])
        views = {
            view: view_inputs(of, sentences, self.filler, self.states.get(view)).as_dict()
            for view, of in self.sequences.items()
        }
        return {
            "views": views,
            "offsets": part.offsets,
            "bag_labels": part.labels,
            "targets": dict(part.targets),
            "pairs": torch.tensor(pairs, dtype=torch.long).reshape(-1, 3),
            "preference_offset": part.preference_offset,
        }


def batch_bags(batch: Mapping[str, Any]) -> Bags:
    """Return the labels of a batch as the terms read them."""
    labels = batch["bag_labels"]
    nothing = torch.zeros(int(batch["offsets"][-1]), 0, device=labels.device)
    return Bags(
        features=nothing,
        offsets=batch["offsets"],
        labels=labels,
        shared=(),
        targets=batch["targets"],
        vectors=nothing,
        initial_logits=nothing.new_zeros(len(nothing)),
        pairs=batch["pairs"] if len(batch["pairs"]) else None,
        weights=torch.ones(len(batch["offsets"]) - 1, 1, device=labels.device),
        preference_offset=batch["preference_offset"],
    )
