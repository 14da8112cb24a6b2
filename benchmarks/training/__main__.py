"""How fast a head is trained and read, beside a step in the style of the authors' scripts, torchmil, and bare products.

Generated bags (log-normal sizes, 3 to 60 sentences, random unit vectors of 384 numbers), the same network for all: the
query and the sentence, 768-384-192-1. Processor time of one thread, every variant once a round, medians of ratios
taken inside a round.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.machine import setting
from benchmarks.training.tables import ensemble_table, quality_table, scaling_table, scoring_table, training_table
from benchmarks.training.variants import make_world

COMMAND = (
    "OMP_NUM_THREADS=1 python -m benchmarks.training --rounds 3 --bags 3000 --table benchmarks/results/training.md"
)


def main() -> None:
    """Write the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bags", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=["training", "ensemble", "scaling", "scoring", "quality"])
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    world = make_world(given.bags)
    sections = {
        "training": ("Training", lambda: training_table(world, given.bags, given.rounds)),
        "ensemble": ("An ensemble of five", lambda: ensemble_table(world, given.bags // 2, given.rounds)),
        "scaling": ("From ten thousand to a million sentences", lambda: scaling_table(3)),
        "scoring": ("Scoring a million cached sentences", scoring_table),
        "quality": ("Does bf16 change what is learned?", lambda: quality_table(5)),
    }
    text = (
        f"# Training and scoring: sentences a second of processor time\n\n{setting(COMMAND)}\n\n"
        f"{given.bags:,} bags, {len(world.sentences):,} sentences, "
        f"{len(world.bags.sentence_pairs.first):,} sentence pairs; "
        f"medians of {given.rounds} interleaved rounds.\n"
    )
    for name in given.only:
        title, table = sections[name]
        text += f"\n## {title}\n\n" + "\n".join(table()) + "\n"
        print(text.rsplit("\n## ", 1)[1], flush=True)
    if given.table:
        given.table.write_text(text)


if __name__ == "__main__":
    main()
