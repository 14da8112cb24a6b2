"""The other schools beside the default on real sets, and belief propagation on a million sentences.

python -m benchmarks.schools speed                     the second alone
python -m benchmarks.schools table [--seeds 2]         the first, resumably; then writes the page
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

import torch

from benchmarks.logbook import RESULTS, Logbook
from benchmarks.machine import setting

LOG, SPEED, PAGE = RESULTS / "schools.jsonl", RESULTS / "schools-speed.json", RESULTS / "schools.md"
SETS = ("multispanqa_windows", "faithbench", "absa16_reviews", "wikiqa")
SCHOOLS = ("attention", "belief_propagation", "curriculum", "dllp", "noisy_copy", "prototypes")
BEYOND = ("default", "bag loss only", "cosine")


def speed(rounds: int = 3) -> dict:
    """Time belief propagation on 1,000,000 sentences in bags of 10, each joined with 10 random others."""
    from fractal.schools.gibbs import Graph, label_potentials, marginals

    torch.set_num_threads(1)  # a second one only waits where others use the machine
    sentences, size, neighbours = 1_000_000, 10, 10
    generator = torch.Generator().manual_seed(0)
    offsets = torch.arange(0, sentences + 1, size)
    labels = (torch.rand(sentences // size, generator=generator) < 0.5).float()
    first = torch.arange(sentences).repeat_interleave(neighbours)
    second = torch.randint(sentences, (len(first),), generator=generator)
    coupling = torch.rand(len(first), generator=generator) * 0.5
    graph = Graph(first, second, coupling)
    field = torch.randn(sentences, generator=generator)
    potentials = label_potentials("min", offsets, labels)
    wall, cpu = [], []
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        found = marginals(field, potentials, graph)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return {
        "sentences": sentences,
        "messages": 2 * len(first),
        "wall_s": statistics.median(wall),
        "cpu_s": statistics.median(cpu),
        "finite": bool(found.isfinite().all()),
        "load": os.getloadavg()[0],
    }


def cells(sets: list[str], seeds: int) -> None:
    """Run what is missing of sets × methods × seeds."""
    from benchmarks.accuracy.data import load
    from benchmarks.accuracy.judging import judge
    from benchmarks.accuracy.methods import METHODS
    from fractal.schools import SCHOOLS as REGISTERED

    torch.set_num_threads(1)
    book = Logbook(LOG, "set", "method", "seed")
    for seed in range(seeds):
        for name in sets:
            data = load(name)
            bare = [response.without_labels() for response in data.test]
            for responses in (data.train, bare):  # vectors are made beforehand, whoever comes first
                REGISTERED["dllp"]().embedded(responses)
            for method in (*SCHOOLS, *BEYOND):
                if (name, method, seed) in book:
                    continue
                used = time.process_time()
                if method in REGISTERED:
                    made = REGISTERED[method](aggregation=data.aggregation, seed=seed).fit(data.bare())
                    scored = made.score_responses(bare)
                else:
                    scored = METHODS[method](data, seed)["score"]
                row = {"set": name, "method": method, "seed": seed, "cpu_s": time.process_time() - used}
                book.add({**row, **judge(scored, data.test, name)})


def page() -> str:
    """Write the tables of what was measured."""
    rows = Logbook(LOG).rows
    seeds = 1 + max((row["seed"] for row in rows), default=0)
    sets = [name for name in SETS if any(row["set"] == name for row in rows)]
    lines = [
        "# The other schools",
        "",
        setting("python -m benchmarks.schools table", "… speed"),
        "",
        f"Sentence ROC AUC on test responses (inside responses), learned from response labels alone; the aggregation "
        f"is the one each set states; mean of {seeds} seed(s). `nli` and `implicit_reward` need models that were not "
        "at hand; their code is tested on tiny ones.",
        "",
        f"| school | {' | '.join(sets)} | mean | CPU s |",
        f"|---|{'---|' * (len(sets) + 2)}",
    ]
    for method in (*SCHOOLS, *BEYOND):
        own = [[row for row in rows if (row["set"], row["method"]) == (name, method)] for name in sets]
        areas = [_mean([row["auc"] for row in found]) for found in own]
        within = [_mean([row["within"] for row in found]) for found in own]
        spent = [_mean([row["cpu_s"] for row in found if row["cpu_s"] is not None]) for found in own]
        parts = [f"{a:.3f} ({w:.3f})" if a == a else "–" for a, w in zip(areas, within, strict=True)]
        shown = [
            f"{value:{how}}" if value == value else "–"
            for value, how in ((sum(areas) / len(sets), ".3f"), (sum(spent), ".0f"))
        ]
        lines.append(f"| {method} | {' | '.join([*parts, *shown])} |")
    if SPEED.exists():
        told = json.loads(SPEED.read_text())
        lines += [
            "",
            "## Belief propagation",
            "",
            f"{told['sentences']:,} sentences in bags of 10, each joined with 10 others ({told['messages']:,} messages "
            "a round), graph given, until no message changes by more than 0.001: median of 3 rounds "
            f"{told['wall_s']:.0f} s, {told['cpu_s']:.0f} s of CPU on one thread "
            f"(load of the machine {told['load']:.1f} on {os.cpu_count()} cores).",
        ]
    return "\n".join(lines) + "\n"


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else float("nan")


def main() -> None:
    """Measure what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "table", "page"))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    if args.what == "speed":
        SPEED.write_text(json.dumps(speed()) + "\n")
    if args.what == "table":
        cells(args.sets.split(","), args.seeds)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
