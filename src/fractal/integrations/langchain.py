"""A scorer as a runnable of LangChain, and as an evaluator that LangSmith's `evaluate` calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fractal.errors import BadData, MissingExtra
from fractal.integrations.judgements import Answer, Judgement, ScoresResponses, judge

__all__ = ["langsmith_evaluator", "scorer_runnable"]


def scorer_runnable(scorer: ScoresResponses, *, threshold: float = 0.5, aspect: str = "") -> Any:
    """Return a runnable: `{"output", "input", "context"}` → the same with score, sentences, passing and feedback.

    The context is a text, a list of texts or a list of LangChain's documents.
    """
    try:
        from langchain_core.runnables import RunnableLambda
    except ImportError as error:
        raise MissingExtra("A runnable of LangChain", "langchain", "langchain-core") from error

    def scored(row: Mapping[str, Any]) -> dict[str, Any]:
        answer = Answer(row["output"], str(row.get("input") or ""), _texts(row.get("context")))
        judgement = judge(scorer, [answer], threshold=threshold, aspect=aspect)[0]
        return {**row, **_plain(judgement)}

    return RunnableLambda(scored, name="fractal")


def langsmith_evaluator(
    scorer: ScoresResponses,
    *,
    output: str = "output",
    query: str = "input",
    context: str = "context",
    key: str = "fractal",
    threshold: float = 0.5,
    aspect: str = "",
) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """Return an evaluator for `langsmith.evaluate(evaluators=[…])`: score, sentences' scores and a comment.

    `output` is the field of the run's outputs that is scored; `query` and `context` are fields of the run's outputs
    (what was retrieved) or else of the example's inputs.
    """

    def sentence_scores(inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(outputs.get(output), str):
            raise BadData(f"the run's outputs hold {', '.join(sorted(outputs)) or 'nothing'}: give output='FIELD'")
        fields = {**inputs, **outputs}
        answer = Answer(outputs[output], str(fields.get(query) or ""), _texts(fields.get(context)))
        judgement = judge(scorer, [answer], threshold=threshold, aspect=aspect)[0]
        return {"key": key, "score": judgement.score, "comment": judgement.feedback}

    return sentence_scores


def _plain(judgement: Judgement) -> dict[str, Any]:
    return {
        "score": judgement.score,
        "sentences": [*judgement.sentences],
        "sentence_scores": [*judgement.sentence_scores],
        "passing": judgement.passing,
        "feedback": judgement.feedback,
    }


def _texts(context: Any) -> tuple[str, ...]:
    """Return the texts of a context: of a text, of texts, or of documents."""
    if not context:
        return ()
    parts = [context] if isinstance(context, str) or hasattr(context, "page_content") else list(context)
    return tuple(str(getattr(part, "page_content", part)) for part in parts)
