"""The objective's terms once more, in plain Python over lists, one member at a time; and random bags to try them on."""

from __future__ import annotations

import dataclasses
import itertools
import math

import torch

from fractal.mil.bags import Bags
from fractal.mil.objectives.priors import pairwise_similarity

NAN = math.nan


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def cross_entropy(target, s):
    s = min(max(s, 1e-300), 1 - 1e-16)
    return -(target * math.log(s) + (1 - target) * math.log(1 - s))


DISTANCES = {
    "bce": cross_entropy,
    "likelihood": cross_entropy,
    "mae": lambda target, s: abs(s - target),
    "mse": lambda target, s: (s - target) ** 2,
}
AGGREGATE = {"min": min, "max": max, "mean": lambda s: sum(s) / len(s), "product": math.prod}


def weighted(values, weights):
    """Weighted mean; 0 where there is no weight."""
    total = sum(weights)
    return sum(v * w for v, w in zip(values, weights, strict=True)) / total if total else 0.0


def cut(rows, offsets):
    return [rows[a:b] for a, b in itertools.pairwise(offsets)]


def response(kind, form, logits, offsets, labels, weights):
    costs, by = [], []
    for bag, label, weight in zip(cut(logits, offsets), labels, weights, strict=True):
        if not math.isnan(label):
            costs.append(DISTANCES[kind](label, AGGREGATE[form]([sigmoid(z) for z in bag])))
            by.append(weight)
    return weighted(costs, by)


def sentence(kind, logits, offsets, targets, weights):
    costs, by = [], []
    for bag, goal, weight in zip(cut(logits, offsets), cut(targets, offsets), weights, strict=True):
        known = [(z, t) for z, t in zip(bag, goal, strict=True) if not math.isnan(t)]
        if known:
            costs.append(sum(DISTANCES[kind](t, sigmoid(z)) for z, t in known) / len(known))
            by.append(weight)
    return weighted(costs, by)


def preference(kind, form, logits, offsets, pairs, weights):
    costs, by = [], []
    scores = [[sigmoid(z) for z in bag] for bag in cut(logits, offsets)]
    for better, worse, tie in pairs:
        if kind == "ratio":
            one, two = (sum(scores[bag]) / len(scores[bag]) for bag in (better, worse))
            share = one / (one + two)
        else:
            odds = [s / (1 - s) for s in (AGGREGATE[form](scores[bag]) for bag in (better, worse))]
            share = odds[0] / (odds[0] + odds[1])
        costs.append(cross_entropy(0.5 if tie else 1.0, share))
        by.append(weights[better])
    return weighted(costs, by)


def pearson(x, y):
    mx, my = sum(x) / len(x), sum(y) / len(y)
    up = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return up / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def correlation(logits, offsets, vectors, weights):
    costs = []
    for bag, rows in zip(cut(logits, offsets), cut(vectors, offsets), strict=True):
        s = [sigmoid(z) for z in bag]
        total = 0.0
        for a, x in zip(s, rows, strict=True):
            for b, y in zip(s, rows, strict=True):
                alike = (1 + pearson(x, y)) / 2
                total += abs((1 - a) * (1 - b) - alike) * abs(a * b - alike)
        costs.append(total / len(bag) ** 2)
    return weighted(costs, weights)


def random_bags(sizes, seed=0, members=2, columns=4, related=False):
    """Bags with every kind of target, some labels and targets unknown, some bags without weight, pairs and ties."""
    generator = torch.Generator().manual_seed(seed)
    rows, count = sum(sizes), len(sizes)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    def holed(values):
        return torch.where(draw(len(values)) < 0.3, torch.nan, values)

    order = torch.randperm(count, generator=generator)
    pairs = torch.stack([order[: count // 2], order[count // 2 : count // 2 * 2]], 1)
    ties = (draw(len(pairs), 1) < 0.3).long()
    bags = Bags.make(
        torch.randn(rows, columns, generator=generator, dtype=torch.float64),
        torch.tensor([0, *sizes]).cumsum(0),
        holed(draw(count)),
        targets={
            "gold": holed((draw(rows) < 0.5).double()),
            "cosine": draw(rows),
            "teacher": holed(draw(rows)),
            "mine": holed(draw(rows)),
        },
        vectors=torch.randn(rows, 6, generator=generator, dtype=torch.float64),
        initial_logits=torch.randn(rows, generator=generator, dtype=torch.float64),
        pairs=torch.cat([pairs, ties], 1),
        weights=torch.where(draw(count, members) < 0.2, 0.0, draw(count, members)),
    )
    return dataclasses.replace(bags, sentence_pairs=pairwise_similarity(bags)) if related else bags


def random_logits(bags, seed=0, members=2, spread=2.0):
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(len(bags.features), members, generator=generator, dtype=torch.float64) * spread


def rearranged(bags, logits, order):
    """The same bags in another order, with their logits and pairs."""
    order = torch.as_tensor(order)
    marked = dataclasses.replace(bags, initial_logits=torch.arange(len(bags.initial_logits), dtype=torch.float64))
    taken = marked.take(order)
    rows = taken.initial_logits.long()
    return dataclasses.replace(taken, initial_logits=bags.initial_logits[rows]), logits[rows]


def repeated(bags, logits, times=2):
    """Every sentence several times, in its own bag."""
    rows = torch.repeat_interleave(torch.arange(len(bags.features)), times)
    again = dataclasses.replace(
        bags,
        features=bags.features[rows],
        offsets=bags.offsets * times,
        targets={name: values[rows] for name, values in bags.targets.items()},
        vectors=bags.vectors[rows],
        initial_logits=bags.initial_logits[rows],
        sentence_pairs=None,
    )
    return again, logits[rows]
