"""What the fuzzers share: seeds, how long they run, and how bytes and values are spoiled."""

from __future__ import annotations

import gzip
import os
import random
import time
from collections.abc import Iterator
from typing import Any

SECONDS = float(os.environ.get("FUZZ_SECONDS", "8"))  # of each fuzzer; `make fuzz` gives each its part of an hour
CASES = int(os.environ.get("FUZZ_CASES", "250"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
SLOWEST = 20.0  # seconds of one case

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


def cases() -> Iterator[tuple[int, random.Random]]:
    """Yield numbered sources of chance, until there are enough or the time is over."""
    end = time.monotonic() + SECONDS
    for number in range(CASES):
        if time.monotonic() > end:
            return
        yield number, random.Random(SEED * 1_000_003 + number)


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
