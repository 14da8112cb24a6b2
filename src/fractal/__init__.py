"""Turn labels on whole responses into scores for every sentence or reasoning step."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fractal.datasets.synthetic import make_responses
    from fractal.ensemble.self_training import SelfTraining
    from fractal.errors import FractalError
    from fractal.evaluation import compare, evaluate
    from fractal.mil.training.plan import TrainingPlan
    from fractal.readers import read, read_scored
    from fractal.records import Preference, Response, ScoredResponse, Sentence
    from fractal.scorers.aspects import AspectScorer, load_scorer
    from fractal.scorers.sentence import SentenceScorer
    from fractal.writers import write

__version__ = "0.1.0"

__all__ = [
    "AspectScorer",
    "FractalError",
    "Preference",
    "Response",
    "ScoredResponse",
    "SelfTraining",
    "Sentence",
    "SentenceScorer",
    "TrainingPlan",
    "compare",
    "evaluate",
    "load_scorer",
    "make_responses",
    "read",
    "read_scored",
    "write",
]

_HOMES = {
    "AspectScorer": "scorers.aspects",
    "FractalError": "errors",
    "Preference": "records",
    "Response": "records",
    "ScoredResponse": "records",
    "SelfTraining": "ensemble.self_training",
    "Sentence": "records",
    "SentenceScorer": "scorers.sentence",
    "TrainingPlan": "mil.training.plan",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "load_scorer": "scorers.aspects",
    "make_responses": "datasets.synthetic",
    "read": "readers",
    "read_scored": "readers",
    "write": "writers",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import fractal` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fractal' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"fractal.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        from fractal.errors import MissingExtra

        missing = MissingExtra.of(name, error)
        if missing is None:
            raise
        raise missing from error
    if "IPython" in sys.modules:
        import fractal.reports  # noqa: F401  (gives records and tables their look in a notebook)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
