"""Checkpoints: a run that was killed goes on to the same bits, and no run takes up another's file."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_training import PLAN, make_bags, make_objective, same

from fractal.errors import BadFolder
from fractal.mil.objectives.losses import ResponseLoss
from fractal.mil.training.checkpoints import load_checkpoint, save_checkpoint
from fractal.mil.training.loop import fit_head

LONG = dataclasses.replace(PLAN, epochs=8, dropout=0.2)


class Killed(Exception):
    """Stands for the end of a process."""


def killed_after(epochs):
    def listen(epoch):
        if epoch.epoch == epochs:
            raise Killed

    return listen


@pytest.mark.parametrize("epochs", [1, 5])
def test_a_run_that_stopped_goes_on_to_the_same_bits(tmp_path, epochs):
    bags, objective, path = make_bags(), make_objective(), tmp_path / "run.safetensors"
    through = fit_head(bags, objective, LONG)
    with pytest.raises(Killed):
        fit_head(bags, objective, LONG, [killed_after(epochs)], path)
    heard = []
    resumed = fit_head(bags, objective, LONG, [heard.append], path)
    assert heard[0].epoch == epochs + 1
    assert same(through, resumed)
    assert torch.equal(through.held_out, resumed.held_out)
    assert through.best_epochs == resumed.best_epochs
    assert [e.parts for e in through.history] == [e.parts for e in resumed.history]


def test_a_finished_run_is_not_trained_again(tmp_path):
    bags, objective, path = make_bags(), make_objective(), tmp_path / "run.safetensors"
    done = fit_head(bags, objective, LONG, (), path)
    heard = []
    assert same(done, fit_head(bags, objective, LONG, [heard.append], path))
    assert not heard


def test_a_process_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    path = tmp_path / "run.safetensors"
    program = textwrap.dedent(f"""
        import os, pathlib, signal
        from test_checkpoints import LONG
        from test_training import make_bags, make_objective
        from fractal.mil.training.loop import fit_head
        def die(epoch):
            if epoch.epoch == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        fit_head(make_bags(), make_objective(), LONG, [die], pathlib.Path({str(path)!r}))
    """)
    search = os.pathsep.join([os.path.dirname(__file__), *sys.path])  # noqa: PTH120
    ended = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": search}, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.exists()
    resumed = fit_head(make_bags(), make_objective(), LONG, (), path)
    assert same(fit_head(make_bags(), make_objective(), LONG), resumed)


def test_another_run_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    bags, objective = make_bags(), make_objective()
    fit_head(bags, objective, LONG, (), path)
    others = [
        (bags, objective, dataclasses.replace(LONG, seed=1)),
        (bags, make_objective(ResponseLoss()), LONG),
        (make_bags(seed=1), objective, LONG),
        (dataclasses.replace(bags, weights=1 - bags.weights), objective, LONG),
        (bags.with_targets(cosine=1 - bags.targets["cosine"]), objective, LONG),
        (dataclasses.replace(bags, labels=bags.labels.flip(0)), objective, LONG),
    ]
    for other in others:
        with pytest.raises(BadFolder, match="belongs to a run with other data or another plan"):
            fit_head(*other, (), path)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "run.safetensors"
    fit_head(make_bags(), make_objective(), LONG, (), path)
    if damage == "foreign":
        save_file({"x": torch.ones(2)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 200 if damage == "truncated" else 0])
    with pytest.raises(BadFolder, match=r"run\.safetensors"):
        fit_head(make_bags(), make_objective(), LONG, (), path)


def test_a_checkpoint_is_no_pickle_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "deep" / "run.safetensors"
    fit_head(make_bags(), make_objective(), LONG, (), path)
    assert [entry.name for entry in path.parent.iterdir()] == ["run.safetensors"]
    assert "head.enter" in load_file(path)


def test_a_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "run.safetensors"
    save_checkpoint(
        path, "me", {"epoch": 1, "history": []}, {"head.enter": torch.arange(12.0), "empty": torch.empty(0)}
    )
    assert load_checkpoint(path, "me") is not None
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with pytest.raises(BadFolder, match="altered"):
        load_checkpoint(path, "me")
