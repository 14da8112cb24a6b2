"""Vectors and columns of a training laid in files by one process and by several: clock, processor time, memory.

    python -m benchmarks.laying --responses 10000 30000 --encoder static "hashing(dim=256)" --workers 1 2

Every laying is a process of its own, the numbers of workers by turns. Rows are added to a file of JSON lines, which the
page is made of. Responses are those of `benchmarks.memory`. What is measured: the texts encoded, then the columns of
the four default experts laid; reading and training are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.logbook import RESULTS, Logbook
from benchmarks.machine import setting
from benchmarks.memory import LOOK_EVERY, SENTENCES, children, random_responses, status


def lay_once(texts: str, encoder: str, workers: int) -> dict[str, object]:
    """Lay in this process and its workers; return seconds by the clock of each part, and a hash of what was laid."""
    from fractal import read
    from fractal.array_space import ArraySpace
    from fractal.encoders import ENCODERS
    from fractal.encoders.laying import embed_by_workers
    from fractal.ensemble.specs import RESPONSE_EXPERTS
    from fractal.features.pipeline import FeaturePipeline
    from fractal.records.stored import stored_in

    folder = Path(tempfile.gettempdir())
    records, chosen = stored_in(folder, read(texts)), ENCODERS.build(encoder)
    chosen.encode(["Loaded."])
    marks, begun = [time.perf_counter()], time.process_time()
    block = embed_by_workers(records, chosen, space=ArraySpace(folder, workers))
    marks.append(time.perf_counter())
    inputs = list(dict.fromkeys((spec.features, spec.kept_directions(64)) for spec in RESPONSE_EXPERTS))
    laid = FeaturePipeline.fit_several(block, inputs)
    marks.append(time.perf_counter())
    spent = time.process_time() - begun
    digest = hashlib.blake2b(digest_size=8)
    for array in (block.sentences, block.queries, block.chunks, block.late, *(table.dense for _, table in laid)):
        digest.update(array.data)
    seconds = {"encode_s": marks[1] - marks[0], "columns_s": marks[2] - marks[1], "driver_cpu_s": spent}
    return {**seconds, "hash": digest.hexdigest()}


def processor(process: int) -> float:
    """Return the seconds of processor time that a process took so far."""
    values = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def measured(texts: str, count: int, encoder: str, workers: int) -> dict[str, object]:
    """Lay in a process of its own, and watch it and its workers."""
    options = json.dumps([texts, encoder, workers])
    driver = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.laying", "--child", options], stdout=subprocess.PIPE, text=True
    )
    spent: dict[int, float] = {}
    most: dict[int, float] = {}
    while driver.poll() is None:
        try:
            for process in (driver.pid, *children(driver.pid)):
                spent[process] = processor(process)
                most[process] = max(most.get(process, 0.0), status(process).get("RssAnon", 0.0))
        except OSError:  # one that has just ended
            continue
        finally:
            time.sleep(LOOK_EVERY)
    output, _ = driver.communicate()
    if driver.returncode:
        raise SystemExit(f"laying ended with {driver.returncode}")
    others = {process for process, seconds in spent.items() if process != driver.pid and seconds > 0.5}
    return {
        "responses": count,
        "encoder": encoder,
        "workers": workers,
        **json.loads(output.splitlines()[-1]),
        "workers_cpu_s": sorted(spent[process] for process in others),
        "driver_gb": most[driver.pid],
        "worker_gb": max((most[process] for process in others), default=0.0),
    }


def page(rows: list[dict], command: str) -> list[str]:
    """Return the lines of the page."""
    lines = [
        "# Laying",
        "",
        f"Vectors and columns of a training in files, by one process and by several; responses of {SENTENCES} "
        "sentences of random words with a context of two passages, the columns of the four default experts. Reading "
        "and training are left out. The same hash says that the same was laid.",
        "",
        setting(command) + " The machine did other work: the clock says little, processor time more. Workers are new "
        "processes for encoding and for columns; their processor time has their start in it.",
        "",
        "| sentences | encoder | workers | encoding, s | columns, s | driver, processor s | all workers, processor s "
        "| driver, most anonymous GB | a worker, most anonymous GB | hash |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["responses"], row["encoder"], row["workers"])):
        lines.append(
            f"| {row['responses'] * SENTENCES:,} | {row['encoder']} | {row['workers']} | {row['encode_s']:.1f} "
            f"| {row['columns_s']:.1f} | {row['driver_cpu_s']:.1f} | {sum(row['workers_cpu_s']):.1f} "
            f"| {row['driver_gb']:.2f} | {row['worker_gb']:.2f} | {row['hash']} |"
        )
    return [*lines, "", "What has no row was not run."]


def main() -> None:
    """Lay what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, nargs="+", default=[10_000])
    parser.add_argument("--encoder", nargs="+", default=["static"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--log", type=Path, default=RESULTS / "laying.jsonl")
    parser.add_argument("--out", type=Path, default=RESULTS / "laying.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.child:
        print(json.dumps(lay_once(*json.loads(args.child))))
        return
    from fractal import write

    book = Logbook(args.log, "responses", "encoder", "workers")
    for count in args.responses:
        with tempfile.TemporaryDirectory(prefix="fractal-laying-") as scratch:
            texts = f"{scratch}/texts.jsonl"
            missing = [(e, w) for e in args.encoder for w in args.workers if (count, e, w) not in book]
            if missing:
                write(random_responses(count), texts)
            for encoder, workers in missing:
                print(book.add(measured(texts, count, encoder, workers)), flush=True)
    lines = page(book.rows, "python -m benchmarks.laying --responses N … --encoder E … --workers W …")
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
