"""What every test shares: one thread, no network, slow tests on demand."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from support.effort import few

settings.register_profile(
    "suite",
    deadline=None,
    max_examples=few(25, 50),
    derandomize=True,
    # the other checks measure how busy the machine is, too
    suppress_health_check=[check for check in HealthCheck if check is not HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="slow: run with --slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)
        return
    long = {item.path for item in items if "slow" in item.keywords}
    items.sort(
        key=lambda item: item.path not in long
    )  # the longest files first, so that no process ends with one alone
