"""Every option of `fractal train` changes what is written, said or returned: the list is made from the command."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fractal import SentenceScorer, TrainingPlan, make_responses, write
from fractal.cli import main
from fractal.cli.train import command

FITS = ["--set", "epochs=1", "--set", "members=2", "--set", "folds=2"]
SMALL = ["--encoder", "hashing(dim=32)", "--recipe", "own", *FITS, "--aggregation", "product"]
NATIVE = ["train", "ratings.jsonl", "-o", "scorer", *SMALL]
RAW = ["train", "raw.jsonl", "-o", "scorer", *SMALL, "--column", "response=said"]
STARS = [*RAW, "--column", "label=stars", "--scale", "0..5"]
LEVELS = [*RAW, "--column", "label=other"]
WORDS = [*RAW, "--column", "label=verdict"]
OPEN = NATIVE[:-2]
KEPT = ["train", "few.jsonl", "-o", "scorer", *SMALL[2:], "--encoder", "minilm"]
BROKEN = ["train", "broken.jsonl", "-o", "scorer", *SMALL]
RESUMED = [*NATIVE, "--log", "epochs.jsonl"]
CASES: dict[str, tuple[list[str], list[str]]] = {  # option → two commands whose outcomes must differ
    "sources": (NATIVE, ["train", "others.jsonl", *NATIVE[2:]]),
    "output": (NATIVE, [*NATIVE[:3], "elsewhere", *SMALL]),
    "gold": (NATIVE, [*NATIVE, "--gold", "none"]),
    "valid": (NATIVE, [*NATIVE, "--valid", "others.jsonl"]),
    "strict": (["train", "given_away.jsonl", *NATIVE[2:]], ["train", "given_away.jsonl", *NATIVE[2:], "--strict"]),
    "dry_run": (NATIVE, [*NATIVE, "--dry-run"]),
    "resume": (RESUMED, [*RESUMED, "--resume"]),
    "earlier": (NATIVE, [*NATIVE, "--from", "earlier"]),
    "log": (NATIVE, [*NATIVE, "--log", "epochs.jsonl"]),
    "tensorboard": (NATIVE, [*NATIVE, "--tensorboard", "runs"]),
    "task": (OPEN, [*OPEN, "--task", "retrieval"]),
    "aspects": (NATIVE, [*NATIVE, "--aspect", "good=product"]),
    "aggregation": (NATIVE, [*NATIVE, "--aggregation", "min"]),
    "recipe": (NATIVE, [*NATIVE, "--recipe", "paper"]),
    "encoder": (NATIVE, [*NATIVE, "--encoder", "hashing(dim=16)"]),
    "priors": (NATIVE, [*NATIVE, "--prior", "cosine"]),
    "settings": (NATIVE, [*NATIVE, "--set", "epochs=2"]),
    "false_alarms": (NATIVE, [*NATIVE, "--false-alarms", "0.5"]),
    "misses": (NATIVE, [*NATIVE, "--misses", "0.5"]),
    "confidence": ([*NATIVE, "--misses", "0.5"], [*NATIVE, "--misses", "0.5", "--confidence", "0.5"]),
    "seed": (NATIVE, [*NATIVE, "--seed", "1"]),
    "workers": (NATIVE, [*NATIVE, "--workers", "2"]),
    "control": (NATIVE, [*NATIVE, "--control", "length"]),
    "cache": ([*KEPT, "--no-cache"], [*KEPT, "--cache", "vectors"]),
    "no_cache": ([*KEPT, "--cache", "vectors"], [*KEPT, "--cache", "vectors", "--no-cache"]),
    "config": (NATIVE, [*NATIVE, "--config", "settings.toml"]),
    "reader": (NATIVE, [*NATIVE, "--reader", "csv"]),
    "column": (STARS, [*STARS, "--column", "label=other"]),
    "scale": (STARS, [*STARS, "--scale", "0..10"]),
    "levels": ([*LEVELS, "--levels", "4"], [*LEVELS, "--levels", "9"]),
    "on_error": (BROKEN, [*BROKEN, "--on-error", "reject"]),
    "rejects": ([*BROKEN, "--on-error", "reject"], [*BROKEN, "--on-error", "reject", "--rejects", "bad.jsonl"]),
    "label_words": (
        [*WORDS, "--label", "good=gut,bad=schlecht"],
        [*WORDS, "--label", "good=schlecht,bad=gut"],
    ),
    "splitter": (STARS, [*STARS, "--splitter", "lines"]),
    "quiet": (NATIVE, [*NATIVE, "--quiet"]),
    "as_json": (NATIVE, [*NATIVE, "--json"]),
}
OUTCOMES: dict[tuple[str, ...], tuple[object, ...]] = {}
EXEMPT = {
    "wandb": "what trackers get is in tests/mil/test_trackers.py",
    "mlflow": "what trackers get is in tests/mil/test_trackers.py",
    "debug": "for developers: shows where an error was raised",
    "tune": "an encoder is tuned in tests/scorers/test_tuned.py, which takes longer",
}


def test_every_option_has_a_case_or_a_reason() -> None:
    assert {parameter.name for parameter in command.params} == CASES.keys() | EXEMPT.keys()


def lines(path: str, rows: list[dict[str, object]]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("options")


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    if not any(folder.iterdir()):
        make_files()
    return folder


def make_files() -> None:
    made = make_responses(90, task="summaries", seed=5)
    rated = [replace(r, aspects={"good": r.label}) for r in made[:40]]
    write(rated, "ratings.jsonl")
    plan = TrainingPlan(epochs=1, members=2, folds=2)
    earlier = SentenceScorer("product", "own", "hashing(dim=32)", plan=plan, cache=False).fit(rated)
    earlier.save_pretrained("earlier")
    write(rated[:14], "few.jsonl")
    write(made[50:], "others.jsonl")
    raw = [
        {
            "said": f"{r.text}\n{r.text}",
            "context": list(r.context),
            "stars": 1 + n % 5,
            "other": (n * 7) % 4,
            "verdict": "gut" if n % 2 else "schlecht",
        }
        for n, r in enumerate(made[:40])
    ]
    lines("raw.jsonl", raw)
    told = [
        {"query": f"Question {n}?", "response": f"Answer {n}." + " More of it." * 3 * (n % 2), "label": n % 2}
        for n in range(60)
    ]
    lines("given_away.jsonl", told)
    Path("broken.jsonl").write_text(Path("ratings.jsonl").read_text() + '{"response": 3, "label": "?"}\n')
    Path("settings.toml").write_text("[set]\nlearning_rate = 0.5\n")


def outcome(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, ...]:
    """Return the exit code, whether and what was said, and what was written; many cases begin at the same command."""
    if tuple(words) not in OUTCOMES:
        OUTCOMES[tuple(words)] = run(words, capsys)
    return OUTCOMES[tuple(words)]


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, ...]:
    before = set(Path().rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capsys.readouterr()
    added = set(Path().rglob("*")) - before
    written = {str(path): hashlib.sha256(_timeless(path)).hexdigest() for path in added if path.is_file()}
    for path in sorted(added, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    said = {line for line in re.sub(r"[\d.,]+", "#", err).splitlines() if "#" not in line or line.startswith("Warning")}
    return ended.value.code, bool(out), said, written


def _timeless(path: Path) -> bytes:
    """Return a file's bytes without what depends on how fast the machine is."""
    if path.name == "epochs.jsonl":
        return str(len(path.read_text().splitlines())).encode()
    return path.name.encode() if "tfevents" in path.name else path.read_bytes()


@pytest.mark.parametrize("option", sorted(CASES.keys() - {"resume"}))
def test_an_option_changes_what_comes_out(option: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if option == "tensorboard":
        pytest.importorskip("tensorboard")
    plain, changed = (outcome(words, capsys) for words in CASES[option])
    assert plain != changed
    assert (plain[0] == 0) == (option != "on_error"), "what is changed works, but for the record that is refused"


def test_a_run_that_is_taken_up_goes_on_in_its_log(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Path("epochs.jsonl")
    counts = []
    for words in CASES["resume"]:
        log.write_text("{}\n" * 50)
        run(words, capsys)
        counts.append(len(log.read_text().splitlines()))
    log.unlink()
    assert counts[1] - counts[0] == 50


@pytest.mark.parametrize("words", [NATIVE, STARS], ids=["native", "raw"])
def test_the_same_command_comes_to_the_same(words: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words, capsys) == outcome(words, capsys), "else every option would seem to change something"
