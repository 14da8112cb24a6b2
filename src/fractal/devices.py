"""Which device and which precision to compute in."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence

import torch

from fractal.bags import Bags
from fractal.errors import BadSpec

__all__ = ["choose_device", "choose_precision", "native_bf16", "suited_threads"]

WIDE = 96 * 384  # from so many weights in the first layer on, bf16 gains more than its conversions cost


def choose_device(given: str = "auto") -> torch.device:
    """Return the device of that name; 'auto' takes a GPU where there is one."""
    if given == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(given)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadSpec(
            f"device={given!r} cannot be used here: {str(error).splitlines()[0]} Try device='auto'."
        ) from error
    return device


def choose_precision(given: str, hidden: Sequence[int], bags: Bags) -> torch.dtype:
    """Return the precision of products: as told, or bf16 where it is native and the products are wide enough to pay."""
    if given not in ("auto", "fp32", "bf16"):
        raise BadSpec(f"precision={given!r}: give 'auto', 'fp32' or 'bf16'")
    columns = bags.features.shape[1] + sum(shared.rows.shape[1] for shared in bags.shared)
    pays = columns * (hidden[0] if hidden else 1) >= WIDE and native_bf16(bags.features.device.type)
    return torch.bfloat16 if given == "bf16" or (given == "auto" and pays) else torch.float32


@contextlib.contextmanager
def suited_threads(hidden: Sequence[int], bags: Bags) -> Iterator[None]:
    """Keep small products on one thread: to share them costs more than they do, most of all on a busy machine."""
    before = torch.get_num_threads()
    columns = bags.features.shape[1] + sum(shared.rows.shape[1] for shared in bags.shared)
    small = columns * (hidden[0] if hidden else 1) < WIDE
    torch.set_num_threads(1 if small else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def native_bf16(device: str) -> bool:
    """Whether this kind of device multiplies bf16 in hardware."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return bool(
            torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
    return False
