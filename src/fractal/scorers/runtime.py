"""A saved scorer read for scoring alone: numpy and what its encoder needs, without torch and quick to load."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders import EmbeddingCache
from fractal.encoders.block import EncodedBlock, texts_only
from fractal.encoders.embedding import embed
from fractal.errors import BadFolder, BadSpec
from fractal.evaluation.calibration.calibrators import Calibrator
from fractal.features import Standardiser, prior_similarity, reads_vectors
from fractal.features.pipeline import FeaturePipeline
from fractal.mil.inference.head import NumpyHead
from fractal.mil.inference.responses import RESPONSE_LOG_ODDS, hard_rule, response_scores, sentence_scores
from fractal.prefixes import under
from fractal.records import Response, ScoredResponse
from fractal.registry import parse
from fractal.scorers.guarantees import saved_guarantees
from fractal.scorers.inputs import relative_scores, warn_of_another_encoder, warn_of_missing
from fractal.scorers.likeness import TrainingProfile, marked
from fractal.scorers.persistence import Saved, load_folder, restored_encoder

__all__ = ["NeedsTorch", "RuntimeScorer", "load_runtime"]

Floats = NDArray[np.floating[Any]]
RESPONSES_AT_ONCE = 2_048  # bounds the memory of scoring a stream
EDGE = 1e-3  # at which the similarity's log-odds are cut, as in training


@dataclasses.dataclass(frozen=True, eq=False)
class _Expert:
    """Heads with the columns that they read, and where they start."""

    pipeline: FeaturePipeline
    head: NumpyHead
    scale: float
    centre: float

    def logits(self, block: EncodedBlock) -> Floats:
        """Return the log-odds of every sentence: (sentence, [level − 1,] member)."""
        table = self.pipeline(block)
        initial = None
        if self.scale:
            similarity = np.clip(prior_similarity(block).astype(np.float64), EDGE, 1 - EDGE)
            log_odds = np.log(similarity) - np.log1p(-similarity)
            initial = np.nan_to_num(self.scale * (log_odds - self.centre), nan=0.0).astype(np.float32)
        places = (place for place, part in enumerate(table.shared) if part.every)
        chunks = next(((place, table.shared[place].row_offsets, block.sentence_bag) for place in places), None)
        return self.head(table.dense, [(part.values, part.index) for part in table.shared], initial, chunks)


@dataclasses.dataclass(frozen=True, eq=False)
class _Ensemble:
    """What scores one label: some experts by weight, the aggregation, and the curve of its response scores."""

    aspect: str
    parts: tuple[tuple[int, float, tuple[int, int] | None], ...]  # number of the expert, weight, outputs read of it
    shift: float
    topic_share: float
    aggregation: str
    calibrator: Calibrator | None
    relative: bool  # learned from preferences alone

    def logits(self, by_expert: Mapping[int, Floats], offsets: NDArray[np.int64]) -> Floats:
        """Return the blended log-odds: (sentence, [level − 1,] member)."""
        total: Floats = np.zeros(())
        for number, weight, outputs in self.parts:
            total = total + weight * _outputs(by_expert[number], outputs)
        if self.topic_share:
            counts = np.diff(offsets)
            means = np.add.reduceat(total, offsets[:-1], axis=0) / counts.reshape(-1, *(1,) * (total.ndim - 1))
            total = total - self.topic_share * np.repeat(means, counts, axis=0)
        return total + self.shift

    def records(self, block: EncodedBlock, logits: Floats) -> Iterator[ScoredResponse]:
        """Return records of the scores that log-odds give the block's responses."""
        scores = sentence_scores(self.aggregation, logits.mean(-1, keepdims=True))[:, 0].tolist()
        spread = sentence_scores(self.aggregation, logits).std(-1).tolist()
        implied = response_scores(self.aggregation, logits, block.offsets)
        if self.calibrator is not None:
            implied = self.calibrator(implied)
        whole = implied.mean(1).clip(0.0, 1.0).tolist()
        for response, score, (first, last) in zip(
            block.responses, whole, itertools.pairwise(block.offsets.tolist()), strict=True
        ):
            yield ScoredResponse(
                response,
                tuple(scores[first:last]),
                score,
                tuple(spread[first:last]),
                aspect=self.aspect,
                aggregation=hard_rule(self.aggregation),
                relative=self.relative,
            )


class NeedsTorch(BadSpec):
    """A saved scorer with a tuned encoder, or an aggregation of somebody else's, which numpy does not know."""


