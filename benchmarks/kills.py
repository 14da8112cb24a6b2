"""Kills (−9) at random moments of a run over files: the output folder is that of an undisturbed run, byte for byte.

    python -m benchmarks.kills SCORER/ TEXTS.jsonl --engine local --rounds 10 --kills 6
    python -m benchmarks.kills SCORER/ TEXTS.jsonl --engine ray --rounds 8 --kills 5

SCORER is a saved scorer, TEXTS responses, repeated under new ids until there are so many sentences. A round scores them
into a new folder by two workers; while it runs, the driver or a worker is killed, with Ray also a node of a cluster of
a head and two nodes on this machine, which another one then replaces. A driver that was killed is started again with
`resume`. After every kill each file that stands under its final name is compared with the undisturbed run's, at the end
the whole folder. Every round is added to a file of JSON lines, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.engine import content, repeated
from benchmarks.logbook import RESULTS, Logbook
from benchmarks.machine import cpu
from fractal.engine import score_files

OPTIONS = {"cache": False, "unit_bytes": 150_000}
DRIVER = """
import sys, json
from fractal.engine import score_files
if __name__ == "__main__":
    score_files(*sys.argv[1:4], **json.loads(sys.argv[4]))
"""
ACTOR = "ray::_Actor"
WAIT = 0.2, 3.0  # seconds from a kill, or from looking for a victim in vain, to the next one
KINDS = {"local": ("driver", "worker", "worker"), "ray": ("driver", "worker", "worker", "node", "node")}
FAILURES = 3  # of a driver that nobody killed, after which a round is given up

Victims = Callable[[subprocess.Popen], dict[str, Callable[[], None]]]


def process_killer(process: int) -> Callable[[], None]:
    """Return what kills a process."""
    return lambda: psutil.Process(process).send_signal(signal.SIGKILL)


def local_victims(driver: subprocess.Popen) -> dict[str, Callable[[], None]]:
    """Return the driver and its workers, each with what kills it."""
    children = psutil.Process(driver.pid).children()
    workers = [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
    found = {f"worker {pid}": process_killer(pid) for pid in workers}
    return {"driver": process_killer(driver.pid), **found}


class RayCluster:
    """A head and two nodes on this machine, each with one core."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            self.cluster.add_node(num_cpus=1)

    def victims(self, driver: subprocess.Popen) -> dict[str, Callable[[], None]]:
        """Return the driver, the actors and the nodes, each with what kills it."""
        nodes = {f"node {place}": self._node_killer(node) for place, node in enumerate(self.cluster.worker_nodes)}
        actors = [p.pid for p in psutil.process_iter(["cmdline"]) if ACTOR in " ".join(p.info["cmdline"] or ())]
        workers = {f"worker {pid}": process_killer(pid) for pid in actors}
        return {"driver": process_killer(driver.pid), **nodes, **workers}

    def _node_killer(self, node: Any) -> Callable[[], None]:
        def kill() -> None:
            self.cluster.remove_node(node, allow_graceful=False)
            self.cluster.add_node(num_cpus=1)

        return kill


def one_round(
    arguments: list[str], output: Path, whole: dict[str, bytes], kinds: list[str], victims: Victims, draw: random.Random
) -> dict[str, Any]:
    """Score while victims of these kinds are killed, until the folder is complete; return what happened."""
    killed: Counter[str] = Counter()
    halves = failures = 0
    started = time.perf_counter()
    while True:
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, *arguments], stderr=subprocess.DEVNULL)
        while killed.total() < len(kinds) and driver.poll() is None:
            time.sleep(draw.uniform(*WAIT))
            kind = kinds[killed.total()]
            if driver.poll() is not None or not kill_one(kind, victims, driver, draw):
                continue
            killed[kind] += 1
            halves += sum(whole.get(name) != content for name, content in finals(output).items())
            if kind == "driver":
                break
        ended = driver.wait()
        if ended == 0:
            break
        failures += ended != -signal.SIGKILL
        if failures == FAILURES:
            raise SystemExit(f"the driver ended with {ended} though nobody killed it")
    return {
        "killed": dict(killed),
        "kills": killed.total(),
        "seconds": round(time.perf_counter() - started, 1),
        "half_written": halves,
        "same": content(output) == whole,
    }


def kill_one(kind: str, victims: Victims, driver: subprocess.Popen, draw: random.Random) -> bool:
    """Kill one of a kind; return whether there was one."""
    try:
        found = {name: kill for name, kill in victims(driver).items() if name.partition(" ")[0] == kind}
        if found:
            found[draw.choice(sorted(found))]()
    except psutil.NoSuchProcess:  # it ended by itself
        return False
    return bool(found)


def finals(output: Path) -> dict[str, bytes]:
    """Return the files of an unfinished run that stand under the names that they are to have."""
    return {path.name: path.read_bytes() for path in output.glob("part-??????.jsonl")} if output.exists() else {}


def lines_of(rows: list[dict]) -> list[str]:
    """Return the table of all rounds, one row an engine."""
    lines = [
        "| engine | rounds | kills | of drivers | of workers | of nodes | finals half-written after a kill | folders "
        "the same |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for engine in ("local", "ray"):
        some = [row for row in rows if row["engine"] == engine]
        if some:
            kinds: Counter[str] = sum((Counter(row["killed"]) for row in some), Counter())
            counts = " | ".join(str(kinds[kind]) for kind in ("driver", "worker", "node"))
            halves, same = sum(row["half_written"] for row in some), sum(row["same"] for row in some)
            lines.append(f"| {engine} | {len(some)} | {kinds.total()} | {counts} | {halves} | {same} of {len(some)} |")
    return lines


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scorer", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=6, help="in a round")
    parser.add_argument("--sentences", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=300, help="after which no further round is begun")
    parser.add_argument("--log", type=Path, default=RESULTS / "kills.jsonl")
    asked = parser.parse_args()
    book = Logbook(asked.log, "engine", "round")
    end = time.perf_counter() + asked.seconds
    with tempfile.TemporaryDirectory(prefix="fractal-kills-") as scratch:
        folder = Path(scratch)
        texts = folder / "texts.jsonl"
        count = repeated(asked.texts, asked.sentences, texts)
        score_files(asked.scorer, texts, folder / "whole", workers=1, **OPTIONS)
        whole, options = content(folder / "whole"), {"workers": 2, "resume": True, **OPTIONS}
        victims: Victims = local_victims
        if asked.engine == "ray":
            cluster = RayCluster()
            victims, options = cluster.victims, {**options, "engine": "ray", "address": cluster.cluster.address}
        for number in range(asked.rounds):
            if (asked.engine, number) in book or time.perf_counter() > end:
                continue
            output = folder / f"{asked.engine}-{number}"
            arguments = [str(asked.scorer), str(texts), str(output), json.dumps(options)]
            draw = random.Random(number)
            kinds = [draw.choice(KINDS[asked.engine]) for _ in range(asked.kills)]
            done = one_round(arguments, output, whole, kinds, victims, draw)
            print(book.add({"engine": asked.engine, "round": number, "sentences": count, **done}), flush=True)
        if asked.engine == "ray":
            cluster.cluster.shutdown()
    print(cpu(), *lines_of(book.rows), sep="\n")


if __name__ == "__main__":
    main()
