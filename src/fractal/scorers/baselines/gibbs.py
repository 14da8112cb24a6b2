"""Marginals of a Gibbs distribution over sentence labels: neighbours agree, and responses match their labels.

P(y) ∝ e^(Σ over sentences field · y + Σ over neighbours coupling · [equal] + Σ over responses potential(count)).
Belief propagation passes log-odds along all edges at once; it is exact where the graph of responses is a tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SURE = 12.0  # log-odds beyond which a message says no more
NOISE = 0.01  # chance that a response label is wrong
FLOOR = -40.0  # of a log-potential below the largest: e^−40 is never, yet a number
SENTENCES_AT_ONCE = 1024

Potentials = list[tuple[Tensor, Tensor]]  # responses of one size: their sentences (bag, size), potentials (bag, size+1)


@dataclass(frozen=True)
class Graph:
    """Which sentences are neighbours, each pair once, and how strongly the two agree."""

    first: Tensor  # (edge,) rising
    second: Tensor  # (edge,)
    coupling: Tensor  # (edge,) ≥ 0


def nearest_neighbours(vectors: Tensor, count: int, strength: float = 1.0) -> Graph:
    """Join every sentence with the most similar others; the coupling is strength · cosine, at least 0."""
    size = len(vectors)
    count = min(count, size - 1)
    pairs, cosines = [], []
    for start in range(0, size if count > 0 else 0, SENTENCES_AT_ONCE):
        block = vectors[start : start + SENTENCES_AT_ONCE]
        similarity = block @ vectors.T
        rows = torch.arange(start, start + len(block))
        similarity[torch.arange(len(block)), rows] = -torch.inf
        top = similarity.topk(count, dim=1)
        ends = torch.stack([rows.unsqueeze(1).expand_as(top.indices), top.indices], -1).reshape(-1, 2)
        pairs.append(ends.sort(dim=1).values)
        cosines.append(top.values.reshape(-1))
    if not pairs:
        none = torch.empty(0, dtype=torch.long)
        return Graph(none, none, torch.empty(0))
    keys = torch.cat(pairs)
    keys, place = torch.unique(keys[:, 0] * size + keys[:, 1], return_inverse=True)
    coupling = torch.zeros(len(keys)).index_copy(0, place, torch.cat(cosines).float()).clamp(min=0) * strength
    return Graph(keys // size, keys % size, coupling)


def label_potentials(direction: str, offsets: Tensor, labels: Tensor, strength: float = 1.0) -> Potentials:
    """Return how well each count of good sentences suits each response's label, as logarithms."""
    potentials: Potentials = []
    sizes = offsets.diff()
    for size in torch.unique(sizes).tolist():
        bags = (sizes == size).nonzero().squeeze(1)
        rows = offsets[bags].unsqueeze(1) + torch.arange(size)
        label = labels[bags].unsqueeze(1)
        count = torch.arange(size + 1).expand(len(bags), -1)
        if direction == "mean":
            suits = -strength * (count - label * size).square()
        else:
            whole = count == size if direction == "min" else count > 0
            chance = NOISE + (1 - 2 * NOISE) * torch.where(whole, label, 1 - label)
            suits = strength * chance.log()
        potentials.append((rows, torch.where(label.isnan(), 0.0, suits).float()))
    return potentials


def marginals(
    field: Tensor, potentials: Potentials, graph: Graph, *, damping: float = 0.3, rounds: int = 50, close: float = 1e-3
) -> Tensor:
    """Return the log-odds of every sentence: (sentence,); stops when no message changes by more than `close`."""
    forward, backward = (torch.zeros_like(graph.coupling) for _ in range(2))
    counted = torch.zeros_like(field)
    half = torch.tanh(graph.coupling / 2)
    total = field.clone()
    for _ in range(rounds):
        change = _pass_counts(total, counted, potentials, damping)
        new_forward = _agreement(total.index_select(0, graph.first).sub_(backward), half)
        new_backward = _agreement(total.index_select(0, graph.second).sub_(forward), half)
        for message, new in ((forward, new_forward), (backward, new_backward)):
            step = new.sub_(message).mul_(1 - damping)
            change = max(change, float(step.abs().max()) if len(step) else 0.0)
            message.add_(step)
        total = field + counted
        total.index_add_(0, graph.second, forward).index_add_(0, graph.first, backward)
        if change <= close:
            break
    return total


def _agreement(cavity: Tensor, half: Tensor) -> Tensor:
    """Log-odds that a neighbour sends: 2 artanh(tanh(coupling / 2) · tanh(its own log-odds / 2)); reuses the memory."""
    return cavity.clamp_(-2 * SURE, 2 * SURE).mul_(0.5).tanh_().mul_(half).atanh_().mul_(2)


def _pass_counts(total: Tensor, counted: Tensor, potentials: Potentials, damping: float) -> float:
    """Renew what responses tell their sentences; return the largest change."""
    change = 0.0
    for rows, suits in potentials:
        old = counted[rows]
        step = (count_messages(total[rows] - old, suits) - old) * (1 - damping)
        counted[rows] = old + step
        change = max(change, float(step.abs().max()))
    return change


def count_messages(cavity: Tensor, suits: Tensor) -> Tensor:
    """Log-odds that responses of one size send to each sentence, given the log-odds of the others: (bag, size).

    From the left the distribution of the count so far, from the right the expected potential of what is still to come:
    exact for any potential, in size² steps.
    """
    size = cavity.shape[1]
    chance = cavity.clamp(-SURE, SURE).sigmoid().T.contiguous()  # (sentence, bag)
    ahead = list(_expected(chance, suits))[::-1]  # ahead[i]: (count, bag) before sentence i is known
    sofar = torch.ones(1, len(suits))
    messages = torch.empty_like(chance)
    for place in range(size):
        after = ahead[place + 1]
        good, bad = (sofar * after[1:]).sum(0), (sofar * after[:-1]).sum(0)
        messages[place] = (good + 1e-30).log() - (bad + 1e-30).log()
        grown = torch.zeros(place + 2, len(suits))
        grown[:-1] = sofar * (1 - chance[place])
        grown[1:] += sofar * chance[place]
        sofar = grown
    return messages.clamp_(-SURE, SURE).T


def _expected(chance: Tensor, suits: Tensor) -> Iterator[Tensor]:
    """Yield the expected potential by the count so far, from behind: after all sentences, before the last, …."""
    top = suits.max(dim=1, keepdim=True).values
    now = (suits - top).clamp(min=FLOOR).exp().T.contiguous()  # (count, bag)
    yield now
    for place in range(len(chance) - 1, -1, -1):
        now = torch.lerp(now[:-1], now[1:], chance[place])
        yield now
