"""The form of a saved scorer: what config.json must hold, and which arrays of which shapes stand beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadFolder, FractalError
from fractal.features import FEATURES
from fractal.prefixes import under

Width = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Finite = Annotated[float, msgspec.Meta(gt=-1e30, lt=1e30)]
Scale = Annotated[float, msgspec.Meta(gt=0.0, lt=1e30)]


class StandardiserForm(msgspec.Struct):
    """The mean and scale of each scalar column."""

    names: list[str]
    mean: list[Finite]
    scale: list[Scale]
    limit: Scale


class InitialForm(msgspec.Struct):
    """Where a head starts."""

    scale: Finite
    centre: Finite


class HeadForm(msgspec.Struct):
    """The shape of a head."""

    columns: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
    shared: list[Width]
    members: Annotated[int, msgspec.Meta(ge=1, le=64)]
    hidden: list[Width]
    thresholds: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    dropout: Share
    from_initial: bool

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the name and the shape of every array of the head."""
        widths = (*self.hidden, self.thresholds)
        first = self.members * widths[0]
        yield "enter", (self.columns, first)
        yield "enter_bias", (first,)
        for number, width in enumerate(self.shared):
            yield f"enter_shared.{number}", (width, first)
        for number, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            yield f"weights.{number}", (self.members, fan_in, fan_out)
            yield f"biases.{number}", (self.members, 1, fan_out)
        if self.from_initial:
            yield "scale", (self.members,)
            yield "shift", (self.thresholds, self.members)


class ExpertForm(msgspec.Struct):
    """The columns that heads read, and the heads."""

    recipe: Annotated[list[str], msgspec.Meta(min_length=1)]
    standardiser: StandardiserForm
    initial_logits: InitialForm
    head: HeadForm
    outputs: tuple[int, int] | None = None


class ReaderForm(msgspec.Struct):
    """Which head an aspect reads, and which of its outputs."""

    number: Annotated[int, msgspec.Meta(ge=0)]
    outputs: tuple[int, int] | None = None


class EnsembleForm(msgspec.Struct):
    """How experts are weighed, and by which aggregation."""

    aggregation: str
    weights: list[Finite]
    shift: Finite
    topic_share: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)] = 0.0  # below 0: of the mean, that is added


class CalibratorForm(msgspec.Struct):
    """A curve of response scores."""

    kind: str
    parameters: list[Any]


class LabelForm(msgspec.Struct):
    """What is kept of one label: the ensemble, its curve, and what was said of the fit."""

    ensemble: dict[str, Any]
    choices: list[dict[str, Any]]
    data: dict[str, Any]
    metrics: dict[str, Any]
    calibrator: CalibratorForm | None
    checks: list[dict[str, Any]] = []


class ProfileForm(msgspec.Struct):
    """Between which values the measures of training responses lie."""

    language: tuple[Finite, Finite]
    sentences: tuple[Finite, Finite]
    characters: tuple[Finite, Finite]
    domain: tuple[Finite, Finite]


class SharedForm(msgspec.Struct):
    """What is kept of every scorer."""

    encoder: str
    encoder_fingerprint: str
    splitter: str
    plan: str
    control: list[str] = []
    profile: ProfileForm | None = None  # scorers of before have none


