"""Kill −9 at moments drawn by chance: nothing acknowledged is lost, what goes on ends like what ran through.

    python tests/fuzz/kills.py --kills 200 --seed 1 --log kills.jsonl

Each command runs in a process forked from this one, so that a kill costs no import of libraries.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from fractal import SentenceScorer, make_responses
from fractal.cli import main
from fractal.encoders import EmbeddingCache
from fractal.encoders.cache import cached_encode, key
from fractal.files import ABANDONED
from fractal.mil.training.plan import TrainingPlan
from fractal.writers import write

PLAN = TrainingPlan(epochs=6, members=2, folds=2, hidden=(8,))
TRAIN = (
    "--encoder",
    "hashing(dim=64)",
    "--aggregation",
    "min",
    "--recipe",
    "own",
    "--set",
    "epochs=6",
    "--no-cache",
    "-q",
)
SAID = Path(tempfile.gettempdir()) / f"kills-{os.getpid()}.txt"  # of the last process
Work = Callable[[], object]


def run(work: Work, kill_after: float | None = None) -> tuple[bool, float]:
    """Do work in a process of its own; return whether it was killed, and how many seconds it took.

    It is killed after so many seconds, if it is not done by then.
    """
    started = time.monotonic()
    child = os.fork()
    if not child:
        _child(work)
    end = None if kill_after is None else started + kill_after
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise AssertionError(f"exit code {os.waitstatus_to_exitcode(status)}: {SAID.read_text()[-2000:]}")
            return False, time.monotonic() - started
        if end is not None and time.monotonic() >= end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True, time.monotonic() - started
        time.sleep(0.0005)


def _child(work: Work) -> None:
    """Do work and end the process, what it says put into a file."""
    code = 1
    with SAID.open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            work()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def contents(place: Path) -> dict[str, bytes]:
    """Return what a file or folder holds, by name."""
    if place.is_file():
        return {place.name: place.read_bytes()}
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def aged(folder: Path) -> None:
    """Let everything look as if it had been written long ago: part files are cleared away by their age."""
    past = time.time() - 2 * ABANDONED
    for path in folder.rglob("*"):
        os.utime(path, (past, past))


class Scene:
    """A folder in which a command is killed and run again, and what it gives when nobody kills it."""

    def __init__(self, name: str, folder: Path, first: Work, again: Work, results: tuple[str, ...]) -> None:
        self.name, self.folder, self.first, self.again, self.results = name, folder, first, again, results
        self.before = {path.name for path in folder.iterdir()}
        self.started = {name: contents(folder / name) for name in results if (folder / name).exists()}
        _, self.seconds = run(first)
        self.wanted = {name: contents(folder / name) for name in results}
        self.reset()

    def reset(self) -> None:
        """Bring the folder back to where it was before."""
        for path in self.folder.iterdir():
            if path.name not in self.before or path.name in self.results:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, files in self.started.items():
            for inner, content in files.items():
                path = self.folder / name if inner == name else self.folder / name / inner
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def killed(self, chance: random.Random) -> tuple[int, list[str]]:
        """Kill the command up to three times, then let it end; return how many kills hit and what was wrong."""
        self.reset()
        kills, faults = 0, []
        for attempt in range(chance.randint(1, 3)):
            hit, _ = run(self.again if attempt else self.first, chance.uniform(0, self.seconds * 1.05))
            kills += hit
            for name in self.results:  # whoever looks meanwhile finds the old one, the new one, or none yet
                here = contents(self.folder / name) if (self.folder / name).exists() else None
                if here is not None and here not in (self.started.get(name), self.wanted[name]):
                    faults.append(f"{name} is neither the old one nor the new one")
                if here is None and name in self.started:
                    faults.append(f"{name} is gone")
            if not hit:
                break
        aged(self.folder)
        run(self.again)
        for name in self.results:
            if contents(self.folder / name) != self.wanted[name]:
                faults.append(f"{name} is not what an undisturbed run gives")
        left = {path.name for path in self.folder.iterdir()} - self.before - set(self.results)
        return kills, [*faults, *([f"left behind: {', '.join(sorted(left))}"] if left else [])]


def command(*words: str) -> Work:
    return lambda: main(list(words))


def scenes(home: Path) -> list[Scene]:
    """Make what is killed: training, scoring, exporting, a report, and saving over an earlier scorer."""
    rated, answers = make_responses(60, task="summaries", seed=1), make_responses(150, task="summaries", seed=2)
    folders = {name: home / name for name in ("train", "score", "export", "report", "save")}
    for folder in folders.values():
        folder.mkdir()
        write(rated, folder / "rated.jsonl")
        write(answers, folder / "answers.jsonl")

    def fitted(seed: int) -> SentenceScorer:
        options = {"encoder": "hashing(dim=64)", "recipe": "own", "aggregation": "min", "cache": False}
        plan = TrainingPlan(**{**PLAN.__dict__, "seed": seed})
        return SentenceScorer(plan=plan, **options).fit(rated)

    scorer, other = fitted(0), fitted(1)
    scored = scorer.score_responses(answers)
    scorer.save_pretrained(folders["score"] / "scorer")
    other.save_pretrained(folders["save"] / "scorer")
    for name in ("export", "report"):
        write(scored, folders[name] / "scores.jsonl")
    (folders["export"] / "out.csv").write_text("an earlier table\n")
    (folders["report"] / "report.html").write_text("<p>an earlier page</p>\n")
    at = {name: str(folder) for name, folder in folders.items()}
    train = ("train", f"{at['train']}/rated.jsonl", "-o", f"{at['train']}/scorer", *TRAIN)
    score = ("score", f"{at['score']}/scorer", f"{at['score']}/answers.jsonl", "-o", f"{at['score']}/scores.jsonl")
    score = (*score, "--batch", "8", "--no-cache", "-q")
    export = ("export", f"{at['export']}/scores.jsonl", "--to", "csv", "-o", f"{at['export']}/out.csv")
    report = ("report", f"{at['report']}/scores.jsonl", "-o", f"{at['report']}/report.html", "--bootstrap", "0", "-q")

    def save() -> object:
        return scorer.save_pretrained(folders["save"] / "scorer")

    return [
        Scene("train", folders["train"], command(*train), command(*train, "--resume"), ("scorer",)),
        Scene("score", folders["score"], command(*score), command(*score, "--resume"), ("scores.jsonl",)),
        Scene("export", folders["export"], command(*export), command(*export), ("out.csv",)),
        Scene("report", folders["report"], command(*report), command(*report), ("report.html",)),
        Scene("save", folders["save"], save, save, ("scorer",)),
    ]


class Vectors:
    """An encoder whose vectors are known."""

    dim, fingerprint = 16, "known"

    def encode(self, texts, progress=None):
        return np.array([np.random.default_rng(int(text)).standard_normal(16) for text in texts], np.float32)


def kill_cache(home: Path, chance: random.Random) -> tuple[int, list[str]]:
    """Kill a process that fills the cache and notes what was acknowledged; all of it must be there, and right."""
    folder, notes = home / "vectors", home / "acknowledged"
    shutil.rmtree(folder, ignore_errors=True)
    notes.write_bytes(b"")
    kills = 0

    def fill() -> None:
        cache, first = EmbeddingCache(folder), notes.stat().st_size // 8
        with notes.open("ab", buffering=0) as file:
            for place in range(first, first + 40):
                cached_encode(Vectors(), [str(20 * place + number) for number in range(20)], cache)
                file.write(place.to_bytes(8, "little"))

    for _ in range(3):
        kills += run(fill, chance.uniform(0, 0.04))[0]
    done = [int.from_bytes(notes.read_bytes()[at : at + 8], "little") for at in range(0, notes.stat().st_size - 7, 8)]
    texts = [str(20 * place + number) for place in done for number in range(20)]
    cache = EmbeddingCache(folder)
    rows, hits = cache.get_many("known", [key(text) for text in texts])
    faults = [] if hits.all() else [f"{int((~hits).sum())} acknowledged rows are lost"]
    if texts and hits.all() and not (rows == Vectors().encode(texts)).all():
        faults.append("a row is not what was kept")
    run(fill)
    cache.clear()
    left = [path.name for path in folder.rglob("*")]
    if left:
        faults.append(f"left behind after it was cleared: {left}")
    return kills, faults


def measured(name: str, wanted: int, attempt: Callable[[], tuple[int, list[str]]]) -> dict[str, object]:
    """Kill until there are enough kills; return what is to be said of them."""
    kills = runs = 0
    faults: list[str] = []
    started = time.monotonic()
    while kills < wanted:
        more, wrong = attempt()
        kills, runs, faults = kills + more, runs + 1, [*faults, *wrong]
    seconds = round(time.monotonic() - started, 1)
    return {"what": name, "kills": kills, "runs": runs, "faults": len(faults), "first": faults[:3], "seconds": seconds}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12, help="in all; shared by six kinds of work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one kind of work")
    parser.add_argument("--log", help="a file to which a line a kind of work is added")
    return parser.parse_args()


def kill_all(options: argparse.Namespace) -> int:
    """Kill every kind of work and say what was met; return how many faults there were."""
    torch.set_num_threads(1)
    chance = random.Random(options.seed)
    lines = []
    with tempfile.TemporaryDirectory() as home:
        attempts = {scene.name: lambda scene=scene: scene.killed(chance) for scene in scenes(Path(home))}
        attempts["cache"] = lambda: kill_cache(Path(home), chance)
        for name, attempt in attempts.items():
            if options.only in ("", name):
                lines.append(measured(name, -(-options.kills // len(attempts)), attempt))
                print(json.dumps(lines[-1]), flush=True)
                if options.log:
                    with Path(options.log).open("a") as file:
                        file.write(json.dumps({"seed": options.seed, **lines[-1]}) + "\n")
    return sum(int(str(line["faults"])) for line in lines)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(min(kill_all(parsed()), 100))
