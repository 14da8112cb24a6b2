"""Tampered scorer folders: each loads and scores, or is refused with an error of the library's own, never raw."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.numpy import load, save  # noqa: E402

from fractal import Response, load_scorer  # noqa: E402
from fractal.errors import FractalError  # noqa: E402
from fractal.scorers.runtime import load_runtime  # noqa: E402
from fuzz.support import Run, cases  # noqa: E402

OLD = Path(__file__).parents[1] / "data" / "saved_format_1"
FOLDERS = 25  # in the suite: each is copied, loaded twice and scored twice
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 0.5, 1e308, "", "x", "../../etc/passwd", "softmin(temperature=0)", [], {}, [1, 2, 3]),
    *([[]], {"a": 1}, ["sentence"], "hashing(dim=8)", "\ud800", [0.1] * 40),
)
RESPONSES = [Response.from_sentences("r", ["One thing.", "Another 12 things."], query="What?", context=("A thing.",))]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inner for place in ((*path, key), *_places(part, (*path, key)))]


def _altered(config: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Replace or remove one value anywhere in the configuration."""
    config = copy.deepcopy(config)
    *way, last = draw.choice(_places(config))
    part: Any = config
    for key in way:
        part = part[key]
    if draw.random() < 0.3:
        del part[last]
    else:
        part[last] = draw.choice(ODD)
    return config


def _altered_arrays(arrays: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Remove, cut, turn, retype or spoil one array."""
    name = draw.choice(sorted(arrays))
    array = arrays[name]
    how = draw.randrange(5)
    changed = {
        0: lambda: None,
        1: lambda: array[: len(array) // 2],
        2: lambda: array.T.copy(),
        3: lambda: array.astype("float64" if array.dtype.kind == "f" else "int8"),
        4: lambda: array * float("nan") if array.dtype.kind == "f" else array[::-1].copy(),
    }[how]()
    return {**{n: a for n, a in arrays.items() if n != name}, **({} if changed is None else {name: changed})}


def _tampered(source: Path, target: Path, draw: random.Random) -> str:
    """Write a folder that is altered in one place, its hash right again so that the place is reached."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    config, head = json.loads((source / "config.json").read_text()), (source / "head.safetensors").read_bytes()
    kind = draw.choice(["config", "config", "config", "arrays", "bytes"])
    if kind == "config":
        config = _altered(config, draw)
    elif kind == "arrays":
        head = save(_altered_arrays(dict(load(head)), draw))
    else:
        place = draw.randrange(len(head))
        head = head[:place] + bytes([head[place] ^ (1 << draw.randrange(8))]) + head[place + 1 :]
    if "head_sha256" in config and kind != "config":
        config["head_sha256"] = hashlib.sha256(head).hexdigest()
    (target / "config.json").write_text(json.dumps(config))
    (target / "head.safetensors").write_bytes(head)
    return kind


@pytest.mark.parametrize("name", ["one_label", "aspects"])
def test_a_tampered_folder_scores_or_is_refused(name: str, tmp_path: Path) -> None:
    run = Run(f"scorer folders, {name}")
    for case, draw in cases(FOLDERS):
        kind = _tampered(OLD / name, tmp_path / "scorer", draw)
        for read in (load_scorer, load_runtime):
            with run.case(f"{case} {kind} {read.__name__}"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    read(tmp_path / "scorer", cache=False).score_responses(RESPONSES)
                    run.count(f"{kind} scored")
                except FractalError:
                    run.count(f"{kind} refused")
    run.close()
    assert sum(count for how, count in run.outcomes.items() if how.endswith("refused")) > 3