def check_saved(folder: Path, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a folder whose configuration or arrays have not the form of a saved scorer."""
    try:
        shared = msgspec.convert(config, SharedForm)
        if "aspects" in config:
            experts = msgspec.convert(config.get("experts"), list[ExpertForm])
            for aspect in msgspec.convert(config["aspects"], dict[str, LabelForm]).values():
                _check_readers(aspect.ensemble, experts)
        else:
            ensemble = msgspec.convert(config, LabelForm).ensemble
            experts = msgspec.convert(ensemble.get("experts"), list[ExpertForm])
            _check_weights(ensemble, len(experts))
        for number, expert in enumerate(experts):
            _check_expert(expert, under(f"{number}.", arrays))
        _check_membership(arrays)
        _check_profile(shared.profile, under("profile.", arrays))
    except (msgspec.ValidationError, FractalError, _Misfit) as error:
        raise BadFolder(f"{folder} does not describe a whole scorer ({error}): copy it again, or train anew") from error


class _Misfit(Exception):
    """Parts of a saved scorer that do not go together."""


def _check_weights(ensemble: Mapping[str, Any], experts: int) -> None:
    form = msgspec.convert(ensemble, EnsembleForm)
    if not experts or len(form.weights) != experts:
        raise _Misfit(f"{len(form.weights)} weights for {experts} experts")


def _check_readers(ensemble: Mapping[str, Any], experts: list[ExpertForm]) -> None:
    readers = msgspec.convert(ensemble.get("experts"), list[ReaderForm])
    _check_weights(ensemble, len(readers))
    for reader in readers:
        if reader.number >= len(experts):
            raise _Misfit(f"an aspect reads expert {reader.number} of {len(experts)}")
        first, last = reader.outputs or (0, 1)
        if not 0 <= first < last <= experts[reader.number].head.thresholds:
            raise _Misfit(f"an aspect reads the outputs {first} to {last} of {experts[reader.number].head.thresholds}")


def _check_expert(expert: ExpertForm, arrays: Mapping[str, NDArray[Any]]) -> None:
    scales = expert.standardiser
    if not len(scales.names) == len(scales.mean) == len(scales.scale):
        raise _Misfit(f"{len(scales.names)} columns, {len(scales.mean)} means, {len(scales.scale)} scales")
    names = [spec.partition("(")[0] for spec in expert.recipe]
    for spec in expert.recipe:
        FEATURES.build(spec)
    shapes = dict(expert.head.shapes())
    heads = under("head.", arrays)
    if heads.keys() != shapes.keys():
        raise _Misfit(f"the arrays {', '.join(sorted(heads.keys() ^ shapes.keys())[:3])} are too many or missing")
    for name, shape in shapes.items():
        if heads[name].shape != shape or heads[name].dtype != np.float32:
            raise _Misfit(f"the array head.{name} is {heads[name].dtype} {heads[name].shape}, not float32 {shape}")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _Misfit(f"the array {name} holds numbers that are not finite")
    _check_projection(names, under("projection.", arrays))


def _check_projection(features: list[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    blocks = {name.rpartition(".")[0] for name in arrays}
    if arrays.keys() != {f"{block}.{part}" for block in blocks for part in ("mean", "basis")}:
        raise _Misfit("the directions of a block of vectors are not whole")
    for block in blocks:
        mean, basis = arrays[f"{block}.mean"], arrays[f"{block}.basis"]
        if block not in features or mean.ndim != 1 or basis.ndim != 2 or len(basis) != len(mean):
            raise _Misfit(f"the directions of {block!r} do not fit the recipe")


def _check_membership(arrays: Mapping[str, NDArray[Any]]) -> None:
    keys, members = arrays.get("seen.keys"), arrays.get("seen.members")
    if keys is None or members is None or keys.ndim != 1 or keys.shape != members.shape:
        raise _Misfit("which responses were held out is not whole")
    if keys.dtype != np.uint64 or members.dtype != np.uint64 or (keys[1:] < keys[:-1]).any():
        raise _Misfit("which responses were held out is not sorted, or of another kind")


def _check_profile(limits: ProfileForm | None, arrays: Mapping[str, NDArray[Any]]) -> None:
    if arrays.keys() != ({"words", "centroids"} if limits else set()):
        raise _Misfit("what training responses were like is not whole")
    if limits is None:
        return
    words, centroids = arrays["words"], arrays["centroids"]
    if words.dtype != np.uint32 or words.ndim != 1 or (words[1:] <= words[:-1]).any():
        raise _Misfit("the familiar words are not sorted, or of another kind")
    if centroids.dtype != np.float32 or centroids.ndim != 2 or not len(centroids) or not np.isfinite(centroids).all():
        raise _Misfit(f"the centroids of training are {centroids.dtype} {centroids.shape}, or not finite")
