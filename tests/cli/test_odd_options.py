"""Options that nobody means: plain errors, and no memory that is not there."""

from __future__ import annotations

import pytest

from fractal.cli import main
from fractal.errors import BadFolder
from fractal.mil.training import checkpoints
from fractal.mil.training.plan import TrainingPlan


@pytest.mark.parametrize(
    "options",
    [{"hidden": (999_999_999,)}, {"hidden": (8,) * 1_000}, {"seed": 10**30}, {"seed": -1}],
    ids=["wide", "deep", "large seed", "negative seed"],
)
def test_plans_beyond_reason_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TrainingPlan(**options)


@pytest.mark.parametrize("content", ["a = " + "[" * 3_000 + "]" * 3_000, "a = " + "{b = " * 3_000 + "1" + "}" * 3_000])
def test_a_configuration_nested_without_end_is_a_plain_error(tmp_path, capsys, content):
    config, data = tmp_path / "a.toml", tmp_path / "a.jsonl"
    config.write_text(content)
    data.write_text("")
    with pytest.raises(SystemExit) as ended:
        main(["train", str(data), "-o", str(tmp_path / "s"), "--config", str(config)])
    assert ended.value.code == 2
    assert "nests its values too deep" in capsys.readouterr().err


def test_a_full_disk_while_training_is_a_plain_error(tmp_path, monkeypatch):
    from safetensors import SafetensorError
    from safetensors import torch as safetensors

    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors, "save_file", full)
    with pytest.raises(BadFolder, match="disk full"):
        checkpoints.save_checkpoint(tmp_path / "a.safetensors", "run", {}, {})
    assert not list(tmp_path.iterdir())
