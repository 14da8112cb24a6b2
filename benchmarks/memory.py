"""Training with texts, vectors and columns in memory and in files: the most memory held, and how fast it is.

    python -m benchmarks.memory --responses 100000 --mode memory files
    python -m benchmarks.memory --responses 1000000 --mode files --encoder "hashing(dim=64)"

Every fit is a process of its own. Rows are added to a file of JSON lines, which the page is made of. Responses are
made of random words, ten sentences each, all texts different; they are read from JSON lines. In memory they are read
before the fit, in files by it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.logbook import RESULTS, Logbook
from benchmarks.machine import setting
from fractal.datasets.synthetic import make_responses
from fractal.records import Response

SENTENCES, WORDS = 10, 10  # of a response, of a sentence
LOOK_EVERY = 0.05  # seconds
ENOUGH, TINY = 1e6, 1e-6  # GB


def random_responses(count: int) -> Iterator[Response]:
    """Give responses of random words, each with a context of two passages, good where few words are rare."""
    rng = np.random.default_rng(0)
    texts = (response.text for task in ("answers", "summaries") for response in make_responses(500, task=task, seed=0))
    words = sorted({word.strip(".,").lower() for text in texts for word in text.split()})
    middle = len(words) * 0.82
    for number in range(count):
        drawn = (rng.random((SENTENCES + 6, WORDS)) ** 2 * len(words)).astype(int)
        texts = [" ".join(words[word] for word in row).capitalize() + "." for row in drawn.tolist()]
        label = float(np.quantile(drawn[:SENTENCES], 0.9) < middle)
        context = (" ".join(texts[SENTENCES : SENTENCES + 3]), " ".join(texts[SENTENCES + 3 :]))
        yield Response.from_sentences(str(number), texts[:SENTENCES], query=texts[0][:40], context=context, label=label)


def fit_once(count: int, encoder: str, mode: str, epochs: int, texts: str) -> dict[str, float]:
    """Fit one scorer in this process; return processor times in seconds, and epochs' sentences a second of it."""
    from fractal import SentenceScorer, TrainingPlan, read

    limit = ENOUGH if mode == "memory" else TINY
    responses = list(read(texts)) if mode == "memory" else read(texts)
    held = status(os.getpid())["VmRSS"]
    scorer = SentenceScorer(
        "product", encoder=encoder, plan=TrainingPlan(epochs=epochs), cache=False, memory_limit=limit
    )
    marks: list[tuple[str, int, float]] = []
    encoded = 0.0

    def on_encode(done: int, total: int) -> None:
        nonlocal encoded
        encoded = spent_by_all()

    def listen(epoch: object) -> None:
        marks.append((epoch.stage, epoch.epoch, time.process_time()))

    begun = spent_by_all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer.fit(responses, callbacks=[listen], on_encode=on_encode)
    ended = spent_by_all()
    spent = [after[2] - before[2] for before, after in itertools.pairwise(marks) if before[0] == after[0]]
    return {
        "texts_gb": held,
        "encode_s": encoded - begun,
        "fit_s": ended - begun,
        "epochs": len(spent),
        "train_rate": count * SENTENCES * len(spent) / sum(spent),
        "cost": scorer.cost_,
    }


def spent_by_all() -> float:
    """Return the processor time of this process and of the workers that have ended, in seconds."""
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + workers.ru_utime + workers.ru_stime


