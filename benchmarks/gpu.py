"""What one GPU does with the encoder: its products' limit, what encoding takes beside it, memory, and tuning.

python -m benchmarks.gpu --out gpu.json       measures on the GPU at hand
python -m benchmarks.gpu --tables gpu.json    writes benchmarks/results/gpu.md
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.logbook import RESULTS

ROUNDS = 5
TOKENS = 131_072  # of a product that is timed
BUDGETS = (16_384, 32_768, 65_536, 131_072, 262_144)  # tokens of a packed pass


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    if args.tables:
        write_page(json.loads(args.tables.read_text()), RESULTS / "gpu.md")
        return
    found = measure(args.device, args.texts)
    print(json.dumps(found, indent=1), flush=True)
    if args.out:
        args.out.write_text(json.dumps(found))


def measure(device: str, count: int) -> dict[str, Any]:
    """Return every figure as plain data."""
    import torch

    found: dict[str, Any] = {"card": _card(device), "torch": torch.__version__}
    texts = _texts(count)
    found |= _encoding(device, texts)
    return found


def _card(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def _texts(count: int) -> list[str]:
    """Sentences of the real sets as they come, from several sets; of fewer, the same again."""
    from benchmarks.accuracy.data import load

    texts = []
    for name in ("wikiqa", "wice_windows", "prmbench", "film_sentiment", "realsumm_scu"):
        texts += [sentence.text for response in load(name, 1500).test for sentence in response.sentences]
    return [texts[i % len(texts)] for i in range(count)]


def _encoding(device: str, texts: list[str]) -> dict[str, Any]:
    import torch

    from fractal.encoders.minilm import MiniLM
    from fractal.encoders.packed import PackedBert

    encoder = MiniLM(device=device)
    started = time.perf_counter()
    ids = encoder._tokenised(texts)
    tokenising = time.perf_counter() - started
    network = encoder._loaded[1]
    dtype = next(network.parameters()).dtype
    order = np.argsort([len(one) for one in ids], kind="stable")
    ids = [ids[i] for i in order]
    counts = np.fromiter(map(len, ids), np.int64, len(ids))
    tokens = int(counts.sum())
    packed = PackedBert(network)
    flat = torch.from_numpy(np.fromiter((t for one in ids for t in one), np.int64, tokens)).to(device)
    limit = _products_limit(network.config, dtype, device, counts)
    found: dict[str, Any] = {
        "dtype": str(dtype), "texts": len(texts), "tokens": tokens, "tokenising_s": tokenising,
        "limit_tokens_per_s": limit["tokens_per_s"], "limit_tflops": limit["tflops"],
    }  # fmt: skip
    tiny = min(len(ids), 4096)
    packed.pooled_flat(flat[: int(counts[:tiny].sum())], counts[:tiny])
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    best = min(_timed(lambda: packed.pooled_flat(flat, counts), device) for _ in range(ROUNDS))
    found["packed_tokens_per_s"] = tokens / best
    found["tokens_per_s_by_budget"] = {
        budget: tokens / min(_timed(lambda b=budget: packed.pooled_flat(flat, counts, b), device) for _ in range(2))
        for budget in BUDGETS
    }
    found["kernels"] = _kernels(lambda: packed.pooled_flat(flat, counts)) if device == "cuda" else {}
    found["packed_share"] = tokens / best / limit["tokens_per_s"]
    found["packed_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    found["end_to_end_texts_per_s"] = len(texts) / _timed(lambda: encoder.encode(texts), device)
    padded = min(_timed(lambda: _padded(encoder, ids), device) for _ in range(2))
    found["padded_tokens_per_s"] = tokens / padded
    some = [texts[i] for i in range(0, len(texts), max(len(texts) // 2000, 1))]
    exact = MiniLM(device=device, dtype="float32").encode(some)
    found["cosine_to_fp32"] = float((encoder.encode(some) * exact).sum(1).min())
    return found


def _kernels(function: Callable[[], Any]) -> dict[str, float]:
    """Return the share of the device's time that each kernel takes, the longest first."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        _timed(function, "cuda")
    times = {event.key: event.self_device_time_total for event in profiler.key_averages()}
    longest = sorted(times, key=lambda name: -times[name])[:10]
    return {name: times[name] / sum(times.values()) for name in longest}


