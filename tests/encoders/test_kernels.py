"""The kernels for GPUs: the same figures as torch in Triton's interpreter, and compiled for a card that is not here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="the test group brings Triton on Linux")
CASES = Path(__file__).parent / "kernel_cases.py"


def test_kernels_give_what_torch_gives() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, CASES], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("tile", "tiles"), [(16, 1), (32, 1), (64, 4)])
def test_attention_compiles_for_a_gpu(tile: int, tiles: int) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from fractal.encoders import kernels

    names = ("HEADS", "SIZE", "TILE", "TILES")
    source = ASTSource(
        kernels._attend,
        signature={"joined": "*bf16", "ends": "*i32", "out": "*bf16", "scale": "fp32"}
        | dict.fromkeys(names, "constexpr"),
        constexprs=dict(zip(names, (12, 32, tile, tiles), strict=True)),
    )
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]


def test_the_normalised_sum_compiles_for_a_gpu() -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from fractal.encoders import kernels

    tensors = dict.fromkeys(("one", "other", "weight", "bias", "out"), "*bf16")
    names = ("WIDTH", "PADDED", "ROWS")
    source = ASTSource(
        kernels._add_and_norm,
        signature={**tensors, "eps": "fp32", "count": "i32"} | dict.fromkeys(names, "constexpr"),
        constexprs=dict(zip(names, (384, 512, 4), strict=True)),
    )
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]
