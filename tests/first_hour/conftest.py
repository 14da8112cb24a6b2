"""What several files of the first hour share: one scorer, trained once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scorer that learned with a query and a context in every row; tests read it and leave it as it is."""
    from tests.first_hour.made import jsonl, rows
    from tests.first_hour.test_first_hour import QUICK, run

    folder = tmp_path_factory.mktemp("scorer")
    (folder / "ratings.jsonl").write_bytes(jsonl(rows()))
    assert run("train", str(folder / "ratings.jsonl"), "-o", str(folder / "scorer"), *QUICK).exit_code == 0
    return folder / "scorer"
