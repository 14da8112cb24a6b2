"""Which encoders the folder of a scorer may name: who wrote it should not choose files of this machine to be read."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from fractal.encoders import ENCODERS
from fractal.errors import BadFolder
from fractal.registry import parse

__all__ = ["TRUSTED", "pinned_spec", "trusted_spec"]

TRUSTED = "FRACTAL_TRUST_PATHS"  # in the environment: what `--trust-paths` says, for processes that a command starts
PLACES = ("model", "path")  # options of encoders that name a file, a folder or a model of the Hub
REVISION = re.compile("[0-9a-f]{40}")


def trusted_spec(spec: str, folder: Path, source: str, trust_paths: bool | None) -> str:
    """Return an encoder's specification, with a path inside the scorer's folder written out; refuse all other paths.

    A model of the Hub must be pinned to a revision, or it may be another one tomorrow.
    """
    if trust_paths is None:
        trust_paths = os.environ.get(TRUSTED, "0") not in ("", "0")
    name, options = parse(spec, "encoder")
    for option in PLACES:
        place = str(options.get(option) or "")
        if not place:
            continue
        inside = _inside(folder, place)
        if inside is not None:
            return ENCODERS.spec(dataclasses.replace(_built(spec), **{option: str(inside)}))
        if not trust_paths:
            _refuse(name, spec, place, folder, source, str(options.get("revision") or ""))
    return spec


def _refuse(name: str, spec: str, place: str, folder: Path, source: str, revision: str) -> None:
    how = "or say that you trust it: trust_paths=True, --trust-paths on the command line"
    parts = Path(place).parts
    written = place.startswith((".", "/", "~")) or Path(place).is_absolute() or ".." in parts
    here = written or os.path.lexists(Path(place).expanduser()) or os.path.lexists(folder / place)
    if name == "precomputed" or here:
        raise BadFolder(
            f"{source} names the encoder {spec}, a file or folder outside its own folder, or one behind a link: put it "
            f"into the folder and name it by its path from there, {how}"
        )
    if not REVISION.fullmatch(revision):
        raise BadFolder(
            f"{source} names the encoder {spec} without a pinned revision (40 hexadecimal digits): what it is may "
            f"change. Write the revision into its config.json, {how}"
        )


def _inside(folder: Path, place: str) -> Path | None:
    """Return where something inside the folder stands, None where it is elsewhere or behind a link."""
    home = folder.resolve()
    whole = home / place
    if not whole.exists() or whole.resolve() != whole or home not in whole.parents:
        return None
    return None if any(path.is_symlink() for path in whole.rglob("*")) else whole


def pinned_spec(spec: str) -> str:
    """Return the specification with the revision of its model that this machine has from the Hub, where it has one."""
    _, options = parse(spec, "encoder")
    model, revision = str(options.get("model") or ""), str(options.get("revision") or "")
    encoder = _built(spec)
    if not model or REVISION.fullmatch(revision) or not hasattr(encoder, "revision") or Path(model).exists():
        return spec
    try:
        from huggingface_hub import snapshot_download

        snapshot = Path(snapshot_download(model, revision=revision or None, local_files_only=True))
    except (ImportError, OSError, ValueError):  # nothing is known of it here: loading will say what to do
        return spec
    if not REVISION.fullmatch(snapshot.name):
        return spec
    return ENCODERS.spec(dataclasses.replace(encoder, revision=snapshot.name))


def _built(spec: str) -> Any:
    return ENCODERS.build(spec)
