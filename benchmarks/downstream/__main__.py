"""Step scores that help to train: step AUC, best-of-N, and arms of GRPO on chained arithmetic. Resumable.

python -m benchmarks.downstream --parts few --jobs 2                       a CPU: about a minute a run
python -m benchmarks.downstream --device cuda --jobs 16                    everything
python -m benchmarks.downstream --parts many --arms outcome --width 256 --layers 6 --log l.jsonl --out l.md    larger
python -m benchmarks.downstream --page                                     writes the page of what was measured
"""

from __future__ import annotations

import argparse
import functools
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.downstream.arms import ARMS, FEW_ARMS, MAIN
from benchmarks.logbook import RESULTS, Logbook

BUILD = Path(__file__).parents[2] / "build" / "downstream"
PARTS = ("many", "few", "selection")


def cells(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Return what is to be measured, the most wanted first: seed by seed, the arms of the criterion before others."""
    from benchmarks.downstream.selection import METHODS

    wanted = options.parts.split(",")
    by_part = {"many": ARMS, "few": FEW_ARMS, "selection": METHODS}
    every = [
        (part, name, seed)
        for part in wanted
        for seed in range(options.seeds)
        for name in by_part[part]
        if part == "selection" or not options.arms or name in options.arms.split(",")
    ]
    return sorted(every, key=lambda cell: (wanted.index(cell[0]), cell[0] == "many" and cell[1] not in MAIN, cell[2]))


def said(row: dict) -> str:
    """Say in a line what came of a cell."""
    if "failed" in row:
        return f"{row['name']}, seed {row['seed']}: {row['failed']}"
    if row["part"] == "selection":
        return f"{row['name']}, seed {row['seed']}: step AUC {row['roc_auc']:.3f} in {row['s']:.0f} s"
    curve = " ".join(f"{look['right']:.3f}" for look in row["looks"])
    return f"{row['name']}, seed {row['seed']}: {curve} in {row['s']:.0f} s"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--arms", default="", help="names, with commas between; all if left out")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--policy", type=Path, default=BUILD / "policy.pt")
    parser.add_argument("--log", type=Path, default=RESULTS / "downstream.jsonl")
    parser.add_argument("--out", type=Path, default=RESULTS / "downstream.md")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    options = parser.parse_args()
    book = Logbook(options.log, "part", "name", "seed")
    if not options.page:
        from benchmarks.downstream.cells import measure, pretrained

        if not options.policy.exists():
            book.add(pretrained(options))
        book.fill(functools.partial(measure, options), cells(options), options.jobs, said)
    from benchmarks.downstream.tables import write

    write(book.rows, options.out)


if __name__ == "__main__":
    main()
