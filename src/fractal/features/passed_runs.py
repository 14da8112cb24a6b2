"""How a step's calls stand beside those of passed runs of the same task, and which tools' differences make runs fail.

Fitted on rated runs. For each call of a run, the passed *other* runs of its task (its group) say how unlike theirs it
is. What a difference in a tool's calls costs is learned by one additive hazard a tool: the log-chance that a run passes
is minus the sum of its calls' hazards. Nobody says which tools change state; the outcomes do. A run's hazards come from
weights that the runs of its own group took no part in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock, offsets_of
from fractal.features.base import FEATURES, Columns, FittedFeature, Floats, Indices, per_block, scalars
from fractal.features.steps import failed, stable_hash, steps_of
from fractal.records import Response
from fractal.records.steps import call_arguments, call_name

__all__ = ["Calls", "PassedRuns", "RunMemory", "calls_of", "unlikeness"]

Keys = NDArray[np.uint64]
FOLDS = 5  # of groups, for weights that are not learned from a run's own group
KINDS = ("unlike", "new", "absent")
RIDGE = 0.005
FLOOR = 3e-3  # the hazard of a step that nothing speaks against
BASE = 0.05  # how much of its tool's weight a call has as hazard that is like those of passed runs, or not comparable
MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Calls:
    """Every call of some runs as hashes: of the tool, and of each argument's items."""

    run: Indices  # (call,)
    step: Indices  # (call,) the row of the sentence
    tool: Keys  # (call,)
    failed: NDArray[np.bool_]  # (call,)
    items: Keys  # (item,)
    offsets: Indices  # (call + 1,)


@per_block
def calls_of(block: EncodedBlock) -> Calls:
    """Take the calls of a block's steps apart, once a block."""
    run, step, tool, bad, items, counts = [], [], [], [], [], []
    row = 0
    for bag, steps in enumerate(steps_of(block)):
        for part in steps:
            for number, call in enumerate(part.calls):
                parts = sorted(set(_items(call)))
                run.append(bag)
                step.append(row)
                tool.append(stable_hash(call_name(call)))
                bad.append(number < len(part.results) and failed(part.results[number]))
                items += parts
                counts.append(len(parts))
            row += 1
    return Calls(
        np.array(run, np.int64),
        np.array(step, np.int64),
        np.array(tool, np.uint64),
        np.array(bad, bool),
        np.array(items, np.uint64),
        offsets_of(counts),
    )


def _items(call: str) -> list[int]:
    """Return a hash for each argument, for each element where it is a list."""
    items = []
    for name, value in call_arguments(call).items():
        text = value.strip().casefold()
        parts = [part.strip(" \"'") for part in text[1:].rstrip("]").split(",")] if text[:1] == "[" else [text]
        items += [stable_hash(f"{name}\0{part}") for part in parts]
    return items


