"""The checks on real sets, and on generated responses with each assumption broken in turn.

python -m benchmarks.checks [--sets faithbench,qags] [--seeds 20]
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import cpu

PAGE = Path(__file__).parent / "results" / "checks.md"
SETS = ("faithbench", "qags", "absa16_reviews", "multispanqa_windows", "qa_feedback_bags")
CASES = {  # what is generated, what is assumed, and which check should speak
    "nothing broken": ({}, "min", None),
    "labels are the best sentence's": ({"task": "retrieval"}, "min", "aggregation"),
    "labels are the mean": ({"task": "answers"}, "min", "aggregation"),
    "labels are the worst sentence's": ({}, "max", "aggregation"),
    "contexts of other responses": ({"shuffled": True}, "min", "prior: similarity to the context"),
    "labels turned round": ({"turned": True}, "min", "prior: similarity to the context"),
    "20% of the labels flipped, 1,200 responses": ({"noise": 0.2, "n": 1200}, "min", "label noise"),
}


def generated(seed: int, task: str = "summaries", noise: float = 0.0, n: int = 500, **broken: bool) -> list:
    """Make responses without sentence labels, and break what is told."""
    from fractal.datasets import make_responses

    made = make_responses(n, task, seed=seed, noise=noise, difficulty=0.0)
    bare = [dataclasses.replace(r.without_labels(), label=r.label, extra={}) for r in made]
    if broken.get("shuffled"):
        places = np.random.default_rng(seed).permutation(n)
        bare = [dataclasses.replace(r, context=bare[place].context) for r, place in zip(bare, places, strict=True)]
    if broken.get("turned"):
        bare = [dataclasses.replace(r, label=1 - r.label) for r in bare]
    return bare


def checked(data: list, aggregation: str, encoder: str) -> tuple[dict, float]:
    """Run the checks; return them by name, and the seconds of CPU they took beside the vectors."""
    from fractal.checks import run_checks
    from fractal.embedding import embed
    from fractal.encoders import ENCODERS, EmbeddingCache
    from fractal.preparation import gather

    corpus = gather(data)
    block = embed(corpus.responses, ENCODERS.build(encoder), EmbeddingCache() if encoder == "minilm" else None)
    used = time.process_time()
    found = run_checks(block, corpus, aggregation=aggregation)
    return {finding.name: finding for finding in found}, time.process_time() - used


def generated_table(seeds: int) -> list[str]:
    """Count how often the check that should speak does, and how often any other does."""
    lines = ["| broken | the check that should speak | speaks | others that speak |", "|---|---|---|---|"]
    for name, (options, assumed, wanted) in CASES.items():
        spoke: Counter[str] = Counter()
        for seed in range(seeds):
            found, _ = checked(generated(seed, **options), assumed, "hashing")
            spoke.update(title for title, finding in found.items() if finding.verdict != "ok")
        others = ", ".join(f"{title} {count}" for title, count in spoke.items() if title != wanted)
        hits = f"{spoke[wanted]} of {seeds}" if wanted else "–"
        lines.append(f"| {name} | {wanted or '–'} | {hits} | {others or 'none'} |")
    return lines


def real_table(sets: list[str]) -> list[str]:
    """Say what the checks find in real sets, trained on as users have them."""
    from benchmarks.accuracy.data import load

    lines = ["| set | stated | check | verdict | value [99% interval] |", "|---|---|---|---|---|"]
    for name in sets:
        data = load(name)
        found, spent = checked(data.bare(), data.aggregation, "minilm")
        for title, finding in found.items():
            advice = f", try {finding.advice}" if finding.advice not in ("", "drop") else ""
            shown = f"{finding.value:.2f} [{finding.low:.2f}, {finding.high:.2f}]"
            lines.append(f"| {name} | {data.aggregation} | {title} | {finding.verdict}{advice} | {shown} |")
        lines.append(f"| {name} | | seconds of CPU | | {spent:.1f} |")
    return lines


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = [
        "# Checks",
        "",
        f"Machine: {cpu()}, one thread, torch {torch.__version__}, numpy {np.__version__}. "
        f"`python -m benchmarks.checks --sets {args.sets} --seeds {args.seeds}`.",
        "",
    ]
    real = ["## Real sets", "", "Training responses, without sentence labels; MiniLM vectors.", ""]
    made = ["", "## One assumption broken at a time", "", "500 generated responses a seed, hashed vectors.", ""]
    PAGE.write_text(
        "\n".join([*head, *real, *real_table(args.sets.split(",")), *made, *generated_table(args.seeds)]) + "\n"
    )


if __name__ == "__main__":
    main()
