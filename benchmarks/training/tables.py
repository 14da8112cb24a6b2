"""The tables: each times its variants, or holds their results against each other."""

from __future__ import annotations

import dataclasses
import gc
import mmap
import re
import statistics
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.training.variants import (
    EPOCHS,
    SMALL,
    WIDE,
    Step,
    World,
    attention_mil,
    bag_offsets,
    by_position,
    objective,
    ours,
    products_only,
)
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.bags import Bags
from fractal.mil.head import Head, HeadShape
from fractal.mil.objectives.priors import pairwise_similarity
from fractal.mil.training.loop import fit_head
from fractal.mil.training.plan import TrainingPlan
from fractal.mil.training.validation import predict_logits


def measure(variants: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Return sentences a second of processor time, a round each; a first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, step in variants.items():
            gc.collect()
            started = time.process_time()
            sentences = step()
            if turn:
                found[name].append(sentences / (time.process_time() - started))
    return found


def ratio(found: dict[str, list[float]], name: str, to: str) -> float:
    return statistics.median(a / b for a, b in zip(found[name], found[to], strict=True))


def training_table(world: World, count: int, rounds: int) -> list[str]:
    part = world.bags.take(torch.arange(count))
    precisions = {"fp32": torch.float32, "bf16": torch.bfloat16}
    variants: dict[str, Step] = {
        "authors' style, batch 32, both priors": by_position(world, min(count, 320)),
        "torchmil attention MIL, batch 32, no prior": attention_mil(world, min(count, 960)),
    }
    for batch in (256, 1024, 2048):
        for name, precision in precisions.items():
            variants[f"dense products only, {name}, batch {batch}"] = products_only(world, count, batch, precision)
            variants[f"fractal {name}, batch {batch}, both priors"] = ours(part, name, batch)
    found = measure(variants, rounds)
    authors, torchmil, *_ = variants
    lines = [
        "| variant | sentences/s | × authors' style | × torchmil | share of its dense products |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, values in found.items():
        limit = re.sub(r"fractal (\S+), batch (\d+).*", r"dense products only, \1, batch \2", name)
        share = f"{ratio(found, name, limit):.2f}" if limit != name else ""
        lines.append(
            f"| {name} | {statistics.median(values):,.0f} | {ratio(found, name, authors):.1f} "
            f"| {ratio(found, name, torchmil):.1f} | {share} |"
        )
    return lines


def columns_world(sentences: int, columns: int = 50, seed: int = 0) -> Bags:
    """Return bags of scalar columns, as the default recipe makes them."""
    generator = torch.Generator().manual_seed(seed)
    offsets = bag_offsets(max(1, sentences // 11), seed)
    total = int(offsets[-1])
    features = torch.randn(total, columns, generator=generator)
    good = (features[:, 0] > -1.2).float()
    labels = torch.segment_reduce(good, "min", lengths=offsets.diff())
    cosine = torch.rand(total, generator=generator)
    vectors = F.normalize(torch.randn(total, 8, generator=generator), dim=1)
    bags = Bags.make(features, offsets, labels, targets={"cosine": cosine}, vectors=vectors)
    return dataclasses.replace(bags, sentence_pairs=pairwise_similarity(bags), vectors=features.new_zeros(total, 0))


def ensemble_table(world: World, count: int, rounds: int) -> list[str]:
    small, wide = columns_world(60_000), world.bags.take(torch.arange(count))
    lines = ["| head | one member, sentences/s | five | cost of five |", "|---|---:|---:|---:|"]
    for name, bags, hidden, batch in (
        ("50 columns × 64", small, SMALL, 256),
        ("50 columns × 64", small, SMALL, 1024),
        ("768-384-192-1 bf16", wide, WIDE, 256),
    ):
        precision = "bf16" if hidden == WIDE else "fp32"
        variants = {str(k): ours(bags, precision, batch, hidden, members=k) for k in (1, 5)}
        found = measure(variants, rounds)
        one, five = (statistics.median(found[k]) for k in ("1", "5"))
        lines.append(f"| {name}, batch {batch} | {one:,.0f} | {five:,.0f} | {ratio(found, '1', '5'):.2f}× |")
    return lines


class Peak:
    """Watches how far the memory of this process rises above where it stood."""

    def __enter__(self) -> Peak:
        self.before, self.highest, self.over = self.resident(), 0.0, threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.watcher.join()

    @property
    def above(self) -> float:
        return self.highest - self.before

    def watch(self) -> None:
        while not self.over.wait(0.002):
            self.highest = max(self.highest, self.resident())

    @staticmethod
    def resident() -> float:
        """Return what is in memory now, in MB."""
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE / 2**20


def scaling_table(rounds: int) -> list[str]:
    lines = ["| sentences | data MB | seconds an epoch | memory above the data MB |", "|---:|---:|---:|---:|"]
    points = []
    ours(columns_world(2_000), "fp32", 256, SMALL)()  # what is loaded once belongs to no size
    for sentences in (10_000, 100_000, 1_000_000):
        bags = columns_world(sentences)
        step = ours(bags, "fp32", 256, SMALL)
        repeats = max(1, 30_000 // sentences)
        seconds = []
        gc.collect()
        with Peak() as peak:
            for turn in range(rounds + 1):
                started = time.process_time()
                for _ in range(repeats):
                    step()
                if turn:
                    seconds.append((time.process_time() - started) / repeats / EPOCHS)
        data = sum(t.numel() * t.element_size() for t in (bags.features, bags.labels, bags.targets["cosine"]))
        data += 20 * len(bags.sentence_pairs.first) if bags.sentence_pairs is not None else 0
        points.append((len(bags.features), statistics.median(seconds)))
        lines.append(f"| {points[-1][0]:,} | {data / 2**20:,.0f} | {points[-1][1]:.2f} | {peak.above:.0f} |")
    slope = np.polyfit(*np.log(np.array(points)).T, 1)[0]
    return [*lines, "", f"Fitted exponent of the cost: {slope:.3f}."]


def scoring_table() -> list[str]:
    bags = columns_world(1_000_000)
    lines = ["| head | sentences | seconds |", "|---|---:|---:|"]
    for name, hidden, members in (("50 columns × 64", SMALL, 5), ("50 columns-384-192-1", WIDE, 1)):
        head = Head(HeadShape(columns=50, hidden=hidden, members=members))
        started = time.process_time()
        form = AGGREGATIONS.build("product")
        form.response_scores(predict_logits(head, bags), bags.offsets)
        spent = time.process_time() - started
        lines.append(f"| {name}, {members} member{'s' * (members > 1)} | {len(bags.features):,} | {spent:.1f} |")
    return lines


def quality_table(seeds: int) -> list[str]:
    """Return what held-out response labels cost after training in either precision."""
    lines = ["| seed | cost of the base rate | held-out cost fp32 | bf16 | ratio |", "|---:|---:|---:|---:|---:|"]
    ratios = []
    for seed in range(seeds):
        bags = columns_world(20_000, seed=seed)
        weights = torch.ones(len(bags), 1)
        weights[::5] = 0
        bags = dataclasses.replace(bags, weights=weights)
        costs = []
        for precision in ("fp32", "bf16"):
            plan = TrainingPlan(epochs=10, hidden=WIDE, dropout=0.0, members=1, precision=precision, seed=seed)
            costs.append(float(fit_head(bags, objective("product", priors=False), plan).held_out))
        rate = bags.labels[::5].mean()
        base = float(F.binary_cross_entropy(rate.expand(len(bags.labels[::5])), bags.labels[::5]))
        ratios.append(costs[1] / costs[0])
        lines.append(f"| {seed} | {base:.4f} | {costs[0]:.4f} | {costs[1]:.4f} | {ratios[-1]:.4f} |")
    return [*lines, "", f"Median ratio: {statistics.median(ratios):.4f}."]
