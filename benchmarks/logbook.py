"""What benchmarks on real sets keep: a JSON line a measurement, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


class Logbook:
    """The measurements in a file, each told from the others by its values under `keys`."""

    def __init__(self, path: Path, *keys: str) -> None:
        self.path, self.keys = path, keys
        self.rows: list[dict] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self._known = {self._cell(row) for row in self.rows}

    def __contains__(self, cell: tuple) -> bool:
        return cell in self._known

    def add(self, row: dict) -> dict:
        """Keep a measurement at once, and return it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        self._known.add(self._cell(row))
        return row

    def fill_in_turn(
        self, run: Callable[..., dict | list[dict]], cells: Iterable[tuple], said: Callable[[dict], str]
    ) -> None:
        """Run the cells that are missing in this process, one after another; keep each, and say what came of it."""
        for cell in cells:
            if cell not in self:
                rows = run(*cell)
                for row in rows if isinstance(rows, list) else [rows]:
                    self.add(row)
                print(said(self.rows[-1]), flush=True)

    def fill(self, run: Callable[..., dict], cells: Sequence[tuple], jobs: int, told: Callable[[dict], str]) -> None:
        """Run the cells that are missing over processes; keep each at once, and say what was found."""
        missing = [cell for cell in cells if cell not in self]
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            for number, future in enumerate(as_completed([pool.submit(run, *cell) for cell in missing]), start=1):
                print(f"{number}/{len(missing)} {told(self.add(future.result()))}", flush=True)

    def _cell(self, row: dict) -> tuple:
        return tuple(row[key] for key in self.keys)


def sets_and_seeds(args: argparse.Namespace) -> list[tuple[str, int]]:
    """Return the cells that most benchmarks run: every set under a seed before the next seed."""
    return [(name, seed) for seed in range(args.seeds) for name in args.sets.split(",")]


def options(told: str | None, name: str, sets: Sequence[str], seeds: int) -> argparse.ArgumentParser:
    """Return the options that such benchmarks share: which sets, how many seeds, where lines and page are kept."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(sets))
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--log", type=Path, default=RESULTS / f"{name}.jsonl")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.md")
    return parser
