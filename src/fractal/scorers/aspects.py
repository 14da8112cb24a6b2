"""AspectScorer: learns several labels of a response at once, and scores its sentences for each of them."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fractal.encoders import Encoder
from fractal.encoders.base import Progress
from fractal.encoders.block import EncodedBlock, texts_only
from fractal.ensemble.config import FitConfig
from fractal.ensemble.control import with_control
from fractal.ensemble.experts import Ensemble, Expert, Predictor, expert_arrays, restored_experts
from fractal.ensemble.fit import fit_ensembles, refuse_unlabelled
from fractal.ensemble.result import Choice
from fractal.ensemble.summary import concordance
from fractal.errors import BadData, BadSpec
from fractal.evaluation.findings import Finding
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.mil.training.callbacks import Callback, Epoch
from fractal.records import Preference, Response, ScoredResponse
from fractal.records.corpus import Corpus, gather_aspects
from fractal.records.stored import StoredRecords
from fractal.scorers.base import Scorer
from fractal.scorers.data import reading_of, records_of
from fractal.scorers.likeness import TrainingProfile
from fractal.scorers.membership import HeldOutIndex
from fractal.scorers.model_card import CardFacts, aspects_card
from fractal.scorers.persistence import Saved, load_folder, restored_encoder
from fractal.scorers.sentence import SentenceScorer
from fractal.scorers.training_space import records_for_training

__all__ = ["AspectScorer", "load_scorer"]

SHARED = (
    "fractal",
    "encoder",
    "encoder_fingerprint",
    "splitter",
    "plan",
    "control",
    "reading",
    "profile",
)  # what is saved once for all aspects


class AspectScorer(Scorer):
    """Learns several labels of each response at once: one pass of the encoder, shared heads, own scores an aspect.

    Parameters
    ----------
    aggregations : mapping of str to str or Aggregation, or "auto", default="auto"
        The aspects by name, each with the rule by which sentences make its label, or "auto"; the empty name is the
        response's own label. "auto" alone takes every aspect that the data name.
    scorer : SentenceScorer or None, default=None
        Holds all other options; it is not fitted itself.

    Attributes
    ----------
    scorers_ : dict
        A fitted SentenceScorer for every aspect, by name.
    """

    def __init__(
        self, aggregations: Mapping[str, str | Aggregation] | str = "auto", scorer: SentenceScorer | None = None
    ) -> None:
        self.aggregations = aggregations
        self.scorer = scorer

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        columns: Mapping[str, str] | None = None,
        label_scale: str | tuple[float, float] | None = None,
        levels: int | None = None,
        label_words: Mapping[str, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoints: str | PathLike[str] | None = None,
        on_encode: Progress | None = None,
    ) -> Self:
        """Learn from responses that carry labels of aspects, each any of them; `y` is not used.

        `X` is whatever holds them, read as `SentenceScorer.fit` does.
        With `checkpoints`, a folder, a fit that was killed goes on where it was. `callbacks` are told every epoch,
        `on_encode` how many of how many responses are encoded.
        """
        options = {"columns": columns, "label_scale": label_scale, "levels": levels, "label_words": label_words}
        records, report = records_of(X, self.splitter, options)
        X = records_for_training(records, self._unfitted().memory_limit)
        corpus, config = self.prepare(X)
        config = dataclasses.replace(config, checkpoints=Path(checkpoints) if checkpoints else None)
        plain = self._unfitted()
        block = plain.embed_for_training(corpus.responses, on_encode, config)
        scorers = {name: self._unfitted(aggregation=rule) for name, rule in self._rules(_rated(X)).items()}
        forms = {name: scorer.forms(corpus.of_aspect(name)) for name, scorer in scorers.items()}
        results = fit_ensembles(block, corpus, forms, config, callbacks)
        self.scorers_, self.guarantees_ = {}, {}
        for name, scorer in scorers.items():
            alone = corpus.of_aspect(name)
            self.scorers_[name] = scorer.store(results[name], _labelled(block, alone), alone, config, name)
        self.held_out_index_ = self._first.held_out_index_  # the same for all: folds are dealt once
        self.remember_reading(reading_of(report, options))
        return self

    def prepare(self, X: Sequence[Response | Preference], y: None = None) -> tuple[Corpus, FitConfig]:
        """Gather what would be learned from, and refuse options and data that nothing can be learned with."""
        responses = _rated(X)
        names = list(self._rules(responses))
        config = self._unfitted().fit_config(responses)
        if self._unfitted().tune is not None:
            raise BadSpec("tune: a scorer of several aspects tunes no encoder; train a SentenceScorer of one of them")
        if config.supervised or config.start != "even" or config.self_training.rounds or config.try_priors:
            raise BadSpec(
                "aspects learn from labels of responses alone: leave out learn_from, start, self_training "
                "and priors='auto'"
            )
        corpus = gather_aspects(responses, names, config.plan.folds).in_canonical_order()
        forms: list[Aggregation] = []
        for name, rule in self._rules(responses).items():
            forms += self._unfitted(aggregation=rule).forms(corpus.of_aspect(name))
            refuse_unlabelled(corpus.of_aspect(name), config, name)
        return corpus, with_control(config, self._unfitted().control, corpus, forms)

    def score_text(self, response: str, *, query: str = "", context: Sequence[str] = ()) -> list[ScoredResponse]:
        """Score one raw text, cut by the scorer's own splitter: one record an aspect."""
        return self.score_responses([self._unfitted().read(response, query=query, context=context)])

    def predict(self, X: Any, *, columns: Mapping[str, str] | None = None) -> NDArray[np.float64]:
        """Return the response scores: (response, aspect), aspects in the order of `scorers_`."""
        self._refuse_unfitted()
        scores = np.array([scored.response_score for scored in self.stream(X, columns=columns)], dtype=np.float64)
        return scores.reshape(-1, len(self.scorers_))

    def score(self, X: Sequence[Response], y: None = None) -> float:
        """Return the share of response pairs put in the right order, the mean over aspects."""
        labels = gather_aspects(X, list(self.scorers_)).aspects
        columns = zip(self.scorers_, self.predict(X).T, strict=True)
        return float(np.mean([concordance(labels[name], scores) for name, scores in columns]))

    @property
    def memory_(self) -> dict[str, Any]:
        """What the scorer remembers of its training data: columns, scale, and what share had a query and a context."""
        return self._first.memory_

    def remember_reading(self, reading: Mapping[str, Any]) -> None:
        """Keep how the training data were read, so that what is scored is read alike."""
        for scorer in self.scorers_.values():
            scorer.remember_reading(reading)

    @property
    def splitter(self) -> str:
        """How texts are cut."""
        return str(self._unfitted().splitter)

    @property
    def encoder(self) -> str | Encoder:
        """What turns texts into vectors."""
        return self._unfitted().encoder

    @property
    def cache(self) -> str | PathLike[str] | bool:
        """Where vectors are kept."""
        folder: str | PathLike[str] | bool = self._unfitted().cache
        return folder

    @property
    def aggregation_(self) -> dict[str, str]:
        """The rule of every aspect."""
        return {name: scorer.aggregation_ for name, scorer in self.scorers_.items()}

    @property
    def data_(self) -> dict[str, Any]:
        """What was learned from: responses and sentences in all, labels by aspect."""
        shared = ("responses", "sentences", "groups", "grouped by")
        counts = {key: value for key, value in self._first.data_.items() if key in shared}
        return {**counts, **self._by_aspect("data_", ("labelled responses", "mean label"))}

    @property
    def metrics_(self) -> dict[str, Any]:
        """How held-out responses are told apart, by aspect."""
        return self._by_aspect("metrics_")

    @property
    def choices_(self) -> tuple[Choice, ...]:
        """What held-out labels decided, by aspect."""
        return tuple(
            dataclasses.replace(choice, about=f"{shown(name)}: {choice.about}")
            for name, scorer in self.scorers_.items()
            for choice in scorer.choices_
        )

    @property
    def checks_(self) -> tuple[Finding, ...]:
        """What the checks found, by aspect."""
        return tuple(
            dataclasses.replace(finding, name=f"{shown(name)}: {finding.name}")
            for name, scorer in self.scorers_.items()
            for finding in scorer.checks_
        )

    @property
    def history_(self) -> tuple[Epoch, ...]:
        """Every epoch of every head, once."""
        return tuple({id(epoch): epoch for s in self.scorers_.values() for epoch in s.history_}.values())

    def _by_aspect(self, attribute: str, only: Sequence[str] = ()) -> dict[str, Any]:
        """Join what the scorers of all aspects say, each entry after the name of its aspect."""
        return {
            f"{shown(name)}: {key}": value
            for name, scorer in self.scorers_.items()
            for key, value in getattr(scorer, attribute).items()
            if not only or key in only
        }

    def without_cache(self) -> Self:
        """Return the same scorer, keeping no vectors on disk."""
        self._refuse_unfitted()
        other = copy.copy(self)
        other.scorers_ = {name: scorer.without_cache() for name, scorer in self.scorers_.items()}
        return other

    @property
    def _first(self) -> SentenceScorer:
        return next(iter(self.scorers_.values()))

    def _unfitted(self, **options: Any) -> SentenceScorer:
        """Return an unfitted scorer with the options that all aspects share, and with others."""
        shared = self.scorer.get_params(deep=False) if self.scorer is not None else {}
        return SentenceScorer(**{**shared, **options})

    def _rules(self, responses: Sequence[Response]) -> dict[str, str | Aggregation]:
        """Return the aspects to learn, each with its rule."""
        names = sorted({name for response in responses for name in response.aspects})
        rules = dict.fromkeys(names, "auto") if self.aggregations == "auto" else self.aggregations
        if isinstance(rules, str) or not (rules or self.aggregations == "auto"):
            raise BadSpec(
                f"aggregations={self.aggregations!r}: give every aspect its rule, as in {{'factual': 'product'}}"
            )
        unknown = [name for name in rules if name and name not in names]
        if unknown or not rules:
            what = f"the aspect {unknown[0]!r}" if unknown else "any aspect"
            listed = ", ".join(map(repr, names)) or "none"
            raise BadData(f"no response has a label of {what}; the aspects here are: {listed}", field="aspects")
        return dict(rules)

    def _scored(self, responses: Sequence[Response]) -> Iterator[ScoredResponse]:
        return self._by_response(responses, labelled=False)

    def _disaggregated(
        self, responses: Sequence[Response], pairs: NDArray[np.int64] | None = None
    ) -> Iterator[ScoredResponse]:
        if pairs is not None:
            raise BadData("a preference does not say which aspect it is about: give responses with labels of aspects")
        return self._by_response(responses, labelled=True)

    def _by_response(self, responses: Sequence[Response], *, labelled: bool) -> Iterator[ScoredResponse]:
        """Encode once where any head reads vectors, run every head once, and give each response a record an aspect."""
        reads_vectors = any(scorer.ensemble_.reads_vectors for scorer in self.scorers_.values())
        block = self._first.embed(responses) if reads_vectors else texts_only(responses)
        read = Predictor(block)
        records = []
        for name, scorer in self.scorers_.items():
            logits = scorer.ensemble_.logits(read)
            if labelled:
                scored = scorer.to_labelled_records(_labelled(block, gather_aspects(responses, [name])), logits)
            else:
                scored = scorer.to_records(block, logits)
            records.append(_named(name, scored, responses))
        all_records = itertools.chain.from_iterable(zip(*records, strict=True))
        return all_records if labelled else self._first.marked(block, all_records, len(records))

    def _saved(self, facts: CardFacts | None = None) -> Saved:
        """Keep what aspects share once: the encoder, the plan, the heads."""
        configs = {name: scorer.config() for name, scorer in self.scorers_.items()}
        experts = _distinct(scorer.ensemble_ for scorer in self.scorers_.values())
        config = {
            **{key: value for key, value in next(iter(configs.values())).items() if key in SHARED},
            "experts": [expert.config() for expert in experts],
            "aspects": {
                name: {**_without(SHARED, config), "ensemble": _ensemble_config(self.scorers_[name].ensemble_, experts)}
                for name, config in configs.items()
            },
        }
        seen = self.held_out_index_
        arrays = {**expert_arrays(experts), "seen.keys": seen.keys, "seen.members": seen.members}
        arrays |= {**self._first.encoder_arrays(), **self._first.profile_arrays()}
        return Saved(config, arrays, aspects_card(configs, facts))

    @classmethod
    def _wrong_kind(cls, config: Mapping[str, Any]) -> str:
        return "" if "aspects" in config else "scores no aspects: read it with SentenceScorer.from_pretrained"

    @classmethod
    def _restored(cls, saved: Saved) -> Self:
        shared = {"reading": {}, **{key: saved.config[key] for key in SHARED if key in saved.config}}
        experts = restored_experts(saved.config["experts"], saved.arrays)
        seen = HeldOutIndex(saved.arrays["seen.keys"], saved.arrays["seen.members"])
        scorers = {
            name: SentenceScorer.from_config(
                {**shared, **config}, _restored_ensemble(config["ensemble"], experts), seen
            )
            for name, config in saved.config["aspects"].items()
        }
        encoder, profile = restored_encoder(saved), TrainingProfile.restored(saved.config.get("profile"), saved.arrays)
        for scorer in scorers.values():
            scorer.carry_encoder(encoder)
            scorer.profile_ = profile
        first = next(iter(scorers.values()))
        plain = SentenceScorer(encoder=shared["encoder"], splitter=shared["splitter"], plan=first.plan)
        plain.control = first.control
        fitted = cls({name: scorer.aggregation_ for name, scorer in scorers.items()}, plain)
        fitted.scorers_, fitted.held_out_index_ = scorers, seen
        return fitted

    def _facts(self) -> dict[str, Any]:
        rules = {f"{shown(name)}: aggregation": rule for name, rule in self.aggregation_.items()}
        return {**rules, "encoder": self._first.encoder_fingerprint_, **self.data_, **self.metrics_}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "scorers_")


