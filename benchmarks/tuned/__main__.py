"""Run every set × seed over processes, resumably, and write the tables.

python -m benchmarks.tuned                                  every set, five seeds (for a GPU)
python -m benchmarks.tuned --sets absa16_reviews --seeds 1  one set, on a CPU
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from benchmarks.logbook import RESULTS, Logbook

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> None:
    """Parse the command line, run what is missing, write the tables."""
    from benchmarks.accuracy.data import SETS
    from benchmarks.tuned.cells import run_cell
    from benchmarks.tuned.tables import without_share, write_tables

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=1500, help="keep so many training responses of each set")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--mpnet", help="the folder of all-mpnet-base-v2, or 'hub'")
    parser.add_argument("--plan", type=json.loads, default={}, help="options of the tuning plan, as JSON")
    parser.add_argument("--name", default="tuned", help="what the tables call an encoder that the plan names")
    parser.add_argument("--no-supervised", action="store_true")
    parser.add_argument("--no-default", action="store_true", help="full supervision alone")
    parser.add_argument("--no-tuned", action="store_true", help="frozen encoders alone")
    parser.add_argument(
        "--no-share", default="", help="sets where the tuned encoder has no share: not tuned, yet joined"
    )
    parser.add_argument("--beside", type=Path, help="rows of the accuracy study, for full supervision")
    parser.add_argument("--arrays", type=Path, help="a folder for the log-odds behind the rows")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no cell after so many seconds")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="logs of runs that tuned another encoder")
    parser.add_argument("--log", type=Path, default=RESULTS / "tuned.jsonl")
    parser.add_argument("--out", type=Path, default=RESULTS / "tuned.md")
    parser.add_argument("--machine", default="", help="what the tables say of the machine")
    args = parser.parse_args()
    book = Logbook(args.log, "set", "method", "seed", "most")
    options = {"mpnet": args.mpnet, "plan": args.plan, "supervised": not args.no_supervised, "name": args.name}
    options |= {"tuned": not args.no_tuned, "default": not args.no_default}
    options |= {"arrays": str(args.arrays)} if args.arrays else {}
    alone, both = ("supervised", "supervised tuned") if args.no_default else ("default", f"default + {args.name}")
    last = alone if args.no_tuned else both
    cells = [(name, seed) for seed in range(args.seeds) for name in args.sets.split(",")]
    missing = [cell for cell in cells if (cell[0], last, cell[1], args.most) not in book]
    started = time.perf_counter()
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = iter(missing)
        running = {
            pool.submit(run_cell, *cell, args.most, options): cell for cell in itertools.islice(waiting, args.jobs)
        }
        while running:
            future = next(as_completed(running))
            cell = running.pop(future)
            if (error := future.exception()) is not None:
                print(f"{cell}: {type(error).__name__}: {error}", flush=True)
            else:
                for row in future.result():
                    book.add(row)
                    print(f"{time.perf_counter() - started:.0f} s {_told(row)}", flush=True)
            if time.perf_counter() - started < args.seconds and (cell := next(waiting, None)):
                running[pool.submit(run_cell, *cell, args.most, options)] = cell
    rows = [*book.rows, *without_share(book.rows, args.no_share.split(","))]
    if args.beside:
        measured = {(row["set"], row["seed"]) for row in rows}
        beside = Logbook(args.beside, "set", "method", "seed", "most").rows
        wanted = [row for row in beside if row["method"] == "supervised" and (row["set"], row["seed"]) in measured]
        rows += [row for row in wanted if tuple(row[key] for key in book.keys) not in book]
    others = [Logbook(path, "set", "method", "seed", "most").rows for path in args.others]
    write_tables(rows, args.out, args.machine, others=others)


def _told(row: dict) -> str:
    score = row["score"]
    return (
        f"{row['set']} · {row['method']} · seed {row['seed']}: {score['auc']:.3f} / {score['within']:.3f} "
        f"in {row['wall_s']:.0f} s ({row['cpu_s']:.0f} s of CPU) {row.get('reading', '')} {row.get('alike', '')}"
    )


if __name__ == "__main__":
    main()
