"""Scorers that are loaded, and the scoring of what a request brings."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from fractal.errors import BadData
from fractal.records import Response, ScoredResponse
from fractal.server.batching import tokens_of
from fractal.server.database import Database
from fractal.server.store import Store
from fractal.server.tables import ScorerVersion

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

    from fractal.scorers.aspects import AspectScorer
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["Scorers"]

MOST_LOADED = 3
SMALL_BATCH = 1_024  # tokens up to which one thread is quicker: several wait for each other longer than they work


def worth_threads(scorer: SentenceScorer | AspectScorer, responses: Sequence[Response]) -> bool:
    """Whether several threads pay: not for small batches, nor without a network, as they delay the event loop."""
    from fractal.encoders import ENCODERS

    return tokens_of(responses) > SMALL_BATCH and not ENCODERS.build(scorer.encoder).quick


@lru_cache(maxsize=1)
def _pools() -> ThreadpoolController:
    """The threads of numpy's products, which keep a core busy while they wait; looked for once, as it takes long."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class Scorers:
    """Loads scorers from the store when they are first asked for, and keeps the last few."""

    def __init__(self, database: Database, store: Store) -> None:
        self._database, self._store = database, store
        self._loaded: OrderedDict[str, SentenceScorer | AspectScorer] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def version(self, project: int, number: int | None) -> ScorerVersion:
        """Return a project's scorer by its number, or the newest."""
        query = select(ScorerVersion).where(ScorerVersion.project_id == project)
        if number is not None:
            query = query.where(ScorerVersion.number == number)
        with self._database.read() as session:
            version = session.scalars(query.order_by(ScorerVersion.number.desc()).limit(1)).first()
        if version is None:
            what = "no scorer yet: train one first" if number is None else f"no scorer {number}"
            raise BadData(f"this project has {what}", field="scorer")
        return version

    def load(self, folder_hash: str) -> SentenceScorer | AspectScorer:
        """Return a scorer, loaded once."""
        from fractal.scorers.aspects import load_scorer

        with self._lock:
            if folder_hash not in self._loaded:
                self._loaded[folder_hash] = load_scorer(self._store.scorer(folder_hash), cache=False)
                while len(self._loaded) > MOST_LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(folder_hash)
            return self._loaded[folder_hash]

    def score(self, key: tuple[str, str], responses: Sequence[Response]) -> list[ScoredResponse]:
        """Score, or disaggregate, with the scorer of this hash."""
        import torch

        folder_hash, what = key
        scorer = self.load(folder_hash)
        threads = self._threads if worth_threads(scorer, responses) else 1
        torch.set_num_threads(threads)
        with _pools().limit(limits=threads, user_api="blas"):
            return scorer.disaggregate(responses) if what == "disaggregate" else scorer.score_responses(responses)

    def warm(self) -> None:
        """Load the newest scorer of all, so that the first request does not wait for it."""
        with self._database.read() as session:
            newest = session.scalars(select(ScorerVersion).order_by(ScorerVersion.id.desc()).limit(1)).first()
        if newest is not None:
            example = Response.from_sentences("warm", ["A sentence."], query="A question?", context=("A context.",))
            self.score((newest.folder_hash, "score"), [example])

    def facts(self, version: ScorerVersion) -> dict[str, Any]:
        """Return what is told of a scorer."""
        return {
            "number": version.number,
            "folder_hash": version.folder_hash,
            "facts": {name: value for name, value in version.facts.items() if name != "queue"},
            "evaluation": version.evaluation,
            "created_at": version.created_at,
        }
