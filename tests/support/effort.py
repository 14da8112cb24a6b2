"""How much of the same a test does: a little in every run, a lot under `make test-lots`."""

from __future__ import annotations

import os

LOTS = bool(os.environ.get("FRACTAL_TEST_LOTS"))


def few(count: int, lots: int) -> int:
    """Return `count`, or `lots` where the tests are asked to take their time."""
    return lots if LOTS else count
