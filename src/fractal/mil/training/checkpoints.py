"""A training run on disk: written beside and renamed, so a kill at any moment leaves the last whole epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fractal.errors import BadFolder
from fractal.files import whole_file
from fractal.mil.bags import OFFSETS, Bags
from fractal.mil.training.plan import Objective, TrainingPlan

__all__ = ["checkpoint_of", "load_checkpoint", "run_fingerprint", "save_checkpoint"]

ROWS_AT_ONCE = 65_536


def save_checkpoint(path: Path, belongs_to: str, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write the whole state of a run, plain data and tensors; never a pickle."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with whole_file(path) as beside:
        run = json.dumps({"belongs_to": belongs_to, **state})
        try:
            save_file(arrays, beside, {"run": run, "sha256": _digest(run, arrays)})
        except (SafetensorError, OSError) as error:  # a full disk is the library's own error
            raise BadFolder(
                f"{path} cannot be written ({error}): is the disk full? --resume goes on from there"
            ) from error


def load_checkpoint(path: Path, belongs_to: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return the state that a file holds, none where there is no file; a file of another run is refused."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            written = file.metadata()
            state = json.loads(written["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadFolder(f"{path} is no checkpoint that can be read ({error}): delete it to start anew") from error
    if written.get("sha256") != _digest(written["run"], tensors):
        raise BadFolder(f"{path} is not as it was written, but cut short or altered: delete it to start anew")
    if state.pop("belongs_to", None) != belongs_to:
        raise BadFolder(f"{path} belongs to a run with other data or another plan: delete it, or give the same plan")
    return state, tensors


def _digest(run: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of all that later steps depend on: a flipped bit would train on in silence."""
    digest = hashlib.sha256(run.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def run_fingerprint(
    bags: Bags, objective: Objective, plan: TrainingPlan, start: Mapping[str, Tensor] | None = None
) -> str:
    """Return what a checkpoint belongs to: another plan, objective, start or other data must not take it up."""
    digest = hashlib.sha256(b"" if start is None else _digest("start", start).encode())
    small = {name: getattr(bags, name) for name in ("offsets", "labels", "weights", "initial_logits")}
    small |= {f"target {name}": bags.targets[name] for name in sorted(bags.targets)}
    optional = {name: getattr(bags, name) for name in ("pairs", *OFFSETS)}
    small |= {name: values for name, values in optional.items() if values is not None}
    large = [bags.features, bags.vectors, *(shared.rows for shared in bags.shared)]
    small |= {f"block {i}": _column_sums(block) for i, block in enumerate(large)}
    for name, values in small.items():
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return f"{replace(plan, device='auto')}|{objective}|{digest.hexdigest()}"


def _column_sums(block: Tensor) -> Tensor:
    """Add up the rows, some at a time: in one piece all of them would be copied into double precision."""
    total = block.new_zeros(block.shape[1], dtype=torch.float64)
    for part in block.split(ROWS_AT_ONCE):
        total += torch.sum(part, 0, dtype=torch.float64)
    return total


def checkpoint_of(folder: Path | None, *identity: object) -> Path | None:
    """Return where the state of one head is kept while it trains: all that makes it another head makes another file."""
    if folder is None:
        return None
    name = hashlib.blake2b(repr(identity).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
    return folder / f"{name}.safetensors"
