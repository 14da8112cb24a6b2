"""Run what is missing of the questions, resumably; then write the tables.

python -m benchmarks.questions                        all of them
python -m benchmarks.questions "forms of MIN" priors --seeds 3
"""

from __future__ import annotations

import argparse
import os

from benchmarks.logbook import RESULTS, Logbook

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Run what is missing, write the tables."""
    from benchmarks.questions.asked import MOST, questions
    from benchmarks.questions.cells import run_one
    from benchmarks.questions.tables import write_page

    every = questions()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=[], metavar="QUESTION", help=", ".join(every))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--encoder", default="static")
    parser.add_argument("--most", type=int, default=MOST, help="training responses of a set")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    book = Logbook(RESULTS / "questions.jsonl", "question", "set", "variant", "seed", "encoder", "most")
    wanted = [
        (title, name, variant, seed, args.encoder, args.most)
        for seed in range(args.seeds)
        for title in args.questions or every
        for name in every[title].sets
        for variant in every[title].variants
    ]
    book.fill(run_one, wanted, args.jobs, _told)
    write_page(book.rows, every, args.encoder, args.most)


def _told(row: dict) -> str:
    told = f"{row['question']}: {row['set']} · {row['variant']} · seed {row['seed']}"
    return f"{told}: AUC {row['auc']:.3f} in {row['cpu_s']:.0f} s"


if __name__ == "__main__":
    main()
