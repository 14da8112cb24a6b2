"""The client, plain and awaited: what it asks for, and when it asks again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fractal.client import AsyncClient, Client, RequestFailed
from support.studios import COLUMNS, QUICK, WORDS, copied, ratings_csv

TEXT = "Paris is in France. It has 90 million people."


class Moody(BaseHTTPRequestHandler):
    """Answers as it was told to, one answer a request, and remembers what was asked."""

    answers: ClassVar[list[tuple[int, dict[str, str]]]] = []
    asked: ClassVar[list[tuple[str, str]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        Moody.asked.append((self.headers.get("idempotency-key", ""), body))
        status, headers = Moody.answers.pop(0) if Moody.answers else (200, {})
        content = json.dumps({"results": [], "detail": "moody"}).encode()
        self.send_response(status)
        for name, value in {**headers, "content-type": "application/json", "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def moody() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Moody)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Moody.answers, Moody.asked = [], []
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(url: str, kind: str, **options: Any) -> list:
    if kind == "plain":
        with Client(url, "key", **options) as client:
            return client.score([TEXT])

    async def awaited() -> list:
        async with AsyncClient(url, "key", **options) as client:
            return await client.score([TEXT])

    return asyncio.run(awaited())


@pytest.mark.parametrize("kind", ["plain", "awaited"])
def test_it_asks_again_with_the_same_key_while_the_studio_is_busy(moody: str, kind: str) -> None:
    Moody.answers = [(429, {"retry-after": "0"}), (503, {})]
    assert ask(moody, kind) == []
    assert len(Moody.asked) == 3
    assert len(set(Moody.asked)) == 1
    assert Moody.asked[0][0]
    first = Moody.asked[0][0]
    ask(moody, kind)
    assert Moody.asked[-1][0] != first


@pytest.mark.parametrize("kind", ["plain", "awaited"])
def test_it_does_not_ask_again_what_was_refused(moody: str, kind: str) -> None:
    Moody.answers = [(422, {})]
    with pytest.raises(RequestFailed, match="moody") as refused:
        ask(moody, kind)
    assert refused.value.status == 422
    assert len(Moody.asked) == 1


@pytest.mark.parametrize("kind", ["plain", "awaited"])
def test_it_gives_up_in_the_end(moody: str, kind: str) -> None:
    Moody.answers = [(503, {})] * 5
    with pytest.raises(RequestFailed):
        ask(moody, kind, retries=2)
    assert len(Moody.asked) == 3
    with pytest.raises(RequestFailed, match="cannot be reached"):
        ask("http://127.0.0.1:9", kind, retries=1)


@pytest.fixture
def running(trained: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A studio on a port of its own, with a worker, in this process."""
    import uvicorn

    from fractal.server.app import make_app

    with copied(trained, tmp_path / "s") as one:
        server = uvicorn.Server(uvicorn.Config(make_app(one.studio), port=0, log_config=None))
        threads = [threading.Thread(target=server.run), threading.Thread(target=one.worker.run)]
        for thread in threads:
            thread.start()
        while not server.started:
            threading.Event().wait(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", one.keys["admin"]
        one.worker.stop()
        server.should_exit = True
        for thread in threads:
            thread.join(20)


def test_the_whole_way_by_the_client(running: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "more.csv"
    path.write_text(ratings_csv(20, seed=9), encoding="utf-8")
    with Client(*running) as client:
        upload = client.upload(path)
        assert upload["preview"]["columns"][0] == "nr"
        job = client.add_dataset(upload["upload"], "more", columns=COLUMNS, words=WORDS)
        assert job["result"]["responses"] == 20
        row = client.responses(order="id")[0]
        client.correct([{"response": row["response"], "place": 0, "verdict": "bad"}])
        client.label(row["response"], 0.0)
        assert client.feedback("Fine. All of it.", "up")["label"] == 1.0
        assert client.train(**QUICK)["result"]["scorer"] == 2
        assert client.scorers()[0]["facts"]["data"]["responses"] == 81
        assert len(client.score([TEXT, {"sentences": ["One.", "Two."]}])) == 2
        assert client.disaggregate([{"text": TEXT, "label": 0.0}])[0]["sentences"][0]["label"] in (0.0, 1.0)
        assert len(client.export("csv").decode().splitlines()) > 81
        with pytest.raises(RequestFailed, match="no writer"):
            client.export("nothing")


def test_the_awaited_client(running: tuple[str, str]) -> None:
    async def work() -> None:
        async with AsyncClient(*running) as client:
            results = await asyncio.gather(*(client.score([f"Sentence {number}."]) for number in range(30)))
            assert [result[0]["sentences"][0]["text"] for result in results] == [f"Sentence {n}." for n in range(30)]
            assert (await client.feedback("Good.", "down"))["label"] == 0.0
            assert (await client.train(**QUICK))["state"] == "done"

    asyncio.run(work())
