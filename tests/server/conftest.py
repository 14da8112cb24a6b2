"""A studio for each test; one that has learned already is made once and copied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the studio needs its extra: pip install 'fractal-scores[serve]'")

from support.studios import Opened, copied, opened, trained_folder


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Opened]:
    with opened(tmp_path / "studio") as one:
        yield one


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_folder(tmp_path_factory.mktemp("trained") / "studio")


@pytest.fixture
def learned(trained: Path, tmp_path: Path) -> Iterator[Opened]:
    with copied(trained, tmp_path / "copy") as one:
        yield one
