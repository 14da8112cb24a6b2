"""Where shards and records go: a local folder, or an object store by its address; files are whole or absent."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from fractal.errors import BadData, MissingExtra
from fractal.files import whole_file

__all__ = ["Folder", "RemoteFolder", "file_system", "is_remote", "open_folder"]

IN_MEMORY = 1 << 26  # bytes of a shard that are held in memory before they go to a temporary file


def is_remote(path: str) -> bool:
    """Whether this is an address such as s3://bucket/folder."""
    return "://" in path


def file_system(path: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra(f"Reading and writing {path}", "remote", "fsspec") from error
    try:
        system, inside = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:  # fsspec names the package that the protocol needs
        raise BadData(f"this address cannot be opened: {error}", source=path) from error
    return system, str(inside)


@dataclasses.dataclass(frozen=True)
class Folder:
    """A local folder: what is written appears under its name by a rename, when it is complete."""

    root: str

    def __truediv__(self, name: str) -> Path:
        return Path(self.root) / name

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """Give a stream; what is written there takes the name at the end, or vanishes on an error."""
        target = self / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as beside, beside.open("wb") as stream:
            yield stream

    def read(self, name: str) -> bytes | None:
        """Return what a file holds; nothing where there is none."""
        try:
            return (self / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, under: str) -> list[str]:
        """Return the names of the files in a folder inside, sorted; what a killed writer left behind is none."""
        folder = self / under
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))

    def remove(self, under: str) -> None:
        """Remove a folder inside, and all that is in it."""
        shutil.rmtree(self / under, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed writers left half-written."""
        for path in Path(self.root).rglob(".*.part"):
            path.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class RemoteFolder:
    """A folder of an object store, which has no rename: an object appears when all of it has been sent."""

    root: str

    def _place(self, name: str) -> tuple[Any, str]:
        system, root = file_system(self.root)
        return system, f"{root.rstrip('/')}/{name}"

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """Give a stream; what is written there is sent at the end, or not at all."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as stream:
            yield cast(IO[bytes], stream)
            stream.seek(0)
            system, place = self._place(name)
            if "file" in system.protocol:  # only a file system has folders to be made
                system.makedirs(place.rpartition("/")[0], exist_ok=True)
            with system.open(place, "wb") as target:
                shutil.copyfileobj(stream, target, 1 << 22)

    def read(self, name: str) -> bytes | None:
        """Return what an object holds; nothing where there is none."""
        system, place = self._place(name)
        system.invalidate_cache()
        try:
            return bytes(system.cat_file(place))
        except FileNotFoundError:
            return None

    def names(self, under: str) -> list[str]:
        """Return the names of the objects under a prefix, sorted."""
        system, place = self._place(under)
        system.invalidate_cache()
        try:
            return sorted(entry.rpartition("/")[2] for entry in system.ls(place, detail=False))
        except FileNotFoundError:
            return []

    def remove(self, under: str) -> None:
        """Remove all objects under a prefix."""
        system, place = self._place(under)
        with contextlib.suppress(FileNotFoundError):
            system.rm(place, recursive=True)

    def sweep(self) -> None:
        """Nothing is ever half-written here."""


def open_folder(path: str) -> Folder | RemoteFolder:
    """Return the folder of a path or an address."""
    return RemoteFolder(path) if is_remote(path) else Folder(str(Path(path).absolute()))
