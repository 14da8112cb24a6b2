"""The studio under load: throughput beside `fractal score`, the latency of one response, overload, retraining.

    python -m benchmarks.server --out benchmarks/results/server.md

Clients and server share the machine. Throughputs alternate, server and command line on the same texts, and a ratio is
taken inside its round; the command line's own start is measured on one response and taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import setting
from fractal import Response, make_responses, write
from fractal.server.corpus import load_responses, now
from fractal.server.people import create_key
from fractal.server.settings import Settings
from fractal.server.studio import Studio
from fractal.server.tables import Dataset, Job, Project, ScorerVersion
from fractal.server.worker import Worker

CLIENTS = 64
TOGETHER = (1, 16)  # responses a request
SHORT = Response.from_sentences("short", ["Paris has two million inhabitants."], query="How large is Paris?")


class Bench:
    """A studio with a scorer, and what is needed to ask it."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(folder)
        self.studio = Studio.open(self.settings)
        self.worker = Worker(self.studio.database, self.studio.store, self.settings)
        with self.studio.database.read() as session:
            self.project = session.query(Project).one()
        self.key = create_key(self.studio, self.project, "bench", "admin", "bench")

    def bring(self, responses: list[Response]) -> None:
        """Put responses into the project's data."""
        from fractal.server.importing import add_records, new_dataset

        with self.studio.database.write() as session:
            dataset = new_dataset(session, self.project.id, "bench", "bench", state="sealed", report={})
            add_records(session, dataset, 0, responses)

    def train(self, **options: object) -> tuple[float, float]:
        """Train, and return the seconds by the clock and those of the processors."""
        from fractal.server.api_data import start_training

        with self.studio.database.write() as session:
            number = start_training(session, self.project.id, dict(options), "bench").id
        wall, cpu = time.perf_counter(), time.process_time()
        while self.worker.step():
            pass
        spent = time.perf_counter() - wall, time.process_time() - cpu
        with self.studio.database.read() as session:
            job = session.get_one(Job, number)
        assert job.state == "done", job.error
        return spent

    def newest(self) -> ScorerVersion:
        """The newest scorer."""
        return self.studio.scorers.version(self.project.id, None)

    @contextlib.contextmanager
    def serving(self) -> Iterator[tuple[int, int]]:
        """Serve in a process of its own, and give its port and its number."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "fractal", "serve", "--workers", "0", "--port", str(port)]
        with subprocess.Popen([*command, "--data", str(self.settings.data)], stderr=subprocess.DEVNULL) as process:
            try:
                asyncio.run(ready(port, self.key))
                yield port, process.pid
            finally:
                process.terminate()


async def ready(port: int, key: str) -> None:
    """Wait until the server scores."""
    for _ in range(600):
        with contextlib.suppress(OSError, ConnectionError, asyncio.IncompleteReadError):
            async with Connection(port, key) as one:
                status, _ = await one.score(SHORT)
                if status == 200:
                    return
        await asyncio.sleep(0.2)
    raise SystemExit("the server does not answer")


class Connection:
    """A client that costs little: HTTP by hand over one connection."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key

    async def __aenter__(self) -> Connection:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def score(self, *responses: Response) -> tuple[int, dict]:
        """Ask for the scores of some responses."""
        asked = [
            {"id": r.id, "query": r.query, "context": list(r.context), "sentences": [s.text for s in r.sentences]}
            for r in responses
        ]
        body = json.dumps({"responses": asked}).encode()
        head = f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        start = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(start.partition("content-length: ")[2].partition("\r\n")[0])
        return int(start.split()[1]), json.loads(await self.reader.readexactly(length))


