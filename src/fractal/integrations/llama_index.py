"""A scorer as an evaluator of LlamaIndex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fractal.errors import BadData, MissingExtra
from fractal.integrations.judgements import Answer, ScoresResponses, judge

__all__ = ["llama_index_evaluator"]


def llama_index_evaluator(scorer: ScoresResponses, *, threshold: float = 0.5, aspect: str = "") -> Any:
    """Return an evaluator of LlamaIndex: `passing` by the response score, low sentences as feedback.

    It calls no language model. `evaluate(query=…, response=…, contexts=[…])` and `evaluate_response` work as with
    LlamaIndex's own evaluators, and so does its batch runner.
    """
    try:
        from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
    except ImportError as error:
        raise MissingExtra("An evaluator of LlamaIndex", "llama-index", "llama-index-core") from error

    class SentenceEvaluator(BaseEvaluator):
        """The scorer behind LlamaIndex's interface."""

        def _get_prompts(self) -> dict[str, Any]:
            return {}  # there is no language model to prompt

        def _update_prompts(self, prompts: Any) -> None:
            """Nothing is prompted."""

        async def aevaluate(
            self,
            query: str | None = None,
            response: str | None = None,
            contexts: Sequence[str] | None = None,
            **_: Any,
        ) -> Any:
            if not response:
                raise BadData("there is no response to score", field="response")
            answer = Answer(response, query or "", contexts)
            judgement = judge(scorer, [answer], threshold=threshold, aspect=aspect)[0]
            return EvaluationResult(
                query=query,
                response=response,
                contexts=contexts,
                passing=judgement.passing,
                score=judgement.score,
                feedback=judgement.feedback,
            )

    return SentenceEvaluator()
