"""The head's forward pass in numpy: columns of a sentence → its log-odds, the same as torch gives to 1e-5."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.mil.inference.products import full_tile, tiled_product

__all__ = ["NumpyHead", "gelu"]

Floats = NDArray[np.float32]
Shared = tuple[Floats, NDArray[np.int64]]  # rows (row, dim) that sentences share, and the row of each (sentence,)

ROWS_AT_ONCE = 64  # few: a short response does not pay for many, and all layers' values stay in the processor's cache
NARROW = 16  # up to so many outputs of a layer, one product with a block-diagonal matrix beats one a member

# erf(x) as x · P(x²) / Q(x²), the fractions of Eigen for single precision; beyond ±4 it is ±1
NUMERATOR = (
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
DENOMINATOR = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)
HALF_ROOT = np.float32(np.sqrt(0.5))


def gelu(values: Floats) -> Floats:
    """Return x · Φ(x), the exact form that heads are trained with."""
    scaled: Floats = values * HALF_ROOT
    np.clip(scaled, np.float32(-4), np.float32(4), out=scaled)
    square = scaled * scaled
    above, below = _polynomial(square, NUMERATOR), _polynomial(square, DENOMINATOR)
    above *= scaled
    above /= below
    above += np.float32(1)
    above *= values
    above *= np.float32(0.5)
    return above


def _polynomial(values: Floats, terms: Sequence[float]) -> Floats:
    """Return the polynomial of these terms, the highest first, by Horner's rule."""
    total: Floats = values * np.float32(terms[0])
    total += np.float32(terms[1])
    for term in terms[2:]:
        total *= values
        total += np.float32(term)
    return total


@dataclasses.dataclass(frozen=True, eq=False)
class NumpyHead:
    """The weights of a trained head, laid for scoring; all members are scored at once."""

    members: int
    thresholds: int
    enter: Floats  # (column, member · width)
    enter_bias: Floats  # (member · width,)
    enter_shared: tuple[Floats, ...]  # (dim, member · width) for each block of vectors that many sentences share
    layers: tuple[tuple[Floats, Floats], ...]  # weights and bias of each later layer; (member, in, out) or joined
    scale: Floats | None  # (member,) of the initial logits; None: the head does not start at them
    shift: Floats  # (level − 1, member)

    @classmethod
    def restored(cls, shape: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> NumpyHead:
        """Return the head of this shape from the arrays of a saved scorer."""
        depth = len(shape["hidden"])
        weights = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        layers = tuple(_laid(weights[f"weights.{i}"], weights[f"biases.{i}"]) for i in range(depth))
        return cls(
            members=int(shape["members"]),
            thresholds=int(shape["thresholds"]),
            enter=weights["enter"],
            enter_bias=weights["enter_bias"],
            enter_shared=tuple(weights[f"enter_shared.{i}"] for i in range(len(shape["shared"]))),
            layers=layers,
            scale=weights["scale"] if shape["from_initial"] else None,
            shift=weights["shift"],
        )

    def __call__(
        self,
        features: Floats,
        shared: Sequence[Shared] = (),
        initial: Floats | None = None,
        chunks: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None,
    ) -> Floats:
        """Return the log-odds of every sentence: (sentence, [level − 1,] member).

        `chunks` says of which block each sentence stands beside every row of its bag, where the bags' rows begin there
        (bag + 1,), and the bag of each sentence: then the largest residual counts, of each output.
        """
        if len(shared) != len(self.enter_shared):
            raise ValueError(f"{len(shared)} blocks of shared vectors for a head of {len(self.enter_shared)}")
        projected = [
            (tiled_product(rows, weight), index)
            for (rows, index), weight in zip(shared, self.enter_shared, strict=True)
        ]
        if chunks is None:
            residual = self._residual(features, projected)
        else:
            residual = self._largest_residual(features, projected, *chunks)
        logits = residual.reshape(-1, self.members, self.thresholds).transpose(0, 2, 1) + self.shift
        if self.scale is not None and initial is not None:
            logits += initial.reshape(-1, 1, 1) * self.scale
        return logits[:, 0] if self.thresholds == 1 else logits

    def _residual(self, features: Floats, projected: Sequence[Shared]) -> Floats:
        """Return what the layers say of each sentence: (sentence, member · (level − 1))."""
        residual = np.empty((len(features), self.members * self.thresholds), np.float32)
        for first in range(0, len(features), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            hidden = full_tile(features[part], ROWS_AT_ONCE) @ self.enter  # of one shape: bits hold in any company
            hidden += self.enter_bias
            for rows, index in projected:
                hidden[: len(index[part])] += rows[index[part]]
            residual[part] = self._later(hidden, len(residual[part]))
        return residual

    def _largest_residual(
        self,
        features: Floats,
        projected: Sequence[Shared],
        place: int,
        row_offsets: NDArray[np.int64],
        sentence_bag: NDArray[np.int64],
    ) -> Floats:
        """Return the largest residual over the chunks of each sentence: (sentence, member · (level − 1))."""
        by_sentence = tiled_product(features, self.enter) + self.enter_bias
        for number, (rows, index) in enumerate(projected):
            if number != place:
                by_sentence += rows[index]
        by_chunk = projected[place][0]
        counts = np.diff(row_offsets)[sentence_bag]
        starts = np.cumsum(counts) - counts
        sentence = np.repeat(np.arange(len(features)), counts)  # (pair,)
        chunk = np.arange(len(sentence)) - np.repeat(starts - row_offsets[sentence_bag], counts)
        residual = np.empty((len(sentence), self.members * self.thresholds), np.float32)
        for first in range(0, len(sentence), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            hidden = full_tile(by_sentence[sentence[part]] + by_chunk[chunk[part]], ROWS_AT_ONCE)
            residual[part] = self._later(hidden, len(residual[part]))
        return np.asarray(np.maximum.reduceat(residual, starts, axis=0) if len(features) else residual)

    def _later(self, hidden: Floats, count: int) -> Floats:
        """Return what the layers after the first make of so many rows of its values; the rest fills up their tile."""
        for weight, bias in self.layers:
            hidden[:count] = gelu(hidden[:count])
            hidden = _product(hidden, weight, bias)
        return hidden[:count]


def _laid(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Join narrow layers to one matrix (member · in, member · out)."""
    members, fan_in, fan_out = weight.shape
    if members > 1 and members * fan_out > NARROW:
        return weight, bias.reshape(-1)
    joined = np.zeros((members * fan_in, members * fan_out), np.float32)
    for member in range(members):
        rows, columns = slice(member * fan_in, (member + 1) * fan_in), slice(member * fan_out, (member + 1) * fan_out)
        joined[rows, columns] = weight[member]
    return joined, bias.reshape(-1)


def _product(values: Floats, weight: Floats, bias: Floats) -> Floats:
    """Multiply each member's values (sentence, member · in) by its weights: (sentence, member · out)."""
    if weight.ndim == 2:
        return np.asarray(values @ weight + bias)
    members, fan_in, _ = weight.shape
    parts = [values[:, i * fan_in : (i + 1) * fan_in] @ weight[i] for i in range(members)]
    return np.asarray(np.concatenate(parts, axis=1) + bias)