def load_scorer(
    folder_or_repo: str | PathLike[str],
    revision: str | None = None,
    *,
    cache: str | PathLike[str] | bool = True,
    trust_paths: bool | None = None,
) -> SentenceScorer | AspectScorer:
    """Read a saved scorer of either kind, and say where it keeps vectors.

    An encoder that it names by a path outside its own folder, or by a name of the Hub without a pinned revision, is
    refused, unless `trust_paths` is true: then whoever wrote the folder chooses what is read. None is as the variable
    FRACTAL_TRUST_PATHS of the environment says.
    """
    saved = load_folder(folder_or_repo, revision, trust_paths=trust_paths)
    if "aspects" not in saved.config:
        scorer = SentenceScorer._read(saved, folder_or_repo)
        scorer.cache = cache
        return scorer
    fitted = AspectScorer._read(saved, folder_or_repo)
    for scorer in fitted.scorers_.values():
        scorer.cache = cache
    return fitted


def shown(aspect: str) -> str:
    """Return the name under which an aspect is told of."""
    return aspect or "whole response"


def _rated(X: Iterable[Response | Preference]) -> Sequence[Response]:
    responses: Sequence[Any] = X if isinstance(X, StoredRecords) else tuple(X)
    if not responses or any(isinstance(record, Preference) for record in responses):
        raise BadData("aspects are learned from labels of responses, not from preferences: give rated responses")
    return responses