def spent(pid: int) -> float:
    """Seconds of the processors that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def latencies(port: int, key: str, count: int) -> list[float]:
    """The milliseconds of one short response after another."""

    async def run() -> list[float]:
        times = []
        async with Connection(port, key) as one:
            for number in range(count + 20):
                before = time.perf_counter()
                status, _ = await one.score(SHORT)
                assert status == 200
                if number >= 20:
                    times.append(1000 * (time.perf_counter() - before))
        return times

    return asyncio.run(run())


def throughput(port: int, key: str, responses: list[Response], each: int) -> tuple[float, dict[str, list[float]]]:
    """Responses a second under 64 clients, each asking for `each` at once, one request after another; and the scores."""

    async def run() -> tuple[float, dict[str, list[float]]]:
        waiting, scores = iter([responses[start : start + each] for start in range(0, len(responses), each)]), {}

        async def client() -> None:
            async with Connection(port, key) as one:
                for part in waiting:
                    status, answer = await one.score(*part)
                    while status == 429:  # as `fractal.client` does
                        await asyncio.sleep(1.0)
                        status, answer = await one.score(*part)
                    assert status == 200, answer
                    for result in answer["results"]:
                        scores[result["id"]] = [s["score"] for s in result["sentences"]]

        before = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return len(responses) / (time.perf_counter() - before), scores

    return asyncio.run(run())


def command_line(folder: Path, responses: list[Response]) -> tuple[float, float]:
    """Seconds of `fractal score` on these responses, by the clock and of the processors."""
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "answers.jsonl"
        write(responses, data)
        command = [sys.executable, "-m", "fractal", "score", str(folder), str(data), "--no-cache", "-q"]
        before, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "-o", str(Path(place) / "scores.jsonl")], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        return time.perf_counter() - before, cpu


def overload(port: int, key: str, responses: list[Response], seconds: float, right: dict) -> dict:
    """Ask ten times as much as can be scored, then wait until one response is answered as quickly as before."""
    counts = {"asked": 0, "scored": 0, "refused": 0, "wrong": 0, "other": 0}

    async def ask(one: Connection, part: list[Response]) -> None:
        counts["asked"] += 1
        status, answer = await one.score(*part)
        counts[{200: "scored", 429: "refused"}.get(status, "other")] += 1
        for result in answer["results"] if status == 200 else ():
            scores = [s["score"] for s in result["sentences"]]
            counts["wrong"] += any(abs(a - b) > 1e-3 for a, b in zip(scores, right[result["id"]], strict=True))

    async def client(until: float, number: int) -> None:
        async with Connection(port, key) as one:
            while time.perf_counter() < until:
                start = number % (len(responses) - TOGETHER[-1])
                await ask(one, responses[start : start + TOGETHER[-1]])
                number += 7

    async def run() -> float:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(client(until, number) for number in range(10 * CLIENTS)))
        stopped = time.perf_counter()
        async with Connection(port, key) as one:
            while True:
                before = time.perf_counter()
                status, _ = await one.score(SHORT)
                if status == 200 and time.perf_counter() - before < 0.5:
                    return time.perf_counter() - stopped

    counts["recovered after s"] = round(asyncio.run(run()), 2)
    return counts


def embedding_ms(bench: Bench, count: int) -> float:
    """The milliseconds that the encoder alone uses the processor for the short response."""
    from fractal.encoders import ENCODERS
    from fractal.encoders.embedding import embed

    encoder = ENCODERS.build(bench.studio.scorers.load(bench.newest().folder_hash).encoder)
    for _ in range(5):
        embed([SHORT], encoder)
    before = time.process_time()
    for _ in range(count):
        embed([SHORT], encoder)
    return 1000 * (time.process_time() - before) / count


def serving_table(encoder: str, size: int, rounds: int, folder: Path) -> tuple[list[str], str]:
    """Measure one encoder's scorer: a line for one and one for several responses a request; and the crowd's line."""
    bench = Bench(folder)
    bench.bring(make_responses(120, task="summaries", seed=1))
    bench.train(rule="product", encoder=encoder, epochs=3)
    store = bench.studio.store.scorer(bench.newest().folder_hash)
    texts = make_responses(size, task="summaries", seed=2)
    alone = embedding_ms(bench, 50)
    rates: dict[int, list[list[float]]] = {each: [] for each in TOGETHER}
    with bench.serving() as (port, pid):
        used = spent(pid)
        times = sorted(latencies(port, bench.key, 300))
        cpu_ms = 1000 * (spent(pid) - used) / 320
        start = [min(part) for part in zip(*(command_line(store, texts[:1]) for _ in range(2)), strict=True)]
        for _ in range(rounds):
            line = [max(part - first, 1e-3) for part, first in zip(command_line(store, texts), start, strict=True)]
            for each in TOGETHER:
                used = spent(pid)
                rate, scores = throughput(port, bench.key, texts, each)
                cpu = spent(pid) - used
                served, commanded = [rate, len(texts) / cpu], [len(texts) / seconds for seconds in line]
                rates[each].append([*served, *commanded, rate / commanded[0], served[1] / commanded[1]])
        counts = overload(port, bench.key, texts, 8.0, scores)
    bench.studio.close()
    first = [times[len(times) // 2], times[int(0.99 * len(times))], cpu_ms, alone]
    lines = []
    for each, measured in rates.items():
        cells = [*first, *(statistics.median(part) for part in zip(*measured, strict=True))]
        shown = " | ".join(f"{cell:.2f}" if cell < 10 else f"{cell:.0f}" for cell in cells)
        lines.append(f"| {encoder} | {each} | {shown} |")
    return lines, f"| {encoder} | " + " | ".join(f"{value:,}" for value in counts.values()) + " |"


def retraining(encoder: str, size: int, folder: Path) -> str:
    """Train on so many ratings, judge twenty sentences, and train again: going on from the first scorer, and afresh."""
    from fractal.server.opinions import correct

    bench = Bench(folder)
    made = make_responses(size, task="summaries", seed=3)
    truth = {response.id: response.sentence_labels for response in made}
    bench.bring([replace(response.without_labels(), label=response.label) for response in made])
    first = bench.train(rule="auto", encoder=encoder)
    rule = bench.newest().facts["aggregation"]
    with bench.studio.database.write() as session:
        queue = bench.newest().facts["queue"][:20]
        rows = load_responses(session, now(session, bench.project.id))
        said = [
            {"response": row, "place": place, "verdict": "good" if truth[rows[row].id][place] else "bad"}
            for row, place in queue
        ]
        correct(session, bench.project.id, "bench", said)
        assert session.query(Dataset).count() == 1
    spent = [first, *(bench.train(rule=rule, encoder=encoder, go_on=go_on) for go_on in (True, False))]
    bench.studio.close()
    return f"| {encoder} | {size:,} | " + " | ".join(f"{seconds:.0f}" for pair in spent for seconds in pair) + " |"


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--encoders", default="static,minilm")
    parser.add_argument("--sizes", default="1500,150", help="responses scored, for each encoder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--retrain", type=int, default=1_500, help="responses; 0 leaves it out")
    parser.add_argument("--retrain-encoder", default="static")
    args = parser.parse_args()
    loads = [os.getloadavg()[0]]
    rows, crowds = [], []
    with tempfile.TemporaryDirectory() as place:
        for encoder, size in zip(args.encoders.split(","), map(int, args.sizes.split(",")), strict=True):
            lines, crowd = serving_table(encoder, size, args.rounds, Path(place) / encoder)
            rows += lines
            crowds.append(crowd)
            print(*lines, crowd, sep="\n", flush=True)
        retrained = retraining(args.retrain_encoder, args.retrain, Path(place) / "retrain") if args.retrain else ""
        print(retrained)
    loads.append(os.getloadavg()[0])
    text = TEMPLATE.format(
        rows="\n".join(rows),
        crowds="\n".join(crowds),
        retrained=retrained,
        machine=setting(" ".join(["python -m benchmarks.server", *sys.argv[1:]])),
        loads=" and ".join(f"{load:.1f}" for load in loads),
        clients=CLIENTS,
        together=TOGETHER[-1],
    )
    if args.out:
        args.out.write_text(text, encoding="utf-8")


# ruff: noqa: E501 (a paragraph of the page is one line)
TEMPLATE = """# The studio under load

