"""Altered checkpoints and hostile specifications: an error of the library's own, never a raw one, never silence."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from fractal.encoders import ENCODERS  # noqa: E402
from fractal.errors import BadFolder, FractalError  # noqa: E402
from fractal.features import FEATURES  # noqa: E402
from fractal.mil.aggregations import AGGREGATIONS  # noqa: E402
from fractal.mil.training.checkpoints import load_checkpoint, save_checkpoint  # noqa: E402
from fractal.records.splitting import SPLITTERS  # noqa: E402

CASES = int(os.environ.get("FRACTAL_FUZZ_CASES", "50"))
PIECES = ("softmin", "hashing", "(", ")", "temperature=", "dim=", "1e999", "-1", "None", "'", '"', ",", "[", "{", "\0")
MORE = ("**x", "__import__('os')", "lambda: 0", "x.y", "10**9", "é", "\ud800", " ", "=" * 30, "(" * 300, "0x", "True")


def test_an_altered_checkpoint_is_refused(tmp_path: Path) -> None:
    draw, path = random.Random(1), tmp_path / "run.safetensors"
    save_checkpoint(
        path, "me", {"epoch": 2, "history": []}, {"a": torch.arange(40.0), "b": torch.ones(3, dtype=torch.long)}
    )
    whole = path.read_bytes()
    for _ in range(CASES):
        place = draw.randrange(len(whole))
        cut = draw.random() < 0.2
        path.write_bytes(
            whole[:place] + (b"" if cut else bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :])
        )
        try:
            state, tensors = load_checkpoint(path, "me") or ({}, {})
        except BadFolder:
            continue
        assert state == {"epoch": 2, "history": []}  # a blank of the header, say
        assert torch.equal(tensors["a"], torch.arange(40.0))
        assert torch.equal(tensors["b"], torch.ones(3, dtype=torch.long))


@pytest.mark.parametrize("registry", [AGGREGATIONS, ENCODERS, FEATURES, SPLITTERS], ids=lambda r: r.kind)
def test_a_hostile_specification_builds_or_is_refused(registry) -> None:  # type: ignore[no-untyped-def]
    draw = random.Random(2)
    for _ in range(CASES):
        spec = draw.choice([*registry.names(), ""]) + "".join(draw.choices(PIECES + MORE, k=draw.randrange(8)))
        try:
            registry.build(spec)
        except FractalError:
            continue
