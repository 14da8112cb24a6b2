"""How fast features are made of embedded responses.

The text is generated (words by Zipf's law, with numbers, names and sums), the vectors are random: encoding is not
measured here, and features do the same work whatever the vectors mean.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from fractal.encoders.block import EncodedBlock
from fractal.features import FEATURES, RECIPES, compute
from fractal.records import Response

DIM = 384
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/features.py --responses 1500 --table benchmarks/results/features.md"


def unit(generator: np.random.Generator, count: int) -> np.ndarray:
    rows = generator.standard_normal((count, DIM), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def texts(generator: np.random.Generator, count: int) -> list[str]:
    """Return sentences of about 20 words."""
    letters = generator.integers(97, 123, (30_000, 12), np.uint8)  # frequent words are short
    sizes = np.clip(np.log2(np.arange(2, 30_002)), 2, 12).astype(int)
    vocabulary = [row[:size].tobytes().decode() for row, size in zip(letters, sizes, strict=True)]
    vocabulary[40:400:12] = [str(n) for n in range(30)]
    vocabulary[45:900:9] = [vocabulary[n].capitalize() for n in range(1000, 1095)]
    lengths = generator.poisson(19, count) + 1
    words = iter((generator.zipf(1.2, int(lengths.sum())) % len(vocabulary)).tolist())
    made = [" ".join(vocabulary[next(words)] for _ in range(length)) + "." for length in lengths]
    made[::20] = [f"{text[:-1]}, so 3 * {n} = {3 * n}." for n, text in enumerate(made[::20])]
    return made


def block(bags: int, chunks: int) -> EncodedBlock:
    """Return responses of about 8 sentences, each with a query and a context of so many sentences."""
    generator = np.random.default_rng(0)
    counts = np.maximum(1, generator.poisson(8, bags))
    total = int(counts.sum())
    sentences, context = iter(texts(generator, total)), iter(texts(generator, bags * chunks))
    queries = texts(generator, bags)
    responses = tuple(
        Response.from_sentences(
            str(bag),
            [next(sentences) for _ in range(count)],
            query=queries[bag],
            context=(" ".join(next(context) for _ in range(chunks)),) if chunks else (),
        )
        for bag, count in enumerate(counts)
    )
    return EncodedBlock(
        responses=responses,
        offsets=offsets(counts),
        sentences=unit(generator, total),
        queries=unit(generator, bags),
        chunks=unit(generator, bags * chunks),
        chunk_offsets=offsets(np.full(bags, chunks)),
        late=generator.random((total, 10), np.float32),
    )


def seconds(given: EncodedBlock, recipe: str) -> float:
    fresh = given.take(np.arange(len(given)))  # nothing remembered from the round before
    start = time.process_time()  # of one thread: what else runs on the machine counts less
    compute(fresh, recipe)
    return time.process_time() - start


def processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())


def table(bags: int, rounds: int) -> str:
    settings = {"query only": block(bags, 0), "context of 5 sentences": block(bags, 5), "of 30": block(bags, 30)}
    names = [*RECIPES, *(f for f in FEATURES if f != "precomputed")]
    timings: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name in names:
            for setting, given in settings.items():
                timings.setdefault((name, setting), []).append(seconds(given, name))
    count = len(next(iter(settings.values())).sentences)
    lines = [
        "# Features: sentences a second",
        "",
        f"{processor()}, one thread, Python {platform.python_version()}, numpy {np.__version__}; {count:,} sentences",
        f"of about 20 words in {bags:,} responses, {DIM} dimensions;",
        f"median processor time of {rounds} interleaved rounds; embedding not included. Command: `{COMMAND}`.",
        "",
        f"| recipe or feature | {' | '.join(settings)} |",
        f"|---|{'---:|' * len(settings)}",
    ]
    for name in names:
        rates = [f"{count / statistics.median(timings[name, setting]):,.0f}" for setting in settings]
        lines.append(f"| {'**' + name + '** (recipe)' if name in RECIPES else name} | {' | '.join(rates)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--table", type=Path, help="write the table here, too")
    given = parser.parse_args()
    made = table(given.responses, given.rounds)
    print(made)
    if given.table:
        given.table.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
