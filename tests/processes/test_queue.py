"""The queue of units: every unit once, dead workers' again, and of several failures the first in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.engine.units import Unit
from fractal.errors import BadData, WorkersDied
from fractal.processes import MOST_TRIES, UnitQueue


def units(count: int) -> list[Unit]:
    return [Unit(number, f"{number}.jsonl", "jsonl") for number in range(count)]


@given(st.integers(1, 12), st.sets(st.integers(0, 11)), st.integers(1, 4), st.randoms(use_true_random=False))
def test_of_several_failures_the_first_in_order_is_told_whichever_comes_first(count, failing, workers, draw):
    queue, running, ended = UnitQueue(units(count)), [], []
    while len(queue):
        while len(running) < workers and (unit := queue.take()):
            running.append(unit)
        unit = running.pop(draw.randrange(len(running)))
        if unit.number in failing:
            queue.fail(unit, BadData(str(unit.number)))
        else:
            queue.done(unit)
            ended.append(unit.number)
    expected = [number for number in range(count) if number in failing]
    if not expected:
        queue.raise_failure()
        assert sorted(ended) == list(range(count))
        return
    with pytest.raises(BadData, match=rf"^{expected[0]}$"):
        queue.raise_failure()
    assert set(range(expected[0])) <= set(ended)  # what comes before it is done


def test_a_unit_is_tried_again_until_it_is_to_blame():
    queue = UnitQueue(units(2))
    for _ in range(MOST_TRIES):
        unit = queue.take()
        assert unit is not None
        assert unit.number == 0
        queue.put_back(unit, ": gone")
    with pytest.raises(
        WorkersDied, match=rf"0.jsonl \(part-000000\): a worker died {MOST_TRIES} times on this unit: gone"
    ):
        queue.raise_failure()
    assert len(queue) == 0
