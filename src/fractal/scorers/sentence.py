"""SentenceScorer, the front door: learns from labels on whole responses, scores every sentence."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.array_space import IN_MEMORY, ArraySpace
from fractal.encoders import ENCODERS, EmbeddingCache, Encoder
from fractal.encoders.base import Progress
from fractal.encoders.block import EncodedBlock, texts_only
from fractal.encoders.laying import embed_by_workers
from fractal.ensemble import summary
from fractal.ensemble.checks import run_checks
from fractal.ensemble.config import FitConfig
from fractal.ensemble.control import names_of, with_control
from fractal.ensemble.experts import Ensemble, Predictor, block_for
from fractal.ensemble.fit import fit_ensembles, refuse_levels_of_pairs, refuse_loss, refuse_unlabelled
from fractal.ensemble.learning_curve import LearningCurve, learning_curve
from fractal.ensemble.result import Choice, FitResult
from fractal.ensemble.selection import asked_priors
from fractal.ensemble.self_training import SelfTraining
from fractal.ensemble.specs import ExpertChoice, ExpertSpec, experts_for, in_order
from fractal.ensemble.tasks import forms_of, task_choice
from fractal.errors import BadSpec
from fractal.evaluation.calibration import Calibrator
from fractal.evaluation.findings import Finding
from fractal.finetuning.plan import TuningPlan
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.mil.objectives.base import Term
from fractal.mil.outputs import by_member
from fractal.mil.training.callbacks import Callback
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Preference, Response, ScoredResponse
from fractal.records.corpus import Corpus, gather
from fractal.records.splitting import SPLITTERS
from fractal.scorers.data import labels_of, reading_of, records_of, response_of
from fractal.scorers.inputs import Remembers, warn_of_another_encoder
from fractal.scorers.labelling import labels_in_run
from fractal.scorers.likeness import TrainingProfile
from fractal.scorers.membership import HeldOutIndex
from fractal.scorers.model_card import CardFacts, model_card
from fractal.scorers.output import Run, records, steady_runs
from fractal.scorers.persistence import CARRIED, Saved, restored_encoder, saved_plan
from fractal.scorers.plan_options import PlanOptions
from fractal.scorers.runs import with_missing_calls
from fractal.scorers.training_space import records_for_training, training_space
from fractal.scorers.tuned import restored_tuned, tuning_plan, with_tuned_expert
from fractal.scorers.warm import beginning

__all__ = ["SentenceScorer"]

MOST_MEMBERS = 64  # who held a response out is kept as one bit a member


class SentenceScorer(Remembers, PlanOptions):
    """Learns from labels on whole responses to score each of their sentences, and those of new responses.

    Everything is chosen by held-out *response* labels; sentence labels are used where there are some, and never needed.
    `plan__learning_rate` and the like set single options of the plan, in a grid search too.

    Parameters
    ----------
    aggregation : str or Aggregation, default="auto"
        How sentences make up a response: a name of `fractal list aggregations`, with options as in
        "softmin(temperature=0.1)". "auto" tries a minimum, a maximum and a mean, as far as the labels allow them, and
        takes the one under which held-out response labels cost least.
    recipe : str or sequence of str, default="auto"
        The features that heads read: a name of `fractal list recipes`, or features joined by "+". "auto" trains four
        experts (scalar features with a hidden layer and without, the sentence vector, all features) and weighs them in
        an ensemble by held-out response labels.
    encoder : str or Encoder, default="minilm"
        What turns texts into vectors: a name of `fractal list encoders`; "minilm" comes with the package.
    splitter : str, default="sentences"
        How `score_text` and `read` cut raw texts: "sentences", "steps" of reasoning, "lines" or "presplit".
    priors : str or sequence of str or Term, default=()
        Loss terms that say beforehand which sentences are good, as "cosine(weight=0.05)": good ones are near the
        context. "auto" tries those that the labels bear out, and keeps those that lower the held-out loss.
    start : {"even", "prior", "auto"}, default="even"
        Where heads start: at even odds, at the similarity to context and query calibrated on the response labels, or
        where the held-out loss is lower.
    directions : int, default=64
        How many principal directions of each vector are kept; 0 keeps the vectors whole.
    self_training : SelfTraining or None, default=None
        Rounds in which fresh heads learn pseudo-labels of sentences; None makes no round.
    gold_weight : float, default=1.0
        How much a known sentence label weighs beside a response label; 0 ignores sentence labels.
    learn_from : {"responses", "sentences"}, default="responses"
        "sentences" learns from sentence labels alone: full supervision, to compare with.
    loss : {"auto", "bce", "mae", "mse", "msle", "ratio"}, default="auto"
        How far response scores are from their labels: "auto" is the exact likelihood of the aggregation, and of
        preferences Bradley–Terry on log-odds; "ratio" is Bradley–Terry on mean scores.
    class_weights : {"none", "balanced"} or float, default="none"
        "balanced" lets good and bad responses weigh as if equally many; a number, as if it were the share of good ones.
    plan : TrainingPlan or None, default=None
        How heads are trained: epochs, learning rate, members of the ensemble, device and so on; None takes the
        defaults.
    tune : str, TuningPlan or None, default=None
        An encoder to tune on the labels as one more expert: "minilm", "mpnet", a folder or a name on the Hub, with
        options as in "minilm(members=5)"; it is left out where its order inside responses is unlike the other experts'.
        Needs the extra `finetune`.
    cache : str, path or bool, default=True
        The folder where vectors are kept, so that no text is encoded twice. True takes FRACTAL_CACHE or the platform's
        place, False keeps none.
    task : {"factuality", "reasoning", "retrieval", "quality"} or None, default=None
        What is rated, which states the direction: one bad sentence makes a response bad (factuality, reasoning), one
        good one makes it good (retrieval), or all count (quality).
    memory_limit : float, default=0
        GB of memory that vectors and columns may take while training, and texts that are read meanwhile an eighth as
        much; what takes more is laid in files, and the same is learned. 0 allows half of what is free.
    workers : int or "auto", default="auto"
        Processes that encode texts and lay columns where these stand in files; several put them there, whatever their
        size. "auto" is one a core for large trainings in files, else this process alone; the same is learned.
    control : str or sequence of str, default=()
        Covariates to take out of labels of responses: fields that these carry (`author`, `meta.model`), or "length".

    Attributes
    ----------
    aggregation_ : str
        The aggregation that was taken.
    choices_ : tuple of Choice
        What held-out response labels decided: the options, the held-out loss of each, the one taken, and why.
    checks_ : tuple of Finding
        What the checks say of the assumptions that training rests on.
    metrics_ : dict
        How well responses are told apart by heads that did not learn from them.
    data_ : dict
        What was learned from, counted.
    learning_curve_ : LearningCurve
        How well a small model does with a quarter, a half and all of the ratings.
    history_ : tuple of Epoch
        Every epoch of the training, with losses and held-out ROC AUC.
    ensemble_ : Ensemble
        The experts, their heads and their weights.
    """

    def __init__(
        self,
        aggregation: str | Aggregation = "auto",
        recipe: str | Sequence[str] = "auto",
        encoder: str | Encoder = "minilm",
        splitter: str = "sentences",
        priors: str | Sequence[str | Term] = (),
        start: str = "even",
        directions: int = 64,
        self_training: SelfTraining | None = None,
        gold_weight: float = 1.0,
        learn_from: str = "responses",
        loss: str = "auto",
        class_weights: str | float = "none",
        plan: TrainingPlan | None = None,
        tune: str | TuningPlan | None = None,
        cache: str | PathLike[str] | bool = True,
        task: str | None = None,
        memory_limit: float = 0.0,
        workers: int | str = "auto",
        control: str | Sequence[str] = (),
    ) -> None:
        self.aggregation = aggregation
        self.recipe = recipe
        self.encoder = encoder
        self.splitter = splitter
        self.priors = priors
        self.start = start
        self.directions = directions
        self.self_training = self_training
        self.gold_weight = gold_weight
        self.learn_from = learn_from
        self.loss = loss
        self.class_weights = class_weights
        self.plan = plan
        self.tune = tune
        self.cache = cache
        self.task = task
        self.memory_limit = memory_limit
        self.workers = workers
        self.control = control

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        columns: Mapping[str, str] | None = None,
        label_scale: str | tuple[float, float] | None = None,
        levels: int | None = None,
        label_words: Mapping[str, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoints: str | PathLike[str] | None = None,
        on_encode: Progress | None = None,
        earlier: SentenceScorer | None = None,
    ) -> Self:
        """Learn from rated responses, from preferences, or from both; `y` replaces the labels of responses.

        `X` is whatever holds them: records, dictionaries, texts (with `y`), a frame, a data set, or a path. `columns`,
        `label_scale`, `levels` and `label_words` say how it is to be read, as in `read`; the scorer remembers them.
        With `checkpoints`, a folder, a fit that was killed goes on where it was: the same call gives the same scorer.
        `callbacks` are told every epoch, `on_encode` how many of how many responses are encoded. Heads go on from those
        of an `earlier` scorer, under its rule, where they fit; `choices_` says whether they did.
        """
        options = {"columns": columns, "label_scale": label_scale, "levels": levels, "label_words": label_words}
        records, report = records_of(X, self.splitter, options)
        records = records_for_training(records, self.memory_limit)
        corpus, config = self.prepare(records, labels_of(y, label_scale, levels, label_words))
        config = dataclasses.replace(config, checkpoints=Path(checkpoints) if checkpoints else None)
        block = self.embed_for_training(corpus.responses, on_encode, config)
        begun = beginning(self, self._encoder().fingerprint, earlier, corpus, config)
        result = fit_ensembles(block, corpus, {"": begun.forms}, begun.config, callbacks)[""]
        self._finish(begun.told_in(result), block, corpus, config, callbacks)
        self.remember_reading(reading_of(report, options))
        return self

    def fit_block(
        self,
        block: EncodedBlock,
        corpus: Corpus,
        config: FitConfig,
        callbacks: Sequence[Callback] = (),
        earlier: SentenceScorer | None = None,
    ) -> Self:
        """Learn from what `prepare` gathered and `embed_for_training` encoded."""
        begun = beginning(self, self._encoder().fingerprint, earlier, corpus, config)
        result = fit_ensembles(block, corpus, {"": begun.forms}, begun.config, callbacks)[""]
        return self._finish(begun.told_in(result), block, corpus, config, callbacks)

    def _finish(
        self, result: FitResult, block: EncodedBlock, corpus: Corpus, config: FitConfig, callbacks: Sequence[Callback]
    ) -> Self:
        """Tune an encoder beside a fit where that is asked for, and keep both."""
        if self.tune is not None:
            tuning = tuning_plan(self.tune, config.plan.seed)
            result = with_tuned_expert(result, block, corpus, config, tuning, callbacks)
        return self.store(result, block, corpus, config)

    def prepare(
        self, X: Sequence[Response | Preference], y: Sequence[float | None] | None = None
    ) -> tuple[Corpus, FitConfig]:
        """Gather what would be learned from, and refuse options and data that nothing can be learned with."""
        config = self.fit_config()
        corpus = gather(X, y, config.plan.folds).in_canonical_order()
        forms = self.forms(corpus)
        config = with_control(self.fit_config(corpus.responses), self.control, corpus, forms, self.tune)
        refuse_loss(corpus, config)
        refuse_levels_of_pairs(forms, corpus)
        refuse_unlabelled(corpus, config)
        return corpus, config

    def store(self, result: FitResult, block: EncodedBlock, corpus: Corpus, config: FitConfig, name: str = "") -> Self:
        """Keep what a fit gave, and what can be said of it."""
        self.ensemble_ = result.ensemble
        self.aggregation_ = AGGREGATIONS.spec(result.ensemble.aggregation)
        settled = summary.settled(config, name)
        self.choices_ = (*task_choice(self.task, self.aggregation_), *settled, *result.choices)
        self.history_, self.cost_, self.guarantees_ = result.history, result.cost, {}
        self.calibrator_ = summary.calibrated(result, block.offsets, corpus)
        self.encoder_fingerprint_ = self._encoder().fingerprint
        self.held_out_index_ = HeldOutIndex.of(corpus.responses, result.weights)
        self.remember_inputs(block, corpus.groups)
        self.data_ = summary.described(corpus)
        if count := summary.contradictions(result.ensemble.aggregation, corpus.responses):
            self.data_["labels that sentence labels contradict"] = count
        self.metrics_ = summary.held_out_metrics(result, block.offsets, corpus)
        self.learning_curve_ = learning_curve(block, corpus, result.ensemble.aggregation, config.plan.seed)
        self.checks_ = run_checks(block, corpus, result, seed=config.plan.seed, controlled=config.controlled)
        return self

    def score_text(self, response: str, *, query: str = "", context: Sequence[str] = ()) -> ScoredResponse:
        """Score one raw text: it is cut by the scorer's own splitter."""
        return self.score_responses([self.read(response, query=query, context=context)])[0]

    def read(self, text: str, *, query: str = "", context: Sequence[str] = (), id: str = "") -> Response:
        """Cut a raw text into a response as the scorer's training data were cut."""
        return response_of(text, self.splitter, query=query, context=context, id=id)

    def predict(self, X: Any, *, columns: Mapping[str, str] | None = None) -> NDArray[np.float64]:
        """Return the response scores of whatever holds responses."""
        return np.array([scored.response_score for scored in self.stream(X, columns=columns)])

    def score(self, X: Any, y: Any = None) -> float:
        """Return the share of response pairs put in the right order (ROC AUC on 0/1 labels); of preferences, if any."""
        self._refuse_unfitted()
        records, _ = records_of(X, self.splitter, {}, self.memory_)
        scale, levels = self.memory_.get("scale"), self.memory_.get("levels")
        corpus = gather(list(records), labels_of(y, scale, levels, None))
        scores = self.predict(corpus.responses)
        if len(corpus.pairs):
            return summary.preferences_right(corpus.pairs, scores)
        return summary.concordance(corpus.labels, scores)

    @property
    def direction_(self) -> str:
        """The hard rule of the aggregation that was taken: min, max or mean."""
        return str(self.ensemble_.aggregation.direction)

    def fit_config(self, responses: Sequence[Response] = ()) -> FitConfig:
        """Return these options as a fit to these responses reads them."""
        plan = self.plan or TrainingPlan()
        if plan.members > MOST_MEMBERS:
            raise BadSpec(f"members={plan.members}: an ensemble has at most {MOST_MEMBERS}")
        if self.tune is not None:
            tuning_plan(self.tune, plan.seed)
        ENCODERS.build(self.encoder), SPLITTERS.build(self.splitter)  # a wrong name is said before texts are encoded
        choice = self._experts(responses)
        priors, try_priors = asked_priors(self.priors)
        return FitConfig(
            experts=choice.experts,
            mean_experts=choice.mean_experts,
            pseudo_label_experts=choice.pseudo_label_experts,
            why_experts=choice.why,
            priors=priors,
            try_priors=try_priors,
            start=self.start,
            directions=self.directions,
            self_training=self.self_training or SelfTraining(),
            gold_weight=self.gold_weight,
            learn_from=self.learn_from,
            loss=self.loss,
            class_weights=self.class_weights,
            plan=plan,
        )

    def _experts(self, responses: Sequence[Response]) -> ExpertChoice:
        """The experts that train on labels, on labels that are means, and on pseudo-labels."""
        one = None if self.recipe == "auto" else ExpertChoice((ExpertSpec.of(self.recipe),))
        return one or experts_for(responses, self.splitter, self.plan, supervised=self.learn_from == "sentences")

    def forms(self, corpus: Corpus) -> tuple[Aggregation, ...]:
        """Return the aggregations to try: the one asked for or implied, or one of each direction that labels allow."""
        ordered = in_order(self.splitter, corpus.responses)
        return forms_of(self.aggregation, self.task, corpus.directions, in_order=ordered)

    def _encoder(self) -> Encoder:
        """Return the encoder; the same one as long as the option is, for it remembers its weights and their hash."""
        chosen: tuple[str | Encoder, Encoder] | None = self.__dict__.get("_chosen_encoder")
        if chosen is None or chosen[0] != self.encoder:
            chosen = self._chosen_encoder = (self.encoder, ENCODERS.build(self.encoder))
        return chosen[1]

    def carry_encoder(self, encoder: Encoder) -> None:
        """Take the encoder that a saved scorer carries, with its vectors, as the one that the option names."""
        self._chosen_encoder = (self.encoder, encoder)

    def encoder_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a saved scorer carries so that its encoder works anywhere."""
        return {f"{CARRIED}{name}": array for name, array in self._encoder().arrays().items()}

    def embed(
        self, responses: Sequence[Response], on_encode: Progress | None = None, space: ArraySpace = IN_MEMORY
    ) -> EncodedBlock:
        """Encode responses, through the cache where one is wanted."""
        encoder = self._encoder()
        warn_of_another_encoder(getattr(self, "encoder_fingerprint_", ""), encoder.fingerprint)
        cache = None if encoder.quick else EmbeddingCache.at(self.cache)
        return embed_by_workers(responses, encoder, cache, progress=on_encode, space=space)

    def embed_for_training(
        self, responses: Sequence[Response], on_encode: Progress | None = None, config: FitConfig | None = None
    ) -> EncodedBlock:
        """Encode responses to learn from, in files where memory has no room for what is made of them.

        Where nothing that learns reads vectors, as in runs of agents, none are made: `config`, of `prepare`, tells.
        """
        needed = self.tune is not None or (config or self.fit_config(responses)).reads_vectors
        space = training_space(responses, self._encoder().dim if needed else 0, self.memory_limit, self.workers)
        return self.embed(responses, on_encode, space) if needed else texts_only(responses, space)

    def _scored(self, responses: Sequence[Response]) -> Iterator[ScoredResponse]:
        block = block_for(self.ensemble_, responses, self.embed)
        return self.marked(block, self.to_records(block, self.ensemble_.logits(Predictor(block))))

    def to_records(self, block: EncodedBlock, logits: Tensor) -> Iterator[ScoredResponse]:
        """Return records of the scores that log-odds (sentence, [level − 1,] member) give the block's responses."""
        aggregation = self.ensemble_.aggregation
        for run in steady_runs(logits, block.offsets):
            scores = aggregation.sentence_scores(run.logits.mean(-1, keepdim=True)).squeeze(-1)
            spread = aggregation.sentence_scores(run.logits).std(-1, correction=0)
            implied = self._response_scores(run.logits, run.offsets)
            part, cut = block.responses[run.bags], run.offsets.numpy()
            yield from records(part, cut, scores, implied, self.data_, spread, aggregation=aggregation)

    def _response_scores(self, logits: Tensor, offsets: Tensor, share: Tensor | None = None) -> NDArray[np.float64]:
        """The response scores (bag,): of each member, as the curve was learned, then their mean by shares."""
        scores = by_member(self.ensemble_.aggregation.from_logits(logits, offsets).sigmoid()).double().numpy()
        scores = self.calibrator_(scores) if self.calibrator_ else scores
        return np.asarray(scores.mean(1) if share is None else (scores * share.numpy()).sum(1))

    def _disaggregated(
        self, responses: Sequence[Response], pairs: NDArray[np.int64] | None = None
    ) -> Iterator[ScoredResponse]:
        block = block_for(self.ensemble_, responses, self.embed)
        logits = self.ensemble_.labelling_logits(Predictor(block), self.held_out_index_.knows(responses))
        return with_missing_calls(self.ensemble_, block, self.to_labelled_records(block, logits, pairs))

    def to_labelled_records(
        self, block: EncodedBlock, logits: Tensor, pairs: NDArray[np.int64] | None = None
    ) -> Iterator[ScoredResponse]:
        """Return records of what the log-odds say of the block's responses beside their known labels and pairs."""
        if count := summary.contradictions(self.ensemble_.aggregation, block.responses):
            warnings.warn(
                f"{count:,} responses have a label that the labels of their sentences contradict: these stand, and "
                "their other sentences are scored as if the response had no label",
                stacklevel=4,
            )
        whole = Run(logits, torch.from_numpy(block.offsets), slice(0, len(block.responses)))
        for run in steady_runs(logits, block.offsets) if pairs is None else (whole,):
            yield from self._labelled_run(block.responses[run.bags], run, pairs)

    def _labelled_run(
        self, responses: Sequence[Response], run: Run, pairs: NDArray[np.int64] | None
    ) -> Iterator[ScoredResponse]:
        logits, offsets, aggregation = run.logits, run.offsets, self.ensemble_.aggregation
        share = torch.ones(len(offsets) - 1, logits.shape[-1]) / logits.shape[-1]  # (bag, member)
        share[: len(responses)] = torch.from_numpy(self.held_out_index_.shares(responses, logits.shape[-1]))
        soft, hard, labels = labels_in_run(responses, run, aggregation, share, pairs)
        implied = np.where(labels.isnan(), self._response_scores(logits, offsets, share), labels)
        return records(responses, offsets.numpy(), soft, implied, self.data_, None, hard, aggregation=aggregation)

    def _saved(self, facts: CardFacts | None = None) -> Saved:
        config = self.config()
        arrays = {
            **self.ensemble_.arrays(),
            "seen.keys": self.held_out_index_.keys,
            "seen.members": self.held_out_index_.members,
            **self.encoder_arrays(),
            **self.profile_arrays(),
        }
        return Saved(config, arrays, model_card(config, facts), self.ensemble_.files())

    def config(self) -> dict[str, Any]:
        """Return everything but the arrays, as plain data: what `config.json` holds."""
        from fractal import __version__

        return {
            "fractal": __version__,
            "encoder": ENCODERS.spec(self._encoder()),
            "encoder_fingerprint": self.encoder_fingerprint_,
            "splitter": self.splitter,
            "reading": self.memory_,
            "profile": self.profile_.config() if self.profile_ else None,
            "ensemble": self.ensemble_.config(),
            "calibrator": self.calibrator_.to_dict() if self.calibrator_ else None,
            "plan": repr(self.plan or TrainingPlan()),
            "control": names_of(self.control),
            "choices": [dataclasses.asdict(choice) for choice in self.choices_],
            "data": self.data_,
            "metrics": self.metrics_,
            "learning curve": self.learning_curve_.to_dict(),
            "checks": [finding.to_dict() for finding in self.checks_],
        }

    @classmethod
    def _wrong_kind(cls, config: Mapping[str, Any]) -> str:
        return "scores several aspects: read it with AspectScorer.from_pretrained" if "aspects" in config else ""

    @classmethod
    def _restored(cls, saved: Saved) -> Self:
        ensemble = Ensemble.restored(saved.config["ensemble"], saved.arrays)
        ensemble = restored_tuned(ensemble, saved.config["ensemble"], saved.folder)
        held_out = HeldOutIndex(saved.arrays["seen.keys"], saved.arrays["seen.members"])
        scorer = cls.from_config(saved.config, ensemble, held_out)
        scorer.carry_encoder(restored_encoder(saved))
        scorer.profile_ = TrainingProfile.restored(saved.config.get("profile"), saved.arrays)
        return scorer

    @classmethod
    def from_config(cls, config: Mapping[str, Any], ensemble: Ensemble, held_out: HeldOutIndex) -> Self:
        """Return the fitted scorer that a saved configuration tells of."""
        scorer = cls(
            aggregation=AGGREGATIONS.spec(ensemble.aggregation),
            recipe=ensemble.experts[0].pipeline.recipe if len(ensemble.experts) == 1 else "auto",
            encoder=config["encoder"],
            splitter=config["splitter"],
            plan=saved_plan(config["plan"]),
            control=tuple(config.get("control", ())),
        )
        scorer.ensemble_, scorer.aggregation_ = ensemble, AGGREGATIONS.spec(ensemble.aggregation)
        scorer.calibrator_ = Calibrator.from_dict(config["calibrator"]) if config["calibrator"] else None
        scorer.encoder_fingerprint_ = config["encoder_fingerprint"]
        scorer.choices_ = tuple(Choice(**choice) for choice in config["choices"])
        scorer.data_, scorer.metrics_ = config["data"], config["metrics"]
        scorer.checks_ = tuple(Finding.from_dict(finding) for finding in config.get("checks", ()))
        scorer.held_out_index_, scorer.history_ = held_out, ()
        scorer.remember(config.get("reading", {}))  # folders of before know nothing of it
        scorer.learning_curve_ = LearningCurve.from_dict(config.get("learning curve", {}))
        return scorer

    def _facts(self) -> dict[str, Any]:
        return {"aggregation": self.aggregation_, "encoder": self.encoder_fingerprint_, **self.data_, **self.metrics_}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "ensemble_")