class RuntimeScorer:
    """Scores responses as the saved scorer does, to 1e-5, with the heads' arithmetic in numpy.

    It can do nothing else: `load_scorer` gives a scorer that disaggregates, learns and is saved.
    """

    def __init__(self, saved: Saved, cache: str | PathLike[str] | bool = True) -> None:
        config = saved.config
        self.splitter: str = config["splitter"]
        self.memory_: dict[str, Any] = dict(config.get("reading", {}))
        self.profile_ = TrainingProfile.restored(config.get("profile"), saved.arrays)
        self.encoder_fingerprint: str = config["encoder_fingerprint"]
        self.guarantees_ = saved_guarantees(config)
        self.scorer_hash: str = config["head_sha256"]
        self.encoder = restored_encoder(saved)
        self.cache = None if self.encoder.quick else EmbeddingCache.at(cache)
        self._ensembles = _ensembles(config)
        experts = config["experts"] if "aspects" in config else config["ensemble"]["experts"]
        needed = {number for ensemble in self._ensembles for number, _, _ in ensemble.parts}
        self._experts = {number: _expert(experts[number], under(f"{number}.", saved.arrays)) for number in needed}
        read = ((expert.scale, expert.pipeline.recipe) for expert in self._experts.values())
        self._reads_vectors = any(scale or reads_vectors(recipe) for scale, recipe in read)
        self._encoder_checked = False

    @property
    def records_each(self) -> int:
        """How many records a response gets: one an aspect."""
        return len(self._ensembles)

    def score_responses(self, X: Iterable[Response]) -> list[ScoredResponse]:
        """Return a score for every sentence, how far the heads disagree on it, and the response score implied."""
        return list(self.stream(X))

    def stream(self, X: Iterable[Response]) -> Iterator[ScoredResponse]:
        """Score responses as they come; memory does not grow with their number."""
        rest = iter(X)
        while responses := list(itertools.islice(rest, RESPONSES_AT_ONCE)):
            warn_of_missing(self.memory_, responses)
            yield from self.score_block(self.embed(responses))

    def without_cache(self) -> RuntimeScorer:
        """Return the same scorer, keeping no vectors on disk."""
        other = copy.copy(self)
        other.cache = None
        return other

    def embed(self, responses: Sequence[Response]) -> EncodedBlock:
        """Encode responses, through the cache where one is wanted and pays; not at all where nothing reads vectors."""
        if not self._reads_vectors:
            return texts_only(responses)
        if not self._encoder_checked:
            warn_of_another_encoder(self.encoder_fingerprint, self.encoder.fingerprint)
        self._encoder_checked = True
        return embed(responses, self.encoder, self.cache)

    def score_block(self, block: EncodedBlock) -> Iterator[ScoredResponse]:
        """Score encoded responses; of several aspects the records of a response follow each other."""
        if not len(block):
            return iter(())
        by_expert = {number: expert.logits(block) for number, expert in self._experts.items()}
        records = [part.records(block, part.logits(by_expert, block.offsets)) for part in self._ensembles]
        return marked(self.profile_, block, itertools.chain.from_iterable(zip(*records, strict=True)), len(records))


def load_runtime(
    folder_or_repo: str | PathLike[str] | Saved,
    *,
    cache: str | PathLike[str] | bool = True,
    trust_paths: bool | None = None,
) -> RuntimeScorer:
    """Read a saved scorer of either kind for scoring alone; `trust_paths` is that of `load_scorer`."""
    saved = load_folder(folder_or_repo, trust_paths=trust_paths)
    source = saved.folder if isinstance(folder_or_repo, Saved) else folder_or_repo
    try:
        return RuntimeScorer(saved, cache)
    except NeedsTorch:
        raise
    except (KeyError, TypeError, ValueError, LookupError) as error:
        raise BadFolder(f"{source} does not describe a whole scorer ({error}): copy it again, or train anew") from error


def _ensembles(config: Mapping[str, Any]) -> tuple[_Ensemble, ...]:
    """Return what scores each aspect; of one label there is one, without a name."""
    aspects: Mapping[str, Any] = config.get("aspects", {"": config})
    return tuple(_ensemble(name, part) for name, part in aspects.items())


def _ensemble(aspect: str, part: Mapping[str, Any]) -> _Ensemble:
    config, calibrator = part["ensemble"], part["calibrator"]
    if "tuned" in config:
        raise NeedsTorch("a tuned encoder is computed by torch alone: read this scorer with load_scorer")
    name, _ = parse(config["aggregation"], "aggregation")
    if name not in RESPONSE_LOG_ODDS:
        raise NeedsTorch(f"the aggregation {name!r} is computed by torch alone: read this scorer with load_scorer")
    numbered = enumerate(zip(config["experts"], config["weights"], strict=True))
    parts = tuple(
        (int(expert.get("number", place)), float(weight), tuple(expert["outputs"]) if expert.get("outputs") else None)
        for place, (expert, weight) in numbered
        if weight
    )
    return _Ensemble(
        aspect=aspect,
        parts=parts,
        shift=float(config["shift"]),
        topic_share=float(config.get("topic_share", 0.0)),
        aggregation=config["aggregation"],
        calibrator=Calibrator.from_dict(calibrator) if calibrator else None,
        relative=relative_scores(part.get("data", {})),
    )


def _expert(config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> _Expert:
    standardiser = Standardiser.from_dict(config["standardiser"])
    pipeline = FeaturePipeline.restored(config["recipe"], standardiser, arrays)
    start = config["initial_logits"]
    return _Expert(
        pipeline, NumpyHead.restored(config["head"], under("head.", arrays)), start["scale"], start["centre"]
    )


def _outputs(logits: Floats, outputs: tuple[int, int] | None) -> Floats:
    """Return some outputs of a head as a head of these alone would give them: (sentence, [level − 1,] member)."""
    if outputs is None or logits.ndim == 2:
        return logits
    chosen = logits[:, slice(*outputs)]
    return chosen[:, 0] if chosen.shape[1] == 1 else chosen