@dataclass(frozen=True, eq=False)
class RunMemory(FittedFeature):
    """The calls of rated runs, by task, and the weight of each tool's differences."""

    keys: Keys  # (run,) which run it is, so that none is compared with itself
    groups: Keys  # (run,)
    passed: NDArray[np.bool_]  # (run,)
    call_run: Indices  # (call,) calls that did not fail, of passed runs
    call_tool: Keys
    call_items: Keys  # (item,)
    call_offsets: Indices  # (call + 1,)
    tools: Keys  # (tool,) sorted
    names: tuple[str, ...]  # of the tools
    folds: Indices  # (run,)
    weights: NDArray[np.float64]  # (fold + 1, tool, kind); the last is of all runs
    parts: bool = False

    def __call__(self, block: EncodedBlock) -> Columns:
        calls = calls_of(block)
        unlike, known = unlikeness(self, block)
        weights = self._weights_of(block, calls)
        comparable = (known & ~calls.failed)[:, None]
        lean = np.where(calls.failed, 0, BASE * weights.max(1, initial=0))
        hazard = np.where(comparable, unlike * weights, 0).sum(1)
        count = len(block.sentences)
        weight = _highest(np.where(calls.failed, 0, weights.max(1, initial=0)), calls.step, count)
        total = np.bincount(calls.step, hazard + lean, count)
        columns: dict[str, Any] = {"log_hazard": np.log(total + FLOOR)}
        if not self.parts:
            return scalars("passed_runs", columns)
        columns["log_weight"] = np.log(weight + FLOOR)
        columns |= {
            name: _highest(np.where(comparable, unlike, 0)[:, at], calls.step, count) for at, name in enumerate(KINDS)
        }
        columns["known"] = _highest(comparable[:, 0].astype(float), calls.step, count)
        return scalars("passed_runs", columns)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is to be saved."""
        plain = (name for name in self.__dataclass_fields__ if name not in ("parts", "names"))
        names = np.frombuffer("\0".join(self.names).encode("utf-8", "surrogatepass"), np.uint8)
        return {name: np.asarray(getattr(self, name)) for name in plain} | {"names": names}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[Any]], *, parts: bool) -> RunMemory:
        """Return what `arrays` gave."""
        plain: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items() if name != "names"}
        text = np.asarray(arrays["names"]).tobytes().decode("utf-8", "surrogatepass")
        return cls(**plain, names=tuple(text.split("\0")) if text else (), parts=parts)

    def _weights_of(self, block: EncodedBlock, calls: Calls) -> NDArray[np.float64]:
        """Return the weights of each call's tool (call, kind), as learned from other tasks than the call's."""
        if not len(self.tools):
            return np.zeros((len(calls.run), len(KINDS)))
        place = np.minimum(np.searchsorted(self.tools, calls.tool), len(self.tools) - 1)
        fold = self._fold_of(_groups(block))[calls.run]
        mean = self.weights.mean(1)  # a tool that no rated run called
        return np.where((self.tools[place] == calls.tool)[:, None], self.weights[fold, place], mean[fold])

    def _fold_of(self, groups: Keys) -> Indices:
        """Return the fold that a group was in; one that was in none has the weights of all runs."""
        order = np.argsort(self.groups, kind="stable")
        place = np.minimum(np.searchsorted(self.groups, groups, sorter=order), len(order) - 1)
        return np.where(self.groups[order][place] == groups, self.folds[order][place], len(self.weights) - 1)

    def left_out(self, block: EncodedBlock) -> list[tuple[float, str]]:
        """Return how much each run lacks, and the tool of what it lacks most: the calls that passed runs made.

        The strength is the weight of the tool times the share of passed other runs of the task that made the very call.
        """
        calls, groups, keys = calls_of(block), _groups(block), _keys(block)
        made = _whole_calls(calls.tool, calls.items, calls.offsets)
        made[calls.failed] = 0  # as good as not made
        remembered = _whole_calls(self.call_tool, self.call_items, self.call_offsets)
        weight = self.weights[-1].max(1, initial=0)
        others = _passed_others(self, groups, keys)
        ends = np.searchsorted(calls.run, np.arange(len(groups) + 1))
        by_group = np.argsort(self.groups[self.call_run], kind="stable")
        owners = self.groups[self.call_run][by_group]
        lacks = []
        for bag, (group, key) in enumerate(zip(groups, keys, strict=True)):
            of_task = by_group[np.searchsorted(owners, group) : np.searchsorted(owners, group, "right")]
            of_task = of_task[self.keys[self.call_run[of_task]] != key]
            missing = of_task[~np.isin(remembered[of_task], made[ends[bag] : ends[bag + 1]])]
            lacks.append(self._most(remembered[missing], missing, weight, int(others[bag])))
        return lacks

    def _most(self, wanted: Keys, calls: Indices, weight: NDArray[np.float64], runs: int) -> tuple[float, str]:
        strongest = (0.0, "")
        for call in np.unique(wanted):
            of_call = calls[wanted == call]
            tool = int(np.searchsorted(self.tools, self.call_tool[of_call[0]]))
            share = len(np.unique(self.call_run[of_call])) / max(runs, 1)
            strongest = max(strongest, (float(weight[tool]) * share, self.names[tool]))
        return strongest


def _whole_calls(tools: Keys, items: Keys, offsets: Indices) -> Keys:
    """Return one hash a call, of its tool and all its arguments: (call,)."""
    sums = np.bitwise_xor.accumulate(items * MIX) if len(items) else items
    mixed = np.concatenate([np.zeros(1, np.uint64), sums])
    whole: Keys = (tools * MIX) ^ mixed[offsets[1:]] ^ mixed[offsets[:-1]]
    return whole


def unlikeness(memory: RunMemory, block: EncodedBlock) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return how unlike the calls of passed runs of its task each call is (call, kind), and where there are such runs.

    `unlike` is 1 − the mean over passed runs of the best match, `new` whether no passed run made the very call,
    `absent` the share of passed runs that never called the tool.
    """
    calls, groups, keys = calls_of(block), _groups(block), _keys(block)
    others = _passed_others(memory, groups, keys)[calls.run]
    left, right = _pairs(memory, groups[calls.run], calls.tool)
    other = memory.call_run[right]
    apart = memory.keys[other] != keys[calls.run[left]]
    left, right, other = left[apart], right[apart], other[apart]
    match = _overlap(calls, memory, left, right)
    best = np.zeros(len(calls.run))
    np.maximum.at(best, left, match)
    pair, where = np.unique(left * (len(memory.keys) + 1) + other, return_inverse=True)
    each = np.zeros(len(pair))  # the best match in each passed run
    np.maximum.at(each, where, match)
    owner = pair // (len(memory.keys) + 1)
    shares = [np.bincount(owner, weight, len(best)) / np.maximum(others, 1) for weight in (each, np.ones(len(pair)))]
    return np.stack([1 - shares[0], (best < 0.999).astype(float), 1 - shares[1]], 1), others > 0


