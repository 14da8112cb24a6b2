"""Sentence labels of compared responses: in every comparison the better response has the larger share of good ones.

Comparisons that share responses are taken together. The likeliest labels are a largest closure ("this response has so
many good sentences, so that one has at least so many"), found exactly by a linear programme whose corners are whole
numbers. Posteriors add up every combination of counts where these are at most `MOST_COMBINATIONS`; beyond that counts
are drawn (Gibbs), with a standard error of about `1 / sqrt(SWEEPS)` at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from fractal.mil.aggregations.base import Aggregation

__all__ = ["Comparisons", "connected", "labels_given"]

MOST_COMBINATIONS = 1 << 20  # of counts, that a posterior adds up
SWEEPS, WARM_UP = 2_000, 200  # of drawing, where there are more
SENTENCES_AT_ONCE = 4_000  # of one linear programme
EDGE = 1e-9  # how near a score may come to 0 or 1: comparisons can ask for the improbable
NEAR = 1e-3

Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Scores of sentences (sentence,), which responses are better (pair, 2), and how many good ones each may have."""

    scores: Doubles
    offsets: Counts
    pairs: Counts
    least: Counts  # (bag,): as the labels of sentences and of the response ask
    most: Counts

    @classmethod
    def of(
        cls, aggregation: Aggregation, scores: Tensor, offsets: Tensor, labels: Tensor, pairs: Tensor, truths: Tensor
    ) -> Comparisons:
        """Lay out strict pairs of (better, worse, tie) with what labels of responses and sentences ask."""
        truth = truths.double().numpy()
        certain = (np.abs(truth - np.round(truth)) < NEAR) & ~np.isnan(truth)
        values = np.where(np.isnan(truth), scores.double().numpy(), truth)
        values = np.where(certain, np.round(values), values.clip(EDGE, 1 - EDGE))
        starts, strict = offsets.numpy(), pairs.numpy()
        least, most = _bounds(str(aggregation.direction), values, starts, labels.double().numpy())
        return cls(values, starts, strict[strict[:, 2] == 0][:, :2], least, most)

    @property
    def sizes(self) -> Counts:
        return np.diff(self.offsets)

    def part(self, bag: int) -> slice:
        """Return where the sentences of a bag stand."""
        return slice(int(self.offsets[bag]), int(self.offsets[bag + 1]))

    def components(self) -> Iterator[tuple[Counts, Counts]]:
        """Yield the bags that comparisons connect, with these comparisons."""
        joined = connected(self.pairs, len(self.sizes))
        order = np.argsort(joined[self.pairs[:, 0]], kind="stable")
        cuts = np.flatnonzero(np.diff(joined[self.pairs[order, 0]])) + 1
        for numbers in np.split(order, cuts) if len(order) else ():
            yield np.unique(self.pairs[numbers]), self.pairs[numbers]

    def fewest(self, bags: Counts, pairs: Counts) -> dict[int, int] | None:
        """Return the smallest numbers of good sentences that satisfy all comparisons; None: nothing does."""
        counts = {int(bag): int(self.least[bag]) for bag in bags}
        changed = True
        while changed:
            changed = False
            for better, worse in pairs.tolist():
                needed = self.needed(better, worse, counts[worse])
                if needed > self.most[better]:
                    return None
                if needed > counts[better]:
                    counts[better], changed = needed, True
        return counts

    def needed(self, better: int, worse: int, count: int) -> int:
        """Return how many sentences of the better response are good at least, where so many of the worse are."""
        return count * int(self.sizes[better]) // int(self.sizes[worse]) + 1


def labels_given(
    aggregation: Aggregation,
    scores: Tensor,
    offsets: Tensor,
    labels: Tensor,
    pairs: Tensor | None,
    sentence_labels: Tensor,
    *,
    soft: bool,
) -> tuple[Tensor, Tensor]:
    """Return sentence labels given all that is known, (sentence,), and which bags no labels can satisfy.

    Scores are `probabilities` of one column: (sentence, [level − 1,] 1). A response in no strict comparison is labelled
    by its own label; so are those whose comparisons contradict each other, or the labels of their sentences.
    """
    way_back = aggregation.posterior if soft else aggregation.most_likely_labels
    alone = way_back(scores, offsets, labels, sentence_labels).squeeze(-1)
    impossible = torch.zeros(len(labels), dtype=torch.bool)
    if pairs is None or not bool((pairs[:, 2] == 0).any()):
        return alone, impossible
    compared = Comparisons.of(aggregation, scores.squeeze(-1), offsets, labels, pairs, sentence_labels)
    possible = []
    for bags, edges in compared.components():
        fewest = compared.fewest(bags, edges)
        if fewest is None:
            impossible[torch.from_numpy(bags)] = True
        else:
            possible.append((bags, edges, fewest))
    values = alone.double().numpy().copy()
    for group in _groups(compared, possible):
        counts = _likeliest(compared, group)
        for bags, edges, _ in group:
            _fill(values, compared, bags, edges, counts, soft=soft)
    return torch.from_numpy(values).to(alone.dtype), impossible


