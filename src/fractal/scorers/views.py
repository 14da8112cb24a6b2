"""Encoded responses scored in several ways: given their labels, by heads that never saw them, by all heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.experts import Predictor
from fractal.records import Response, ScoredResponse
from fractal.scorers.runs import with_missing_calls

if TYPE_CHECKING:
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["Views"]


@dataclass(frozen=True)
class Views:
    """Responses that are encoded once, to be scored in several ways and by several scorers of one encoder.

    What features read of the texts is worked out once for all; a scorer's heads run once for all its ways.
    """

    block: EncodedBlock
    read: Predictor  # of the same texts and vectors, whatever the labels there

    def labelled(self, scorer: SentenceScorer) -> list[ScoredResponse]:
        """Return what `disaggregate` does."""
        return self._labelled(scorer, self.block)

    def unseen(self, scorer: SentenceScorer) -> list[ScoredResponse]:
        """Return what `disaggregate` does where no label is known: by the heads that held a response out."""
        return self._labelled(scorer, self._bare)

    def plain(self, scorer: SentenceScorer) -> list[ScoredResponse]:
        """Return what `score_responses` does of responses without labels."""
        bare = self._bare
        return list(scorer.marked(bare, scorer.to_records(bare, scorer.ensemble_.logits(self.read))))

    @property
    def _bare(self) -> EncodedBlock:
        return replace(self.block, responses=tuple(map(Response.without_labels, self.block.responses)))

    def _labelled(self, scorer: SentenceScorer, block: EncodedBlock) -> list[ScoredResponse]:
        ensemble = scorer.ensemble_
        logits = ensemble.labelling_logits(self.read, scorer.held_out_index_.knows(block.responses))
        return list(with_missing_calls(ensemble, block, scorer.to_labelled_records(block, logits)))
