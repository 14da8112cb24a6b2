"""Learned baselines beside the default on real sets, and belief propagation on a million sentences.

python -m benchmarks.learned_baselines table [--seeds 2]         the first, resumably; then writes the page
python -m benchmarks.learned_baselines speed                     the second alone

What stands beside them comes from the rows of `python -m benchmarks.accuracy --most 1500`.
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

LOG, SPEED, PAGE = (
    RESULTS / "learned_baselines.jsonl",
    RESULTS / "belief_propagation_speed.json",
    RESULTS / "learned_baselines.md",
)
MOST = 1500  # training responses of a set
LEARNED = ("attention", "belief_propagation", "curriculum", "dllp", "noisy_copy", "prototypes")
BEYOND = ("default", "bag loss only", "cosine")


def speed(rounds: int = 3) -> dict:
    """Time belief propagation on 1,000,000 sentences in bags of 10, each joined with 10 random others."""
    from fractal.scorers.baselines.gibbs import Graph, label_potentials, marginals

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
    """Run what is missing of sets × baselines × seeds."""
    from benchmarks.accuracy.data import load
    from benchmarks.accuracy.judging import judge
    from fractal.scorers.baselines import BASELINES as REGISTERED

    torch.set_num_threads(1)
    book = Logbook(LOG, "set", "method", "seed", "most")
    for seed in range(seeds):
        for name in sets:
            data = load(name, MOST, seed)
            bare = [response.without_labels() for response in data.test]
            for method in LEARNED:
                if (name, method, seed, MOST) in book:
                    continue
                used = time.process_time()
                made = REGISTERED[method](aggregation=data.aggregation, seed=seed).fit(data.bare())
                scored = made.score_responses(bare)
                row = {"set": name, "method": method, "seed": seed, "most": MOST, "cpu_s": time.process_time() - used}
                book.add({**row, **judge(scored, data.test, name)})


def page() -> str:
    """Write the tables of what was measured."""
    rows = Logbook(LOG).rows
    seeds = 1 + max((row["seed"] for row in rows), default=0)
    sets = list(dict.fromkeys(row["set"] for row in rows))
    today, before = (Logbook(RESULTS / f"{name}.jsonl").rows for name in ("accuracy_today", "accuracy"))
    again = {row["method"] for row in today}
    beside = [*today, *(row for row in before if row["method"] not in again)]
    beside = [row for row in beside if row["most"] == MOST and row["seed"] < seeds]
    rows += [{**row, **row["score"]} for row in beside if row["method"] in BEYOND]
    methods = (*LEARNED, *BEYOND)
    lines = [
        "# Learned baselines",
        "",
        setting("python -m benchmarks.learned_baselines table", "… speed"),
        "",
        "Sentence ROC AUC on test responses (inside responses), learned from response labels alone; the aggregation is "
        f"the one each set states; at most {MOST} training responses a set; mean of {seeds} seed(s). `nli` and "
        "`implicit_reward` need models that were not at hand; their code is tested on tiny ones. `default` and "
        "`cosine` are of [today's defaults](accuracy_today.md), `bag loss only` is of [the day before](accuracy.md).",
        "",
        f"| set | {' | '.join(methods)} |",
        f"|---|{'---|' * len(methods)}",
    ]
    lines += [f"| {name} | {' | '.join(_cell(rows, [name], method) for method in methods)} |" for name in sets]
    lines.append(f"| **mean** | {' | '.join(_cell(rows, sets, method) for method in methods)} |")
    spent = [_mean(rows, sets, method, "cpu_s") for method in methods]
    lines.append(f"| CPU s | {' | '.join(f'{seconds:.0f}' for seconds in spent)} |")
    return "\n".join([*lines, *_speed_told()]) + "\n"


def _speed_told() -> list[str]:
    if not SPEED.exists():
        return []
    told = json.loads(SPEED.read_text())
    return [
        "",
        "## Belief propagation",
        "",
        f"{told['sentences']:,} sentences in bags of 10, each joined with 10 others ({told['messages']:,} messages "
        "a round), graph given, until no message changes by more than 0.001: median of 3 rounds "
        f"{told['wall_s']:.0f} s, {told['cpu_s']:.0f} s of CPU on one thread "
        f"(load of the machine {told['load']:.1f} on {os.cpu_count()} cores).",
    ]


def _cell(rows: list[dict], sets: list[str], method: str) -> str:
    area, inside = (_mean(rows, sets, method, key) for key in ("auc", "within"))
    return f"{area:.3f} ({inside:.3f})"


def _mean(rows: list[dict], sets: list[str], method: str, key: str) -> float:
    """Average over seeds, then over sets."""
    found = [[row[key] for row in rows if (row["set"], row["method"]) == (name, method)] for name in sets]
    return statistics.fmean(statistics.fmean(values) for values in found)


def main() -> None:
    """Measure what is asked for and write the page."""
    from benchmarks.accuracy.data import SETS, WITHOUT_RATINGS

    rated = [name for name in SETS if name not in WITHOUT_RATINGS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "table", "page"))
    parser.add_argument("--sets", default=",".join(rated))
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    if args.what == "speed":
        SPEED.write_text(json.dumps(speed()) + "\n")
    if args.what == "table":
        cells(args.sets.split(","), args.seeds)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