def _labelled(block: EncodedBlock, corpus: Corpus) -> EncodedBlock:
    return dataclasses.replace(block, responses=corpus.responses)


def _named(aspect: str, scored: Iterable[ScoredResponse], responses: Iterable[Response]) -> list[ScoredResponse]:
    """Say what scores are about, beside the responses with all their labels."""
    pairs = zip(scored, responses, strict=True)
    return [dataclasses.replace(item, response=response, aspect=aspect) for item, response in pairs]


def _distinct(ensembles: Iterable[Ensemble]) -> list[Expert]:
    """Return every head once, whoever reads it."""
    experts = (expert for ensemble in ensembles for expert in ensemble.experts)
    heads = {expert.head: dataclasses.replace(expert, outputs=None) for expert in experts}
    return list(heads.values())


def _without(keys: Sequence[str], config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def _ensemble_config(ensemble: Ensemble, experts: Sequence[Expert]) -> dict[str, Any]:
    """Tell of an ensemble by the numbers of its experts and the outputs that it reads of each."""
    heads = [expert.head for expert in experts]
    reads = [{"number": heads.index(expert.head), "outputs": expert.outputs} for expert in ensemble.experts]
    return {**ensemble.config(), "experts": reads}


def _restored_ensemble(config: Mapping[str, Any], experts: Sequence[Expert]) -> Ensemble:
    outputs = [part["outputs"] and tuple(part["outputs"]) for part in config["experts"]]  # None, of one aspect: all
    pairs = zip(config["experts"], outputs, strict=True)
    readers = (dataclasses.replace(experts[part["number"]], outputs=read) for part, read in pairs)
    aggregation = AGGREGATIONS.build(config["aggregation"])
    return Ensemble(tuple(readers), tuple(config["weights"]), float(config["shift"]), aggregation)
