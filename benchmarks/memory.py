"""How much memory it takes to lay the bags of a million sentences for training with the default recipes.

python -m benchmarks.memory --sentences 1000000
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from fractal.datasets.synthetic import make_responses
from fractal.encoders.block import EncodedBlock
from fractal.ensemble.config import FitConfig
from fractal.ensemble.datasets import build_training_sets
from fractal.ensemble.specs import RESPONSE_EXPERTS
from fractal.records.corpus import gather

DIM, DIRECTIONS = 384, 64  # of a vector, and how many of its principal ones a scorer keeps


def peak_gb() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def made_block(sentences: int) -> EncodedBlock:
    """Return a block of made texts, again and again, with random unit vectors: their values do not matter here."""
    some = make_responses(2_000, task="answers", seed=0)
    responses, count = [], 0
    for response in itertools.cycle(some):
        if count >= sentences:
            break
        responses.append(response)
        count += len(response.sentences)
    rng = np.random.default_rng(0)
    sizes = [len(response.sentences) for response in responses]
    chunks = [len(response.context) for response in responses]

    def unit(rows: int) -> np.ndarray:
        values = rng.standard_normal((rows, DIM), dtype=np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return values

    return EncodedBlock(
        responses=tuple(responses),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sentences=unit(sum(sizes)),
        queries=unit(len(responses)),
        chunks=unit(sum(chunks)),
        chunk_offsets=np.concatenate([[0], np.cumsum(chunks)]).astype(np.int64),
        late=rng.random((sum(sizes), 10), dtype=np.float32),
    )


def main() -> None:
    """Lay the bags and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "memory.md")
    args = parser.parse_args()
    block = made_block(args.sentences)
    held = peak_gb()
    corpus = gather(block.responses)
    lines = [
        "# Memory",
        "",
        f"{len(block.sentences):,} sentences of {len(block):,} responses, vectors of {DIM}: with texts and vectors the "
        f"process holds {held:.2f} GB before it lays a bag. Command: `python -m benchmarks.memory`.",
        "",
        "| recipe | columns | seconds of processor time | most memory ever held, GB |",
        "|---|---:|---:|---:|",
    ]
    training_sets = []
    for spec in RESPONSE_EXPERTS:
        if spec.linear:
            continue  # it reads the columns of one that is not
        started = time.process_time()
        (data,) = build_training_sets(block, corpus, [spec], FitConfig((spec,)))
        training_sets.append(data)
        spent = time.process_time() - started
        lines.append(f"| {spec} | {data.bags.features.shape[1]} | {spent:.0f} | {peak_gb():.2f} |")
        print(lines[-1], flush=True)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
