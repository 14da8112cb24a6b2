"""How fast native JSON lines are read, and where the time goes: lines, decoding, checking, records.

    python benchmarks/reading.py [FILE.jsonl.gz …]

Without files it reads responses of its own making, of the length that real ones have.
"""

from __future__ import annotations

import gzip
import io
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from fractal.readers import read
from fractal.readers.jsonl import decode_native
from fractal.readers.session import ReadSession
from fractal.readers.sources import numbered_lines
from fractal.writers import write

ROUNDS = 7
RESULTS = Path(__file__).parent / "results" / "reading.md"


def made(count: int = 10_000) -> bytes:
    chance = random.Random(0)
    words = ["water", "rises", "where", "the", "air", "is", "warm", "and", "falls", "as", "rain", "again"]

    def sentence() -> str:
        return " ".join(chance.choices(words, k=15)).capitalize() + "."

    lines = []
    for number in range(count):
        sentences = [sentence() for _ in range(chance.randint(1, 12))]
        record = {"id": f"made {number}", "query": sentence(), "context": [sentence() for _ in range(6)]}
        record |= {"sentences": sentences, "label": chance.choice([0, 1]), "aggregation": "min", "meta": {"group": "g"}}
        lines.append(json.dumps(record | {"sentence_labels": [1] * len(sentences)}))
    return "\n".join(lines).encode()


def count(items: Iterable[object]) -> int:
    return sum(1 for _ in items)


def stages(blob: bytes) -> dict[str, Callable[[], object]]:
    def lines() -> Iterable[bytes]:
        return (line for _, line in numbered_lines(io.BytesIO(blob), "") if isinstance(line, bytes))

    def checked() -> int:
        session = ReadSession("")
        return count(line for line in lines() if decode_native(line).fits(session))

    def written() -> int:
        return write(responses, io.BytesIO())

    responses = list(read(io.BytesIO(blob), "jsonl"))
    return {
        "`json.loads` alone, of the standard library": lambda: [None for line in lines() if not json.loads(line)],
        "lines": lambda: count(lines()),
        "+ decoded, types and label ranges checked": lambda: count(map(decode_native, lines())),
        "+ lengths, empty text, label kind, duplicate ids: validated": checked,
        "+ made into `Response` and counted: `read`": lambda: count(read(io.BytesIO(blob), "jsonl")),
        "the thorough way (labels on a scale)": lambda: count(read(io.BytesIO(blob), "jsonl", label_scale="0..1")),
        "`write` as native JSON lines": written,
    }


def main() -> None:
    paths = [Path(name) for name in sys.argv[1:]]
    blob = b"".join(gzip.decompress(path.read_bytes()) for path in paths) if paths else made()
    records = blob.count(b"\n") + (not blob.endswith(b"\n"))
    sentences = sum(len(decode_native(line).sentences) for line in blob.splitlines())
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine falls on every stage
        for name, stage in stages(blob).items():
            start = time.thread_time()
            stage()
            times.setdefault(name, []).append(time.thread_time() - start)
    of = "real responses of " + ", ".join(sorted({path.parent.name for path in paths})) if paths else "made responses"
    told = [
        "# Reading native JSON lines",
        "",
        f"{records:,} {of}: {len(blob) / records:,.0f} bytes and {sentences / records:.1f} sentences each. "
        f"Processor time of one thread, median of {ROUNDS} interleaved rounds, best round beside it.",
        f"{cpu()}; Python {platform.python_version()}, msgspec {msgspec.__version__}. "
        f"Command: `python benchmarks/reading.py{' FILE.jsonl.gz …' if paths else ''}`.",
        "",
        "| stage | responses/s, median | best | µs a response, median |",
        "|---|---|---|---|",
    ]
    for name, taken in times.items():
        middle, best = statistics.median(taken), min(taken)
        told.append(f"| {name} | {records / middle:,.0f} | {records / best:,.0f} | {middle / records * 1e6:.1f} |")
    text = "\n".join(told) + "\n"
    print(text)
    kept = RESULTS.read_text(encoding="utf-8").partition("\n## ")[1:] if RESULTS.exists() else ("", "")
    RESULTS.write_text(text + "".join(kept), encoding="utf-8")


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