Component = tuple[Counts, Counts, dict[int, int]]


def _bounds(direction: str, values: Doubles, offsets: Counts, labels: Doubles) -> tuple[Counts, Counts]:
    """Return how many sentences of each bag are good at least and at most: (bag,) each."""
    sizes = np.diff(offsets)
    good = np.add.reduceat((values == 1).astype(np.int64), offsets[:-1])
    most = sizes - np.add.reduceat((values == 0).astype(np.int64), offsets[:-1])
    count = np.floor(np.nan_to_num(labels) * sizes + 0.5).astype(np.int64)
    high = labels > 0.5
    if direction == "min":
        low, top = np.where(high, sizes, 0), np.where(high, sizes, sizes - 1)
    elif direction == "max":
        low, top = np.where(high, 1, 0), np.where(high, sizes, 0)
    else:
        low, top = count, count
    low, top = np.maximum(good, low), np.minimum(most, top)
    told = ~np.isnan(labels) & (low <= top)  # labels of sentences stand where the response's contradicts them
    return np.where(told, low, good), np.where(told, top, most)


def connected(pairs: Counts, bags: int) -> Counts:
    """Number the groups of bags that pairs connect: (bag,)."""
    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(bags, bags))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)


def _groups(compared: Comparisons, components: Sequence[Component]) -> Iterator[list[Component]]:
    """Cut components into groups for one linear programme each."""
    group: list[Component] = []
    sentences = 0
    for component in components:
        size = int(compared.sizes[component[0]].sum())
        if group and sentences + size > SENTENCES_AT_ONCE:
            yield group
            group, sentences = [], 0
        group.append(component)
        sentences += size
    if group:
        yield group


def _likeliest(compared: Comparisons, group: Sequence[Component]) -> dict[int, int]:
    """Return the number of good sentences of each bag under the likeliest labels, its best sentences being good."""
    bags = [int(bag) for component in group for bag in component[0]]
    first = dict(zip(bags, np.cumsum([0, *compared.sizes[bags][:-1]]).tolist(), strict=True))
    size = int(compared.sizes[bags].sum())
    gain, low, high = np.zeros(size), np.zeros(size), np.ones(size)  # of "at least k sentences are good"
    for bag in bags:
        values = np.sort(compared.scores[compared.part(bag)])[::-1].clip(EDGE, 1 - EDGE)
        here = slice(first[bag], first[bag] + len(values))
        gain[here] = np.log(values) - np.log1p(-values)
        low[first[bag] : first[bag] + int(compared.least[bag])] = 1.0
        high[first[bag] + int(compared.most[bag]) : here.stop] = 0.0
    rows, above = _implications(compared, group, first, low, high)
    count = len(rows)
    ones = np.ones(count)
    matrix = coo_array(
        (np.concatenate([ones, -ones]), (np.tile(np.arange(count), 2), np.concatenate([rows, above]))),
        shape=(count, size),
    )
    solved = linprog(-gain, A_ub=matrix.tocsr(), b_ub=np.zeros(count), bounds=np.stack([low, high], 1), method="highs")
    chosen = solved.x > 0.5
    return {bag: int(chosen[first[bag] : first[bag] + compared.sizes[bag]].sum()) for bag in bags}


def _implications(
    compared: Comparisons, group: Sequence[Component], first: dict[int, int], low: Doubles, high: Doubles
) -> tuple[Counts, Counts]:
    """Return which statements imply which others; what is impossible, or must be, is put into the bounds."""
    rows: list[int] = []
    above: list[int] = []
    for bags, edges, _ in group:
        for bag in bags.tolist():
            start, size = first[bag], int(compared.sizes[bag])
            rows += range(start + 1, start + size)
            above += range(start, start + size - 1)
        for better, worse in edges.tolist():
            low[first[better]] = 1.0  # more than a share of 0
            for count in range(1, int(compared.sizes[worse]) + 1):
                needed = compared.needed(better, worse, count)
                if needed > compared.sizes[better]:
                    high[first[worse] + count - 1] = 0.0
                else:
                    rows.append(first[worse] + count - 1)
                    above.append(first[better] + needed - 1)
    return np.array(rows, dtype=np.int64), np.array(above, dtype=np.int64)


