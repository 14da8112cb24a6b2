"""A client of the studio's API, for programs: plain calls or awaited ones, tried again where that is safe."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fractal.errors import FractalError, MissingExtra

try:
    import httpx
except ImportError as missing:
    raise MissingExtra("The client", "serve", "httpx") from missing

__all__ = ["AsyncClient", "Client", "RequestFailed"]

AGAIN = (429, 502, 503, 504)  # answers after which the same request may succeed
ENDED = ("done", "failed", "cancelled")


class RequestFailed(FractalError, RuntimeError):
    """The studio refused a request, or could not be reached."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the studio answered {status}: {detail}" if status else detail)
        self.status, self.detail = status, detail

    def __reduce__(self) -> tuple[type[RequestFailed], tuple[int, str]]:
        return type(self), (self.status, self.detail)


class _Base:
    """What both clients share: how a request is made, and when it is tried again."""

    def __init__(self, url: str, key: str, *, project: str = "", retries: int = 5, timeout: float = 120.0) -> None:
        self._retries = retries
        params = {"project": project} if project else {}
        self._options: dict[str, Any] = {
            "base_url": url.rstrip("/"),
            "headers": {"authorization": f"Bearer {key}"},
            "params": params,
            "timeout": timeout,
        }

    def _headers(self, method: str) -> dict[str, str]:
        """One idempotency key a call, the same whenever it is tried again: it is done once."""
        return {"idempotency-key": uuid.uuid4().hex} if method == "POST" else {}

    def _wait(self, attempt: int, answer: httpx.Response | None) -> float | None:
        """Return how long to wait before trying again; None where that is of no use."""
        if attempt >= self._retries or (answer is not None and answer.status_code not in AGAIN):
            return None
        job_now = str(answer.headers.get("retry-after", "")) if answer is not None else ""
        backoff: float = min(30.0, 0.2 * 2.0**attempt) * random.uniform(0.5, 1.5)
        return max(backoff, float(job_now)) if job_now.isdigit() else backoff


