"""Speed of scoring files by the engine, the whole way from JSON lines to scored JSON lines, and what kills cost.

    python -m benchmarks.engine SCORER/ TEXTS.jsonl --sentences 100000
    python -m benchmarks.engine SCORER/ TEXTS.jsonl --sentences 100000 --kills 20
    python -m benchmarks.engine SCORER/ TEXTS.jsonl --sentences 100000 --records

SCORER is a saved scorer, TEXTS responses of the kind to be scored; they are repeated under new ids until there are so
many sentences. On a machine that does other work as well, rates are per second of processor time, and ratios are those
of runs that take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from benchmarks.machine import cpu
from fractal.engine import score_files
from fractal.engine.ledger import Ledger
from fractal.engine.storage import open_folder
from fractal.engine.units import UNIT_BYTES, cut, find_sources
from fractal.engine.work import Job, Worker
from fractal.scorers.persistence import load_folder

DRIVER = """
import sys
from fractal.engine import score_files
if __name__ == "__main__":
    score_files(*sys.argv[1:4], workers=2, resume=True, cache=False)
"""


def repeated(texts: Path, sentences: int, target: Path) -> int:
    """Write the responses under new ids until there are so many sentences; return how many there are."""
    records = [json.loads(line) for line in texts.read_text(encoding="utf-8").splitlines()]
    count = number = 0
    with target.open("w", encoding="utf-8") as stream:
        while count < sentences:
            record = records[number % len(records)]
            stream.write(json.dumps({**record, "id": f"{record['id']} {number // len(records)}"}) + "\n")
            count += len(record["sentences"])
            number += 1
    return count


def timed(scorer: Path, texts: Path, output: Path, workers: int) -> tuple[float, float, int]:
    """Return seconds by the clock, seconds of processor time of all workers, and the most memory of one, in MB."""
    clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    score_files(scorer, texts, output, workers=workers, cache=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - clock, spent, after.ru_maxrss // 1024


def records_share(scorer: Path, texts: Path, output: Path) -> tuple[float, float]:
    """Do all units in this process; return seconds by the clock of all, and of plan, records of units and manifest."""
    kept = 0.0

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        def timed_work(*rest: Any) -> Any:
            nonlocal kept
            begun = time.perf_counter()
            try:
                return work(*rest)
            finally:
                kept += time.perf_counter() - begun

        return timed_work

    begun = time.perf_counter()
    sources = counted(find_sources)([str(texts)])
    units = counted(cut)(sources, "auto", UNIT_BYTES)
    job = Job("score", str(scorer), str(output), writer="jsonl", cache=False, reading={})
    ledger = Ledger(open_folder(str(output)), job, counted(lambda: load_folder(scorer).digest)(), sources, units)
    done = counted(ledger.begin)(False)
    worker = Worker(job)
    for unit in units:
        record = worker(unit)
        again = worker.folder.write(f"again/{unit.name}.json")  # what the record of a unit costs, a second time
        counted(_write)(again, record.line())
        done[record.number] = record
    counted(ledger.finish)(done)
    return time.perf_counter() - begun, kept


def _write(opened: contextlib.AbstractContextManager[IO[bytes]], line: bytes) -> None:
    with opened as stream:
        stream.write(line)


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def killed(scorer: Path, texts: Path, output: Path, kills: int) -> int:
    """Score while the driver or a worker is killed at random moments; return how often."""
    draw, done = random.Random(0), 0
    while True:
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(scorer), str(texts), str(output)])
        while done < kills and driver.poll() is None:
            time.sleep(draw.uniform(0.1, 3.0))
            listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(driver.pid)], capture_output=True, text=True)
            victim = draw.choice([driver.pid, *map(int, listed.stdout.split())])
            try:
                os.kill(victim, signal.SIGKILL)
                done += 1
            except ProcessLookupError:
                continue
            if victim == driver.pid:
                break
        if driver.wait() == 0:
            return done


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scorer", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--sentences", type=int, nargs="+", default=[100_000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--records", action="store_true", help="what plan, records and manifest take")
    asked = parser.parse_args()
    print(cpu())
    for sentences in asked.sentences:
        with tempfile.TemporaryDirectory(prefix="fractal-engine-") as scratch:
            folder = Path(scratch)
            count = repeated(asked.texts, sentences, folder / "texts.jsonl")
            if asked.records:
                whole, kept = records_share(asked.scorer, folder / "texts.jsonl", folder / "records")
                told = f"{kept / whole:.2%} of {whole:.1f} s by the clock are plan, records of units and manifest"
                print(f"{count:,} sentences: {told}", flush=True)
                continue
            for turn in range(asked.rounds):
                for workers in asked.workers:
                    output = folder / f"out-{turn}-{workers}"
                    clock, spent, memory = timed(asked.scorer, folder / "texts.jsonl", output, workers)
                    print(
                        f"{count:,} sentences, {workers} workers: {clock:.1f} s by the clock, {spent:.1f} s of "
                        f"processor time, {count / spent:,.0f} a second of it, {memory} MB a worker at most",
                        flush=True,
                    )
            if asked.kills:
                kills = killed(asked.scorer, folder / "texts.jsonl", folder / "killed", asked.kills)
                same = content(folder / "killed") == content(folder / f"out-0-{asked.workers[0]}")
                print(f"{kills} kills: the output is {'the same, byte for byte' if same else 'ANOTHER'}", flush=True)


if __name__ == "__main__":
    main()
