"""`fractal list`: what can be named in a specification, with its line of help and its options."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import click

from fractal.cli._command import subcommand
from fractal.cli._options import json_option
from fractal.cli._output import emit, print_json, table
from fractal.errors import MissingExtra, UnknownName
from fractal.registry import Registry

FAMILIES = {
    "aggregations": ("fractal.mil.aggregations", "AGGREGATIONS"),
    "baselines": ("fractal.scorers.baselines", "BASELINES"),
    "corruptors": ("fractal.datasets.corruption", "CORRUPTORS"),
    "encoders": ("fractal.encoders", "ENCODERS"),
    "features": ("fractal.features", "FEATURES"),
    "generators": ("fractal.datasets.corruption", "GENERATORS"),
    "losses": ("fractal.mil.objectives.losses", "LOSSES"),
    "metrics": ("fractal.evaluation.metrics", "METRICS"),
    "priors": ("fractal.mil.objectives.priors", "PRIORS"),
    "readers": ("fractal.readers", "READERS"),
    "splitters": ("fractal.records.splitting", "SPLITTERS"),
    "writers": ("fractal.writers", "WRITERS"),
}
RECIPES = "recipes"  # named lists of features, not components of their own


@subcommand("list", "fractal list", "fractal list aggregations")
@click.argument("components", required=False)
@json_option
def command(components: str | None, as_json: bool) -> None:
    """List the components of a family: aggregations, encoders, priors, readers and so on.

    Without a family, the families are listed. What is listed is used by name, or with options as in
    `softmin(temperature=0.1)`.
    """
    families = sorted([*FAMILIES, RECIPES])
    if components is None:
        if as_json:
            print_json({family: [row["name"] for row in members(family)] for family in families})
            return
        table("", ("family", "members"), [(name, ", ".join(row["name"] for row in members(name))) for name in families])
        return
    family = components if components in families else f"{components}s"
    if family not in families:
        raise UnknownName("family of components", components, families)
    rows = members(family)
    if as_json:
        print_json(rows)
        return
    table("", ("name", "what it is", "options"), [(row["name"], row["help"], _written(row["options"])) for row in rows])
    emit("Name one as `name`, or with options as `name(option=value)`.")


def members(family: str) -> list[dict[str, Any]]:
    """Return every member with its line of help and its options."""
    if family == RECIPES:
        return _recipes()
    registry = _registry(family)
    return [
        {
            "name": name,
            "help": registry.summary(name),
            "options": {
                option.name: None if option.default is dataclasses.MISSING else option.default
                for option in registry.options(name)
            },
        }
        for name in registry
    ]


def _registry(family: str) -> Registry[Any]:
    module, name = FAMILIES[family]
    try:
        registry: Registry[Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"The list of {family}", "train", error.name or "") from error
    return registry


def _recipes() -> list[dict[str, Any]]:
    from fractal.features import RECIPE_SUMMARIES
    from fractal.features import RECIPES as recipes

    return [
        {"name": name, "help": f"{RECIPE_SUMMARIES[name]}: {' '.join(specs)}", "options": {}}
        for name, specs in sorted(recipes.items())
    ]


def _written(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())
