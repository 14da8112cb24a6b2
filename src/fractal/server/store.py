"""Files under the hash of what they hold: no name that a user gives ever becomes a path."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fractal.errors import BadData, BadFolder

__all__ = ["Store"]

HASH = re.compile(r"[0-9a-f]{64}")


class Store:
    """A folder of files and folders, each whole or absent."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in ("uploads", "scorers", "work", "tmp"):
            (root / part).mkdir(parents=True, exist_ok=True)

    def put_bytes(self, chunks: Iterable[bytes], limit: int) -> tuple[str, int]:
        """Keep an upload and return its hash and size; one beyond the limit is refused, and leaves nothing."""
        digest, size = hashlib.sha256(), 0
        handle, name = tempfile.mkstemp(dir=self.root / "tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise BadData(f"the file is larger than {limit:,} bytes: cut it into several", field="file")
                    digest.update(chunk)
                    stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(self.upload(digest.hexdigest()))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest.hexdigest(), size

    def upload(self, sha256: str) -> Path:
        """Return where an upload stands."""
        return self.root / "uploads" / _hash(sha256)

    def put_scorer(self, folder: Path) -> str:
        """Move a scorer's folder into the store and return its hash; one that is there already stays."""
        digest = hashlib.sha256()
        for path in sorted(folder.iterdir()):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        target = self.scorer(digest.hexdigest())
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            shutil.rmtree(folder, ignore_errors=True)
        return digest.hexdigest()

    def scorer(self, sha256: str) -> Path:
        """Return where a scorer stands."""
        return self.root / "scorers" / _hash(sha256)

    def work(self, job: int) -> Path:
        """Return the folder in which a job keeps what it would not do twice."""
        folder = self.root / "work" / str(int(job))
        folder.mkdir(exist_ok=True)
        return folder

    def clear_work(self, job: int) -> None:
        """Remove what a job kept."""
        shutil.rmtree(self.root / "work" / str(int(job)), ignore_errors=True)

    @property
    def vectors(self) -> Path:
        """Where the vectors of sentences are kept."""
        return self.root / "vectors"


def _hash(text: str) -> str:
    if not HASH.fullmatch(text):
        raise BadFolder(f"{text[:80]!r} is no hash")
    return text
