"""Batches: company is waited for, a full queue refuses, who gives up frees the place, nothing is mixed up."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from fractal.records import Response, ScoredResponse
from fractal.server.batching import Batcher, QueueFull, tokens_of
from fractal.server.settings import Limits
from support.studios import copied


def response(text: str) -> Response:
    return Response.from_sentences(text, [text])


def scored(item: Response) -> ScoredResponse:
    return ScoredResponse(item, (len(item.text) / 1000,), len(item.text) / 1000)


class Recorder:
    def __init__(self, seconds: float = 0.0, gate: threading.Event | None = None) -> None:
        self.batches: list[tuple[str, list[str]]] = []
        self.seconds, self.gate = seconds, gate

    def __call__(self, key: str, responses: list[Response]) -> list[ScoredResponse]:
        self.batches.append((key, [one.text for one in responses]))
        if self.gate is not None:
            self.gate.wait(5)
        time.sleep(self.seconds)
        if any("poison" in one.text for one in responses):
            raise ValueError("poison")
        return [scored(one) for one in responses]


def batcher(score: Recorder, **options: float) -> Batcher:
    defaults = {"batch_tokens": 1_000, "queue_tokens": 10_000, "queue_seconds": 60.0, "wait_seconds": 0.01}
    return Batcher(score, **{**defaults, **options})


def run(score: Recorder, work, **options: float) -> object:
    async def main() -> object:
        one = batcher(score, **options)
        one.start()
        try:
            return await work(one)
        finally:
            await one.stop()

    return asyncio.run(main())


def test_many_at_once_share_batches_and_get_their_own_scores():
    score = Recorder(0.01)

    async def work(one: Batcher) -> list:
        texts = [f"text {'x' * number}" for number in range(100)]
        answers = await asyncio.gather(*(one.score("a", [response(text)]) for text in texts))
        assert [answer[0].response.text for answer in answers] == texts
        return answers

    answers = run(score, work)
    assert all(answer[0].response_score == len(answer[0].response.text) / 1000 for answer in answers)
    assert len(score.batches) < 20


def test_one_batch_has_one_scorer_and_an_end():
    score = Recorder(0.01)

    async def work(one: Batcher) -> None:
        await asyncio.gather(*(one.score("ab"[number % 2], [response("w " * 200)]) for number in range(40)))

    run(score, work, batch_tokens=500)
    assert all(sum(len(text) // 4 + 1 for text in texts) <= 500 for _, texts in score.batches)
    assert sum(len(texts) for _, texts in score.batches) == 40


def test_a_full_queue_refuses_and_recovers():
    gate = threading.Event()
    score = Recorder(gate=gate)

    async def work(one: Batcher) -> None:
        waiting = [asyncio.ensure_future(one.score("a", [response("w" * 390)])) for _ in range(10)]
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFull) as refused:
            await one.score("a", [response("w" * 390)])
        assert refused.value.retry_after >= 1
        gate.set()
        await asyncio.gather(*waiting)
        assert one.waiting_tokens == 0
        assert await one.score("a", [response("fine")])

    run(score, work, queue_tokens=1_000)


def test_who_would_wait_too_long_is_refused_with_the_time_it_takes():
    score = Recorder(0.05)

    async def work(one: Batcher) -> None:
        for number in range(3):  # 20 tokens in 50 ms each: some 400 a second
            await one.score("a", [response(f"{number}" * 80)])
        waiting = asyncio.ensure_future(one.score("a", [response("w" * 990)]))
        await asyncio.sleep(0.02)  # 248 tokens wait: half a second and more
        with pytest.raises(QueueFull) as refused:
            await one.score("a", [response("late")])
        assert 1 <= refused.value.retry_after < 3
        await waiting
        assert await one.score("a", [response("fine")])

    run(score, work, queue_seconds=0.3)


def test_who_gives_up_frees_the_place_and_is_not_scored():
    gate = threading.Event()
    score = Recorder(gate=gate)

    async def work(one: Batcher) -> None:
        first = asyncio.ensure_future(one.score("a", [response("first")]))
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(one.score("a", [response("second")]))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0)
        gate.set()
        await first
        assert one.waiting_tokens == 0
        await one.score("a", [response("third")])

    run(score, work)
    assert "second" not in [text for _, texts in score.batches for text in texts]


def test_what_cannot_be_scored_spoils_no_other_request():
    score = Recorder(0.02)

    async def work(one: Batcher) -> list:
        texts = ["fine", "poison", "good", "poison too", "well"]
        return await asyncio.gather(*(one.score("a", [response(text)]) for text in texts), return_exceptions=True)

    answers = run(score, work)
    assert [isinstance(answer, ValueError) for answer in answers] == [False, True, False, True, False]


def test_tokens_count_what_is_read():
    assert tokens_of([Response.from_sentences("a", ["x" * 40], query="y" * 40, context=("z" * 40,))]) == 31


def test_the_api_answers_429_with_a_time(trained: Path, tmp_path: Path):
    with copied(trained, tmp_path / "s", limits=Limits(queue_tokens=500)) as one:
        gate, asked = threading.Event(), one.studio.batcher._score

        def slow(key, responses):
            gate.wait(10)
            return asked(key, responses)

        one.studio.batcher._score = slow
        body = {"responses": [{"text": "One sentence here. " * 20}]}
        statuses: list[int] = []
        answers = [
            threading.Thread(target=lambda: statuses.append(one.post("/v1/score", body).status_code)) for _ in "1234"
        ]
        for thread in answers:
            thread.start()
        until = time.monotonic() + 10
        while one.studio.batcher.waiting_tokens < 380 and time.monotonic() < until:
            time.sleep(0.01)
        refused = one.post("/v1/score", {"responses": [{"text": "One sentence here. " * 60}]})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        gate.set()
        for thread in answers:
            thread.join()
        assert statuses.count(200) >= 1
        assert set(statuses) <= {200, 429}
        assert one.post("/v1/score", body).status_code == 200
