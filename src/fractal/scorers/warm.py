"""A scorer that goes on from an earlier one where it can, and says so; where it cannot, it is trained afresh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fractal.ensemble.config import FitConfig
from fractal.ensemble.experts import Ensemble
from fractal.ensemble.result import Choice, FitResult
from fractal.ensemble.warm import WarmStart
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.records.corpus import Corpus

if TYPE_CHECKING:
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["ABOUT", "EARLIER", "beginning", "went_on"]

# new sentence labels a response: where there were more, sentences lost (benchmarks/results/warm.md)
MOST_CORRECTED = 0.1
ABOUT, AFRESH, EARLIER = "where training begins", "afresh", "the earlier scorer"


@dataclass(frozen=True)
class Beginning:
    """Where a fit begins: which forms it tries, how, and what was chosen where an earlier scorer was given."""

    forms: Sequence[Aggregation]
    config: FitConfig
    choices: tuple[Choice, ...] = ()

    def told_in(self, result: FitResult) -> FitResult:
        """Return a fit that says where it began."""
        return replace(result, choices=(*self.choices, *result.choices))


def beginning(
    scorer: SentenceScorer, fingerprint: str, earlier: SentenceScorer | None, corpus: Corpus, config: FitConfig
) -> Beginning:
    """Return where the fit of a scorer begins: at the heads of an earlier one, under its rule, where they fit.

    `fingerprint` is that of the encoder whose vectors are learned from.
    """
    forms = scorer.forms(corpus)
    if earlier is None:
        return Beginning(forms, config)
    spec = AGGREGATIONS.spec(earlier.ensemble_.aggregation)
    form = next((form for form in forms if AGGREGATIONS.spec(form) == spec), None)
    reason = f"it learned under {spec}" if form is None else _other_kind(earlier, scorer, fingerprint, config)
    reason = reason or _much_to_learn(earlier, corpus)
    if form is not None and not reason:
        warm = WarmStart(earlier.ensemble_, earlier.held_out_index_.weights(corpus.responses, config.plan.members))
        specs = config.experts_for(form, has_pairs=len(corpus.pairs) > 0)
        reason = warm.why_not(specs, config.plan, config.directions)
        if not reason:
            why = "Its heads are trained on under its rule; its folds and columns are kept."
            return Beginning((form,), replace(config, warm=warm), (Choice(ABOUT, {}, EARLIER, why),))
    why = f"Training cannot go on from the earlier scorer: {reason}."
    return Beginning(forms, config, (Choice(ABOUT, {}, AFRESH, why),))


def _other_kind(earlier: SentenceScorer, scorer: SentenceScorer, fingerprint: str, config: FitConfig) -> str:
    """Say what of an earlier scorer, or of the fit that is asked for, begins afresh; nothing where nothing does."""
    if earlier.encoder_fingerprint_ != fingerprint:
        return "it has another encoder"
    if type(earlier.ensemble_) is not Ensemble or scorer.tune is not None:
        return "an encoder is tuned"
    if config.supervised or config.self_training.rounds or config.try_priors or config.start != "even":
        return "full supervision, self-training, priors left open and other starts begin afresh"
    return ""


def _much_to_learn(earlier: SentenceScorer, corpus: Corpus) -> str:
    """Say how many sentence labels are new, where they are more than a few epochs learn."""
    labels = sum(label is not None for response in corpus.responses for label in response.sentence_labels)
    new = labels - int(earlier.data_.get("sentence labels", 0))
    return f"{new:,} sentence labels are new" if new > MOST_CORRECTED * len(corpus.responses) else ""


def went_on(choices: Sequence[Choice]) -> bool:
    """Whether a fit of these choices went on from an earlier scorer."""
    return any((choice.about, choice.taken) == (ABOUT, EARLIER) for choice in choices)
