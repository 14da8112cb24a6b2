"""Scores while the direction is open: those of every candidate together, so that none alone can turn them round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fractal.ensemble.experts import Ensemble
from fractal.ensemble.result import Choice, FitResult
from fractal.ensemble.shrinking import ABOUT, asked_share, drawn, likeliest_line
from fractal.ensemble.weighting import refined_log_loss

__all__ = ["learned_shares", "mixture"]

FLAT = 1e-3  # of log-odds: no spread to speak of


def learned_shares(results: Mapping[str, FitResult], shares: Mapping[str, float]) -> dict[str, float]:
    """Leave out fits that learned nothing, all of whose log-odds are alike; the likeliest alone where none did."""
    learned = {name: share for name, share in shares.items() if _spread(results[name]) > FLAT}
    learned = learned or {max(shares, key=lambda name: shares[name]): 1.0}
    return {name: share / sum(learned.values()) for name, share in learned.items()}


def _spread(result: FitResult) -> float:
    return float(result.held_out.std(correction=0))


def mixture(
    results: Mapping[str, FitResult],
    shares: Mapping[str, float],
    offsets: Tensor,
    labels: Tensor,
    *,
    shrink: bool = False,
) -> FitResult:
    """Return one ensemble of the experts of several fits; held-out log-odds of each fit count by its share.

    Log-odds of sentences are first put on one scale, as forms differ in how sure they are. The form of the largest
    share reads their sum as a response: a line through it is fitted to the held-out labels (response,), nan: unknown.
    With `shrink` the sum is drawn to its response's mean by what each fit asks for, by its share.
    """
    scales = {name: share / _spread(results[name]) for name, share in shares.items()}
    taken = results[max(shares, key=lambda name: shares[name])]
    centre = sum(float(results[name].held_out.mean()) * scale for name, scale in scales.items())
    summed = torch.stack([results[name].held_out * scale for name, scale in scales.items()]).sum(0) - centre
    aggregation = taken.ensemble.aggregation
    asked = {name: asked_share(results[name], offsets, labels)[0] if shrink else 0.0 for name in shares}
    share, why = (
        sum(shares[name] * asked[name] for name in shares),
        "What each likely direction asks for, by its share.",
    )
    summed = drawn(summed, offsets, share)
    slope, height, _ = likeliest_line(summed, aggregation, offsets, labels, taken.controlled)
    parts = [(results[name].ensemble, slope * scale) for name, scale in scales.items()]
    ensemble = Ensemble(
        tuple(expert for part, _ in parts for expert in part.experts),
        tuple(weight * scale * (1 - share) for part, scale in parts for weight in part.weights),
        sum(part.shift * scale for part, scale in parts) + height - slope * centre,
        aggregation,
        topic_share=-share / (1 - share),
    )
    choices = (*taken.choices, Choice(ABOUT, {}, f"{share:.2f}", why)) if shrink else taken.choices
    held_out = summed * slope + height
    rated = ~labels.isnan()
    offset = None if taken.controlled is None else taken.controlled[rated].squeeze(-1)
    implied = aggregation.from_logits(held_out, offsets).squeeze(-1)[rated]
    cost = refined_log_loss(implied, labels[rated], offset=offset).mean()
    history = tuple(epoch for name in scales for epoch in results[name].history)
    return replace(taken, ensemble=ensemble, held_out=held_out, cost=float(cost), history=history, choices=choices)
