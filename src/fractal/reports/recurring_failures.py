"""Failures of agents that recur: decisive steps clustered by the tool that they call, and then by their words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fractal.records.steps import PARTS
from fractal.reports.decisive_steps import Decisive

__all__ = ["Recurring", "recurring_failures"]

APART = 0.8  # the cosine distance of mean clusters from which on steps are not one failure
LEAST_STEPS = 4  # of a tool, from which on they are told apart by their words
LEAST_CLUSTER = 2  # smaller ones stand together as the rest of their tool
MOST_STEPS = 1_500  # of a tool, that are compared with one another; the others stand with the rest
MOST_WORDS = 400  # of the steps of a tool, the most frequent ones, by which they are compared
NAMED_WORDS = 4
_WORD = re.compile(r"[^\W\d_]{3,}")
_PARTS = {part.casefold() for part in PARTS}


@dataclass(frozen=True)
class Recurring:
    """Failures whose decisive steps call the same tool and are alike in their words."""

    tool: str
    count: int
    tasks: int
    words: tuple[str, ...]
    runs: tuple[str, ...]


def recurring_failures(failures: Sequence[Decisive]) -> tuple[Recurring, ...]:
    """Cluster decisive steps; the words are those that set a cluster's steps apart from all others."""
    by_tool: dict[str, list[Decisive]] = defaultdict(list)
    for step in failures:
        by_tool[step.what].append(step)
    everywhere = Counter(word for step in failures for word in _words(step))
    rows = [
        _row(what, cluster, everywhere, rest=rest and len(cluster) < len(by_tool[what]))
        for what, steps in by_tool.items()
        for cluster, rest in _clusters(steps)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.count, row.tool, row.words)))


def _row(what: str, cluster: Sequence[Decisive], everywhere: Counter[str], *, rest: bool) -> Recurring:
    words = ("(others)",) if rest else _words_apart(cluster, everywhere)
    tasks = len({step.task for step in cluster})
    return Recurring(what, len(cluster), tasks, words, tuple(step.run for step in cluster[:3]))


def _clusters(steps: list[Decisive]) -> list[tuple[list[Decisive], bool]]:
    """Part the steps of one tool by their words; what is like no other is the rest, which is marked."""
    if len(steps) < LEAST_STEPS or steps[0].missing:
        return [(steps, False)]
    steps, more = steps[:MOST_STEPS], steps[MOST_STEPS:]
    codes = _codes(_vectors(steps))
    members = [[steps[place] for place in np.flatnonzero(codes == code)] for code in np.unique(codes)]
    clusters = [(part, False) for part in members if len(part) >= LEAST_CLUSTER]
    rest = [step for part in members if len(part) < LEAST_CLUSTER for step in part] + more
    return [*clusters, (rest, True)] if rest else clusters


def _codes(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the cluster of each row, by average linkage on cosine distance."""
    from scipy.cluster.hierarchy import fcluster, linkage

    tree = linkage(vectors, method="average", metric="cosine")
    return np.asarray(fcluster(tree, APART, criterion="distance"), np.int64)


def _vectors(steps: Sequence[Decisive]) -> NDArray[np.float64]:
    """Return which words stand in each step, rare ones weighing more: (step, word)."""
    words = [_words(step) for step in steps]
    counts = Counter(word for of_step in words for word in of_step)
    columns = {word: place for place, (word, _) in enumerate(counts.most_common(MOST_WORDS))}
    table = np.zeros((len(steps), len(columns) + 1))
    table[:, -1] = 0.1  # that a step of no word has a direction too
    for row, of_step in enumerate(words):
        for word in of_step & columns.keys():
            table[row, columns[word]] = np.log(1 + len(steps) / counts[word])
    return table


def _words_apart(cluster: Sequence[Decisive], everywhere: Counter[str]) -> tuple[str, ...]:
    here = Counter(word for step in cluster for word in _words(step))
    lift = {word: count**2 / (everywhere[word] + 1) for word, count in here.items() if count > len(cluster) / 5}
    return tuple(sorted(lift, key=lambda word: (-lift[word], word))[:NAMED_WORDS])


def _words(step: Decisive) -> set[str]:
    """Return the words of a step's text but the names of its parts."""
    return {word for word in map(str.casefold, _WORD.findall(step.text)) if word not in _PARTS}
