"""A training run on disk: written beside and renamed, so a kill at any moment leaves the last whole epoch."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fractal.errors import BadFolder

if TYPE_CHECKING:
    from fractal.training import _Run

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: Path, run: _Run, belongs_to: str) -> None:
    """Write the whole state of a run; the step after it gives the same bits whether or not the process lived on."""
    from safetensors.torch import save_file

    told = {
        "belongs_to": belongs_to,
        "epoch": run.epoch,
        "history": [dataclasses.asdict(epoch) for epoch in run.history],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in _tensors(run).items()},
        beside,
        {"run": json.dumps(told)},
    )
    beside.replace(path)


def load_checkpoint(path: Path, run: _Run, belongs_to: str) -> None:
    """Take up a run where the file left it; a file of another run is refused, a missing one starts anew."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadFolder(f"{path} is no checkpoint that can be read ({error}): delete it to start anew") from error
    if told["belongs_to"] != belongs_to:
        raise BadFolder(f"{path} belongs to a run with other data or another plan: delete it, or give the same plan")
    _restore(run, told, tensors)


def _tensors(run: _Run) -> dict[str, Tensor]:
    kept = {f"head.{name}": value for name, value in run.head.state_dict().items()}
    kept |= {f"best.{name}": value for name, value in run.best_states.items()}
    for number, state in run.optimiser.state_dict()["state"].items():
        kept |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
    drawn = {"generator": run.generator.get_state(), "noise": run.noise.get_state()}
    return kept | drawn | {"best_cost": run.best, "best_epochs": run.best_epochs}


def _restore(run: _Run, told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    from fractal.training import Epoch

    device = run.best.device
    run.head.load_state_dict(_under("head.", tensors))
    run.best_states = {name: value.to(device) for name, value in _under("best.", tensors).items()}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimiser.", tensors).items():
        number, _, part = name.partition(".")
        state.setdefault(int(number), {})[part] = value
    run.optimiser.load_state_dict({**run.optimiser.state_dict(), "state": state})
    run.generator.set_state(tensors["generator"])
    run.noise.set_state(tensors["noise"])
    run.best, run.best_epochs = tensors["best_cost"].to(device), tensors["best_epochs"]
    run.epoch, run.history = told["epoch"], [Epoch(**epoch) for epoch in told["history"]]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
