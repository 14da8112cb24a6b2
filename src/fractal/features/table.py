"""Features joined into one table, and the scale of its columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fractal.array_space import GrowingRows
from fractal.encoders.block import EncodedBlock
from fractal.errors import BadData, BadSpec
from fractal.features.base import FEATURES, Columns, Feature, Indices
from fractal.registry import parse

NONE_FITTED: Mapping[str, Feature] = MappingProxyType({})
SO_FAR = "so_far."  # before the name of a column, of which this one is the mean so far
ROWS_AT_ONCE = 8192  # of a table, brought to one scale

_OWN = (
    *("cosine", "late_interaction", "overlap", "coverage", "novel_numbers", "novel_names"),
    *("redundancy", "position", "length", "markers", "arithmetic"),
)
_SCALARS = (*_OWN, "neighbours")
_STEPS = ("step_kind", "call_result", "new_arguments", "stated_facts", "position")
RECIPES: dict[str, tuple[str, ...]] = {
    "paper": ("sentence", "chunks", "query"),
    "own": _OWN,  # nothing that tells of the other sentences: see docs/architecture.md on shortcuts
    "relational": _SCALARS,
    "runs": ("passed_runs",),  # what passed runs of the same task say of an agent's step
    "steps": ("passed_runs", *_STEPS),
    "default": (*_SCALARS, "sentence", "product", "difference"),
    "vectors": ("sentence", "product", "difference"),
    "ordered": (*_SCALARS, "sentence", "product", "difference", "so_far"),
}
WITHOUT_VECTORS = frozenset(  # features that read texts alone
    ("passed_runs", "step_kind", "tool_name", "call_result", "new_arguments", "stated_facts", "position", "precomputed")
)
RECIPE_SUMMARIES = {
    "paper": "vectors of sentence, query and every context chunk, as in the paper",
    "own": "scalar features of sentence and context",
    "relational": "scalar features of sentence, context and neighbours",
    "runs": "what passed runs of the same task say of an agent's step",
    "steps": "the same, what the step is and what its calls brought",
    "default": "all scalar features and vectors",
    "vectors": "vectors of the sentence and of what tells it from its context",
    "ordered": "all features and vectors, and their means up to the sentence",
}


@dataclasses.dataclass(frozen=True, eq=False)
class SharedColumns:
    """Vectors that several sentences share: kept apart, so that the head projects each of them once."""

    name: str
    values: NDArray[Any]  # (row, dim)
    row_offsets: Indices  # (bag + 1,)
    index: Indices  # (sentence,)
    every: bool = False  # each sentence stands beside every row of its bag, and the largest log-odds count


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureTable:
    """What the head sees of each sentence: named columns, and beside them the vectors that sentences share."""

    dense: NDArray[Any]  # (sentence, column)
    names: tuple[str, ...]
    scalars: NDArray[np.bool_]  # (column,) which columns mean something by themselves and are standardised
    offsets: Indices  # (bag + 1,)
    shared: tuple[SharedColumns, ...] = ()


TileColumns = Callable[[EncodedBlock], FeatureTable]  # how the columns of a few responses are made


@dataclasses.dataclass(frozen=True)
class Standardiser:
    """The mean and the scale of each scalar column over the training sentences; plain numbers, to be saved."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    limit: float = 8.0  # scales beyond which a value is cut, so that one odd sentence cannot carry a score away

    @classmethod
    def fit(cls, table: FeatureTable) -> Self:
        """Learn from a training table; a column that never changes keeps the scale 1.

        A mean so far has the mean and scale of its column: further on it says less, and is to weigh less.
        """
        columns = np.flatnonzero(table.scalars)
        count = max(len(table.dense), 1)

        def parts() -> Iterator[NDArray[np.float64]]:
            return (table.dense[rows][:, columns].astype(np.float64) for rows in _slices(len(table.dense)))

        mean = sum((part.sum(axis=0) for part in parts()), np.zeros(len(columns))) / count
        square = sum((((part - mean) ** 2).sum(axis=0) for part in parts()), np.zeros(len(columns))) / count
        scale = np.where(square > 1e-12, np.sqrt(square), 1.0)
        names = tuple(table.names[column] for column in columns)
        place = {name: number for number, name in enumerate(names)}
        same = [place[name.removeprefix(SO_FAR)] for name in names]
        return cls(names, tuple(mean[same].tolist()), tuple(scale[same].tolist()))

    def __call__(self, table: FeatureTable, in_place: bool = False) -> FeatureTable:
        """Return the table with scalar columns of mean 0 and scale 1; `in_place` writes into the table given."""
        columns = np.flatnonzero(table.scalars)
        if tuple(table.names[column] for column in columns) != self.names:
            differing = set(self.names) ^ {table.names[column] for column in columns}
            raise BadData(
                f"the columns differ from those of training ({', '.join(sorted(differing)[:5])}): give the same"
            )
        dense = table.dense if in_place else table.dense.copy()
        mean, scale = np.asarray(self.mean), np.asarray(self.scale)
        for rows in _slices(len(dense)):
            values = (dense[rows][:, columns] - mean) / scale
            dense[rows, columns] = values.clip(-self.limit, self.limit)
        return dataclasses.replace(table, dense=dense)

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists, for a configuration file."""
        return {
            "names": list(self.names),
            "mean": list(self.mean),
            "scale": list(self.scale),
            "limit": self.limit,
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Return what `as_dict` saved."""
        return cls(tuple(saved["names"]), tuple(saved["mean"]), tuple(saved["scale"]), float(saved["limit"]))


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS_AT_ONCE) for start in range(0, count, ROWS_AT_ONCE))


