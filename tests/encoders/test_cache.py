"""The cache of vectors: what is put in comes out, whoever writes, whoever is killed, whatever is altered."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.encoders import ENCODERS, EmbeddingCache, cached_encode
from fractal.encoders.cache import default_folder, key
from fractal.encoders.cache_files import ENTRY
from fractal.errors import BadData, BadSpec

WIDTH = 6


def row_of(name: bytes, width: int = WIDTH) -> np.ndarray:
    """Return the one row that belongs to a key, so that a row in a wrong place is seen."""
    return np.random.default_rng(int.from_bytes(name, "little")).standard_normal(width).astype(np.float32)


def some(first: int, last: int, width: int = WIDTH) -> tuple[list[bytes], np.ndarray]:
    keys = [key(f"text {number}") for number in range(first, last)]
    return keys, np.array([row_of(name, width) for name in keys], np.float32).reshape(-1, width)


def files(folder: Path, ending: str) -> list[Path]:
    return sorted(Path(folder).rglob(f"*.{ending}"))


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "get", "reopen", "other"]), st.lists(st.integers(0, 30), max_size=8)),
        max_size=25,
    ),
    width=st.sampled_from([1, 5, 8]),
)
def test_behaves_like_a_dictionary(steps, width, tmp_path_factory):
    """Whatever is put, got, reopened and put by a second cache on the folder: each key has the row put last."""
    folder = tmp_path_factory.mktemp("cache")
    cache, other, expected = EmbeddingCache(folder), EmbeddingCache(folder), {}
    for action, numbers in steps:
        keys = [key(str(number)) for number in numbers]
        if action == "reopen":
            cache = EmbeddingCache(folder)
        elif action == "get":
            rows, known = cache.get_many("n", keys)
            assert known.tolist() == [name in expected for name in keys]
            assert rows.tolist() == [expected[name].tolist() for name in keys if name in expected]
        else:
            chosen = [name for name in dict.fromkeys(keys) if name not in expected]
            rows = np.array([row_of(name, width) for name in chosen], np.float32).reshape(-1, width)
            (cache if action == "put" else other).put_many("n", chosen, rows)
            expected |= dict(zip(chosen, rows, strict=True))


def test_namespaces_are_apart(tmp_path):
    cache = EmbeddingCache(tmp_path)
    keys, rows = some(0, 4)
    cache.put_many("a", keys, rows)
    cache.put_many("a/late", keys, rows[:, :2])
    assert not cache.get_many("b", keys)[1].any()
    assert np.array_equal(cache.get_many("a/late", keys)[0], rows[:, :2])
    with pytest.raises(BadSpec, match="rows of 6 numbers, these have 3"):
        cache.put_many("a", keys, rows[:, :3])


def test_bad_keys_and_rows_are_refused(tmp_path):
    cache = EmbeddingCache(tmp_path)
    with pytest.raises(BadSpec, match="one row a key"):
        cache.put_many("a", [key("x")], np.zeros((2, 3), np.float32))
    with pytest.raises(BadData, match="16 bytes"):
        cache.put_many("a", [b"short"], np.zeros((1, 3), np.float32))


def test_key_separates_texts():
    assert len(key("a")) == 16
    assert len({key("ab"), key("a", "b"), key("", "ab"), key("ab", ""), key(""), key("\ud800"), key()}) == 7
    assert EmbeddingCache.key is not None


def test_info_and_clear(tmp_path):
    cache = EmbeddingCache(tmp_path)
    assert cache.info().entries == 0
    keys, rows = some(0, 10)
    for namespace in ("a", "a/late", "ab"):
        cache.put_many(namespace, keys, rows)
    info = cache.info()
    assert [(part.namespace, part.width, part.entries) for part in info.namespaces] == [
        ("a", WIDTH, 10),
        ("a/late", WIDTH, 10),
        ("ab", WIDTH, 10),
    ]
    assert info.bytes == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert cache.clear("a") > 0
    assert not cache.get_many("a", keys)[1].any()
    assert cache.get_many("ab", keys)[1].all()
    assert cache.clear() > 0
    assert cache.info().bytes == 0
    cache.put_many("a", keys, rows)
    assert cache.get_many("a", keys)[1].all()


def test_another_process_may_clear(tmp_path):
    ours, other = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)
    keys, rows = some(0, 10)
    ours.put_many("a", keys, rows)
    other.clear()
    assert not ours.get_many("a", keys)[1].any()
    other.put_many("a", keys[:5], rows[:5])
    ours.put_many("a", keys[5:], rows[5:])
    assert np.array_equal(EmbeddingCache(tmp_path).get_many("a", keys)[0], rows)


@pytest.mark.parametrize("ending", ["rows", "keys"])
def test_an_altered_entry_is_recomputed(tmp_path, ending):
    encoder = ENCODERS.build("hashing(dim=16)")
    texts = [f"text {number}" for number in range(40)]
    rows = cached_encode(encoder, texts, EmbeddingCache(tmp_path))
    (path,) = files(tmp_path, ending)
    content = bytearray(path.read_bytes())
    for place in random.Random(0).sample(range(len(content)), 5):
        content[place] ^= 0x40
    path.write_bytes(content)
    cache = EmbeddingCache(tmp_path)
    known = cache.get_many(encoder.fingerprint, [key(text) for text in texts])[1]
    assert 35 <= known.sum() < 40
    assert np.array_equal(cached_encode(encoder, texts, cache), rows)
    again = EmbeddingCache(tmp_path)
    assert again.get_many(encoder.fingerprint, [key(text) for text in texts])[1].all()
    assert np.array_equal(cached_encode(encoder, texts, again), rows)


@pytest.mark.parametrize("ending", ["rows", "keys"])
def test_any_single_byte_matters(tmp_path, ending):
    keys, rows = some(0, 1)
    EmbeddingCache(tmp_path).put_many("n", keys, rows)
    (path,) = files(tmp_path, ending)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not EmbeddingCache(tmp_path).get_many("n", keys)[1].any(), place


@given(cut=st.integers(0, 400), ending=st.sampled_from(["rows", "keys"]), filler=st.sampled_from([None, 0, 255]))
def test_a_tail_that_was_lost_costs_only_itself(cut, ending, filler, tmp_path_factory):
    """A file cut short, or its tail replaced, as a power cut may leave it: the rest is found, new rows are kept."""
    folder = tmp_path_factory.mktemp("cache")
    keys, rows = some(0, 20)
    EmbeddingCache(folder).put_many("n", keys, rows)
    (path,) = files(folder, ending)
    whole = path.read_bytes()
    place = max(len(whole) - cut, 0)
    path.write_bytes(whole[:place] + (b"" if filler is None else bytes([filler]) * (len(whole) - place)))
    cache = EmbeddingCache(folder)
    found, known = cache.get_many("n", keys)
    assert np.array_equal(found, rows[known])
    size = ENTRY.itemsize if ending == "keys" else 4 * WIDTH
    assert known[: place // size].all()
    cache.put_many("n", [name for name, here in zip(keys, known, strict=True) if not here], rows[~known])
    found, known = EmbeddingCache(folder).get_many("n", keys)
    assert known.all()
    assert np.array_equal(found, rows)


def test_a_lost_description_begins_anew(tmp_path):
    keys, rows = some(0, 5)
    EmbeddingCache(tmp_path).put_many("n", keys, rows)
    next(tmp_path.rglob("namespace.json")).write_text("{", encoding="utf-8")
    cache = EmbeddingCache(tmp_path)
    assert not cache.get_many("n", keys)[1].any()
    cache.put_many("n", keys, rows)
    assert np.array_equal(cache.get_many("n", keys)[0], rows)


def _write(folder: str, first: int, last: int, step: int) -> None:
    cache = EmbeddingCache(folder)
    for start in range(first, last, step):
        cache.put_many("n", *some(start, min(start + step, last)))


def test_several_processes_write_at_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    parts = [(0, 300), (100, 400), (200, 500)]
    writers = [spawn.Process(target=_write, args=(str(tmp_path), *part, 7)) for part in parts]
    cache = EmbeddingCache(tmp_path)
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        keys, rows = some(0, 500)
        found, known = cache.get_many("n", keys)
        assert not known.any() or np.array_equal(found, rows[known])
        time.sleep(0.02)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    found, known = cache.get_many("n", keys)
    assert known.all()
    assert np.array_equal(found, rows)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_fork_writes_to_a_shard_of_its_own(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put_many("n", *some(0, 10))
    child = multiprocessing.get_context("fork").Process(target=cache.put_many, args=("n", *some(10, 20)))
    child.start()
    cache.put_many("n", *some(20, 30))
    child.join()
    assert child.exitcode == 0
    assert len(files(tmp_path, "keys")) == 2
    keys, rows = some(0, 30)
    assert np.array_equal(cache.get_many("n", keys)[0], rows)


def test_writers_that_follow_each_other_share_a_shard(tmp_path):
    for start in range(0, 30, 10):
        cache = EmbeddingCache(tmp_path)
        cache.put_many("n", *some(start, start + 10))
        del cache
    assert len(files(tmp_path, "keys")) == 1


_WRITERS = """
import itertools, os, sys
from test_cache import EmbeddingCache, some
def say(word):
    os.write(1, f"{word}\\n".encode())  # at once, so that a kill cuts no line
