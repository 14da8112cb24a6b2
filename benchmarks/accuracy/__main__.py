"""Run every set × method × seed over processes, resumably, and write the tables.

python -m benchmarks.accuracy                       everything
python -m benchmarks.accuracy --quick               two small sets, one seed
python -m benchmarks.accuracy --sets wikiqa --methods default,cosine --seeds 3
"""

from __future__ import annotations

import argparse
import os

from benchmarks.logbook import RESULTS, Logbook

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Parse the command line, run what is missing, write the tables."""
    from benchmarks.accuracy.cells import run_one
    from benchmarks.accuracy.data import SETS, WITHOUT_RATINGS, WITHOUT_SENTENCE_LABELS, folder
    from benchmarks.accuracy.methods import METHODS, NEEDS_RATINGS, NEEDS_SENTENCE_LABELS, SEEDS
    from benchmarks.accuracy.tables import write_tables

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--methods", default=";".join(METHODS), help="separated by ;")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, help="keep so many training responses of each set")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", default="accuracy", help="name of the tables under benchmarks/results")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.sets, args.seeds, args.out, args.most = "faithbench,absa16_reviews", 1, "accuracy-quick", 400
    if not folder().is_dir():
        raise SystemExit(f"There are no real sets at {folder()}: set FRACTAL_BENCH_DATA to their folder.")
    book = Logbook(RESULTS / f"{args.out}.jsonl", "set", "method", "seed", "most")
    wanted = [
        (name, method, seed, args.most)
        for seed in range(args.seeds)
        for name in args.sets.split(",")
        for method in args.methods.split(";")
    ]
    impossible = (
        *((name, method) for name in WITHOUT_SENTENCE_LABELS for method in NEEDS_SENTENCE_LABELS),
        *((name, method) for name in WITHOUT_RATINGS for method in NEEDS_RATINGS),
    )
    possible = [cell for cell in wanted if cell[:2] not in impossible and cell[2] < SEEDS.get(cell[1], args.seeds)]
    book.fill(run_one, possible, args.jobs, _told)
    write_tables(book.rows, RESULTS / f"{args.out}.md", args.most)


def _told(row: dict) -> str:
    told = f"{row['set']} · {row['method']} · seed {row['seed']}"
    return f"{told}: AUC {row['score']['auc']:.3f} in {row['cpu_s']:.0f} s of CPU"


if __name__ == "__main__":
    main()
