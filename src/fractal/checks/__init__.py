"""Checks: the assumptions that the method rests on, each as a number with an interval and a plain sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fractal.checks.data import data_checks, label_checks
from fractal.checks.findings import Finding, Verdict

if TYPE_CHECKING:
    from fractal.aggregations import Aggregation
    from fractal.encoded import EncodedBlock
    from fractal.fitting import Fitted
    from fractal.preparation import Corpus

__all__ = ["Finding", "Verdict", "data_checks", "label_checks", "run_checks"]


def run_checks(
    block: EncodedBlock,
    corpus: Corpus,
    fitted: Fitted | None = None,
    *,
    aggregation: str | Aggregation | None = None,
    columns: Sequence[str] = (),
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Check data and method: everything of `data_checks`, then the aggregation, every prior, and noise in the labels.

    Held-out scores are those of the fit, where there is one; else those of a small linear model. `columns` names the
    user's own columns that serve as priors; all of them are looked at where none is named.
    """
    from fractal.checks.method import method_checks

    found = data_checks(corpus.responses, corpus.pairs, seed=seed)
    return (*found, *method_checks(block, corpus, fitted, aggregation=aggregation, columns=columns, seed=seed))
