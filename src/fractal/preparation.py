"""From records to what training reads: responses and pairs gathered, their columns standardised, their bags laid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fractal.aggregations import FORMS
from fractal.bags import Bags, Shared
from fractal.encoded import EncodedBlock
from fractal.errors import BadData
from fractal.features import SAMPLE, FeatureTable, Projection, Standardiser, compute, prior_similarity
from fractal.folds import member_weights
from fractal.records import Preference, Response

__all__ = ["Columns", "Corpus", "Prior", "all_or_nothing", "gather", "lay_bags", "prior_logits", "sentence_targets"]

BAGS_AT_ONCE = 2_048  # whose raw vectors are held at once
EDGE = 1e-3  # a similarity is a weak belief: its logit is cut where it would be a certainty


@dataclass(frozen=True, eq=False)
class Corpus:
    """Every response once, and which of them are preferred over which."""

    responses: tuple[Response, ...]
    pairs: NDArray[np.int64]  # (pair, 3): better, worse, tie

    @property
    def labels(self) -> NDArray[np.float64]:
        """The label of each response, nan where it is unknown."""
        return np.array([np.nan if r.label is None else r.label for r in self.responses], dtype=np.float64)

    @property
    def directions(self) -> tuple[str, ...]:
        """Which sentences a response's label may be about: the worst, the best, all; what the data state, or allow."""
        if len(self.pairs):
            return ("mean",)
        said = {str(response.extra.get("aggregation", "")) for response in self.responses}
        if len(said) == 1 and (word := said.pop().replace("avg", "mean")) in FORMS:
            return (word,)
        return tuple(FORMS) if all_or_nothing(self.labels) else ("mean",)

    @property
    def groups(self) -> tuple[str, ...]:
        """What must not be torn apart when data are split; a preference ties the groups of its two responses."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        count = len(self.responses)
        number: dict[str, int] = {}
        own = [count + number.setdefault(response.split_group, len(number)) for response in self.responses]
        ends = (np.append(np.arange(count), self.pairs[:, 0]), np.append(own, self.pairs[:, 1]))
        size = count + len(number)
        joined = connected_components(coo_array((np.ones(len(ends[0])), ends), shape=(size, size)), directed=False)[1]
        return tuple(map(str, joined[:count].tolist()))


def all_or_nothing(labels: NDArray[np.float64]) -> bool:
    """Whether some labels are known, and all that are known are 0 or 1."""
    known = labels[~np.isnan(labels)]
    return bool(len(known) and np.isin(known, (0.0, 1.0)).all())


def gather(X: Sequence[Response | Preference], y: Sequence[float | None] | None = None) -> Corpus:
    """Collect responses and preferences; `y`, where given, replaces the labels of responses."""
    found: dict[tuple[str, str, str], int] = {}
    responses: list[Response] = []
    pairs: list[tuple[int, int, int]] = []

    def place(response: Response) -> int:
        number = found.setdefault((response.id, response.query, response.text), len(responses))
        if number == len(responses):
            responses.append(response)
        return number

    if y is not None and len(y) != len(X):
        raise BadData(f"{len(y)} labels for {len(X)} responses: give one a response", field="y")
    for number, record in enumerate(X):
        if isinstance(record, Preference):
            pairs.append((place(record.better), place(record.worse), int(record.tie)))
        else:
            label = record.label if y is None or y[number] is None else float(y[number])  # type: ignore[arg-type]
            responses.append(replace(record, label=label) if label != record.label else record)
    if not responses:
        raise BadData("there is nothing to learn from: give at least one response or preference")
    return Corpus(tuple(responses), np.array(pairs, dtype=np.int64).reshape(-1, 3))


@dataclass(frozen=True)
class Prior:
    """Where the head starts: scale · (similarity's log-odds − centre), or even odds where the scale is 0."""

    scale: float = 0.0
    centre: float = 0.0

    def __call__(self, similarity: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the log-odds at which each sentence starts; 0 where there is nothing to compare it with."""
        return np.nan_to_num(self.scale * (prior_logits(similarity) - self.centre), nan=0.0).astype(np.float32)


def prior_logits(similarity: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Log-odds of a similarity in [0, 1], nan where it is unknown."""
    calm = np.clip(similarity.astype(np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(calm) - np.log1p(-calm))


def sentence_targets(block: EncodedBlock, columns: Sequence[str] = ()) -> dict[str, NDArray[np.float32]]:
    """Return what may pull single sentences: gold labels, the cosine target and the user's own columns."""
    gold = [np.nan if s.label is None else s.label for r in block.responses for s in r.sentences]
    targets = {"gold": np.array(gold, dtype=np.float32), "cosine": prior_similarity(block).astype(np.float32)}
    for name in columns:
        rows = [r.columns.get(name, (np.nan,) * len(r.sentences)) for r in block.responses]
        targets[name] = np.concatenate([np.asarray(row, dtype=np.float32) for row in rows])
        if np.isnan(targets[name]).all():
            known = sorted({column for r in block.responses for column in r.columns}) or ["none"]
            raise BadData(
                f"no response has the column {name!r}; the columns here are: {', '.join(known)}", field="columns"
            )
    return targets


def lay_bags(
    block: EncodedBlock,
    table: FeatureTable,
    prior: Prior,
    *,
    corpus: Corpus | None = None,
    members: int = 1,
    folds: int = 0,
    seed: int = 0,
    columns: Sequence[str] = (),
    advantage: NDArray[np.float32] | None = None,
) -> Bags:
    """Lay the tensors of a block: with a corpus also its labels, its pairs and who holds out what."""
    targets = sentence_targets(block, columns) if corpus is not None else {}
    weights = None
    if corpus is not None:
        weights = torch.from_numpy(member_weights(corpus.groups, corpus.labels, members, folds, seed))
    return Bags.make(
        torch.from_numpy(table.dense),
        torch.from_numpy(table.offsets),
        torch.from_numpy(corpus.labels.astype(np.float32)) if corpus is not None else None,
        shared=tuple(
            Shared(torch.from_numpy(s.values), torch.from_numpy(s.row_offsets), torch.from_numpy(s.index))
            for s in table.shared
        ),
        targets={name: torch.from_numpy(values) for name, values in targets.items()},
        prior=torch.from_numpy(prior(prior_similarity(block))),
        pairs=torch.from_numpy(corpus.pairs) if corpus is not None and len(corpus.pairs) else None,
        weights=weights,
        advantage=None if advantage is None else torch.from_numpy(advantage),
    )


@dataclass(frozen=True)
class Columns:
    """How the columns of a recipe are made again as they were in training: projected, then brought to one scale."""

    recipe: tuple[str, ...]
    standardiser: Standardiser
    projection: Projection | None = None

    @classmethod
    def fit(
        cls, block: EncodedBlock, recipe: tuple[str, ...], directions: int, seed: int = 0
    ) -> tuple[Columns, FeatureTable]:
        """Learn directions and scales from a block, and return its table too."""
        projection = None
        if directions:
            bags = np.random.default_rng(seed).permutation(len(block))
            enough = int(np.searchsorted(np.cumsum(np.diff(block.offsets)[bags]), SAMPLE)) + 1
            projection = Projection.fit(compute(block.take(np.sort(bags[:enough])), recipe), directions)
        table = _projected(block, recipe, projection)
        standardiser = Standardiser.fit(table)
        return cls(recipe, standardiser, projection), standardiser(table, in_place=True)

    def __call__(self, block: EncodedBlock) -> FeatureTable:
        """Return the columns of other responses."""
        return self.standardiser(_projected(block, self.recipe, self.projection), in_place=True)


def _projected(block: EncodedBlock, recipe: Sequence[str], projection: Projection | None) -> FeatureTable:
    """Compute in tiles, so that the vectors of all sentences never stand side by side."""
    if projection is None or not projection.blocks:
        return compute(block, recipe)
    bounds = range(0, max(len(block), 1), BAGS_AT_ONCE)
    tiles = [projection(compute(block.run(i, min(i + BAGS_AT_ONCE, len(block))), recipe)) for i in bounds]
    return replace(tiles[0], dense=np.concatenate([tile.dense for tile in tiles]), offsets=block.offsets)
