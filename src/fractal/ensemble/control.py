"""Control: what covariates alone (length, author) explain of labels, so that sentence scores need not explain it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.ensemble.result import Choice
from fractal.ensemble.screening import MIN_GAIN_NATS
from fractal.ensemble.weighting import of_unseen
from fractal.errors import BadSpec
from fractal.evaluation.covariates import LENGTH, Covariate, explained
from fractal.evaluation.folds import member_weights
from fractal.evaluation.outcomes import FOLDS, Outcome
from fractal.evaluation.solvers import logistic_line
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.records.corpus import Corpus

if TYPE_CHECKING:
    from fractal.ensemble.config import FitConfig

__all__ = ["Control", "control_of", "held_out_offset", "names_of", "preference_offset", "rating_offset", "with_control"]

Floats = NDArray[np.float64]

TAKEN_OUT, NOTHING = "taken out", "nothing to take out"
RIDGE = 1.0  # draws the weights of covariates to 0, as strongly as a few labels would
LEVEL = 10.0  # in the constant's column, so that its weight is drawn a hundred times less


@dataclass(frozen=True, eq=False)
class Control:
    """The covariates that are taken out of labels, of each aspect those that explain held-out labels of it."""

    names: tuple[str, ...]
    columns: Mapping[str, Floats]  # by aspect: (response, column)
    choices: Mapping[str, tuple[Choice, ...]]  # by aspect: what each explains, and whether it is taken out

    @property
    def takes_length(self) -> bool:
        """Whether length was named and is taken out, so that it need not be for preferences anyway."""
        return any(c.about == f"control of {LENGTH}" and c.taken == TAKEN_OUT for c in self.choices.get("", ()))

    def of_aspect(self, name: str) -> Control:
        """Return the same for one who knows this aspect only, as the response's own label."""
        return replace(self, columns={"": self.columns[name]}, choices={"": self.choices[name]})


def control_of(names: Sequence[str], corpus: Corpus, seed: int) -> Control | None:
    """Read the covariates of these names, and ask held-out labels of each aspect what they explain."""
    if not names:
        return None
    covariates = [Covariate.of(corpus.responses, name) for name in dict.fromkeys(names)]
    columns, choices = {}, {}
    for aspect in corpus.aspects or ("",):
        alone = corpus.of_aspect(aspect)
        outcome = Outcome.of(alone.responses, alone.pairs, seed, alone.groups)
        choices[aspect] = tuple(_choice(covariate, outcome, seed) for covariate in covariates)
        pairs = zip(covariates, choices[aspect], strict=True)
        taken = [covariate.columns for covariate, choice in pairs if choice.taken == TAKEN_OUT]
        columns[aspect] = np.concatenate([np.zeros((len(corpus.responses), 0)), *taken], 1)
    return Control(tuple(c.name for c in covariates), columns, choices)


def _choice(covariate: Covariate, outcome: Outcome, seed: int) -> Choice:
    """Say what a covariate alone explains of held-out labels; it is taken out where that is worth a word."""
    about = f"control of {covariate.name}"
    if not covariate.differs:
        why = f"It is {covariate}: responses do not differ in it, so it has nothing to take out."
        return Choice(about, {}, NOTHING, why)
    if not outcome.differs:
        return Choice(about, {}, NOTHING, f"It is {covariate}. Too few groups have labels to hold out.")
    area, without, cost = explained(covariate.columns, outcome, seed)
    unit = "preference" if len(outcome.second) else "response"
    what = "preferences" if len(outcome.second) else "labels"
    shown = (
        f"It is {covariate}. Alone it tells held-out {what} apart with AUC {area.value:.2f} "
        f"[{area.low:.2f}, {area.high:.2f}] and saves {without - cost:+.3f} nats a {unit}"
    )
    costs = {"without": without, covariate.name: cost}
    if without - cost < MIN_GAIN_NATS:
        return Choice(about, costs, NOTHING, f"{shown}: too little for sentence scores to have to know it.")
    why = (
        f"{shown}. Sentence scores need not explain that, and no response is scored by it: unknown values are neutral."
    )
    return Choice(about, costs, TAKEN_OUT, why)