def _fill(
    values: Doubles, compared: Comparisons, bags: Counts, edges: Counts, counts: dict[int, int], *, soft: bool
) -> None:
    """Write the labels of a component's sentences, or their posteriors."""
    if not soft:
        for bag in bags.tolist():
            part = compared.part(bag)
            order = np.argsort(-compared.scores[part], kind="stable")
            values[part] = 0.0
            values[part.start + order[: counts[bag]]] = 1.0
        return
    tables = [_count_table(compared.scores[compared.part(bag)]) for bag in bags.tolist()]
    chances = [_within(table, compared, bag) for (table, _), bag in zip(tables, bags.tolist(), strict=True)]
    combinations = np.prod([float((chance > 0).sum()) for chance in chances])
    joint = _added_up if combinations <= MOST_COMBINATIONS else _drawn
    for bag, marginal, (_, posterior) in zip(
        bags.tolist(), joint(compared, bags, edges, chances, counts), tables, strict=True
    ):
        values[compared.part(bag)] = posterior @ marginal


def _within(table: Doubles, compared: Comparisons, bag: int) -> Doubles:
    count = np.arange(len(table))
    return np.where((count >= compared.least[bag]) & (count <= compared.most[bag]), table, 0.0)


def _count_table(p: Doubles) -> tuple[Doubles, Doubles]:
    """Return P(k of the sentences are good) (k,), and P(sentence is good | k) (sentence, k)."""
    before, after = [np.ones(1)], [np.ones(1)]
    for value in p:
        before.append(np.convolve(before[-1], (1 - value, value)))
    for value in p[::-1]:
        after.append(np.convolve(after[-1], (1 - value, value)))
    total = before[-1]
    posterior = np.zeros((len(p), len(p) + 1))
    for place, value in enumerate(p):
        posterior[place, 1:] = value * np.convolve(before[place], after[len(p) - 1 - place])
    return total, np.divide(posterior, total, out=np.zeros_like(posterior), where=total > 0)


def _added_up(
    compared: Comparisons, bags: Counts, edges: Counts, chances: Sequence[Doubles], counts: dict[int, int]
) -> list[Doubles]:
    """Return P(count | all comparisons) of every bag, from all combinations."""
    axes = {int(bag): axis for axis, bag in enumerate(bags)}
    possible = [np.flatnonzero(chance) for chance in chances]

    def along(axis: int, row: NDArray[Any]) -> NDArray[Any]:
        return row.reshape([-1 if other == axis else 1 for other in range(len(bags))])

    joint = np.ones([len(numbers) for numbers in possible])
    for axis, (chance, numbers) in enumerate(zip(chances, possible, strict=True)):
        joint = joint * along(axis, chance[numbers] / chance.max())
    for better, worse in edges.tolist():
        shares = [along(axes[b], possible[axes[b]] * int(compared.sizes[other]))
                  for b, other in ((better, worse), (worse, better))]  # fmt: skip
        joint = joint * (shares[0] > shares[1])
    marginals = []
    for axis, (bag, numbers) in enumerate(zip(bags.tolist(), possible, strict=True)):
        sums = joint.sum(tuple(other for other in range(len(bags)) if other != axis))
        marginal = np.zeros(int(compared.sizes[bag]) + 1)
        if sums.sum() > 0:
            marginal[numbers] = sums / sums.sum()
        else:  # too improbable for a number: the likeliest alone is left
            marginal[counts[bag]] = 1.0
        marginals.append(marginal)
    return marginals


def _drawn(
    compared: Comparisons, bags: Counts, edges: Counts, chances: Sequence[Doubles], counts: dict[int, int]
) -> list[Doubles]:
    """Return the same from counts drawn one after another, each given the others, from the likeliest on."""
    rng = np.random.default_rng(0)
    now = dict(counts)
    over = {bag: [w for b, w in edges.tolist() if b == bag] for bag in bags.tolist()}
    under = {bag: [b for b, w in edges.tolist() if w == bag] for bag in bags.tolist()}
    sums = [np.zeros(len(chance)) for chance in chances]
    for sweep in range(WARM_UP + SWEEPS):
        for place, bag in enumerate(bags.tolist()):
            chance = chances[place].copy()
            low = max((compared.needed(bag, worse, now[worse]) for worse in over[bag]), default=0)
            chance[:low] = 0.0
            for better in under[bag]:  # count · size(better) < now(better) · size(bag)
                most = (now[better] * int(compared.sizes[bag]) - 1) // int(compared.sizes[better])
                chance[most + 1 :] = 0.0
            total = chance.sum()
            if total > 0:
                now[bag] = int(np.searchsorted(np.cumsum(chance), rng.random() * total, side="right"))
                if sweep >= WARM_UP:
                    sums[place] += chance / total
            elif sweep >= WARM_UP:
                sums[place][now[bag]] += 1.0
    return [row / row.sum() for row in sums]
