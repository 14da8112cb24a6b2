"""The queue of sentences to judge: chosen when a scorer is trained, dealt without what a person has judged already."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.orm import Session

from fractal.records import Response, ScoredResponse
from fractal.server.corpus import responses_of, sentence_labels
from fractal.server.tables import ScorerVersion

if TYPE_CHECKING:
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["choose", "dealt"]

CHOSEN = 400  # sentences of one queue
MOST_RESPONSES = 4_000  # among which is chosen; of more, every n-th


@dataclasses.dataclass(frozen=True)
class _Answered:
    """A scorer that has scored already: what the choice asks of it, it need not compute a second time."""

    encoder: Any
    cache: Any
    plain: list[ScoredResponse]
    posterior: list[ScoredResponse]
    direction_: str

    def score_responses(self, _: Sequence[Response]) -> list[ScoredResponse]:
        return self.plain

    def disaggregate(self, _: Sequence[Response]) -> list[ScoredResponse]:
        return self.posterior


def choose(
    scorer: SentenceScorer, rows: Sequence[int], plain: Sequence[ScoredResponse], posterior: Sequence[ScoredResponse]
) -> list[list[int]]:
    """Return which sentences should teach most, as pairs of a response's row and a place."""
    from fractal.scorers.active_learning import suggest_labels

    step = max(1, -(-len(rows) // MOST_RESPONSES))
    part = slice(None, None, step)
    responses = [
        dataclasses.replace(item.response, id=str(row)) for row, item in zip(rows[part], posterior[part], strict=True)
    ]
    answered = _Answered(scorer.encoder, scorer.cache, list(plain[part]), list(posterior[part]), scorer.direction_)
    chosen = suggest_labels(cast("SentenceScorer", answered), responses, CHOSEN)
    return [[int(one.response_id), one.sentence] for one in chosen]


def dealt(session: Session, version: ScorerVersion, author: str, count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return what a person should judge next: what nobody has judged first, then what others have and they have not."""
    queue = [(int(row), int(place)) for row, place in version.facts.get("queue", [])]
    said = sentence_labels(session, sorted({row for row, _ in queue}))
    people = {key: {name for name in said.get(key, {}) if name != "import"} for key in queue}
    fresh = [key for key in queue if not people[key]]
    shared = [key for key in queue if people[key] and author not in people[key]]
    turn = start % len(fresh) if fresh else 0  # several people begin at several places
    chosen = (fresh[turn:] + fresh[:turn] + shared)[:count]
    responses = responses_of(session, sorted({row for row, _ in chosen}))
    return [
        {
            "response": row,
            "place": place,
            "text": responses[row].sentences[place].text,
            "query": responses[row].query,
            "context": list(responses[row].context),
        }
        for row, place in chosen
    ]
