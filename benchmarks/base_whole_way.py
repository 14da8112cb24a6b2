"""Scoring by `base` the whole way, from JSON lines to scored JSON lines, beside its encoder alone: processor time.

    python -m benchmarks.base_whole_way SCORER/ NAME=TEXTS.jsonl … > benchmarks/results/base_whole_way.md

What the engine's worker does with a unit runs in this process, on one thread, without a cache; the encoder's part is
taken inside it, so both are of the same texts in the same batches. Starting and loading are left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from benchmarks.machine import setting
from fractal.encoders import ENCODERS
from fractal.engine.units import cut, find_sources
from fractal.engine.work import Job, Worker


def timed(encode: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Return the same, with the processor time of each call added to a list."""

    def encoding(*arguments: Any, **options: Any) -> Any:
        begun = time.process_time()
        rows = encode(*arguments, **options)
        spent.append(time.process_time() - begun)
        return rows

    return encoding


def measured(scorer: str, texts: str) -> tuple[int, float, float]:
    """Score a file; return how many sentences it has, and the seconds of the whole and of the encoder."""
    with tempfile.TemporaryDirectory() as output:
        work = Worker(Job("score", scorer, output, cache=False))
        units = cut(find_sources([texts]))
        spent: list[float] = []
        kind = type(ENCODERS.build("minilm"))
        originals = kind.encode, kind.encode_tokens
        kind.encode, kind.encode_tokens = (timed(method, spent) for method in originals)  # type: ignore[method-assign]
        try:
            begun = time.process_time()
            sentences = sum(work(unit).sentences for unit in units)
            return sentences, time.process_time() - begun, sum(spent)
        finally:
            kind.encode, kind.encode_tokens = originals  # type: ignore[method-assign]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scorer")
    parser.add_argument("texts", nargs="+", metavar="NAME=TEXTS.jsonl")
    args = parser.parse_args()
    ENCODERS.build("minilm").encode(["Loaded."])
    print("# The whole way by `base`\n")
    print(f"{(__doc__ or '').split(chr(10) * 2)[2].replace(chr(10), ' ').strip()}\n")
    print(f"{setting('python -m benchmarks.base_whole_way SCORER/ NAME=TEXTS.jsonl …')} The machine did other work.\n")
    print("| texts | sentences | whole way, s | encoder, s | more than the encoder |\n|---|---:|---:|---:|---:|")
    for named in args.texts:
        name, _, texts = named.partition("=")
        sentences, whole, encoder = measured(args.scorer, texts)
        print(f"| {name} | {sentences:,} | {whole:.2f} | {encoder:.2f} | {whole / encoder - 1:.1%} |", flush=True)


if __name__ == "__main__":
    main()