def reads_vectors(specs: Sequence[str]) -> bool:
    """Whether any of these features reads vectors; where none does, nothing needs to be encoded."""
    return any(parse(spec, "feature")[0] not in WITHOUT_VECTORS for spec in specs)


def feature_specs(recipe: str | Sequence[str | Feature]) -> tuple[str, ...]:
    """Return the features of a recipe, each once: a recipe's name, or features and recipes joined by `+`."""
    words = _split(recipe) if isinstance(recipe, str) else recipe
    specs: list[str] = []
    for word in words:
        if isinstance(word, str) and word.strip() in RECIPES:
            specs.extend(RECIPES[word.strip()])
        else:
            specs.append(FEATURES.spec(FEATURES.build(word.strip() if isinstance(word, str) else word)))
    if len({spec for spec in specs if spec.partition("(")[0] == "chunks"}) > 1:
        raise BadSpec(f"{recipe!r} names chunks twice: a sentence is scored beside the chunks of one feature")
    if not specs:
        raise BadSpec(f"{recipe!r} names no feature: write a recipe ({', '.join(RECIPES)}) or features joined by +")
    return tuple(dict.fromkeys(specs))


def _split(text: str) -> list[str]:
    """Cut at the `+` and `,` that stand outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        depth += (letter in "([") - (letter in ")]") if not quote else 0
        if letter in "+," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def compute(
    block: EncodedBlock,
    recipe: str | Sequence[str | Feature] = "default",
    dtype: DTypeLike = np.float32,
    fitted: Mapping[str, Feature] = NONE_FITTED,
) -> FeatureTable:
    """Return the columns of a recipe; `dtype="float16"` halves the memory of large tables.

    Features that have learned stand in `fitted` by their text form.
    """
    return columns_of(block, built_features(recipe, fitted), dtype)


def built_features(
    recipe: str | Sequence[str | Feature], fitted: Mapping[str, Feature] = NONE_FITTED
) -> tuple[Feature, ...]:
    """Return the features of a recipe, those that have learned from `fitted`."""
    return tuple(fitted[spec] if spec in fitted else FEATURES.build(spec) for spec in feature_specs(recipe))


def columns_of(block: EncodedBlock, features: Sequence[Feature], dtype: DTypeLike = np.float32) -> FeatureTable:
    """Return the columns of these features."""
    (table,) = compute_tables(block, [lambda tile: _of_tile(tile, features, dtype)])
    return table


def compute_tables(block: EncodedBlock, recipes: Sequence[TileColumns]) -> list[FeatureTable]:
    """Return a table of each recipe, tile by tile: what several recipes read of a tile is worked out once."""
    if not recipes:
        return []
    growing = [GrowingTable(block) for _ in recipes]
    for tile in block.tiles():
        if tile is block:
            return [columns(block) for columns in recipes]
        for table, columns in zip(growing, recipes, strict=True):
            table.append(columns(tile))
    return [table.whole() for table in growing]


class GrowingTable:
    """The table of a block, laid where the block is."""

    def __init__(self, block: EncodedBlock) -> None:
        self.block = block
        self.first = 0
        self.dense = np.empty((0, 0))
        self.values: list[GrowingRows] = []
        self.tiles: list[FeatureTable] = []  # without their values

    def append(self, tile: FeatureTable) -> None:
        """Add the columns of the next tile."""
        if not self.tiles:
            self.dense = self.block.space.empty((len(self.block.sentences), tile.dense.shape[1]), tile.dense.dtype)
        self.dense[self.first : self.first + len(tile.dense)] = tile.dense
        self.first += len(tile.dense)
        self.append_shared(tile)

    def append_shared(self, tile: FeatureTable) -> None:
        """Add what stands beside the dense columns of the next tile."""
        if not self.tiles:
            self.values = [self.block.space.rows(part.values.dtype) for part in tile.shared]
        shared = []
        for values, part in zip(self.values, tile.shared, strict=True):
            moved = (part.row_offsets + values.count, part.index + values.count)
            shared.append(SharedColumns(part.name, part.values[:0].copy(), *moved, part.every))
            values.append(part.values)
        self.tiles.append(dataclasses.replace(tile, dense=tile.dense[:0].copy(), shared=tuple(shared)))

    @property
    def width(self) -> int:
        """How many dense columns there are."""
        return len(self.tiles[0].names)

    def whole(self, dense: NDArray[Any] | None = None) -> FeatureTable:
        """Return the table of all tiles; `dense` are its dense columns, where others laid them."""
        by_block = zip(*(tile.shared for tile in self.tiles), strict=True)
        shared = tuple(_joined(values.array(), parts) for values, parts in zip(self.values, by_block, strict=True))
        return dataclasses.replace(
            self.tiles[0], dense=self.dense if dense is None else dense, offsets=self.block.offsets, shared=shared
        )


def _joined(values: NDArray[Any], parts: Sequence[SharedColumns]) -> SharedColumns:
    offsets = [np.zeros(1, np.int64), *(part.row_offsets[1:] for part in parts)]
    index = np.concatenate([part.index for part in parts])
    return SharedColumns(parts[0].name, values, np.concatenate(offsets), index, parts[0].every)


def _of_tile(tile: EncodedBlock, features: Sequence[Feature], dtype: DTypeLike) -> FeatureTable:
    """Return the columns of a few responses."""
    columns = [feature(tile) for feature in features]
    dense_parts = [part for part in columns if part.index is None]
    dense = np.empty((len(tile.sentences), sum(len(part.names) for part in dense_parts)), dtype)
    _write(dense, dense_parts)
    names = tuple(name for part in dense_parts for name in part.names)
    scalar = np.asarray([part.scalar for part in dense_parts for _ in part.names], bool)
    shared = tuple(_shared(part, dtype) for part in columns if part.index is not None)
    return FeatureTable(dense, names, scalar, tile.offsets, shared)


def _write(out: NDArray[Any], parts: Sequence[Columns]) -> None:
    start = 0
    for part in parts:
        values = part.values
        if out.dtype == np.float16:
            values = values.clip(-65504, 65504)  # the largest finite float16
        out[:, start : start + len(part.names)] = values
        start += len(part.names)


def _shared(part: Columns, dtype: DTypeLike) -> SharedColumns:
    name = part.names[0].partition("[")[0]
    if part.index is None or part.row_offsets is None:
        raise BadSpec(f"the feature {name!r} shares rows without saying which bag each row belongs to")
    return SharedColumns(name, part.values.astype(dtype), part.row_offsets, part.index, part.every)
