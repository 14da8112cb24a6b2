"""On what machine a table was measured, and with what."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def cpu() -> str:
    """Name the processor and how many cores of it there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores"


def setting(*commands: str) -> str:
    """Say where and with what a page of figures was measured."""
    shown = ", ".join(f"`{command}`" for command in commands)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))
    return f"Machine: {cpu()}, one thread a run, {libraries}. {shown}."
