"""What machine a table was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu() -> str:
    """Name the processor and how many cores of it there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores"
