"""Which device computes, in which precision, and on how many threads: one answer for encoders, heads and tuning."""

from __future__ import annotations

import contextlib
import functools
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fractal.errors import BadSpec, MissingExtra

__all__ = [
    "choose_device",
    "choose_encoder_dtype",
    "choose_precision",
    "free_memory",
    "native_bf16",
    "one_blas_thread",
    "require_torch",
    "suited_threads",
]

DTYPES = ("auto", "float32", "bfloat16")
PROBED_GAIN = 1.2  # how much faster than fp32 a bf16 product must be to count as native: .3 to .6 and 1.6 to 8 are met
UNKNOWN_MEMORY = 8 << 30  # bytes, where the system does not tell how many are free
WIDE = 96 * 384  # from so many weights in the first layer on, bf16 gains more than its conversions cost


def require_torch(what: str) -> Any:
    """Import torch, or say what to install."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra(what, "train", "torch") from error
    return torch


def free_memory() -> int:
    """Return how many bytes a process may still take: of the machine, or of the container where that allows less."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        free = kilobytes["MemAvailable"] * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return UNKNOWN_MEMORY
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit: "max"
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, max(limit - used, 0))
    return free


def choose_device(name: str = "auto", what: str = "Training") -> Any:
    """Return the device of that name; 'auto' is a GPU where there is one, then Apple's, then the CPU."""
    torch = require_torch(what)
    if name == "auto":
        kinds = {"cuda": torch.cuda, "mps": torch.backends.mps}
        name = next((kind for kind, backend in kinds.items() if backend.is_available()), "cpu")
    try:
        device: Any = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise BadSpec(f"{what}: device={name!r} cannot be used here: {why} Try device='auto'.") from error
    return device


def choose_encoder_dtype(name: str, device: Any) -> str:
    """Return 'bfloat16' or 'float32': as named, or bf16 where the device has it in hardware."""
    if name != "auto":
        return name
    return "bfloat16" if native_bf16(device.type) else "float32"


def choose_precision(name: str, weights: int, device: str) -> Any:
    """Return the precision of a head's products: as named, or bf16 where it is native and they are wide enough to pay.

    `weights` counts those of the first layer, `device` is a kind: 'cpu', 'cuda'.
    """
    torch = require_torch("Training")
    if name not in ("auto", "fp32", "bf16"):
        raise BadSpec(f"precision={name!r}: give 'auto', 'fp32' or 'bf16'")
    pays = weights >= WIDE and native_bf16(device)
    return torch.bfloat16 if name == "bf16" or (name == "auto" and pays) else torch.float32


@contextlib.contextmanager
def suited_threads(weights: int) -> Iterator[None]:
    """Keep small products on one thread: to share them costs more than they do, most of all on a busy machine."""
    torch = require_torch("Training")
    before = torch.get_num_threads()
    torch.set_num_threads(1 if weights < WIDE else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_blas_thread() -> contextlib.AbstractContextManager[Any]:
    """Keep numpy's many small products on one thread: on a busy machine most of two threads' time is waiting."""
    try:
        return _blas().limit(limits=1, user_api="blas")  # type: ignore[no-any-return]
    except ImportError:
        return contextlib.nullcontext()


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@functools.cache
def native_bf16(kind: str) -> bool:
    """Whether this kind of device ('cpu', 'cuda', 'mps') multiplies bf16 in hardware, and gains by it.

    The library's own probe says yes on CPUs that only emulate it, at a third of the speed of fp32; and AVX512-BF16
    brings one processor four times the speed of fp32, another half of it, so it is timed.
    """
    torch = require_torch("bf16")
    if kind == "cuda":
        return bool(torch.cuda.get_device_capability() >= (8, 0))
    if kind == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    if kind != "cpu":
        return False
    flags = [getattr(torch.cpu, flag, None) for flag in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    if platform.machine().lower() in ("x86_64", "amd64") and None not in flags:
        amx, avx512 = (bool(flag and flag()) for flag in flags)
        if amx or not avx512:  # a flag gives every process the same answer, and the same fingerprint
            return amx
    return _bf16_gain() > PROBED_GAIN


def _bf16_gain(rounds: int = 5) -> float:
    """How many times faster a product of the network's size is in bf16: the best of some interleaved rounds."""
    torch = require_torch("bf16")
    best = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    for _ in range(rounds + 1):
        for dtype in best:
            left, right = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
            start = time.perf_counter()
            left @ right
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best[torch.float32] / best[torch.bfloat16]
