"""A trained scorer as a folder: config.json, head.safetensors and README.md, on disk or on the Hub; never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders import ENCODERS, Encoder
from fractal.errors import BadFolder, FractalError, MissingExtra
from fractal.files import exclusive, whole_folder
from fractal.prefixes import under
from fractal.records.splitting import SPLITTERS
from fractal.registry import parse
from fractal.scorers.schema import check_saved
from fractal.scorers.trust import pinned_spec, trusted_spec

if TYPE_CHECKING:
    from fractal.mil.training.plan import TrainingPlan

__all__ = ["CARRIED", "Saved", "load_folder", "push_folder", "restored_encoder", "save_folder"]
__all__ += ["saved_plan"]

FORMAT = 2  # of the folder; raised when an older version of the library could no longer read it
# names of format 1 → names of today
RENAMED = {"blend": "ensemble", "from_prior": "from_initial", "prior": "initial_logits", "common": "topic_share"}
CARRIED = "encoder."  # before the names of arrays that an encoder needs
CONFIG, HEAD, CARD = "config.json", "head.safetensors", "README.md"


@dataclass(frozen=True)
class Saved:
    """What a folder holds: settings and everything learned that is no array, the arrays, and the model card."""

    config: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    card: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)  # by path inside the folder
    folder: Path | None = None  # where files are read from

    @property
    def digest(self) -> str:
        """A hash of all that decides scores: the settings, among them the hash of the arrays."""
        return hashlib.sha256(json.dumps(dict(self.config), sort_keys=True).encode()).hexdigest()


def restored_encoder(saved: Saved) -> Encoder:
    """Return the encoder that a saved scorer names, with the vectors that the scorer carries for it, if any."""
    encoder = ENCODERS.build(saved.config["encoder"])
    carried = under(CARRIED, saved.arrays)
    return encoder.with_arrays(carried) if carried else encoder


def save_folder(folder: str | os.PathLike[str], saved: Saved) -> Path:
    """Write the folder beside its place, then move it there: after a kill there is the old or the new one."""
    from safetensors.numpy import save

    target = Path(folder)
    if target.exists() and not (target / CONFIG).exists() and any(target.iterdir()):
        raise BadFolder(f"{target} holds other files and no scorer: give a new or empty folder, or an earlier scorer's")
    target.parent.mkdir(parents=True, exist_ok=True)
    head = save({name: np.ascontiguousarray(array) for name, array in saved.arrays.items()})
    config = {"format": FORMAT, "head_sha256": hashlib.sha256(head).hexdigest(), **saved.config}
    config["encoder"] = pinned_spec(str(config["encoder"]))
    if saved.files:
        config["files"] = {path: hashlib.sha256(content).hexdigest() for path, content in saved.files.items()}
    written = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with exclusive(target), whole_folder(target) as beside:
        (beside / HEAD).write_bytes(head)
        (beside / CONFIG).write_text(written, encoding="utf-8")
        (beside / CARD).write_text(saved.card, encoding="utf-8")
        for path, content in saved.files.items():
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            (beside / path).write_bytes(content)
    return target


def load_folder(
    folder_or_repo: str | os.PathLike[str] | Saved, revision: str | None = None, *, trust_paths: bool | None = None
) -> Saved:
    """Read a folder, or a repository of the Hub when no such folder is here; whatever is wrong with it is said.

    Its encoder may be no file or folder of this machine but inside the scorer's own, unless `trust_paths` says that
    whoever wrote it is trusted (None: as FRACTAL_TRUST_PATHS says). What was read already is returned as it is.
    """
    if isinstance(folder_or_repo, Saved):
        return folder_or_repo
    folder = Path(folder_or_repo)
    if not folder.is_dir():
        folder = _download(str(folder_or_repo), revision)
    config = _read_config(folder / CONFIG)
    head = _read(folder / HEAD)
    if hashlib.sha256(head).hexdigest() != config["head_sha256"]:
        raise BadFolder(
            f"{folder / HEAD} is not the file that {CONFIG} was written with, but cut short or altered: copy it again"
        )
    _check_specs(folder, config)
    _check_files(folder, config.get("files", {}))
    card = _read(folder / CARD).decode("utf-8") if (folder / CARD).exists() else ""
    arrays = _arrays(head, folder)
    check_saved(folder, config, arrays)
    if not {f"{CARRIED}vectors", f"{CARRIED}tokenizer"} <= arrays.keys() or not _is_static(config["encoder"]):
        config["encoder"] = trusted_spec(config["encoder"], folder, str(folder_or_repo), trust_paths)
    return Saved(config, arrays, card, folder=folder)


def _is_static(spec: str) -> bool:
    """Whether an encoder reads nothing where the scorer carries its vectors, whatever file it names."""
    return parse(spec, "encoder")[0] == "static"


def _check_specs(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a folder whose splitter or encoder cannot be built, before anything is read by them."""
    for name, registry in (("splitter", SPLITTERS), ("encoder", ENCODERS)):
        try:
            registry.build(str(config[name]))
        except (FractalError, KeyError, TypeError, ValueError) as error:
            raise BadFolder(f"{folder / CONFIG} names no {name} that can be built ({error})") from error


