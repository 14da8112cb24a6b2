"""Scorers saved and read again, by the library and by the runtime that needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fractal.records import Response
from fractal.scorers.persistence import load_folder
from fractal.scorers.runtime import RuntimeScorer
from fractal.scorers.sentence import SentenceScorer


def scores_alike_when_read_again(scorer: SentenceScorer, responses: Sequence[Response], folder: Path) -> None:
    """Save a scorer: read again it gives the same scores, and without torch nearly the same."""
    folder = scorer.save_pretrained(folder)
    again = SentenceScorer.from_pretrained(folder).score_responses(responses)
    stored = RuntimeScorer(load_folder(folder)).score_responses(responses)
    for one, other, third in zip(scorer.score_responses(responses), again, stored, strict=True):
        assert one.sentence_scores == other.sentence_scores
        np.testing.assert_allclose(one.sentence_scores, third.sentence_scores, atol=1e-5)
