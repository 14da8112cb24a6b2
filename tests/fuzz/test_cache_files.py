"""Altered files of the cache of vectors: never a wrong vector, never a raw error, and what is lost is made anew."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fractal.encoders import EmbeddingCache
from fractal.encoders.cache import cached_encode
from fractal.errors import FractalError
from fuzz.support import Run, altered_bytes, cases

TEXTS = [f"text {number}" for number in range(90)]


class Known:
    """An encoder whose vectors are known, of an odd width, and which counts the texts that it had to encode."""

    dim = 7
    fingerprint = "known"

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, texts, progress=None):
        self.encoded += len(texts)
        return np.array([self.vector(text) for text in texts], np.float32).reshape(len(texts), self.dim)

    def vector(self, text):
        return np.random.default_rng(int(text.split()[1])).standard_normal(self.dim)


def written(folder: Path) -> Path:
    """Write three shards, as three processes would, and one namespace beside them."""
    caches = [EmbeddingCache(folder) for _ in range(3)]
    for place, cache in enumerate(caches):  # all are open at once, so each has a shard of its own
        cached_encode(Known(), TEXTS[30 * place : 30 * place + 30], cache)
    caches[0].put_many("another", [caches[0].key(text) for text in TEXTS[:9]], np.ones((9, 5), np.float32))
    return folder


def moved_aside(chance: random.Random, path: Path) -> None:
    target = path.parent.with_name(chance.choice(["0" * 20, "x.new", path.parent.name + "0"]))
    if not target.exists():
        path.parent.rename(target)


def other_width(chance: random.Random, path: Path) -> None:
    described = {"namespace": "known", "width": chance.choice([5, 8, 0, "7", None, 10**9])}
    with contextlib.suppress(OSError):  # it is a folder by now
        path.with_name("namespace.json").write_text(json.dumps(described))


def swapped(path: Path, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


ACTS: dict[str, Callable[[random.Random, Path, Path], object]] = {
    "bytes": lambda chance, path, _: path.write_bytes(altered_bytes(chance, path.read_bytes() or b"x")),
    "swap": lambda _, path, other: swapped(path, other),
    "other": lambda _, path, other: path.write_bytes(other.read_bytes()),
    "gone": lambda _, path, __: path.unlink(),
    "folder": lambda _, path, __: replaced(path, lambda place: place.mkdir()),
    "link": lambda _, path, other: replaced(path, lambda place: place.symlink_to(other)),
    "link to a folder": lambda _, path, __: replaced(path, lambda place: place.symlink_to(path.parent)),
    "link to nowhere": lambda _, path, __: replaced(path, lambda place: place.symlink_to("nowhere")),
    "longer": lambda chance, path, _: path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 200))),
    "width": lambda chance, path, _: other_width(chance, path),
    "moved": lambda chance, path, _: moved_aside(chance, path),
}


def altered(folder: Path, chance: random.Random) -> str:
    """Alter one file or folder; return how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        return "nothing left"
    how = "bytes" if chance.random() < 0.3 else chance.choice(list(ACTS))
    ACTS[how](chance, chance.choice(files), chance.choice(files))
    return how


def test_altered_files_of_the_cache_give_no_wrong_vector(tmp_path):
    whole = written(tmp_path / "whole")
    wanted = np.array([Known().vector(text) for text in TEXTS], np.float32)
    assert len({path.parent.name for path in whole.rglob("*.keys")}) == 2
    run = Run("cache files")
    for number, chance in cases():
        folder = tmp_path / "altered"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        how = [altered(folder, chance) for _ in range(chance.randint(1, 3))]
        with run.case(f"case {number}, {', '.join(how)}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a cache that cannot be written says so
            for attempt in range(3):
                encoder = Known()
                try:
                    vectors = cached_encode(encoder, TEXTS, EmbeddingCache(folder))
                except FractalError:
                    run.count("refused")
                    break
                assert (vectors == wanted).all(), "a wrong vector"
                when = "" if not attempt else ", again"
                run.count(f"made anew{when}" if encoder.encoded else f"all there{when}")
                EmbeddingCache(folder).info()
    run.close()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_cache_that_may_not_be_read_is_as_good_as_none(tmp_path):
    folder = written(tmp_path / "cache")
    for path in folder.rglob("*.rows"):
        path.chmod(0)
    encoder = Known()
    assert len(cached_encode(encoder, TEXTS, EmbeddingCache(folder))) == len(TEXTS)
    assert encoder.encoded == len(TEXTS)
