"""A scorer as the function that `datasets.Dataset.map` calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fractal.errors import BadData
from fractal.integrations.judgements import Answer, ScoresResponses, judge

__all__ = ["score_batch"]


def score_batch(
    scorer: ScoresResponses, *, response: str = "response", query: str = "", context: str = "", aspect: str = ""
) -> Callable[[Mapping[str, Sequence[Any]]], dict[str, list[Any]]]:
    """Return a function for `dataset.map(score_batch(scorer), batched=True)`.

    It adds the columns `sentences`, `sentence_scores` and `response_score`. `response`, `query` and `context` name the
    columns that are read; a context is a text or a list of texts.
    """

    def scored(rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        if missing := [name for name in (response, query, context) if name and name not in rows]:
            raise BadData(f"no column is called {missing[0]!r}: the batch has {', '.join(sorted(rows))}")
        texts = rows[response]
        queries = rows[query] if query else [""] * len(texts)
        contexts = rows[context] if context else [()] * len(texts)
        answers = [Answer(*parts) for parts in zip(texts, queries, contexts, strict=True)]
        judgements = judge(scorer, answers, aspect=aspect)
        return {
            "sentences": [[*one.sentences] for one in judgements],
            "sentence_scores": [[*one.sentence_scores] for one in judgements],
            "response_score": [one.score for one in judgements],
        }

    return scored
