"""`fractal doctor`: versions, devices, encoder weights and cache, each with what to do where something is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from typing import NamedTuple

import click

from fractal import __version__
from fractal.cli._command import subcommand
from fractal.cli._options import json_option
from fractal.cli._output import print_json, table
from fractal.errors import FractalError

__all__ = ["command"]

BROKEN = 1
EXTRAS = {
    "train": ("torch", "scikit-learn", "scipy", "safetensors", "transformers", "huggingface-hub"),
    "finetune": ("accelerate", "peft"),
    "encoders": ("sentence-transformers", "model2vec"),
    "data": ("pandas", "polars", "pyarrow", "datasets"),
    "plots": ("matplotlib",),
    "tune": ("optuna",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow-skinny",),
}


class Check(NamedTuple):
    """One thing looked at: ok, missing (an extra that is not installed) or broken."""

    what: str
    verdict: str
    detail: str


@subcommand("doctor", "fractal doctor", "fractal doctor --json")
@click.option("--offline/--online", default=True, help="Whether to keep from looking at the Hub.  [default: offline]")
@json_option
def command(offline: bool, as_json: bool) -> int:
    """Look at the installation: versions, devices, encoder weights, cache.

    Exits with 1 where something is broken; an extra that is not installed is no fault.
    """
    if offline:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    looks: tuple[Callable[[], list[Check]], ...] = (_python, _packages, _devices, _weights, _cache)
    checks = [check for look in looks for check in _guarded(look)]
    if as_json:
        print_json([check._asdict() for check in checks])
    else:
        table("", ("what", "", "details"), [tuple(check) for check in checks])
    return BROKEN if any(check.verdict == "broken" for check in checks) else 0


def _guarded(look: Callable[[], list[Check]]) -> list[Check]:
    try:
        return look()
    except (FractalError, ImportError, OSError, RuntimeError) as error:
        return [Check(look.__name__.strip("_"), "broken", str(error))]


def _python() -> list[Check]:
    said = f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return [Check("fractal", "ok" if sys.version_info >= (3, 11) else "broken", said)]


def _packages() -> list[Check]:
    checks = []
    for extra, packages in EXTRAS.items():
        versions = {package: _version(package) for package in packages}
        missing = [package for package, version in versions.items() if not version]
        there = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
        hint = f"; without {', '.join(missing)}: pip install 'fractal-scores[{extra}]'" if missing else ""
        checks.append(Check(f"extra {extra}", "missing" if missing else "ok", there + hint))
    return checks


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _devices() -> list[Check]:
    if importlib.util.find_spec("torch") is None:
        return [Check("devices", "missing", "torch is not installed: no training, no scoring")]
    import torch

    threads = f"cpu with {torch.get_num_threads()} threads"
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    metal = ["mps"] if torch.backends.mps.is_available() else []
    return [Check("devices", "ok", ", ".join([threads, *gpus, *metal]))]


def _weights() -> list[Check]:
    if importlib.util.find_spec("torch") is None:
        return []
    from fractal.encoders.weights import find_minilm

    return [Check("weights of minilm", "ok", str(find_minilm()))]


def _cache() -> list[Check]:
    from fractal.cli.cache import size
    from fractal.encoders import EmbeddingCache

    info = EmbeddingCache().info()
    place = info.folder
    while not place.exists():
        place = place.parent
    verdict = "ok" if os.access(place, os.W_OK) else "broken"
    why = "" if verdict == "ok" else "; it cannot be written to: set FRACTAL_CACHE to a folder that can"
    return [Check("cache", verdict, f"{info.folder}: {info.entries:,} vectors, {size(info.bytes)}{why}")]
