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
    "encoders": ("sentence-transformers", "model2vec"),
    "data": ("pandas", "polars", "pyarrow", "datasets"),
    "plots": ("matplotlib",),
    "tune": ("optuna",),
    "tensorboard": ("tensorboard",),
}


class Found(NamedTuple):
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
    looks: tuple[Callable[[], list[Found]], ...] = (_python, _packages, _devices, _weights, _cache)
    found = [finding for look in looks for finding in _guarded(look)]
    if as_json:
        print_json([finding._asdict() for finding in found])
    else:
        table("", ("what", "", "found"), [tuple(finding) for finding in found])
    return BROKEN if any(finding.verdict == "broken" for finding in found) else 0


def _guarded(look: Callable[[], list[Found]]) -> list[Found]:
    try:
        return look()
    except (FractalError, ImportError, OSError, RuntimeError) as error:
        return [Found(look.__name__.strip("_"), "broken", str(error))]


def _python() -> list[Found]:
    said = f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return [Found("fractal", "ok" if sys.version_info >= (3, 11) else "broken", said)]


def _packages() -> list[Found]:
    found = []
    for extra, packages in EXTRAS.items():
        versions = {package: _version(package) for package in packages}
        missing = [package for package, version in versions.items() if not version]
        there = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
        hint = f"; without {', '.join(missing)}: pip install 'fractal-scores[{extra}]'" if missing else ""
        found.append(Found(f"extra {extra}", "missing" if missing else "ok", there + hint))
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _devices() -> list[Found]:
    if importlib.util.find_spec("torch") is None:
        return [Found("devices", "missing", "torch is not installed: no training, no scoring")]
    import torch

    threads = f"cpu with {torch.get_num_threads()} threads"
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    metal = ["mps"] if torch.backends.mps.is_available() else []
    return [Found("devices", "ok", ", ".join([threads, *gpus, *metal]))]


def _weights() -> list[Found]:
    if importlib.util.find_spec("torch") is None:
        return []
    from fractal.encoders.weights import find_minilm

    return [Found("weights of minilm", "ok", str(find_minilm()))]


def _cache() -> list[Found]:
    from fractal.cli.cache import size
    from fractal.encoders import EmbeddingCache

    info = EmbeddingCache().info()
    place = info.folder
    while not place.exists():
        place = place.parent
    verdict = "ok" if os.access(place, os.W_OK) else "broken"
    why = "" if verdict == "ok" else "; it cannot be written to: set FRACTAL_CACHE to a folder that can"
    return [Found("cache", verdict, f"{info.folder}: {info.entries:,} vectors, {size(info.bytes)}{why}")]