def _padded(encoder: Any, ids: list[list[int]]) -> None:
    for _batch, hidden, _real in encoder._passes(ids):
        hidden.sum()


def _products_limit(config: Any, dtype: Any, device: str, counts: np.ndarray) -> dict[str, float]:
    """The time of the encoder's products alone, at the size that is quickest: its layers' six, and attention's two."""
    import torch

    width, wide, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    seconds = float("inf")
    for rows in (TOKENS // 4, TOKENS, TOKENS * 2) if device == "cuda" else (2048,):
        total = 0.0
        for inner, outer in ((width, 3 * width), (width, width), (width, wide), (wide, width)):
            left = torch.randn(rows, inner, device=device, dtype=dtype)
            right = torch.randn(inner, outer, device=device, dtype=dtype)
            total += min(_timed(lambda left=left, right=right: _repeat(left, right, 10), device) for _ in range(3)) / 10
        seconds = min(seconds, total / rows)
    flops = layers * 2 * (4 * width * width + 2 * width * wide)
    attention = layers * 4 * width * float((counts**2).sum() / counts.sum())  # QKᵀ and its product with V, a token
    rate = flops / (seconds * layers)
    per_token = seconds * layers + attention / rate
    return {"tokens_per_s": 1 / per_token, "tflops": rate / 1e12}


def _repeat(left: Any, right: Any, times: int) -> None:
    for _ in range(times):
        left @ right


def _timed(function: Callable[[], Any], device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def write_page(found: dict[str, Any], path: Path) -> None:
    """Write the page of what was measured."""
    rows = [
        ("limit of the products (dense layers, attention), tokens/s", f"{found['limit_tokens_per_s'] / 1e6:.1f} M"),
        ("the same in TFLOP/s", f"{found['limit_tflops']:.0f}"),
        ("network, packed, tokens on the card, tokens/s", f"{found['packed_tokens_per_s'] / 1e6:.1f} M"),
        ("**share of the limit**", f"**{found['packed_share']:.0%}**"),
        ("network as transformers runs it, padded, tokens/s", f"{found['padded_tokens_per_s'] / 1e6:.1f} M"),
        ("from texts, tokenising included, texts/s", f"{found['end_to_end_texts_per_s']:,.0f}"),
        ("memory of the packed passes", f"{found['packed_memory_gb']:.1f} GB"),
        ("least cosine to the fp32 vectors, of 2,000 texts", f"{found['cosine_to_fp32']:.4f}"),
    ]  # fmt: skip
    lines = [
        "# On a GPU",
        "",
        f"{found['card']}, torch {found['torch']}; all-MiniLM-L6-v2 in {found['dtype'].removeprefix('torch.')}, "
        f"{found['texts']:,} sentences of five real sets ({found['tokens'] / found['texts']:.0f} tokens each), "
        f"sorted by length; best of {ROUNDS} rounds. Command: `python -m benchmarks.gpu --out gpu.json`.",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "By the tokens of a packed pass, and where the card's time goes:",
        "",
        "| tokens of a pass | tokens/s |",
        "|---:|---:|",
        *(f"| {int(budget):,} | {rate / 1e6:.1f} M |" for budget, rate in found["tokens_per_s_by_budget"].items()),
        "",
        "| kernel | share |",
        "|---|---:|",
        *(f"| `{name.split('<')[0]}` | {share:.1%} |" for name, share in found["kernels"].items()),
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    print(f"wrote {path}", flush=True)


if __name__ == "__main__":
    main()
