"""Step scores that help to train: step AUC, best-of-N, and arms of GRPO on chained arithmetic. Resumable.

python -m benchmarks.downstream                                 a CPU: pretrains once, then a minute or two a run
python -m benchmarks.downstream --device cuda --jobs 16 --prompts 32 --looked-at 1024      as published
python -m benchmarks.downstream --arms outcome --seeds 1 --width 256 --layers 6            a larger policy
python -m benchmarks.downstream --page                          writes the page of what was measured
"""

from __future__ import annotations

import argparse
import functools
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.downstream.arms import ARMS, MAIN
from benchmarks.logbook import RESULTS, Logbook

BUILD = Path(__file__).parents[2] / "build" / "downstream"
ALWAYS, SEEDS = 3, 5  # seeds of every arm that come before the selection, and of all


def cells(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Return what is to be measured, the most wanted first."""
    from benchmarks.downstream.selection import METHODS

    arms = options.arms.split(",") if options.arms else [*ARMS]
    runs = [("arms", name, seed) for seed in range(options.seeds) for name in arms]
    selection = [] if options.arms else [("selection", name, s) for s in range(options.seeds) for name in METHODS]
    main, others = ([cell for cell in runs if (cell[1] in MAIN) == is_main] for is_main in (True, False))
    early, late = ([cell for cell in others if (cell[2] < ALWAYS) == is_early] for is_early in (True, False))
    return [*main, *early, *selection, *late]


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
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--arms", default="", help="names, with commas between; all arms and the selection if left out")
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--prompts", type=int, default=16, help="of a batch")
    parser.add_argument("--answers", type=int, default=16, help="to each prompt")
    parser.add_argument("--looked-at", type=int, default=512, help="prompts of a look")
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
