"""What is promised of a scorer's flags, as its folder keeps it and its card says it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fractal.errors import BadSpec
from fractal.evaluation.calibration.guarantees import Guarantee
from fractal.scorers.persistence import Saved

__all__ = ["saved_guarantees", "with_guarantees"]

FIELD = "guarantees"


def with_guarantees(saved: Saved, guarantees: Mapping[str, Guarantee]) -> Saved:
    """Return what a folder keeps of a scorer together with its promises."""
    if not guarantees:
        return saved
    lines = [f"- {f'{aspect}: ' if aspect else ''}{promise}" for aspect, promise in guarantees.items()]
    card = "\n".join([saved.card, "## What its flags promise", "", *lines, ""])
    config = {**saved.config, FIELD: {aspect: promise.to_dict() for aspect, promise in guarantees.items()}}
    return dataclasses.replace(saved, config=config, card=card)


def saved_guarantees(config: Mapping[str, Any]) -> dict[str, Guarantee]:
    """Return the promises that a saved scorer keeps, by aspect."""
    promises = config.get(FIELD, {})
    if not isinstance(promises, Mapping):
        raise BadSpec(f"{FIELD!r} holds no promises by aspect")
    return {str(aspect): Guarantee.from_dict(promise) for aspect, promise in promises.items()}
