"""How fast a head is trained and read, beside a step in the style of the authors' scripts, torchmil, and bare products.

Generated bags (log-normal sizes, 3 to 60 sentences, random unit vectors of 384 numbers), the same network for all: the
query and the sentence, 768-384-192-1. Processor time of one thread, every variant once a round, medians of ratios
taken inside a round.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import mmap
import platform
import re
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.aggregations import AGGREGATIONS
from fractal.bags import Bags, Shared
from fractal.losses import ResponseLoss
from fractal.network import Head, HeadShape
from fractal.priors import CorrelationPrior, CosinePrior, relate
from fractal.training import Objective, TrainingPlan, fit_head, predict_logits

DIM, WIDE, SMALL = 384, (384, 192), (64,)
EPOCHS = 3
COMMAND = (
    "OMP_NUM_THREADS=1 python benchmarks/training.py --rounds 3 --bags 3000 --table benchmarks/results/training.md"
)
Step = Callable[[], int]  # runs, and says how many sentences it went through


@dataclass(frozen=True)
class World:
    """The generated bags in the form that each variant reads."""

    sentences: Tensor  # (sentence, 384)
    queries: Tensor  # (bag, 384)
    offsets: Tensor
    labels: Tensor
    bags: Bags

    @property
    def sizes(self) -> Tensor:
        return self.offsets.diff()


def bag_offsets(count: int, seed: int = 0) -> Tensor:
    drawn = np.exp(np.random.default_rng(seed).normal(np.log(8), 0.85, count)).round().clip(3, 60)
    return torch.from_numpy(np.concatenate([[0], np.cumsum(drawn)]).astype(np.int64))


def make_world(count: int, seed: int = 0) -> World:
    generator = torch.Generator().manual_seed(seed)
    offsets = bag_offsets(count, seed)
    total = int(offsets[-1])
    sentences = F.normalize(torch.randn(total, DIM, generator=generator), dim=1)
    queries = F.normalize(torch.randn(count, DIM, generator=generator), dim=1)
    index = torch.repeat_interleave(torch.arange(count), offsets.diff())
    good = sentences @ torch.randn(DIM, generator=generator) > -1.2
    labels = torch.segment_reduce(good.float(), "min", lengths=offsets.diff())
    cosine = (1 + (sentences * queries[index]).sum(1)) / 2
    shared = Shared(queries, torch.arange(count + 1), index)
    bags = Bags.make(
        sentences, offsets, labels, shared=(shared,), targets={"cosine": cosine.clamp(0, 1)}, vectors=sentences
    )
    bags = dataclasses.replace(bags, relations=relate(bags), vectors=sentences.new_zeros(total, 0))
    return World(sentences, queries, offsets, labels, bags)


def plain_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2 * DIM, WIDE[0]), nn.GELU(), nn.Linear(WIDE[0], WIDE[1]), nn.GELU(), nn.Linear(WIDE[1], 1)
    )


def by_position(world: World, count: int, batch: int = 32) -> Step:
    """Return a step in the published style: the network once a sentence position, the priors bag by bag."""
    model = plain_network()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)

    def loss_of(chosen: list[int]) -> Tensor:
        parts = [world.sentences[world.offsets[bag] : world.offsets[bag + 1]] for bag in chosen]
        queries, sizes = world.queries[chosen], torch.tensor([len(part) for part in parts])
        scores, nearness = [], []
        for position in range(int(sizes.max())):
            rows = torch.stack([part[position] if position < len(part) else torch.zeros(DIM) for part in parts])
            found = model(torch.cat([queries, rows], 1)).sigmoid().squeeze(1)
            scores.append(torch.where(sizes > position, found, 1.0))
            nearness.append((1 + F.cosine_similarity(queries, rows)) / 2)
        table, near = torch.stack(scores, 1), torch.stack(nearness, 1).clamp(0, 1)
        real = torch.arange(table.shape[1])[None] < sizes[:, None]
        loss = F.binary_cross_entropy(table.amin(1).clamp(1e-6, 1 - 1e-6), world.labels[chosen])
        pull = F.binary_cross_entropy(table.clamp(1e-6, 1 - 1e-6), near, reduction="none") * real
        loss = loss + 0.1 * (pull.sum(1) / sizes).mean()
        for row, part in enumerate(parts):
            own = table[row, : len(part)]
            alike = (1 + torch.corrcoef(part)) / 2
            cost = ((1 - own) * (1 - own[:, None]) - alike).abs() * (own * own[:, None] - alike).abs()
            loss = loss + 0.1 * cost.mean() / len(parts)
        return loss

    def run() -> int:
        for chosen in torch.arange(count).split(batch):
            loss = loss_of(chosen.tolist())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        return int(world.offsets[count])

    return run


class _Padded(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The bags as torchmil reads them."""

    def __init__(self, world: World, count: int) -> None:
        self.world, self.count = world, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, bag: int) -> dict[str, Tensor]:
        rows = self.world.sentences[self.world.offsets[bag] : self.world.offsets[bag + 1]]
        query = self.world.queries[bag].expand(len(rows), -1)
        return {"X": torch.cat([query, rows], 1), "Y": self.world.labels[bag]}


