"""Vectors that somebody else computed: a file of texts, each with its vector."""

from __future__ import annotations

import dataclasses
import functools
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fractal.encoders.base import ENCODERS, Encoder, Progress, TokenVectors, Vectors, unit_rows
from fractal.encoders.weights import sha256_of
from fractal.errors import BadData, BadSpec, MissingExtra

__all__ = ["Precomputed"]

_WANTED = "give an .npz with `texts` (text,) and `vectors` (text, dim), or a .parquet with columns `text` and `vector`"


@ENCODERS.register("precomputed")
@dataclasses.dataclass(frozen=True)
class Precomputed(Encoder):
    """Vectors from a file: .npz with `texts` and `vectors`, or .parquet with `text` and `vector`.

    Vectors are brought to length one. A text counts as one token. The empty text need not be in the file.
    """

    path: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise BadSpec(f"precomputed needs a file, as in precomputed(path='vectors.npz'): {_WANTED}.")

    @property
    def dim(self) -> int:
        return int(self._loaded[1].shape[1])

    @functools.cached_property
    def fingerprint(self) -> str:
        path = _existing(self.path)
        facts = path.stat()
        return f"precomputed-{sha256_of(path, facts.st_size, facts.st_mtime_ns)[:16]}-float32"

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        places, vectors = self._loaded
        missing = [text for text in dict.fromkeys(texts) if text not in places]
        if missing:
            shown = ", ".join(repr(text[:60]) for text in missing[:3])
            raise BadData(
                f"{len(missing)} of {len(set(texts))} texts have no vector, such as {shown}: add them to the file, "
                "letter by letter as they are read, or choose an encoder that can read new texts",
                source=self.path,
            )
        if progress is not None:
            progress(len(texts), len(texts))
        return vectors[np.fromiter((places[text] for text in texts), np.int64, len(texts))]

    def encode_tokens(self, texts: Sequence[str], progress: Progress | None = None) -> TokenVectors:
        rows = self.encode(texts, progress)
        return TokenVectors(rows, np.arange(len(texts) + 1, dtype=np.int64), rows)

    @functools.cached_property
    def _loaded(self) -> tuple[dict[str, int], Vectors]:
        """Return which row each text has, and the rows."""
        path = _existing(self.path)
        texts, vectors = _parquet(path) if path.suffix.lower() == ".parquet" else _npz(path)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not vectors.size:
            raise BadData(f"{len(texts)} texts and vectors of shape {vectors.shape}: {_WANTED}", source=self.path)
        if not np.isfinite(vectors).all():
            text = texts[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]
            raise BadData(f"the vector of {text[:60]!r} is not finite: compute it anew", source=self.path)
        places = {text: row for row, text in enumerate(texts)}
        twice = next((text for row, text in enumerate(texts) if (vectors[places[text]] != vectors[row]).any()), None)
        if twice is not None:
            raise BadData(f"{twice[:60]!r} has two different vectors: keep one", source=self.path)
        if "" not in places:
            places[""] = len(vectors)
            vectors = np.concatenate([vectors, np.zeros_like(vectors[:1])])
        return places, unit_rows(vectors)


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise BadData(f"there is no such file: {_WANTED}", source=name)
    return path


def _npz(path: Path) -> tuple[list[str], Vectors]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [str(text) for text in arrays["texts"]], np.asarray(arrays["vectors"], np.float32)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise BadData(f"the vectors cannot be read ({error}): {_WANTED}", source=str(path)) from error


def _parquet(path: Path) -> tuple[list[str], Vectors]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("A parquet file of vectors", "data", "pyarrow") from error
    try:
        table = parquet.read_table(path, columns=["text", "vector"])
        vectors = np.array(table["vector"].to_pylist(), np.float32)
        return [str(text) for text in table["text"].to_pylist()], vectors
    except (arrow.ArrowException, ValueError, TypeError, KeyError) as error:
        raise BadData(f"the vectors cannot be read ({error}): {_WANTED}", source=str(path)) from error