Clients, server and command line share one machine; what else ran on it shows in its load, {loads} before and after (2 is what two processors can do).

## One response, and {clients} clients

A short response is one sentence with a question. "Encoder" is the processor time of its vectors alone. The command line's rates leave out its start. Rates are responses a second, by the clock and for each second of the processors (of the server or the command, not of the clients), medians of alternating rounds; ratios are medians of those inside a round. Where the machine is busy, the second of each tells more.

| encoder | responses a request | p50 ms | p99 ms | processor ms a request | encoder ms | server/s | server/processor s | `fractal score`/s | /processor s | ratio | ratio by processor time |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{rows}

## Ten times as many clients

For 8 seconds, {together} responses a request; who is refused asks again at once. "Wrong" counts scores that differ from those without load by .001; "recovered" is the time until a short response is answered within half a second.

| encoder | asked | scored | refused (429) | wrong | other | recovered after s |
|---|---:|---:|---:|---:|---:|---:|
{crowds}

## Retrained after 20 corrections

Of ratings alone. The first training chooses the rule and encodes; the others keep the rule and find their vectors in the cache (but for `static`, whose vectors are made sooner than they are looked up); the second goes on from the first scorer's heads, as the page's button does, the third begins afresh. All score all responses, judge on held-out labels beside the scorer before, and choose the next queue.

| encoder | responses | first, s | processor s | going on, s | processor s | afresh, s | processor s |
|---|---:|---:|---:|---:|---:|---:|---:|
{retrained}

{machine}
"""


if __name__ == "__main__":
    main()