def status(process: int) -> dict[str, float]:
    """Return what the system says of a process's memory, in GB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    sizes = (line.split() for line in lines if line.startswith(("VmRSS", "VmHWM", "RssAnon")))
    return {name.rstrip(":"): int(size) / 2**20 for name, size, *_ in sizes}


def measured(count: int, encoder: str, mode: str, epochs: int) -> dict[str, object]:
    """Fit in a process of its own, and watch its memory."""
    from fractal import write

    with tempfile.TemporaryDirectory(prefix="fractal-memory-") as scratch:
        texts = f"{scratch}/texts.jsonl"
        write(random_responses(count), texts)
        options = json.dumps([count, encoder, mode, epochs, texts])
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.memory", "--child", options], stdout=subprocess.PIPE, text=True
        )
        most = {"VmRSS": 0.0, "RssAnon": 0.0}
        started = time.perf_counter()
        while child.poll() is None:
            try:
                now = together(child.pid)
            except OSError:  # one that has just ended
                continue
            finally:
                time.sleep(LOOK_EVERY)
            most = {name: max(value, now.get(name, 0.0)) for name, value in most.items()}
        clock = time.perf_counter() - started
        output, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"the fit ended with {child.returncode}")
    row = {name: round(value, 5) for name, value in json.loads(output.splitlines()[-1]).items()}
    names = {"responses": count, "encoder": encoder, "mode": mode, "epochs_planned": epochs}
    peaks = {"peak_gb": round(most["VmRSS"], 3), "peak_anonymous_gb": round(most["RssAnon"], 3)}
    return {**names, **row, **peaks, "clock_s": round(clock, 1)}


def children(process: int) -> list[int]:
    """Return the processes that a process started and that still run."""
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def together(process: int) -> dict[str, float]:
    """Return what a process and its workers hold, in GB: pages that they share count for each."""
    parts = [status(number) for number in (process, *children(process))]
    return {name: sum(part.get(name, 0.0) for part in parts) for name in ("VmRSS", "RssAnon")}


def page(rows: list[dict], command: str) -> list[str]:
    """Return the lines of the page."""
    lines = [
        "# Memory",
        "",
        f"Training on responses of random words, {SENTENCES} sentences each, all texts different; the default recipe "
        "under a minimum. Most resident memory with the pages of files that are in it, and without (anonymous), of all "
        "processes together (rows of three epochs: of one process). In files: texts as well, read from JSON lines by "
        "the fit; in memory they are read before it, which its time "
        "leaves out. Rows of different sizes are of different days: rates compare where the size is the same. "
        "Rates are per second of processor time: the machine did other work.",
        "",
        setting(command),
        "",
        "| sentences | encoder | texts, vectors and columns | epochs | before the fit, GB | most resident, GB "
        "| most anonymous, GB "
        "| encoding, s | whole fit, s | training, sentences/s | held-out cost |",
        "|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        sizes = " | ".join(f"{row[name]:.2f}" for name in ("texts_gb", "peak_gb", "peak_anonymous_gb"))
        what = f"{row['responses'] * SENTENCES:,} | {row['encoder']} | in {row['mode']} | {row['epochs_planned']}"
        lines.append(
            f"| {what} | {sizes} | {row['encode_s']:.0f} | {row['fit_s']:.0f} "
            f"| {row['train_rate']:,.0f} | {row['cost']:.5f} |"
        )
    return [*lines, "", *slope(rows), "What has no row was not run."]


def slope(rows: list[dict]) -> list[str]:
    """Say what a million responses would take in files, by the two largest trainings there."""
    in_files = sorted((row for row in rows if row["mode"] == "files"), key=lambda row: row["responses"])[-2:]
    if len(in_files) < 2:
        return []
    less, more = in_files
    each = (more["peak_anonymous_gb"] - less["peak_anonymous_gb"]) / (more["responses"] - less["responses"])
    million = more["peak_anonymous_gb"] + (1e6 - more["responses"]) * each
    pages = max(row["peak_gb"] - row["peak_anonymous_gb"] for row in in_files)
    sizes = f"from {less['responses']:,} to {more['responses']:,} responses"
    return [
        f"In files, a response more takes {each * 2**20:.1f} KB more of anonymous memory, {sizes}. Pages of files, "
        f"libraries among them, are handed back beyond 256 MB, looked at twenty times a second: {pages:.2f} GB at most "
        "here, more in larger trainings, as that look came late on a busy machine; the system can take them at any "
        f"time. **Computed** by that line: 10⁶ responses, {1_000_000 * SENTENCES:,} sentences, take {million:.1f} GB "
        "of anonymous memory; the most stands at one stage, and another that grows faster may pass it. How many pages "
        "would stand beside it was not measured.",
        "",
    ]


def main() -> None:
    """Fit what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, nargs="+", default=[10_000])
    parser.add_argument("--mode", nargs="+", default=["memory", "files"], choices=["memory", "files"])
    parser.add_argument("--encoder", default="static")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--log", type=Path, default=RESULTS / "memory.jsonl")
    parser.add_argument("--out", type=Path, default=RESULTS / "memory.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(fit_once(*json.loads(args.child))))
        return
    book = Logbook(args.log, "responses", "encoder", "mode", "epochs_planned")
    for count in args.responses:
        for mode in args.mode:
            if (count, args.encoder, mode, args.epochs) not in book:
                print(book.add(measured(count, args.encoder, mode, args.epochs)), flush=True)
    lines = page(book.rows, "python -m benchmarks.memory --responses N --encoder ENCODER --epochs E")
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
