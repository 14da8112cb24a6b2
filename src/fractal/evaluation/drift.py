"""Whether new responses are like those before: how much is flagged, whether scores still mean what they say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData
from fractal.records import ScoredResponse

__all__ = ["MARGIN", "Drift", "calibration_drift", "share_drift"]

MARGIN = 0.05  # a difference that is surely smaller is none
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Drift:
    """One thing that was compared, and whether it has surely moved by more than the margin."""

    name: str
    before: float
    after: float
    low: float  # of the difference, with 95% confidence
    high: float
    drifted: bool
    note: str = ""

    def __str__(self) -> str:
        verdict = "drifted" if self.drifted else "as before"
        interval = f"difference {self.after - self.before:+.3f}, {self.low:+.3f} to {self.high:+.3f}"
        return f"{self.name}: {self.before:.3f} → {self.after:.3f} ({interval}): {verdict}"


def share_drift(
    name: str, before: Sequence[Sequence[bool]], after: Sequence[Sequence[bool]], margin: float = MARGIN, seed: int = 0
) -> Drift:
    """Compare the share of marked sentences; intervals are drawn by response, as sentences of one are alike."""
    if not before or not after:
        raise BadData(f"{name}: {len(before)} responses before and {len(after)} new ones: give some of both")
    rng = np.random.default_rng(seed)
    old, new = _shares(before, rng), _shares(after, rng)
    return _drift(name, float(old[0]), float(new[0]), new[1:] - old[1:], margin)


def calibration_drift(scored: Sequence[ScoredResponse], margin: float = MARGIN, seed: int = 0) -> Drift | None:
    """Compare the mean response score of rated responses with their mean label; nothing where none is rated."""
    rated = [(item.response.label, item.response_score) for item in scored if item.response.label is not None]
    if not rated:
        return None
    table = np.array(rated, dtype=float)
    drawn = table[np.random.default_rng(seed).integers(0, len(table), (RESAMPLES, len(table)))]
    gaps = (drawn[:, :, 1] - drawn[:, :, 0]).mean(1)
    label, score = table.mean(0)
    return _drift("mean label and mean score of new ratings", float(label), float(score), gaps, margin)


def _shares(marked: Sequence[Sequence[bool]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the share of marked sentences, and that of each resample of the responses."""
    counts = np.array([(sum(row), len(row)) for row in marked], dtype=float)
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
    sums = np.concatenate([counts.sum(0)[None], weights @ counts])
    return np.asarray(sums[:, 0] / np.maximum(sums[:, 1], 1))


def _drift(name: str, before: float, after: float, differences: NDArray[np.float64], margin: float) -> Drift:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return Drift(name, before, after, float(low), float(high), bool(low > margin or high < -margin))
