"""How fast the default encoder is, beside the sentence-transformers default on the same sentences, in one run.

    python -m benchmarks.encoding SENTENCES.txt --count 1024 --rounds 5 --out benchmarks/results/encoding.md

SENTENCES.txt has one sentence a line. One thread; the clock is the processor's time for this process, so that waiting
for a busy machine does not count. Rounds are interleaved, and a ratio is taken inside its round.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from benchmarks.cache import machine
from fractal.encoders import ENCODERS
from fractal.encoders.weights import find_minilm
from fractal.hardware import native_bf16

DEFAULT = "sentence-transformers, its defaults"
SPECS = {
    "minilm, fp32": "minilm(dtype='float32', device='cpu')",
    "minilm, bf16": "minilm(dtype='bfloat16', device='cpu')",
}

Encode = Callable[[list[str]], np.ndarray]


def ways() -> dict[str, Encode]:
    """Return every way to encode that is compared, the yardstick first."""
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(find_minilm()), device="cpu")
    out: dict[str, Encode] = {
        DEFAULT: lambda texts: library.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    }
    for name, spec in SPECS.items():
        encoder = ENCODERS.build(spec)
        out[name] = encoder.encode
        if "bf16" in name:
            out[f"{name}, with token vectors"] = lambda texts, encoder=encoder: encoder.encode_tokens(texts).pooled
    out["hashing"] = ENCODERS.build("hashing").encode
    return out


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("sentences", type=Path)
    options.add_argument("--count", type=int, default=1024)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    torch.set_num_threads(1)
    lines = [line for line in given.sentences.read_text(encoding="utf-8").split("\n") if line]
    order = np.random.default_rng(0).permutation(len(lines))[: given.count]
    texts = [lines[place] for place in order]
    encoders, rates, cosines = ways(), {}, {}
    truth = encoders[DEFAULT](texts)
    for name, encode in encoders.items():  # the first pass warms up
        rows = encode(texts)
        cosines[name] = (rows * truth).sum(axis=1) if rows.shape == truth.shape else None
        rates[name] = []
    for _ in range(given.rounds):
        for name, encode in encoders.items():
            start = time.process_time()
            encode(texts)
            rates[name].append(len(texts) / (time.process_time() - start))
    table = report(given, texts, rates, cosines)
    print(table)
    if given.out:
        given.out.write_text(table, encoding="utf-8")


def report(given: argparse.Namespace, texts: list[str], rates: dict, cosines: dict) -> str:
    lines = [
        "# Encoding",
        "",
        f"{len(texts):,} sentences of real text ({np.mean([len(text) for text in texts]):.0f} characters on average), "
        f"one thread, processor time, medians of {given.rounds} interleaved rounds. The ratio is the median "
        "of the ratios inside a round; cosines are to the rows of the sentence-transformers default (fp32).",
        "",
        "| encoder | sentences/s | ratio to the default | lowest–highest ratio | mean cosine | lowest cosine |",
        "|---|---|---|---|---|---|",
    ]
    for name, measured in rates.items():
        ratios = [rate / base for rate, base in zip(measured, rates[DEFAULT], strict=True)]
        agreed = cosines[name]
        agreement = "– | –" if agreed is None else f"{agreed.mean():.6f} | {agreed.min():.5f}"
        lines.append(
            f"| {name} | {statistics.median(measured):,.0f} | {statistics.median(ratios):.2f} | "
            f"{min(ratios):.2f}–{max(ratios):.2f} | {agreement} |"
        )
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "sentence-transformers"))
    lines += [
        "",
        f"bf16 native on this CPU, as probed: {'yes' if native_bf16('cpu') else 'no'}. {machine()} Python "
        f"{platform.python_version()}, {libraries}.",
        "",
        f"`python -m benchmarks.encoding SENTENCES.txt --count {given.count} --rounds {given.rounds}`",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
