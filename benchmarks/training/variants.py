"""What is timed: our training, the style of the authors' scripts, torchmil, and the dense products alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.bags import Bags, Shared
from fractal.mil.objectives.losses import ResponseLoss
from fractal.mil.objectives.priors import CorrelationPrior, CosinePrior, pairwise_similarity
from fractal.mil.training.loop import fit_head
from fractal.mil.training.plan import Objective, TrainingPlan

DIM, WIDE, SMALL = 384, (384, 192), (64,)
EPOCHS = 3
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
    bags = dataclasses.replace(bags, sentence_pairs=pairwise_similarity(bags), vectors=sentences.new_zeros(total, 0))
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
        from_initial=False,
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
