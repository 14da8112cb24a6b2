"""Every kind of work is killed at moments drawn by chance; by hand, `python tests/fuzz/kills.py --kills 200`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

KILLS = os.environ.get("FUZZ_KILLS", "6")
SEED = os.environ.get("FUZZ_SEED", "0")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
def test_nothing_is_lost_by_kills():
    script = Path(__file__).with_name("kills.py")
    command = [sys.executable, str(script), "--kills", KILLS, "--seed", SEED]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["what"] for line in lines] == ["train", "score", "export", "report", "save", "cache"], run.stderr
    assert not [line for line in lines if line["faults"]]
    assert run.returncode == 0
