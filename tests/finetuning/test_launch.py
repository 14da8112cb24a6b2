"""Several processes tune as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.tuning_models import tiny_model

SCRIPT = Path(__file__).with_name("launched.py")
ROOT = Path(__file__).parents[2]


def losses(folder, batch, processes):
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*words, str(SCRIPT), str(folder), str(batch)],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    lines = [line for line in ended.stdout.splitlines() if line.startswith("losses")]
    assert lines, ended.stderr[-2000:]
    return np.array(lines[0].split()[1:], float)


@pytest.mark.slow
def test_two_processes_give_the_loss_of_one(tmp_path):
    folder = tiny_model(tmp_path / "model", dropout=0.0)
    one, two = losses(folder, 16, 1), losses(folder, 8, 2)
    assert len(one) == len(two) == 6
    assert np.allclose(one, two, atol=1e-4)
    assert one[-1] < one[0]
