"""Three ways to keep vectors on disk, side by side: SQLite, LMDB, and append-only shards read through memory maps.

    python -m benchmarks.cache --rows 100000 --rounds 5 --out benchmarks/results/cache.md

The clock is the processor's time for this process, the system's part included, so that waiting for a busy machine or
its disk does not count. All three check a row's checksum on reading. A warm run opens the store anew, hashes every
sentence to its key and looks all of them up, as a second `fractal` run does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sqlite3
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from fractal.encoders.cache import EmbeddingCache, key

WIDTH = 384
BATCH = 2_048  # rows a write
ASKED = 900  # keys a question to SQLite: older builds bind at most 999 values


class Sqlite:
    """One table in write-ahead mode; an entry is its row with a CRC behind it."""

    def __init__(self, folder: Path) -> None:
        self.base = sqlite3.connect(folder / "rows.db", isolation_level=None)
        self.base.execute("PRAGMA journal_mode=WAL")
        self.base.execute("PRAGMA synchronous=NORMAL")
        self.base.execute("PRAGMA mmap_size=2000000000")
        self.base.execute("CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")

    def put(self, keys: list[bytes], rows: np.ndarray) -> None:
        self.base.execute("BEGIN IMMEDIATE")
        entries = ((name, _sealed(row)) for name, row in zip(keys, rows, strict=True))
        self.base.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", entries)
        self.base.execute("COMMIT")

    def get(self, keys: list[bytes]) -> np.ndarray:
        found: dict[bytes, bytes] = {}
        for first in range(0, len(keys), ASKED):
            part = keys[first : first + ASKED]
            marks = ",".join("?" * len(part))
            found.update(self.base.execute(f"SELECT key, row FROM rows WHERE key IN ({marks})", part))
        return _opened([found[name] for name in keys])

    def close(self) -> None:
        self.base.close()


class Lmdb:
    """One memory-mapped tree; an entry is its row with a CRC behind it."""

    def __init__(self, folder: Path) -> None:
        import lmdb

        self.base = lmdb.open(str(folder), map_size=4 << 30, sync=False, writemap=False, readahead=False)

    def put(self, keys: list[bytes], rows: np.ndarray) -> None:
        with self.base.begin(write=True) as change, change.cursor() as cursor:
            cursor.putmulti([(name, _sealed(row)) for name, row in zip(keys, rows, strict=True)])

    def get(self, keys: list[bytes]) -> np.ndarray:
        with self.base.begin(buffers=True) as view, view.cursor() as cursor:
            found = dict(cursor.getmulti(keys))
            return _opened([found[name] for name in keys])

    def close(self) -> None:
        self.base.close()


class Shards:
    """What the package uses."""

    def __init__(self, folder: Path) -> None:
        self.base = EmbeddingCache(folder)

    def put(self, keys: list[bytes], rows: np.ndarray) -> None:
        self.base.put_many("benchmark", keys, rows)

    def get(self, keys: list[bytes]) -> np.ndarray:
        return self.base.get_many("benchmark", keys)[0]

    def close(self) -> None:
        del self.base


STORES: dict[str, Callable[[Path], Sqlite | Lmdb | Shards]] = {"SQLite": Sqlite, "LMDB": Lmdb, "shards": Shards}


def _sealed(row: np.ndarray) -> bytes:
    data = row.tobytes()
    return data + zlib.crc32(data).to_bytes(4, "little")


def _opened(entries: list) -> np.ndarray:
    rows = np.empty((len(entries), WIDTH), np.float32)
    for place, entry in enumerate(entries):
        data = memoryview(entry)[:-4]
        if zlib.crc32(data) == int.from_bytes(entry[-4:], "little"):
            rows[place] = np.frombuffer(data, np.float32)
    return rows


@contextlib.contextmanager
def timed(into: list[float]):
    start = time.process_time()
    yield
    into.append(time.process_time() - start)


def one_round(name: str, folder: Path, sentences: list[str], rows: np.ndarray, order: np.ndarray, took: dict) -> int:
    """Write everything, look everything up in another order, and run once more with the store opened anew."""
    keys = [key(sentence) for sentence in sentences]
    store = STORES[name](folder)
    with timed(took["write"]):
        for first in range(0, len(keys), BATCH):
            store.put(keys[first : first + BATCH], rows[first : first + BATCH])
    shuffled = [keys[place] for place in order]
    store.get(shuffled[:BATCH])
    with timed(took["look up"]):
        found = store.get(shuffled)
    if not np.array_equal(found, rows[order]):
        raise RuntimeError(f"{name} gave wrong rows")
    store.close()
    with timed(took["warm run"]):
        store = STORES[name](folder)
        found = store.get([key(sentence) for sentence in sentences])
    if not np.array_equal(found, rows):
        raise RuntimeError(f"{name} gave wrong rows")
    store.close()
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    random = np.random.default_rng(0)
    rows = random.standard_normal((given.rows, WIDTH), dtype=np.float32)
    order = random.permutation(given.rows)
    sentences = [f"Sentence {number} of a response that has been encoded before, {number}." for number in order]
    took: dict = {name: {"write": [], "look up": [], "warm run": []} for name in STORES}
    sizes = {}
    for _ in range(given.rounds):
        for name in STORES:
            with tempfile.TemporaryDirectory() as folder:
                sizes[name] = one_round(name, Path(folder), sentences, rows, order, took[name])
    table = report(given, took, sizes)
    print(table)
    if given.out:
        given.out.write_text(table, encoding="utf-8")


def report(given: argparse.Namespace, took: dict, sizes: dict) -> str:
    lines = [
        "# Keeping vectors on disk",
        "",
        f"{given.rows:,} rows of {WIDTH} float32, processor time, medians of {given.rounds} interleaved rounds; "
        "lowest and highest in brackets. Every store checks a row's checksum on reading.",
        "",
        "| store | written, rows/s | look-ups/s, random order | warm second run, s | MB on disk |",
        "|---|---|---|---|---|",
    ]
    for name, times in took.items():
        written, found = (_rates(given.rows, times[what]) for what in ("write", "look up"))
        warm = times["warm run"]
        seconds = f"{statistics.median(warm):.2f} [{min(warm):.2f}–{max(warm):.2f}]"
        lines.append(f"| {name} | {written} | {found} | {seconds} | {sizes[name] / 1e6:.0f} |")
    lines += [
        "",
        f"{machine()} Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, lmdb {version('lmdb')}, "
        f"numpy {version('numpy')}.",
        "",
        f"`python -m benchmarks.cache --rows {given.rows} --rounds {given.rounds}`",
        "",
    ]
    return "\n".join(lines)


def _rates(rows: int, seconds: list[float]) -> str:
    rates = sorted(rows / second for second in seconds)
    return f"{statistics.median(rates):,.0f} [{rates[0]:,.0f}–{rates[-1]:,.0f}]"


def machine() -> str:
    """Return the processor in words."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        known = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
        cpu = next((line.split(":", 1)[1].strip() for line in known if line.startswith("model name")), cpu)
    return f"{cpu}, {os.cpu_count()} CPUs, one thread used."


if __name__ == "__main__":
    main()
