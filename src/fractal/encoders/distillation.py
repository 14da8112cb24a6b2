"""Token vectors distilled from minilm: made once, kept beside the vectors of texts, checked whenever they are read."""

from __future__ import annotations

import hashlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.cache import default_folder
from fractal.encoders.weights import SHA256, find_minilm
from fractal.errors import BadData
from fractal.files import whole_file
from fractal.hardware import require_torch

__all__ = ["DIM", "digest_of", "distil", "distilled"]

RECIPE = 1  # raised with every change of what is made, so that an older file is not taken for it
DIM = 256
RARE = 1e-4  # tokens of about this probability get half their weight (smooth inverse frequency)
TOKENS_AT_ONCE = 1_024
TOKENIZER = "tokenizer.json"

Arrays = dict[str, NDArray[Any]]


def distilled() -> Arrays:
    """Return `vectors` (token, dim) float16 and `tokenizer`, its JSON as bytes, distilled where that is yet to do."""
    path = default_folder() / "static" / f"minilm-{SHA256[:16]}-{RECIPE}.safetensors"
    arrays = _read(path)
    if arrays is None:
        arrays = distil()
        _write(path, arrays)
    return arrays


def distil(dim: int = DIM) -> Arrays:
    """Run minilm on every token alone; of the means keep the principal directions, and weigh tokens by their rarity."""
    folder = find_minilm()
    vectors = _token_means(folder)
    centred = vectors - vectors.mean(axis=0)
    _, basis = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    basis = basis[:, ::-1][:, :dim]
    basis = basis * np.where(basis.sum(axis=0) < 0, -1.0, 1.0)  # of either sign the one that always comes out
    vectors = centred @ basis.astype(np.float32) * _rarity(len(vectors))[:, None]
    written = (folder / TOKENIZER).read_bytes()
    return {"vectors": vectors.astype(np.float16), "tokenizer": np.frombuffer(written, np.uint8)}


def _rarity(count: int) -> NDArray[np.float32]:
    """Return the weight of each token; the vocabulary is in order of frequency, which is about 1 / rank (Zipf)."""
    share = 1 / (np.arange(count) + 2)
    share = share / share.sum()
    return np.asarray(RARE / (RARE + share), np.float32)


def _token_means(folder: Path) -> NDArray[np.float32]:
    """Return the mean state of [CLS] token [SEP] for every token: (token, 384); no two lengths, so no padding."""
    from tokenizers import Tokenizer

    from fractal.encoders.minilm import load_network

    torch = require_torch("static")
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    begin, end = (tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]"))
    network = load_network(folder, "cpu", "float32")  # the same on every machine but for the last digits
    count = tokenizer.get_vocab_size()
    sys.stderr.write(f"Making the vectors of {count:,} tokens from minilm, this once: about half a minute\n")
    parts = []
    with torch.inference_mode():
        for first in range(0, count, TOKENS_AT_ONCE):
            tokens = torch.arange(first, min(first + TOKENS_AT_ONCE, count))
            ids = torch.stack([torch.full_like(tokens, begin), tokens, torch.full_like(tokens, end)], dim=1)
            parts.append(network(input_ids=ids).last_hidden_state.mean(1).numpy())
    return np.concatenate(parts)


def digest_of(arrays: Arrays) -> str:
    """Return a hash of the arrays: names, types, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _read(path: Path) -> Arrays | None:
    """Return what the file holds; nothing where there is none, or it is not what was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
            written = (file.metadata() or {}).get("blake2b")
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError):
        written, arrays = "", {}
    if written == digest_of(arrays):
        return arrays
    warnings.warn(f"{path} was cut short or altered: the token vectors are made anew", stacklevel=3)
    return None


def _write(path: Path, arrays: Arrays) -> None:
    """Keep the arrays under their hash, whole or not at all; a folder that cannot be written to costs only time."""
    from safetensors.numpy import save

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            beside.write_bytes(save(arrays, metadata={"blake2b": digest_of(arrays)}))
    except (OSError, BadData) as error:
        warnings.warn(f"The token vectors are not kept, and made again next time: {error}", stacklevel=3)
