"""What the fuzzers share: seeds, how long they run, how bytes and values are spoiled, and what is written of a run."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = float(os.environ.get("FUZZ_SECONDS", "8"))  # of each fuzzer; `make fuzz` gives each its part of an hour
CASES = int(os.environ.get("FUZZ_CASES", "0"))  # 0: as many as each fuzzer has in the suite
SEED = int(os.environ.get("FUZZ_SEED", "0"))
LOG = os.environ.get("FUZZ_LOG", "")  # a file to which each fuzzer adds a line of what it ran
SLOWEST = 20.0  # seconds of one case
MOST_MEMORY = 1_000  # MB of the process …
MORE = 500  # … or so many beyond what other tests took of it before
MOST_FAULTS = 20  # of one run: enough to see what they have in common

ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        2,
        0.5,
        1e308,
        10**30,
        "",
        " ",
        "\0",
        "x" * 3_000,
        "\x1b[2J",
        "nan",
        "=1+1",
        [],
        {},
        [[]],
        [None],
    ),
    *([["a"]], {"text": "x"}, {"a": {"b": []}}, [1, "x"], "[1", "👍", "2_GOOD", [{}], {"role": "user"}, [0] * 500),
)
SPLICES = (
    *(
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"NaN",
        b"{",
        b"}",
        b'"',
        b"\\",
        b"\r",
        b"\n",
        b"[" * 3_000,
        b",",
        b"\t",
        b"1e999",
    ),
    *(b"\\ud800", b"\xef\xbb\xbf", b"\x1f\x8b\x08", b"'", b"PAR1", b"ARROW1"),
)


def cases(usual: int = 250) -> Iterator[tuple[int, random.Random]]:
    """Yield numbered sources of chance, until there are enough or the time is over; `usual` are enough in the suite."""
    end = time.monotonic() + SECONDS
    for number in range(CASES or usual):
        if time.monotonic() > end:
            return
        yield number, random.Random(SEED * 1_000_003 + number)


def peak_memory() -> int:
    """Return the most memory that this process ever had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1_000_000 if sys.platform == "darwin" else 1_000)


class Run:
    """What a fuzzer ran: cases by their outcome, the faults, the slowest case and the memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcomes: dict[str, int] = {}
        self.faults: list[str] = []
        self.slowest = 0.0
        self.before = peak_memory()

    @contextlib.contextmanager
    def case(self, what: str) -> Iterator[None]:
        """Hold one case to what none may do: raise anything, take long, take memory."""
        started, memory = time.monotonic(), peak_memory()
        try:
            yield
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            self.faults.append(f"{type(error).__name__}: {str(error)[:200]} ({where}) in {what}")
        taken = time.monotonic() - started
        self.slowest = max(self.slowest, taken)
        if taken > SLOWEST:
            self.faults.append(f"{what}: it took {taken:.0f} s")
        if peak_memory() > max(MOST_MEMORY, self.before + MORE) and peak_memory() > memory:
            self.faults.append(f"{what}: {peak_memory()} MB")
        if len(self.faults) >= MOST_FAULTS:
            self.close()

    def count(self, outcome: str, number: int = 1) -> None:
        """Enter how a case ended."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number

    def close(self) -> None:
        """Say what was run, and fail where there was a fault."""
        line = {"fuzzer": self.name, "seed": SEED, **self.outcomes, "faults": len(self.faults)}
        line |= {"slowest_s": round(self.slowest, 2), "peak_mb": peak_memory()}
        print(json.dumps(line))
        if LOG:
            with Path(LOG).open("a") as file:
                file.write(json.dumps(line) + "\n")
        assert not self.faults, "\n".join(self.faults)


def spoiled_value(chance: random.Random, value: Any) -> Any:
    """Return a value with a few of its parts changed for odd ones, left out or doubled."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(sorted(value, key=str))
        changed = dict(value)
        if chance.random() < 0.15:
            changed.pop(key)
        else:
            changed[key] = spoiled_value(chance, value[key])
        return changed
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], spoiled_value(chance, value[place]), *value[place + 1 :]]
    return chance.choice(ODD)


def spoiled_bytes(chance: random.Random, content: bytes) -> bytes:
    """Return bytes that are cut, spliced, flipped, or compressed and then spoiled."""
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(content) + 1)
        act = chance.randrange(5)
        if act == 0:
            content = content[:place]
        elif act == 1:
            content = content[:place] + chance.choice(SPLICES) + content[place:]
        elif act == 2 and content:
            place = min(place, len(content) - 1)
            content = content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]
        elif act == 3:
            content = content[:place] + content[place // 2 :]
        else:
            packed = gzip.compress(content)
            content = packed if chance.random() < 0.4 else packed[: chance.randrange(1, len(packed))]
    return content


def altered_bytes(chance: random.Random, content: bytes) -> bytes:
    """Return bytes of which a bit is flipped, or a stretch is blank, doubled, left out, moved or cut off."""
    first, last = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    act = chance.randrange(6)
    if act == 0:
        place = chance.randrange(len(content))
        return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]
    if act == 1:
        return content[:first] + bytes(last - first) + content[last:]
    if act == 2:
        return content[:last] + content[first:]
    if act == 3:
        return content[:first] + content[last:]
    if act == 4:
        return content[first:last] + content[:first] + content[last:]
    return content[:first]