def attention_mil(world: World, count: int, batch: int = 32) -> Step:
    """Return an epoch of torchmil's attention model over the same widths, without any prior."""
    from torchmil.data import collate_fn
    from torchmil.models import ABMIL

    model = ABMIL(in_shape=(2 * DIM,), feat_ext=plain_network()[:4])
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    loader = torch.utils.data.DataLoader(_Padded(world, count), batch_size=batch, shuffle=True, collate_fn=collate_fn)

    def run() -> int:
        for part in loader:
            _, losses = model.compute_loss(part["Y"], part["X"], part["mask"])
            optimiser.zero_grad(set_to_none=True)
            sum(losses.values()).backward()
            optimiser.step()
        return int(world.offsets[count])

    return run


def objective(form: str = "min", priors: bool = True) -> Objective:
    beliefs = (CosinePrior(weight=0.1), CorrelationPrior(weight=0.1)) if priors else ()
    return Objective((ResponseLoss(), *beliefs), AGGREGATIONS.build(form))


def ours(bags: Bags, precision: str, batch: int, hidden: tuple[int, ...] = WIDE, members: int = 1) -> Step:
    """Return some epochs of `fit_head`, all that belongs to them included, both priors on."""
    plan = TrainingPlan(
        epochs=EPOCHS,
        batch_size=batch,
        learning_rate=1e-3,
        hidden=hidden,
        dropout=0.1 if hidden == SMALL else 0.0,
        members=members,
        from_prior=False,
        precision=precision,
        device="cpu",
    )

    def run() -> int:
        fit_head(bags, objective(), plan)
        return EPOCHS * len(bags.features)

    return run


def products_only(world: World, count: int, batch: int, precision: torch.dtype) -> Step:
    """Return the dense products of an epoch with a split first layer, forward and backward, and nothing else."""
    first, second = torch.randn(DIM, WIDE[0]).to(precision), torch.randn(WIDE[0], WIDE[1]).to(precision)
    last = torch.randn(WIDE[1], 1).to(precision)
    sizes = [int(world.sizes[:count][part].sum()) for part in torch.arange(count).split(batch)]
    rows = torch.randn(max(sizes), DIM).to(precision)
    one, two, three = (torch.randn(max(sizes), width).to(precision) for width in (*WIDE, 1))
    queries, upper = torch.randn(batch, DIM).to(precision), torch.randn(batch, WIDE[0]).to(precision)

    def run() -> int:
        with torch.no_grad():
            for size in sizes:
                x, a, b, c = rows[:size], one[:size], two[:size], three[:size]
                _ = x @ first, a @ second, b @ last, queries @ first
                _ = c @ last.T, b.T @ c, b @ second.T, a.T @ b, x.T @ a, queries.T @ upper
        return sum(sizes)

    return run


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
    return dataclasses.replace(bags, relations=relate(bags), vectors=features.new_zeros(total, 0))


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
        data += 20 * len(bags.relations.first) if bags.relations is not None else 0
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


def processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.processor()


def main() -> None:
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
        f"# Training and scoring: sentences a second of processor time\n\n{processor()}, one thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}.\n{given.bags:,} bags, {len(world.sentences):,} "
        f"sentences, {len(world.bags.relations.first):,} couples; medians of {given.rounds} interleaved rounds.\n"
        f"Command: `{COMMAND}`.\n"
    )
    for name in given.only:
        title, table = sections[name]
        text += f"\n## {title}\n\n" + "\n".join(table()) + "\n"
        print(text.rsplit("\n## ", 1)[1], flush=True)
    if given.table:
        given.table.write_text(text)


if __name__ == "__main__":
    main()
