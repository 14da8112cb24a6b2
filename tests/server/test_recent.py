"""What is remembered for a moment is forgotten in time, and never more than so much is held."""

from __future__ import annotations

import pytest

from fractal.server import recent
from fractal.server.recent import Recent


def test_a_value_is_there_for_its_seconds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(recent.time, "monotonic", lambda: clock[0])
    values: Recent[str, int] = Recent(2.0)
    assert values.get("a") is None
    assert values.put("a", 1) == 1
    clock[0] += 1.9
    assert values.get("a") == 1
    clock[0] += 0.2
    assert values.get("a") is None
    values.put("a", 2)
    values.clear()
    assert values.get("a") is None


def test_it_never_holds_more_than_a_thousand() -> None:
    values: Recent[int, int] = Recent(60.0)
    for number in range(recent.MOST + 5):
        values.put(number, number)
        assert values.get(number) == number
    assert sum(values.get(number) is not None for number in range(recent.MOST + 5)) <= recent.MOST
