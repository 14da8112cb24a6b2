"""Vectors kept on disk, so that no text is encoded twice: safe from kills, from company and from altered bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.base import Encoder, Progress, Vectors
from fractal.encoders.cache_files import ENTRY, KEY_BYTES, Shards
from fractal.errors import BadData, BadSpec

__all__ = ["CacheInfo", "EmbeddingCache", "NamespaceInfo", "cached_encode", "default_folder", "key"]

Mask = NDArray[np.bool_]
FORMAT = "1"  # part of the path: a new layout never reads an old one
ENCODED_AT_ONCE = 4_096  # texts encoded between two writes: what a kill can cost


@dataclasses.dataclass(frozen=True, slots=True)
class NamespaceInfo:
    """What the cache holds of one kind of row: usually one encoder's vectors."""

    namespace: str
    width: int
    entries: int
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class CacheInfo:
    """What the cache holds, and where."""

    folder: Path
    namespaces: tuple[NamespaceInfo, ...]

    @property
    def entries(self) -> int:
        """Rows in all."""
        return sum(part.entries for part in self.namespaces)

    @property
    def bytes(self) -> int:
        """Bytes on disk in all."""
        return sum(part.bytes for part in self.namespaces)


class EmbeddingCache:
    """A folder of vectors by namespace and key; several processes may use it at once, and any of them may be killed.

    A namespace is an encoder's fingerprint, or that with `/kind` behind it for other rows of a fixed width. The width
    is set by the first row. A cache that cannot be written to warns once and keeps nothing; encoding goes on.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self._open: dict[str, Shards] = {}
        self._lock = threading.Lock()
        self._writable = True

    @classmethod
    def at(cls, place: str | os.PathLike[str] | bool) -> Self | None:
        """Return the cache that an option asks for: a folder, True for the user's own, False for none."""
        if place is False:
            return None
        return cls(None if place is True else place)

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> tuple[Vectors, Mask]:
        """Return the rows that are known, in the order of their keys, and which of the keys are known."""
        with self._lock:
            shards = self._shards(namespace)
            if shards is None or not len(keys):
                return np.zeros((0, shards.width if shards else 0), np.float32), np.zeros(len(keys), bool)
            return shards.get(_halves(keys))

    def put_many(self, namespace: str, keys: Sequence[bytes], rows: Vectors) -> None:
        """Keep these rows under these keys; they are on disk when this returns."""
        rows = np.asarray(rows, np.float32)
        if rows.ndim != 2 or len(rows) != len(keys):
            raise BadSpec(f"{len(keys)} keys and rows of shape {rows.shape}: give one row a key, (key, width).")
        if not len(keys) or not self._writable:
            return
        with self._lock:
            try:
                shards = self._shards(namespace) or self._begun(namespace, rows.shape[1])
                if shards.width != rows.shape[1]:
                    raise BadSpec(f"{namespace!r} keeps rows of {shards.width} numbers, these have {rows.shape[1]}.")
                shards.put(_halves(keys), rows)
            except OSError as error:
                self._writable = False
                warnings.warn(f"The embedding cache in {self.folder} keeps nothing new: {error}", stacklevel=2)

    def key(self, *texts: str) -> bytes:
        """Return the key of a text, or of several texts in order."""
        return key(*texts)

    def info(self) -> CacheInfo:
        """Say what is kept: entries and bytes of every namespace."""
        return CacheInfo(self.folder, tuple(sorted(self._namespaces(), key=lambda part: part.namespace)))

    def clear(self, namespace: str | None = None) -> int:
        """Remove everything, or one namespace with its further kinds; return the number of bytes set free."""
        gone = [
            part
            for part in self._namespaces()
            if namespace is None or part.namespace == namespace or part.namespace.startswith(f"{namespace}/")
        ]
        with self._lock:
            for part in gone:
                shards = self._open.pop(part.namespace, None)
                if shards is not None:
                    shards.close()
                shutil.rmtree(self._path(part.namespace), ignore_errors=True)
            if namespace is None:  # what a writer killed at its very beginning left
                shutil.rmtree(self.folder / f"v{FORMAT}", ignore_errors=True)
        return sum(part.bytes for part in gone)

    def _path(self, namespace: str) -> Path:
        return self.folder / f"v{FORMAT}" / _folder_name(namespace)

    def _shards(self, namespace: str) -> Shards | None:
        """Return the rows of a namespace; None where there are none yet."""
        if namespace not in self._open:
            described = _described(self._path(namespace))
            if described is None:
                return None
            self._open[namespace] = Shards(self._path(namespace), described[1])
        elif not self._open[namespace].folder.is_dir():  # cleared by another process
            self._open.pop(namespace).close()
            return None
        return self._open[namespace]

    def _begun(self, namespace: str, width: int) -> Shards:
        """Begin a namespace; the folder appears with its description or not at all."""
        path = self._path(namespace)
        fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")
        fresh.mkdir(parents=True)
        described = json.dumps({"namespace": namespace, "width": width, "check": _check(namespace, width)})
        (fresh / "namespace.json").write_text(described, encoding="utf-8")
        try:
            fresh.rename(path)
        except OSError:  # another process was first, or the description of an old folder was lost
            if _described(path) is None:
                (fresh / "namespace.json").replace(path / "namespace.json")
            shutil.rmtree(fresh, ignore_errors=True)
        shards = self._shards(namespace)
        if shards is None:
            raise OSError(f"{path} cannot be read")
        return shards

    def _namespaces(self) -> Iterator[NamespaceInfo]:
        for folder in sorted((self.folder / f"v{FORMAT}").glob("*")):
            described = _described(folder)
            if described is not None and folder.suffix != ".new":
                sizes = dict(_sizes(folder))
                entries = sum(size // ENTRY.itemsize for path, size in sizes.items() if path.suffix == ".keys")
                yield NamespaceInfo(*described, entries, sum(sizes.values()))


def key(*texts: str) -> bytes:
    """Return 16 bytes that stand for these texts, in order."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for text in texts:
        coded = _coded(text)
        digest.update(len(coded).to_bytes(8, "little") + coded)
    return digest.digest()


def cached_encode(
    encoder: Encoder, texts: Sequence[str], cache: EmbeddingCache | None = None, progress: Progress | None = None
) -> Vectors:
    """Return what `encoder.encode` returns, each distinct text encoded at most once, ever."""
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    distinct = list(places)
    keys = [key(text) for text in distinct] if cache is not None else []
    rows = np.empty((len(distinct), encoder.dim), np.float32)
    hits = np.zeros(len(distinct), bool)
    if cache is not None and distinct:
        cached, hits = cache.get_many(encoder.fingerprint, keys)
        if hits.any():
            rows[hits] = cached
    missing = np.flatnonzero(~hits)
    for first in range(0, len(missing), ENCODED_AT_ONCE):
        part = missing[first : first + ENCODED_AT_ONCE]
        rows[part] = encoder.encode([distinct[place] for place in part], _shifted(progress, first, len(missing)))
        if cache is not None:
            cache.put_many(encoder.fingerprint, [keys[place] for place in part], rows[part])
    if len(distinct) == len(texts):
        return rows
    return rows[np.fromiter((places[text] for text in texts), np.int64, len(texts))]


def default_folder() -> Path:
    """Return where vectors are kept by default: FRACTAL_CACHE, or the platform's place for caches."""
    folder = os.environ.get("FRACTAL_CACHE")
    if folder:
        return Path(folder).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "fractal" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fractal"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fractal"


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(before + done, total)


def _halves(keys: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return keys as two numbers each, (key, 2)."""
    joined = b"".join(keys)
    if len(joined) != KEY_BYTES * len(keys):
        raise BadData(f"keys must have {KEY_BYTES} bytes each: make them with `key(text)`")
    return np.frombuffer(joined, "<u8").reshape(-1, 2)


def _coded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _folder_name(namespace: str) -> str:
    return hashlib.blake2b(_coded(namespace), digest_size=10).hexdigest()


def _check(namespace: str, width: int) -> str:
    return hashlib.blake2b(_coded(f"{width} {namespace}"), digest_size=8).hexdigest()


def _sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the files of a folder with their sizes; one that another process has just removed has none."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            yield path, path.stat().st_size


def _described(folder: Path) -> tuple[str, int] | None:
    """Return the namespace that a folder keeps and the width of its rows; None where it is not such a folder."""
    try:
        described = json.loads((folder / "namespace.json").read_text(encoding="utf-8"))
        name, width = str(described["namespace"]), int(described["width"])
        altered = described.get("check") != _check(name, width)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if altered or not folder.name.startswith(_folder_name(name)):
        return None  # as good as lost: it is written anew with the next rows
    return (name, width) if width > 0 else None
