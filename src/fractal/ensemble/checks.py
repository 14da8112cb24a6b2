"""Checks: the assumptions that the method rests on, each as a number with an interval and a plain sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fractal.evaluation.data_checks import data_checks, label_checks
from fractal.evaluation.findings import Finding, Verdict

if TYPE_CHECKING:
    from fractal.encoders.block import EncodedBlock
    from fractal.ensemble.result import FitResult
    from fractal.mil.aggregations import Aggregation
    from fractal.records.corpus import Corpus

__all__ = ["Finding", "Verdict", "data_checks", "label_checks", "run_checks"]


def run_checks(
    block: EncodedBlock,
    corpus: Corpus,
    fitted: FitResult | None = None,
    *,
    aggregation: str | Aggregation | None = None,
    columns: Sequence[str] = (),
    seed: int = 0,
    controlled: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """Check data and method: everything of `data_checks`, then the aggregation, every prior, and noise in the labels.

    Held-out scores are those of the fit, where there is one; else those of a small linear model. `columns` names the
    user's own columns that serve as priors; all of them are looked at where none is named. Fields that are `controlled`
    may tell labels without harm.
    """
    from fractal.ensemble.diagnostics import method_checks

    found = data_checks(corpus.responses, corpus.pairs, seed=seed, grouping=corpus.grouping, controlled=controlled)
    return (*found, *method_checks(block, corpus, fitted, aggregation=aggregation, columns=columns, seed=seed))