def _answer(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = answer.text[:300]
    raise RequestFailed(answer.status_code, detail)


def _unreachable(error: httpx.TransportError) -> RequestFailed:
    return RequestFailed(0, f"the studio cannot be reached: {type(error).__name__} {error}")


def _response(item: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"text": item} if isinstance(item, str) else dict(item)


def _score_body(responses: Sequence[str | Mapping[str, Any]], scorer: int | None) -> dict[str, Any]:
    return {"responses": [_response(item) for item in responses], "scorer": scorer}


def _corrections_body(corrections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"corrections": [dict(one) for one in corrections]}


class Client(_Base):
    """Calls the API: `Client("http://127.0.0.1:8765", key).score(["Paris is in France."])`."""

    def __init__(self, url: str, key: str, **options: Any) -> None:
        super().__init__(url, key, **options)
        self._http = httpx.Client(**self._options)

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Make a request, again and again where the studio is busy or away, and return its answer."""
        headers = self._headers(method)
        for attempt in range(self._retries + 1):
            answer, failure = None, None
            try:
                answer = self._http.request(method, path, headers=headers, **options)
            except httpx.TransportError as error:
                failure = error
            wait = self._wait(attempt, answer)
            if wait is None or (answer is not None and answer.is_success):
                break
            time.sleep(wait)
        if answer is None:
            raise _unreachable(failure) from failure if failure is not None else None  # type: ignore[arg-type]
        return _answer(answer)

    def score(self, responses: Sequence[str | Mapping[str, Any]], scorer: int | None = None) -> list[dict[str, Any]]:
        """Score responses: texts, or mappings with `text` or `sentences`, `query` and `context`."""
        return list(self.request("POST", "/v1/score", json=_score_body(responses, scorer))["results"])

    def disaggregate(self, responses: Sequence[Mapping[str, Any]], scorer: int | None = None) -> list[dict[str, Any]]:
        """Return each sentence's probability given its response's label."""
        return list(self.request("POST", "/v1/disaggregate", json=_score_body(responses, scorer))["results"])

    def feedback(self, response: str, thumb: str | None = None, **fields: Any) -> dict[str, Any]:
        """Pass on what a reader thought of a response."""
        body = {"response": response, "thumb": thumb, **fields}
        return dict(self.request("POST", "/v1/feedback", json=body))

    def upload(self, path: str | Path) -> dict[str, Any]:
        """Upload a file and return its preview, once a worker has looked at it."""
        files = {"file": (Path(path).name, Path(path).read_bytes())}
        job_now = self.request("POST", "/v1/uploads", files=files)
        self.wait(job_now["job"])
        return dict(self.request("GET", f"/v1/uploads/{job_now['upload']}"))

    def add_dataset(self, upload: int, name: str, **options: Any) -> dict[str, Any]:
        """Import an uploaded file and return what came of it."""
        job_now = self.request("POST", "/v1/datasets", json={"upload": upload, "name": name, **options})
        return self.wait(job_now["job"])

    def train(self, **options: Any) -> dict[str, Any]:
        """Train a scorer and return the job when it has ended."""
        return self.wait(self.request("POST", "/v1/train", json=options)["job"])

    def responses(self, **options: Any) -> list[dict[str, Any]]:
        """List stored responses with their scores."""
        return list(self.request("GET", "/v1/responses", params=options))

    def correct(self, corrections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Enter corrections, all or none."""
        return dict(self.request("POST", "/v1/corrections", json=_corrections_body(corrections)))

    def label(self, response: int, label: float | None, note: str = "") -> dict[str, Any]:
        """Label a whole response."""
        return dict(self.request("POST", "/v1/labels", json={"response": response, "label": label, "note": note}))

    def scorers(self) -> list[dict[str, Any]]:
        """List the scorers, the newest first."""
        return list(self.request("GET", "/v1/scorers"))

    def export(self, writer: str = "jsonl", scorer: int | None = None) -> bytes:
        """Return all responses with their scores, as a writer writes them."""
        params = {} if scorer is None else {"scorer": scorer}
        answer = self.request("GET", f"/v1/exports/{writer}", params=params)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    def job(self, job: int) -> dict[str, Any]:
        """Return how a job is."""
        return dict(self.request("GET", f"/v1/jobs/{job}"))

    def cancel(self, job: int) -> dict[str, Any]:
        """Stop a job."""
        return dict(self.request("POST", f"/v1/jobs/{job}/cancel"))

    def wait(self, job: int, seconds: float = 3_600.0) -> dict[str, Any]:
        """Wait for a job's end; one that failed raises."""
        for job_now in self.watch(job, seconds):
            if job_now["state"] == "failed":
                raise RequestFailed(0, f"job {job} failed: {job_now['error']}")
            if job_now["state"] in ENDED:
                return job_now
        raise RequestFailed(0, f"job {job} has not ended after {seconds:g} seconds")

    def watch(self, job: int, seconds: float = 3_600.0) -> Iterator[dict[str, Any]]:
        """Yield a job as it goes, until it ends."""
        until, pause = time.monotonic() + seconds, 0.05
        while time.monotonic() < until:
            job_now = self.job(job)
            yield job_now
            if job_now["state"] in ENDED:
                return
            time.sleep(pause)
            pause = min(1.0, 1.5 * pause)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Base):
    """The same, awaited."""

    def __init__(self, url: str, key: str, **options: Any) -> None:
        super().__init__(url, key, **options)
        self._http = httpx.AsyncClient(**self._options)

    async def request(self, method: str, path: str, **options: Any) -> Any:
        """Make a request, again and again where the studio is busy or away, and return its answer."""
        headers = self._headers(method)
        for attempt in range(self._retries + 1):
            answer, failure = None, None
            try:
                answer = await self._http.request(method, path, headers=headers, **options)
            except httpx.TransportError as error:
                failure = error
            wait = self._wait(attempt, answer)
            if wait is None or (answer is not None and answer.is_success):
                break
            await asyncio.sleep(wait)
        if answer is None:
            raise _unreachable(failure) from failure if failure is not None else None  # type: ignore[arg-type]
        return _answer(answer)

    async def score(
        self, responses: Sequence[str | Mapping[str, Any]], scorer: int | None = None
    ) -> list[dict[str, Any]]:
        """Score responses: texts, or mappings with `text` or `sentences`, `query` and `context`."""
        return list((await self.request("POST", "/v1/score", json=_score_body(responses, scorer)))["results"])

    async def disaggregate(
        self, responses: Sequence[Mapping[str, Any]], scorer: int | None = None
    ) -> list[dict[str, Any]]:
        """Return each sentence's probability given its response's label."""
        return list((await self.request("POST", "/v1/disaggregate", json=_score_body(responses, scorer)))["results"])

    async def feedback(self, response: str, thumb: str | None = None, **fields: Any) -> dict[str, Any]:
        """Pass on what a reader thought of a response."""
        return dict(await self.request("POST", "/v1/feedback", json={"response": response, "thumb": thumb, **fields}))

    async def correct(self, corrections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Enter corrections, all or none."""
        return dict(await self.request("POST", "/v1/corrections", json=_corrections_body(corrections)))

    async def train(self, **options: Any) -> dict[str, Any]:
        """Train a scorer and return the job when it has ended."""
        return await self.wait((await self.request("POST", "/v1/train", json=options))["job"])

    async def wait(self, job: int, seconds: float = 3_600.0) -> dict[str, Any]:
        """Wait for a job's end; one that failed raises."""
        async for job_now in self.watch(job, seconds):
            if job_now["state"] == "failed":
                raise RequestFailed(0, f"job {job} failed: {job_now['error']}")
            if job_now["state"] in ENDED:
                return job_now
        raise RequestFailed(0, f"job {job} has not ended after {seconds:g} seconds")

    async def watch(self, job: int, seconds: float = 3_600.0) -> AsyncIterator[dict[str, Any]]:
        """Yield a job as it goes, until it ends."""
        until, pause = time.monotonic() + seconds, 0.05
        while time.monotonic() < until:
            job_now = dict(await self.request("GET", f"/v1/jobs/{job}"))
            yield job_now
            if job_now["state"] in ENDED:
                return
            await asyncio.sleep(pause)
            pause = min(1.0, 1.5 * pause)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
