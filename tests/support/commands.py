"""Shell blocks of pages, run as they stand in this process; training is made small."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner

from fractal.cli import app

SMALL = ["--encoder", "hashing(dim=128)", "--no-cache", "--set", "epochs=6", "--set", "members=2", "--set", "folds=2"]


def shell_blocks(page: Path) -> list[str]:
    """Return the blocks of a page that are typed into a shell."""
    return re.findall(r"^```(?:sh|shell)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_shell(block: str, training: Sequence[str] = SMALL) -> int:
    """Run the commands of a block one after another, `training` added to each `train`; return how many there were."""
    count = 0
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "fractal", f"only `fractal` runs here: {line}"
        target = words[words.index(">") + 1] if ">" in words else ""
        words = words[1 : words.index(">")] if target else words[1:]
        small = training if words[0] == "train" else ["--encoder", SMALL[1]] if "--cross-fit" in words else []
        ran = CliRunner().invoke(app, [*words, *small], catch_exceptions=False)
        assert ran.exit_code == 0, f"{line}\n{ran.output}"
        if target:
            Path(target).write_text(ran.stdout)
        count += 1
    return count
