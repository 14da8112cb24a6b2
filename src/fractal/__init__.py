"""Turn labels on whole responses into scores for every sentence or reasoning step."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fractal.aspects import AspectScorer
    from fractal.datasets import make_responses
    from fractal.errors import FractalError
    from fractal.estimator import SentenceScorer
    from fractal.evaluation import compare, evaluate
    from fractal.readers import read
    from fractal.records import Preference, Response, ScoredResponse, Sentence
    from fractal.writers import write

__version__ = "0.1.0"

__all__ = [
    "AspectScorer",
    "FractalError",
    "Preference",
    "Response",
    "ScoredResponse",
    "Sentence",
    "SentenceScorer",
    "compare",
    "evaluate",
    "make_responses",
    "read",
    "write",
]

_HOMES = {
    "AspectScorer": "aspects",
    "FractalError": "errors",
    "Preference": "records",
    "Response": "records",
    "ScoredResponse": "records",
    "Sentence": "records",
    "SentenceScorer": "estimator",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "make_responses": "datasets",
    "read": "readers",
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
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
