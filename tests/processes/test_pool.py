"""The pool of processes: every unit once, errors as they were, units that kill end in an error, nothing stays."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable

import numpy as np
import pytest

from fractal.array_space import ArraySpace, PlacedRows, SharedArray
from fractal.errors import BadData, WorkersDied
from fractal.processes import MOST_TRIES, ProcessPool, Span, spans

UNITS = spans((number, number + 1) for number in range(5))


def squares() -> Callable[[Span], tuple[int, int]]:
    return lambda span: (os.getpid(), span.first**2)


def bad() -> Callable[[Span], int]:
    def refuse(span: Span) -> int:
        if span.number >= 2:
            raise BadData(f"no {span}")
        return span.number

    return refuse


def killing() -> Callable[[Span], int]:
    return lambda span: os._exit(7) if span.number == 3 else span.number  # type: ignore[func-returns-value]


class Summing:
    """Adds a number to rows of one file, and writes them to another."""

    def __init__(self, array: np.ndarray, rows: PlacedRows) -> None:
        self.array, self.rows = SharedArray(array), rows

    def __call__(self) -> Callable[[Span], int]:
        def add(span: Span) -> int:
            self.rows.put(span.first, self.array.array[span.first : span.last] + span.number)
            return span.number

        return add


def test_workers_stay_inside_a_with_and_are_gone_after_it():
    with ProcessPool(squares, 2, imports_main=False) as pool:
        first = list(pool.run(UNITS))
        second = list(pool.run(UNITS))
        assert len(multiprocessing.active_children()) == 2
    assert sorted(value for _, value in first) == sorted(value for _, value in second) == [0, 1, 4, 9, 16]
    assert {process for process, _ in second} <= {process for process, _ in first}
    assert not multiprocessing.active_children()
    assert len(list(ProcessPool(squares, 2, imports_main=False).run(UNITS))) == len(UNITS)
    assert not multiprocessing.active_children()


def test_the_first_error_in_order_is_raised():
    with pytest.raises(BadData, match="no responses 3 to 3"):
        list(ProcessPool(bad, 2, imports_main=False).run(UNITS))


def test_a_unit_that_kills_is_tried_again_and_then_to_blame():
    deaths: list[str] = []
    results = []
    with pytest.raises(
        WorkersDied, match=rf"responses 4 to 4: a worker died {MOST_TRIES} times on this unit \(exit 7\)"
    ):
        results.extend(ProcessPool(killing, 2, imports_main=False, on_death=deaths.append).run(UNITS))
    assert deaths == ["a worker died (exit 7) on responses 4 to 4"] * MOST_TRIES


def test_what_cannot_be_sent_is_an_error_at_once():
    with pytest.raises(WorkersDied, match="no worker process can be started"):
        list(ProcessPool(lambda: squares(), 1).run(UNITS))


@pytest.mark.parametrize("in_file", [True, False])
def test_arrays_in_files_are_shared_and_others_copied(tmp_path, in_file):
    space = ArraySpace(tmp_path)
    array = (space if in_file else ArraySpace()).empty((5, 3), "i8")
    array[:] = np.arange(15).reshape(5, 3)
    rows = PlacedRows(space, "i8")
    assert sorted(ProcessPool(Summing(array, rows), 2, imports_main=False).run(UNITS)) == list(range(5))
    np.testing.assert_array_equal(rows.array(5, 3), array + np.arange(5)[:, None])
    assert not list(tmp_path.iterdir())


def test_a_part_of_an_array_is_shared_as_that_part(tmp_path):
    array = ArraySpace(tmp_path).empty((8, 3), "i8")
    array[:] = np.arange(24).reshape(8, 3)
    rows = PlacedRows(ArraySpace(tmp_path), "i8")
    list(ProcessPool(Summing(array[2:7], rows), 1, imports_main=False).run(UNITS))
    np.testing.assert_array_equal(rows.array(5, 3), array[2:7] + np.arange(5)[:, None])