def _check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Refuse a file that is missing, altered or not named in the configuration, of the folders that it names."""
    for name in expected:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BadFolder(f"{folder / CONFIG} names the file {name!r}, which lies outside the folder: do not use it")
    tops = {Path(name).parts[0] for name in expected}
    present = {
        path.relative_to(folder).as_posix() for top in tops for path in (folder / top).rglob("*") if not path.is_dir()
    }
    if strange := sorted(present - expected.keys()):
        raise BadFolder(f"{folder / strange[0]} was not written with {CONFIG}: remove it, or copy the folder again")
    for name, digest in expected.items():
        if hashlib.sha256(_read(folder / name)).hexdigest() != digest:
            raise BadFolder(
                f"{folder / name} is not the file that {CONFIG} was written with, but cut short or altered: "
                "copy it again"
            )


def push_folder(folder: Path, repo: str, *, private: bool = False) -> str:
    """Upload a saved folder to the Hub and return its address."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtra("Uploading to the Hub", "train", "huggingface_hub") from error
    api = HfApi()
    api.create_repo(repo, private=private, exist_ok=True)
    return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload a fractal scorer"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFolder(f"{path.parent} is no saved scorer: {path.name} cannot be read ({error.strerror})") from error


def _read_config(path: Path) -> dict[str, Any]:
    written = _read(path)
    try:
        config = json.loads(written)
        json.dumps(config, ensure_ascii=False).encode()  # refuses halves of characters
    except (ValueError, RecursionError) as error:
        raise BadFolder(f"{path} is not whole JSON ({error}): copy the folder again") from error
    if not isinstance(config, dict) or not {"format", "head_sha256"} <= config.keys():
        raise BadFolder(f"{path} was not written by fractal: it names no format")
    if not isinstance(config["format"], int) or config["format"] > FORMAT:
        raise BadFolder(
            f"{path} has format {config['format']}, this version reads up to {FORMAT}: upgrade fractal-scores"
        )
    return config if config["format"] == FORMAT else _renamed(config)


def _renamed(config: Any) -> Any:
    """Return what an earlier format holds under the names of today."""
    if isinstance(config, dict):
        return {RENAMED.get(key, key): _renamed(value) for key, value in config.items()}
    return [_renamed(value) for value in config] if isinstance(config, list) else config


def _arrays(head: bytes, folder: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(head))
    except SafetensorError as error:
        raise BadFolder(f"{folder / HEAD} cannot be read: {error}") from error


def _download(repo: str, revision: str | None) -> Path:
    if repo.startswith((".", "/", "~")) or repo.count("/") != 1:
        raise BadFolder(f"There is no folder {repo!r} here, and it is no name on the Hub such as 'team/scorer'")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtra("Loading from the Hub", "train", "huggingface_hub") from error
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=[CONFIG, HEAD, CARD, "tuned/**"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadFolder(f"There is no folder {repo!r} here, and the Hub did not give it either: {reason}") from error


def saved_plan(written: str) -> TrainingPlan:
    """Return the plan that a saved scorer was trained by, as its configuration writes it."""
    from fractal.mil.training.plan import TrainingPlan

    before = {"shrink": False, "few_ratings": False, "so_far": False}  # plans of before did none of these
    options = {**before, **parse(written, "training plan")[1]}
    return TrainingPlan(**{RENAMED.get(name, name): value for name, value in options.items()})
