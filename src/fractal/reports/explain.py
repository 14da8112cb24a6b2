"""What a metric says, in a sentence: for who reads a table and wonders."""

from __future__ import annotations

from fractal.errors import FractalError
from fractal.evaluation.metrics import METRICS

__all__ = ["explain"]


def explain(metric: str) -> str:
    """Return what a metric says and which way is better; nothing of a metric that is not known here."""
    try:
        built = METRICS.build(metric)
        text = METRICS.summary(metric.partition("(")[0].strip())
    except FractalError:
        return ""
    return f"{text} {'Higher' if built.higher_is_better else 'Lower'} is better."
