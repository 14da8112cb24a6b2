"""Saved scorers side by side: where their settings differ, what they learned from, and their held-out figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fractal.registry import parse

__all__ = ["SideBySide", "settings_of", "side_by_side"]

SHARED = ("fractal", "encoder", "encoder_fingerprint", "splitter")
ABSENT = "–"


@dataclasses.dataclass(frozen=True)
class SideBySide:
    """Rows of one value a scorer: settings that differ, what was learned from, held-out figures."""

    settings: dict[str, tuple[Any, ...]]
    data: dict[str, tuple[Any, ...]]
    held_out: dict[str, tuple[Any, ...]]
    equal_settings: int  # how many settings are the same in all


def side_by_side(configs: Sequence[Mapping[str, Any]]) -> SideBySide:
    """Lay out saved configurations beside each other; a value that a scorer lacks is a dash."""
    settings = _rows([settings_of(config) for config in configs])
    differing = {name: values for name, values in settings.items() if len({*map(str, values)}) > 1}
    return SideBySide(
        settings=differing,
        data=_rows([_of_aspects(config, "data") for config in configs]),
        held_out=_rows([_of_aspects(config, "metrics") for config in configs]),
        equal_settings=len(settings) - len(differing),
    )


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a scorer is and how it was trained, flat: the encoder, the plan, and of each aspect its ensemble."""
    settings = {name: config[name] for name in SHARED if name in config}
    settings |= {f"plan: {name}": value for name, value in parse(config["plan"], "training plan")[1].items()}
    for aspect, part in _aspects(config).items():
        ensemble = part["ensemble"]
        of = f"{aspect}: " if aspect else ""
        settings[f"{of}aggregation"] = ensemble["aggregation"]
        for place, (expert, weight) in enumerate(zip(ensemble["experts"], ensemble["weights"], strict=True), 1):
            recipe = (config["experts"][expert["number"]] if "number" in expert else expert)["recipe"]
            settings[f"{of}expert {place}"] = f"{weight:.2f} × {' + '.join(recipe)}"
        settings[f"{of}tuned encoder"] = "yes" if "tuned" in ensemble else "no"
        settings[f"{of}calibrated by"] = (part.get("calibrator") or {}).get("kind", "nothing")
    return settings


def _aspects(config: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    aspects: Mapping[str, Mapping[str, Any]] = config.get("aspects", {"": config})
    return aspects


def _of_aspects(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    aspects = _aspects(config).items()
    return {f"{aspect}: {name}" if aspect else name: v for aspect, one in aspects for name, v in one[part].items()}


def _rows(columns: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    names = dict.fromkeys(name for column in columns for name in column)
    return {name: tuple(column.get(name, ABSENT) for column in columns) for name in names}
