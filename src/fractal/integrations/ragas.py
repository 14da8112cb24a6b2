"""A scorer as a metric of ragas."""

from __future__ import annotations

from typing import Any

from fractal.errors import MissingExtra
from fractal.integrations.judgements import Answer, ScoresResponses, judge

__all__ = ["ragas_metric"]


def ragas_metric(scorer: ScoresResponses, *, name: str = "fractal", aspect: str = "") -> Any:
    """Return a metric for `ragas.evaluate(metrics=[…])`: the response score of `response`, between 0 and 1.

    It reads `user_input` and `retrieved_contexts` where a sample has them, and calls no language model.
    """
    try:
        from ragas.metrics.base import MetricType, SingleTurnMetric
    except ImportError as error:
        raise MissingExtra("A metric of ragas", "ragas", "ragas") from error

    class SentenceMetric(SingleTurnMetric):
        """The scorer behind ragas' interface."""

        def init(self, run_config: Any) -> None:
            """Nothing is to be set up."""

        async def _single_turn_ascore(self, sample: Any, callbacks: Any) -> float:
            answer = Answer(sample.response, sample.user_input or "", sample.retrieved_contexts)
            return judge(scorer, [answer], aspect=aspect)[0].score

    columns = {MetricType.SINGLE_TURN: {"response", "user_input:optional", "retrieved_contexts:optional"}}
    return SentenceMetric(_required_columns=columns, name=name)