for line in sys.stdin:
    writer = os.fork()
    if not writer:
        cache = EmbeddingCache(sys.argv[1])
        say(os.getpid())
        for first in itertools.count(int(line), 25):
            cache.put_many("n", *some(first, first + 25, 384))
            say(first + 25)
    os.waitpid(writer, 0)
    say("dead")
"""


def _killed_writer(writers: subprocess.Popen[str], start: int, seconds: float) -> int:
    """Let a writer begin, kill it after a while, and return up to which number it said that rows were kept."""
    print(start, file=writers.stdin, flush=True)
    process = int(writers.stdout.readline())
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    said = [int(line) for line in iter(writers.stdout.readline, "dead\n")]
    return said[-1] if said else start


def _kills(folder: Path, kills: int) -> None:
    """Kill writers one after another; after each, all that a writer said it kept is there, row for row.

    They are forked by a process that has imported all they need and opened nothing.
    """
    chance, end = random.Random(0), 0
    place = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", _WRITERS, str(folder)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": place}, **pipes) as writers:
        for number in itertools.count():
            if number >= kills and end:  # on a busy machine the first ones may have kept nothing when they are killed
                break
            start, end = end, _killed_writer(writers, end, chance.uniform(0, 0.06))
            keys, rows = some(start, end, 384)
            found, known = EmbeddingCache(folder).get_many("n", keys)
            assert known.all()
            assert np.array_equal(found.reshape(rows.shape), rows)  # the width is unknown before the first row
        writers.stdin.close()
    keys, rows = some(0, end + 25, 384)  # the last write may have been made, and not said
    found, known = EmbeddingCache(folder).get_many("n", keys)
    assert known[:end].all()
    assert np.array_equal(found, rows[known])
    assert end > 0


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_writers_lose_nothing_that_they_kept(tmp_path):
    _kills(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_fifty_killed_writers_lose_nothing_that_they_kept(tmp_path):
    _kills(tmp_path, 50)
    assert len(files(tmp_path, "keys")) <= 2, "each writer goes on where the last was killed"


@given(done=st.integers(0, 300), torn=st.integers(0, 3))
def test_killed_at_any_byte(done, torn, tmp_path_factory):
    """A writer dies after any number of bytes of rows, then of keys: whole entries stay, the next goes on."""
    folder = tmp_path_factory.mktemp("cache")
    keys, rows = some(0, 8)
    EmbeddingCache(folder).put_many("n", keys[:4], rows[:4])
    whole = EmbeddingCache(folder)
    whole.put_many("n", keys[4:], rows[4:])
    (row_file,), (key_file,) = files(folder, "rows"), files(folder, "keys")
    kept_rows = min(4 * 4 * WIDTH + done, row_file.stat().st_size)
    kept_keys = 4 * ENTRY.itemsize + (torn * ENTRY.itemsize // 2 if kept_rows == row_file.stat().st_size else 0)
    del whole
    os.truncate(row_file, kept_rows)
    os.truncate(key_file, kept_keys)
    cache = EmbeddingCache(folder)
    found, known = cache.get_many("n", keys)
    assert known.sum() == kept_keys // ENTRY.itemsize
    assert np.array_equal(found, rows[known])
    cache.put_many("n", keys, rows)
    assert np.array_equal(EmbeddingCache(folder).get_many("n", keys)[0], rows)


def test_a_cache_that_cannot_be_written_warns_once_and_encoding_goes_on(tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    cache, encoder = EmbeddingCache(tmp_path / "file"), ENCODERS.build("hashing")
    with pytest.warns(UserWarning, match="keeps nothing new"):
        rows = cached_encode(encoder, ["a", "b"], cache)
    assert np.array_equal(cached_encode(encoder, ["a", "b"], cache), rows)


def test_each_text_is_encoded_once(tmp_path):
    seen = []

    class Counting(type(ENCODERS.build("hashing"))):
        def encode(self, texts, progress=None):
            seen.extend(texts)
            return super().encode(texts, progress)

    encoder, cache = Counting(), EmbeddingCache(tmp_path)
    rows = cached_encode(encoder, ["b", "a", "b"], cache)
    again = cached_encode(encoder, ["a", "c", "b", "c"], cache)
    assert seen == ["b", "a", "c"]
    assert np.array_equal(rows[[0, 1]], again[[2, 0]])
    assert cached_encode(encoder, [], cache).shape == (0, 256)


def test_the_folder_can_be_told(monkeypatch, tmp_path):
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "told"))
    assert EmbeddingCache().folder == tmp_path / "told"
    monkeypatch.delenv("FRACTAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_folder() == tmp_path / "fractal"
    for platform in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        assert "fractal" in default_folder().parts


def test_an_option_asks_for_a_folder_the_users_own_cache_or_none(monkeypatch, tmp_path):
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "own"))
    asked = [EmbeddingCache.at(place) for place in (tmp_path / "given", True, False)]
    assert [cache and cache.folder for cache in asked] == [tmp_path / "given", tmp_path / "own", None]


def test_a_hundred_thousand_rows_are_found_fast(tmp_path):
    """A guard against losing an order of magnitude; the figures themselves are benchmarks/results/cache.md."""
    cache = EmbeddingCache(tmp_path)
    keys = [key(str(number)) for number in range(20_000)]
    cache.put_many("n", keys, np.zeros((len(keys), 384), np.float32))
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        assert cache.get_many("n", keys)[1].all()
        best = min(best, time.process_time() - start)
    assert len(keys) / best > 50_000


def test_a_changed_digit_in_the_description_of_a_namespace_is_mended(tmp_path):
    rows = np.arange(24, dtype=np.float32).reshape(3, 8)
    keys = [key(str(number)) for number in range(3)]
    EmbeddingCache(tmp_path).put_many("some", keys, rows)
    described = next(tmp_path.rglob("namespace.json"))
    described.write_text(described.read_text().replace('"width": 8', '"width": 9'))
    cache = EmbeddingCache(tmp_path)
    assert not cache.get_many("some", keys)[1].any()
    cache.put_many("some", keys[:1], rows[:1])
    found, hits = EmbeddingCache(tmp_path).get_many("some", keys)
    assert hits.all()
    assert (found == rows).all()


@pytest.mark.parametrize("described", [{"width": 10**9}, {"width": 5}, {"width": 10**9, "check": "0"}])
def test_a_description_without_its_check_is_written_anew(tmp_path, described):
    cache = EmbeddingCache(tmp_path)
    cache.put_many("here", [key("a")], np.ones((1, 7), np.float32))
    (path,) = tmp_path.rglob("namespace.json")
    path.write_text(json.dumps({"namespace": "here", **described}))
    again = EmbeddingCache(tmp_path)
    assert not again.get_many("here", [key("a")])[1].any()
    again.put_many("here", [key("b")], np.ones((1, 7), np.float32))
    rows, hits = EmbeddingCache(tmp_path).get_many("here", [key("a"), key("b")])
    assert hits.all()
    assert (rows == 1).all()


def test_what_vanishes_while_the_cache_is_described_is_left_out(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put_many("here", [key("a")], np.ones((1, 7), np.float32))
    (path,) = tmp_path.rglob("*.keys")
    path.with_name("gone.keys").symlink_to("nowhere")
    assert cache.info().entries == 1