def _passed_others(memory: RunMemory, groups: Keys, keys: Keys) -> Indices:
    """Count the passed runs of each run's task, itself left out: (run,)."""
    of_group = np.sort(memory.groups[memory.passed])
    count = np.searchsorted(of_group, groups, "right") - np.searchsorted(of_group, groups, "left")
    own = np.sort(memory.keys[memory.passed] ^ (memory.groups[memory.passed] * MIX))
    mine = keys ^ (groups * MIX)
    return np.asarray(count - (np.searchsorted(own, mine, "right") - np.searchsorted(own, mine, "left")))


def _pairs(memory: RunMemory, groups: Keys, tools: Keys) -> tuple[Indices, Indices]:
    """Return each call beside every call of the same tool in passed runs of the same task."""
    remembered = (memory.groups[memory.call_run] * MIX) ^ memory.call_tool
    order = np.argsort(remembered, kind="stable")
    wanted = (groups * MIX) ^ tools
    start = np.searchsorted(remembered, wanted, "left", sorter=order)
    count = np.searchsorted(remembered, wanted, "right", sorter=order) - start
    left = np.repeat(np.arange(len(wanted)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return left, order[np.repeat(start, count) + within]


def _overlap(calls: Calls, memory: RunMemory, left: Indices, right: Indices) -> NDArray[np.float64]:
    """Return the share of their arguments' items that two calls have in common: (pair,)."""
    sizes, other_sizes = np.diff(calls.offsets)[left], np.diff(memory.call_offsets)[right]
    owner = np.repeat(np.arange(len(memory.call_run), dtype=np.uint64), np.diff(memory.call_offsets))
    remembered = np.sort(memory.call_items ^ (owner * MIX))
    pair = np.repeat(np.arange(len(left)), sizes)
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    item = calls.items[np.repeat(calls.offsets[left], sizes) + within]
    wanted = item ^ (right[pair].astype(np.uint64) * MIX)
    place = np.minimum(np.searchsorted(remembered, wanted), max(len(remembered) - 1, 0))
    hits = remembered[place] == wanted if len(remembered) else np.zeros(len(wanted), bool)
    common = np.bincount(pair, hits, len(left))
    union = sizes + other_sizes - common
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)


def _highest(values: NDArray[Any], step: Indices, count: int) -> Floats:
    highest = np.zeros(count, np.float32)
    np.maximum.at(highest, step, values.astype(np.float32))
    return highest


def _groups(block: EncodedBlock) -> Keys:
    return np.array([stable_hash(response.split_group) for response in block.responses], np.uint64)


def _keys(block: EncodedBlock) -> Keys:
    return np.array([_key(response) for response in block.responses], np.uint64)


def _key(response: Response) -> int:
    whole = f"{response.id}\0{response.text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "little")


@FEATURES.register("passed_runs")
@dataclass(frozen=True)
class PassedRuns:
    """How a step's calls stand beside those of passed runs of its task, weighed by what such differences cost."""

    parts: bool = False  # also what the hazard is made of; heads can use it to explain a run by its good steps

    def __call__(self, block: EncodedBlock) -> Columns:
        """Return what is said where no run was rated."""
        return self.fit(block.take([]))(block)

    def fit(self, block: EncodedBlock) -> RunMemory:
        """Learn from the rated runs of a block."""
        return replace(_memory_of(block), parts=self.parts)

    def restored(self, arrays: Mapping[str, NDArray[Any]]) -> RunMemory:
        """Return a fitted feature from what it saved."""
        return RunMemory.restored(arrays, parts=self.parts)


@per_block
def _memory_of(block: EncodedBlock) -> RunMemory:
    rated = block.take([bag for bag, response in enumerate(block.responses) if response.label is not None])
    calls = calls_of(rated)
    passed = np.array([(response.label or 0.0) >= 0.5 for response in rated.responses], bool)
    groups = _groups(rated)
    kept = np.flatnonzero(passed[calls.run] & ~calls.failed)
    sizes = np.diff(calls.offsets)[kept]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    tools = np.unique(calls.tool)
    spoken = {call_name(call) for run in steps_of(rated) for step in run for call in step.calls}
    named = {stable_hash(name): name for name in spoken}
    memory = RunMemory(
        keys=_keys(rated),
        groups=groups,
        passed=passed,
        call_run=calls.run[kept],
        call_tool=calls.tool[kept],
        call_items=calls.items[np.repeat(calls.offsets[kept], sizes) + within],
        call_offsets=offsets_of(sizes),
        tools=tools,
        names=tuple(named[tool] for tool in tools.tolist()),
        folds=(groups % np.uint64(FOLDS)).astype(np.int64),
        weights=np.zeros((FOLDS + 1, len(tools), len(KINDS))),
    )
    if len(tools):
        memory.weights[:] = _hazard_weights(memory, rated)
    return memory


def _hazard_weights(memory: RunMemory, block: EncodedBlock) -> NDArray[np.float64]:
    """Learn what a tool's differences cost, without each fold of tasks and with all: (fold + 1, tool, kind)."""
    calls = calls_of(block)
    unlike, known = unlikeness(memory, block)
    used = known & ~calls.failed
    place = np.searchsorted(memory.tools, calls.tool)
    sums = np.zeros((len(block), len(memory.tools), len(KINDS)))  # of each run
    np.add.at(sums, (calls.run[used], place[used]), unlike[used])
    rows = sums.reshape(len(block), -1)
    passed = np.array([response.label for response in block.responses], float)
    fits = [fit_hazards(rows[memory.folds != fold], passed[memory.folds != fold]) for fold in range(FOLDS + 1)]
    return np.stack(fits).reshape(FOLDS + 1, len(memory.tools), len(KINDS))


def fit_hazards(rows: NDArray[np.float64], passed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights of at least 0, by which −log P(run passes) = a base + weights · row; convex, with a ridge."""
    from scipy.optimize import minimize

    if not len(rows):
        return np.zeros(rows.shape[1])

    def cost(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        hazard = parameters[0] + rows @ parameters[1:]
        survival = np.exp(-hazard)
        value = passed * hazard - (1 - passed) * np.log(-np.expm1(-hazard))
        slope = passed - (1 - passed) * survival / -np.expm1(-hazard)
        gradient = np.concatenate([[slope.mean()], rows.T @ slope / len(rows) + RIDGE * parameters[1:]])
        return float(value.mean() + RIDGE * np.square(parameters[1:]).sum() / 2), gradient

    start = np.full(rows.shape[1] + 1, 0.1)
    bounds = [(1e-3, None)] + [(0.0, None)] * rows.shape[1]
    return np.asarray(minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x[1:])