def preference_offset(corpus: Corpus, config: FitConfig, weights: NDArray[np.float32]) -> Tensor | None:
    """Log-odds by which each response is preferred for covariates alone: (response, 1 | member); None: nothing.

    Raters lean to long answers whatever these say, and to those of an author; a head that had to explain it would
    learn what long answers hold. Each member fits them to the pairs that it sees; length alone, of two weights, is
    fitted once to all.
    """
    control, pairs = config.control, corpus.pairs
    if not len(pairs):
        return None
    taken = [] if control is None else [control.columns[""]]
    if config.plan.length_control and not (control and control.takes_length):
        taken = [Covariate.of(corpus.responses, LENGTH).columns, *taken]
    columns = np.concatenate([np.zeros((len(corpus.responses), 0)), *taken], 1)
    if not columns.shape[1]:
        return None
    seen = np.ones((len(pairs), 1), dtype=np.bool_)  # (pair, 1 | member)
    if control is not None:
        seen = (weights[pairs[:, 0]] > 0) & (weights[pairs[:, 1]] > 0)
    better, worse, tie = pairs.T
    return _offsets(columns, columns[better] - columns[worse], 1 - 0.5 * tie, seen)


def rating_offset(corpus: Corpus, config: FitConfig, weights: NDArray[np.float32]) -> Tensor | None:
    """Log-odds of a good label by covariates alone: (response, [aspect,] member); None where nothing is controlled.

    Each member (response, member) fits them to the labels that it sees, so none knows of what it holds out.
    """
    control = config.control
    if control is None or config.supervised or not any(columns.shape[1] for columns in control.columns.values()):
        return None
    labels = {name: corpus.of_aspect(name).labels for name in corpus.aspects or ("",)}
    parts = [_of_ratings(control.columns[name], values, weights > 0) for name, values in labels.items()]
    return torch.stack(parts, 1) if len(parts) > 1 else parts[0]


def held_out_offset(corpus: Corpus, config: FitConfig) -> Tensor | None:
    """Return the same as labels of other folds tell it of each response: (response, 1)."""
    weights = member_weights(corpus.groups, corpus.labels, FOLDS, FOLDS, config.plan.seed)
    offset = rating_offset(corpus, config, weights)
    return None if offset is None else of_unseen(offset, torch.from_numpy(weights))


def _of_ratings(columns: Floats, labels: Floats, seen: NDArray[np.bool_]) -> Tensor:
    rated = ~np.isnan(labels)
    if not rated.any() or not columns.shape[1]:
        return torch.zeros(seen.shape)
    return _offsets(columns, columns[rated], labels[rated], seen[rated], level=True)


def _offsets(columns: Floats, cases: Floats, truth: Floats, seen: NDArray[np.bool_], *, level: bool = False) -> Tensor:
    """Fit cases (case, column) to their outcomes, for each member those it sees, and read columns (response, column).

    With `level` good outcomes may be more or fewer than half.
    """
    offsets = np.zeros((len(columns), seen.shape[1]), dtype=np.float32)
    for member, sees in enumerate(seen.T):
        if not sees.any():
            continue
        part, count = cases[sees], int(sees.sum())
        part = np.column_stack([part, np.full(count, LEVEL)]) if level else part
        line = logistic_line(part, truth[sees], RIDGE / count, steps=25)
        offsets[:, member] = columns @ line[: columns.shape[1]]
    return torch.from_numpy(offsets)


def with_control(
    config: FitConfig,
    control: str | Sequence[str],
    corpus: Corpus,
    forms: Sequence[Aggregation],
    tune: object | None = None,
) -> FitConfig:
    """Return the configuration with the covariates of these names, read from this corpus.

    What cannot be controlled is refused, rather than left in unsaid.
    """
    names = names_of(control)
    shown = ", ".join(names)
    if names and config.supervised:
        raise BadSpec(f"control={shown}: labels of sentences are learned as they are; leave out learn_from='sentences'")
    if names and tune is not None:
        raise BadSpec(f"control={shown}: a tuned encoder learns labels as they are; leave out tune, or the control")
    for form in forms if names else ():
        if not form.can_be_shifted:
            raise BadSpec(
                f"control={shown}: {AGGREGATIONS.spec(form)} counts sentences and has no log-odds that a covariate "
                "could shift; give aggregation='mean'"
            )
    return replace(config, control=control_of(names, corpus, config.plan.seed))


def names_of(control: str | Sequence[str]) -> list[str]:
    """Return the names of covariates, one or several."""
    return [control] if isinstance(control, str) else [*control]
