"""Requests scored together: batches by tokens, a short wait for company, a queue with an end."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fractal.records import Response, ScoredResponse

__all__ = ["Batcher", "QueueFull", "tokens_of"]

CHARACTERS_PER_TOKEN = 4
LATELY, FEWEST = 8, 3  # batches that tell how quick scoring is, and how many have to be there
Score = Callable[[Any, Sequence[Response]], list[ScoredResponse]]


class QueueFull(Exception):
    """More waits than can be scored soon."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


@dataclasses.dataclass(eq=False)
class _Waiting:
    """One request in the queue."""

    key: Any  # what it is scored with: only requests of one key share a batch
    responses: Sequence[Response]
    tokens: int
    future: asyncio.Future[list[ScoredResponse]]


def tokens_of(responses: Sequence[Response]) -> int:
    """Return about how many tokens responses have, with their queries and contexts."""
    characters = sum(len(r.text) + len(r.query) + sum(map(len, r.context)) for r in responses)
    return characters // CHARACTERS_PER_TOKEN + len(responses)


class Batcher:
    """Scores what waits, batch by batch, in one thread: there is one encoder a process."""

    def __init__(
        self, score: Score, *, batch_tokens: int, queue_tokens: int, queue_seconds: float, wait_seconds: float
    ) -> None:
        self._score = score
        self._batch_tokens, self._wait_seconds = batch_tokens, wait_seconds
        self._queue_tokens, self._queue_seconds = queue_tokens, queue_seconds
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "scoring")
        self._task: asyncio.Task[None] | None = None
        self._rates: deque[float] = deque(maxlen=LATELY)  # tokens a second, a batch each
        self._last_size = 0
        self.observe: Callable[[int, int, float], None] = lambda requests, tokens, seconds: None

    @property
    def waiting_tokens(self) -> int:
        """How much waits, or is being scored."""
        return self._waiting

    def start(self) -> None:
        """Begin to score; to be called inside the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Score nothing more."""
        if self._task is not None:
            self._task.cancel()
        for request in self._queue:
            request.future.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def score(self, key: Any, responses: Sequence[Response]) -> list[ScoredResponse]:
        """Score responses, together with what others want scored; who is cancelled frees their place."""
        tokens, seconds = tokens_of(responses), self._waiting / self._rate()
        if self._waiting and (self._waiting + tokens > self._queue_tokens or seconds > self._queue_seconds):
            raise QueueFull(max(1.0, seconds))
        request = _Waiting(key, responses, tokens, asyncio.get_running_loop().create_future())
        self._queue.append(request)
        self._waiting += tokens
        self._wake.set()
        try:
            return await request.future
        finally:
            self._waiting -= tokens
            if request in self._queue:  # it was given up before its turn
                self._queue.remove(request)

    def _rate(self) -> float:
        """Tokens a second that can be scored: the best of the last batches, as small and first ones are slow."""
        return max(self._rates) if len(self._rates) >= FEWEST else math.inf

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            if self._last_size > 1 and sum(r.tokens for r in self._queue) < self._batch_tokens:
                await asyncio.sleep(self._wait_seconds)  # others come at the same time: wait for them
            batch = self._next()
            if not self._queue:
                self._wake.clear()
            self._last_size = len(batch)
            if not batch:
                continue
            together = [response for request in batch for response in request.responses]
            started = time.perf_counter()
            try:
                scored = await loop.run_in_executor(self._thread, self._score, batch[0].key, together)
            except Exception as error:
                await self._one_by_one(batch, error)
                continue
            self._done(batch, scored, time.perf_counter() - started)

    def _next(self) -> list[_Waiting]:
        """Take from the queue what is scored at once: requests with one scorer, in their order, up to the limit."""
        batch: list[_Waiting] = []
        tokens, rest = 0, deque[_Waiting]()
        while self._queue:
            request = self._queue.popleft()
            if request.future.done():
                continue
            fits = not batch or (request.key == batch[0].key and tokens + request.tokens <= self._batch_tokens)
            if fits:
                batch.append(request)
                tokens += request.tokens
            else:
                rest.append(request)
                if tokens >= self._batch_tokens:
                    break
        rest.extend(self._queue)
        self._queue = rest
        return batch

    async def _one_by_one(self, batch: Sequence[_Waiting], error: Exception) -> None:
        """A batch failed: find whose request it was, so that the others get their scores."""
        loop = asyncio.get_running_loop()
        for request in batch:
            if request.future.done():
                continue
            if len(batch) == 1:
                request.future.set_exception(error)
                continue
            try:
                scored = await loop.run_in_executor(self._thread, self._score, request.key, request.responses)
            except Exception as failure:
                if not request.future.done():
                    request.future.set_exception(failure)
            else:
                self._answer(request, scored)

    def _done(self, batch: Sequence[_Waiting], scored: Sequence[ScoredResponse], seconds: float) -> None:
        tokens = sum(request.tokens for request in batch)
        self._rates.append(tokens / max(seconds, 1e-4))
        each = len(scored) // max(sum(len(request.responses) for request in batch), 1)  # one record an aspect
        place = 0
        for request in batch:
            count = len(request.responses) * each
            self._answer(request, scored[place : place + count])
            place += count
        self.observe(len(batch), tokens, seconds)

    @staticmethod
    def _answer(request: _Waiting, scored: Sequence[ScoredResponse]) -> None:
        if not request.future.done():
            request.future.set_result(list(scored))
