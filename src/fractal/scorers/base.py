"""What every scorer can do once it has learned: score a stream, label it, be saved, be read again and be shown."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadFolder, MissingExtra, NotFitted
from fractal.evaluation.best_of import Pick, best_of
from fractal.evaluation.calibration.guarantees import Guarantee, guarantee
from fractal.evaluation.suspects import Suspect, suspects
from fractal.records import Preference, Response, ScoredResponse
from fractal.records.corpus import gather
from fractal.reports import card_fragment
from fractal.scorers.data import records_of
from fractal.scorers.guarantees import saved_guarantees, with_guarantees
from fractal.scorers.inputs import warn_of_missing
from fractal.scorers.membership import HeldOutIndex
from fractal.scorers.model_card import CardFacts
from fractal.scorers.output import ScoredResponses, connected_runs, runs
from fractal.scorers.persistence import Saved, load_folder, push_folder, save_folder

try:
    from sklearn.base import BaseEstimator
except ImportError as missing:
    raise MissingExtra("Training and scoring", "train", "scikit-learn") from missing

__all__ = ["Scorer"]


class Scorer(BaseEstimator, ABC):
    """What learns from labels on whole responses and scores their sentences, of one label or of several."""

    splitter: Any
    cache: Any
    guarantees_: dict[str, Guarantee]  # by aspect
    held_out_index_: HeldOutIndex

    @property
    @abstractmethod
    def memory_(self) -> dict[str, Any]:
        """What the scorer remembers of how its training data were read, and what share had a query and a context."""

    def score_responses(self, X: Any, *, columns: Mapping[str, str] | None = None) -> ScoredResponses:
        """Return a score for every sentence, how far the heads disagree on it, and the response score implied.

        `X` is whatever holds responses: records, dictionaries, texts, a frame, a data set, or a path. Its columns are
        read as those of the training data were, unless `columns` says otherwise. Of several aspects each response has
        a record an aspect; those of a response follow each other.
        """
        return ScoredResponses(self.stream(X, columns=columns))

    def stream(self, X: Any, *, columns: Mapping[str, str] | None = None) -> Iterator[ScoredResponse]:
        """Score responses as they come; memory does not grow with their number."""
        self._refuse_unfitted()
        for responses in runs(self._responses(X, columns)):
            warn_of_missing(self.memory_, responses)
            yield from self._scored(responses)

    def _responses(self, X: Any, columns: Mapping[str, str] | None = None) -> Iterator[Response]:
        """Yield the responses of whatever holds them; of a preference both, the better one first."""
        records, _ = records_of(X, str(self.splitter), {"columns": columns}, self.memory_)
        for record in records:
            if isinstance(record, Preference):
                yield record.better
                yield record.worse
            else:
                yield record

    def disaggregate(self, X: Any, *, columns: Mapping[str, str] | None = None) -> ScoredResponses:
        """Return each sentence's probability *given its response's label*, and hard labels that agree with it.

        Known labels of sentences are given too: they stay as they are, and the response's label then tells of the
        others. Where they contradict it, it says nothing; such responses are counted in a warning.

        Of preferences every response comes once, in the order in which they first come, and its labels are those given
        all comparisons: the better response has the larger share of good sentences in each. Comparisons that no labels
        can satisfy say nothing; their responses are counted in a warning.

        Heads that learned from a response take no part in labelling it, as long as some did not. Where a label is
        unknown, the scores are as they would be without one.
        """
        self._refuse_unfitted()
        items = list(records_of(X, str(self.splitter), {"columns": columns}, self.memory_)[0])
        rated = [item for item in items if isinstance(item, Response)]
        scored = ScoredResponses()
        if len(rated) == len(items):
            for responses in runs(rated):
                warn_of_missing(self.memory_, responses)
                scored += self._disaggregated(responses)
            return scored
        corpus = gather(items)
        warn_of_missing(self.memory_, corpus.responses)
        by_place: dict[int, ScoredResponse] = {}
        for places, pairs in connected_runs(corpus.pairs, len(corpus.responses)):
            some = self._disaggregated([corpus.responses[place] for place in places], pairs)
            by_place.update(zip(places, some, strict=True))
        scored += [by_place[place] for place in range(len(by_place))]
        return scored

    def without_cache(self) -> Self:
        """Return the same scorer, keeping no vectors on disk."""
        other = copy.copy(self)
        other.cache = False
        return other

    def held_out_scores(self, X: Any, *, columns: Mapping[str, str] | None = None) -> ScoredResponses:
        """Return scores as `score_responses` does, of responses trained on by the heads that held them out alone.

        They tell nothing of the responses' labels, which stay beside them: so they can be held against these.
        Responses that no head held out are left out, and counted in a warning.
        """
        self._refuse_unfitted()
        scored, seen = ScoredResponses(), 0
        for run in runs(self._responses(X, columns)):
            by_all = self.held_out_index_.seen_by_all(run)
            responses = [response for response, one in zip(run, by_all.tolist(), strict=True) if not one]
            seen += len(run) - len(responses)
            if not responses:
                continue
            warn_of_missing(self.memory_, responses)
            records = list(self._disaggregated([response.without_labels() for response in responses]))
            each = len(records) // len(responses)
            scored += [
                dataclasses.replace(item, response=responses[place // each], sentence_labels=())
                for place, item in enumerate(records)
            ]
        if seen:
            warnings.warn(f"{seen:,} responses were held out by no head, and are left out", stacklevel=2)
        return scored

    def guarantee(
        self,
        X: Any,
        *,
        false_alarms: float | None = None,
        misses: float | None = None,
        confidence: float | None = 0.95,
        aspect: str = "",
        columns: Mapping[str, str] | None = None,
    ) -> Guarantee:
        """Find the threshold under which few sentences of clean responses are flagged, or few flawed ones pass.

        `X` holds rated responses. Of those that the scorer trained on, the heads that held them out give the scores:
        near to what new responses will get, but not the same, as these get the mean of all heads. With responses that
        it did not train on the promise is exact. The scorer keeps it, and is saved with it; `Guarantee` says in words
        what is promised.
        """
        scored = [item for item in self.held_out_scores(X, columns=columns) if item.aspect == aspect]
        promise = guarantee(
            scored,
            false_alarms=false_alarms,
            misses=misses,
            confidence=confidence,
            cross_fitted=int(self.held_out_index_.knows([item.response for item in scored]).sum()),
        )
        self.guarantees_ = {**self.guarantees_, aspect: promise}
        return promise

    def best_of(
        self,
        X: Any,
        *,
        by: str = "response",
        kappa: float = 0.0,
        per: str = "query",
        aspect: str = "",
        columns: Mapping[str, str] | None = None,
    ) -> list[Pick]:
        """Pick the best of the responses to each query: what is taken, its score, the runners-up, and what is even.

        `by` is "response", or "sentence" for the one that decides (the worst under a minimum); `kappa` spreads are
        taken off the scores of sentences first. `per` "group" picks among the runs of one task whatever their queries.
        """
        return best_of((item for item in self.stream(X, columns=columns) if item.aspect == aspect), by, kappa, per)

    def suspects(self, X: Any, *, by: str = "response", columns: Mapping[str, str] | None = None) -> list[Suspect]:
        """Rank rated responses by how much their label contradicts their sentences, by heads that held them out.

        Of several aspects each label is ranked on its own. `by` is "response", "sentence" or "both": see
        `fractal.evaluation.suspects`.
        """
        return suspects(self.held_out_scores(X, columns=columns), by)

    def save_pretrained(self, folder: str | PathLike[str], facts: CardFacts | None = None) -> Path:
        """Write the scorer to a folder: config.json, head.safetensors, README.md; `facts` are for the last."""
        self._refuse_unfitted()
        return save_folder(folder, with_guarantees(self._saved(facts), self.guarantees_))

    @classmethod
    def from_pretrained(
        cls, folder_or_repo: str | PathLike[str], revision: str | None = None, *, trust_paths: bool | None = None
    ) -> Self:
        """Read a scorer from a folder, or from the Hub; `trust_paths` is that of `load_scorer`."""
        return cls._read(load_folder(folder_or_repo, revision, trust_paths=trust_paths), folder_or_repo)

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        license: str = "",
        dataset: str = "",
        example: Response | None = None,
    ) -> str:
        """Upload the scorer and return its address.

        What only its maker knows goes into the model card: the licence as the Hub writes it (`apache-2.0`), the data
        set on the Hub that it learned from, and a response to show with its scores. No text is shown unasked.
        """
        self._refuse_unfitted()
        shown = tuple(self.score_responses([example])) if example is not None else ()
        facts = CardFacts(repo, license, dataset, shown)
        with tempfile.TemporaryDirectory() as folder:
            return push_folder(self.save_pretrained(Path(folder) / "scorer", facts), repo, private=private)

    @classmethod
    def _read(cls, saved: Saved, source: str | PathLike[str]) -> Self:
        """Return the scorer that a folder holds; `source` is where it was found."""
        if strange := cls._wrong_kind(saved.config):
            raise BadFolder(f"{source} {strange}")
        try:
            scorer = cls._restored(saved)
            scorer.guarantees_ = saved_guarantees(saved.config)
            return scorer
        except (KeyError, TypeError, ValueError, RuntimeError, LookupError) as error:
            raise BadFolder(
                f"{source} does not describe a whole scorer ({error}): copy it again, or train anew"
            ) from error

    def _refuse_unfitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFitted(
                "this scorer has not learned anything yet: call fit with rated responses, or load a saved one"
            )

    def _repr_html_(self) -> str:
        name = type(self).__name__
        if not self.__sklearn_is_fitted__():
            return card_fragment(f"{name}, not fitted", self.get_params(deep=False))
        return card_fragment(name, self._facts())

    @abstractmethod
    def prepare(self, X: Sequence[Response | Preference]) -> tuple[Any, ...]:
        """Return what to learn from and with which settings; refuse what teaches nothing before texts are encoded."""

    @abstractmethod
    def __sklearn_is_fitted__(self) -> bool: ...

    @abstractmethod
    def _scored(self, responses: Sequence[Response]) -> Iterator[ScoredResponse]:
        """Score a run of responses."""

    @abstractmethod
    def _disaggregated(
        self, responses: Sequence[Response], pairs: NDArray[np.int64] | None = None
    ) -> Iterator[ScoredResponse]:
        """Label the sentences of a run of responses, given the labels of these, and which is better than which."""

    @abstractmethod
    def _facts(self) -> dict[str, Any]:
        """Return what there is to show of a fitted scorer."""

    @abstractmethod
    def _saved(self, facts: CardFacts | None = None) -> Saved:
        """Return what a folder keeps of the scorer; `facts` go into its model card."""

    @classmethod
    @abstractmethod
    def _wrong_kind(cls, config: Mapping[str, Any]) -> str:
        """Say why a saved scorer is none of this kind, and what reads it; nothing where it is one."""

    @classmethod
    @abstractmethod
    def _restored(cls, saved: Saved) -> Self:
        """Return the fitted scorer that a folder describes."""
