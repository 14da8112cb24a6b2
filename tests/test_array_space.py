"""Large arrays in memory and in files: the same values, few pages, nothing left behind, a full disk is an error."""

from __future__ import annotations

import errno
import gc
import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal import array_space
from fractal.array_space import IN_MEMORY, ArraySpace
from fractal.errors import BadFolder


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 4), st.sampled_from(["f4", "f8", "i8"]))
def test_growing_rows_are_those_of_memory(tmp_path_factory, counts, width, dtype):
    spaces = IN_MEMORY, ArraySpace(tmp_path_factory.getbasetemp())
    arrays = []
    for space in spaces:
        rows, rng = space.rows(dtype), np.random.default_rng(0)
        for count in counts:
            rows.append(rng.integers(0, 99, (count, width)))
        arrays.append(rows.array())
        assert rows.count == sum(counts)
    assert arrays[0].dtype == arrays[1].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(*arrays)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (3, 5), (2, 3, 4)])
def test_an_empty_array_in_a_file_is_written_and_read(tmp_path, shape):
    array = ArraySpace(tmp_path).empty(shape)
    assert array.shape == shape
    assert array.dtype == np.float32
    array[...] = 2
    assert array.sum() == 2 * array.size
    assert list(tmp_path.iterdir()) == []  # the file has no name


@pytest.mark.skipif(not hasattr(array_space.mmap, "MADV_DONTNEED"), reason="pages cannot be handed back here")
def test_pages_are_handed_back_and_keep_their_values(tmp_path, monkeypatch):
    monkeypatch.setattr(array_space, "RESIDENT", 0)
    array = ArraySpace(tmp_path).empty((4 << 20,))  # 16 MB
    array[:] = np.arange(len(array))
    for _ in range(100):
        time.sleep(array_space.LOOK_EVERY)
        if resident_of(array) < array.nbytes // 8:
            break
    else:
        pytest.fail("the pages are all in memory still")
    np.testing.assert_array_equal(array, np.arange(len(array), dtype=np.float32))


def resident_of(array):
    """How many bytes of the mapping that holds this array are in memory."""
    address, inside = array.ctypes.data, False
    with open("/proc/self/smaps", encoding="utf-8") as lines:  # noqa: PTH123
        for line in lines:
            if "-" in line.split(" ", 1)[0] and ":" not in line.split(" ", 1)[0]:
                start, end = (int(part, 16) for part in line.split(" ", 1)[0].split("-"))
                inside = start <= address < end
            elif inside and line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    return 0


def test_nobody_watches_when_no_array_is_left(tmp_path):
    array = ArraySpace(tmp_path).empty((10, 10))
    assert array_space._PAGES._watching
    del array
    gc.collect()
    for _ in range(100):
        time.sleep(array_space.LOOK_EVERY)
        if not array_space._PAGES._watching:
            return
    pytest.fail("the thread goes on")


def test_a_full_disk_is_an_error_and_no_crash(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(array_space, "_reserve", full)
    with pytest.raises(BadFolder, match=r"find no room in .*No space left.*TMPDIR"):
        ArraySpace(tmp_path).empty((100, 100))


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(BadFolder, match="no file can be laid in"):
        ArraySpace(tmp_path / "absent").empty((2, 2))
