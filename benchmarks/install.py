"""The wheel installed into bare environments, an extra at a time: how long, how large, and whether it works there.

`python -m benchmarks.install [EXTRA …]` builds the wheel, makes an environment of each Python that is here, installs
`fractal-scores[EXTRA]` under constraints.txt and runs what that extra is for. Rows are added to results/install.jsonl
as they come; the page is written from them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import cpu

ROOT = Path(__file__).parents[1]
ROWS, PAGE = (ROOT / "benchmarks" / "results" / f"install.{ending}" for ending in ("jsonl", "md"))
PYTHONS = ("python3.11", "python3.12", "python3.13")

SCORED = """
from fractal import make_responses, evaluate
from fractal.records import ScoredResponse
made = make_responses(30, task="summaries", seed=1)
scored = [ScoredResponse(one, tuple(s.label for s in one.sentences), one.label) for one in made]
"""
LEARNED = """
from fractal import SentenceScorer, TrainingPlan, make_responses, evaluate
made = make_responses(90, task="summaries", seed=1)
scorer = SentenceScorer(encoder="hashing(dim=64)", recipe="own", aggregation="product", plan=TrainingPlan(epochs=3))
scored = scorer.fit(made[:60]).score_responses(made[60:])
"""
EPOCH = """
from fractal.mil.training.callbacks import Epoch
epoch = Epoch(1, 3, {"response": 0.7}, 0.5, 0.4, 1000.0, 2.0, 0.8, "")
"""
SMOKE = {
    "": SCORED
    + """
from fractal.reports import write_report
from fractal.writers import write
from fractal import read
write(made, "ratings.jsonl")
assert len(list(read("ratings.jsonl"))) == 30
assert evaluate(scored, bootstrap=20)["roc_auc"].value == 1.0
write_report("report.html", scored)
""",
    "train": LEARNED
    + "scorer.save_pretrained('s'); assert SentenceScorer.from_pretrained('s').score_responses(made[60:]) == scored",
    "finetune": LEARNED + "import peft, accelerate, fractal.finetuning.fit",
    "encoders": LEARNED + "import model2vec, sentence_transformers",
    "data": SCORED
    + """
from fractal import read
import pandas
frame = pandas.DataFrame([{"response": one.text, "label": one.label} for one in made])
frame.to_parquet("ratings.parquet")
assert len(list(read("ratings.parquet"))) == 30
""",
    "plots": SCORED + "from fractal.reports.plots import plot_roc, save_plot; save_plot(plot_roc(scored), 'roc.pdf')",
    "tune": LEARNED + "import optuna, fractal.scorers.tuning",
    "tensorboard": "import tensorboard",
    "wandb": "import wandb; wandb.init(project='p', mode='offline').finish()",
    "mlflow": "from mlflow import MlflowClient; MlflowClient(tracking_uri='sqlite:///runs.db').create_experiment('e')",
    "remote": SCORED + "import fsspec; fsspec.filesystem('memory')",
    "ray": "import ray",
    "serve": LEARNED + "import fractal.server.app, fractal.server.worker",
    "otel": "import opentelemetry.sdk",
    "all": LEARNED + "import pandas, optuna, peft, tensorboard, matplotlib, sentence_transformers, fractal.server.app",
}
HEAD = """# What an installation costs

The built wheel, `pip install fractal-scores[EXTRA]` into a bare environment, under constraints.txt (torch 2.13.0 for a
CPU; {nvidia} packages of nvidia came). {cpu}, shared with other work. Downloads from a near mirror, none cached: on a
slow line add the download. Extras with torch were tried with Python 3.11 alone: for the others there was no torch for a
CPU, and that for CUDA is gigabytes. Not all rows were measured under the same load.
*CPU s* is what pip itself computed; MB on the disk with compiled bytecode, without pip.
*Works*: `fractal --help`, `list`, `doctor` and what the extra is for. Command: `python -m benchmarks.install`.

| extra | python | seconds | CPU s | MB | packages | works |
|---|---|---:|---:|---:|---:|---|"""
COMMANDS = (("--help",), ("list", "metrics"), ("doctor",))


def build(folder: Path) -> Path:
    """Build the wheel with the packages that are here."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True)
    return next(folder.glob("*.whl"))


def measure(python: str, wheel: Path, extra: str, folder: Path) -> dict[str, object]:
    """Install into a new environment and try it there; the environment is removed."""
    place = folder / "env"
    subprocess.run([python, "-m", "venv", str(place)], check=True)
    run = str(place / "bin" / "python")
    subprocess.run([run, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True, stderr=subprocess.DEVNULL)
    bare = size(place)
    started, before = time.perf_counter(), os.times()
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    constraints = str(ROOT / "constraints.txt")
    install = [run, "-m", "pip", "install", "--quiet", "--constraint", constraints, wanted]
    subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, os.times()
    names = subprocess.run([run, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    failed = smoke(place / "bin", extra, folder / "work")
    row = {
        "extra": extra or "(core)",
        "python": python,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(after[2:4]) - sum(before[2:4]), 1),
        "mb": round((size(place) - bare) / 1e6),
        "packages": len(names.splitlines()) - 3,  # two lines of a heading, and pip
        "nvidia": names.count("nvidia"),
        "smoke": failed or "passes",
    }
    shutil.rmtree(place)
    return row


def size(place: Path) -> int:
    """Return the bytes of all files under a folder."""
    return sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())


def smoke(programs: Path, extra: str, work: Path) -> str:
    """Run the command line and what the extra is for; return the first failure."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"FRACTAL_CACHE": str(work / "cache"), "HF_HUB_OFFLINE": "1"}
    commands = [[str(programs / "fractal"), *words] for words in COMMANDS]
    for command in [*commands, [str(programs / "python"), "-c", SMOKE[extra]]]:
        ended = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            return ((ended.stderr or ended.stdout).strip().splitlines() or ["failed"])[-1]
    return ""


def page() -> str:
    """Write the table of all rows."""
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    latest = {(row["python"], row["extra"]): row for row in rows}
    order = ["(core)", *(name for name in SMOKE if name)]
    shown = sorted(latest.values(), key=lambda row: (row["python"], order.index(row["extra"])))
    columns = ("extra", "python", "seconds", "cpu_seconds", "mb", "packages", "smoke")
    lines = [
        "| " + " | ".join(f"{row[name]:,}" if name == "mb" else str(row[name]) for name in columns) + " |"
        for row in shown
    ]
    absent = [python for python in PYTHONS if not here(python)]
    missing = [name for name in order if not any(row["extra"] == name for row in latest.values())]
    head = HEAD.format(cpu=cpu(), nvidia=sum(row["nvidia"] for row in shown))
    last = f"Not here, so not tried: {', '.join(absent) or 'nothing'}. Not measured: {', '.join(missing) or 'nothing'}."
    return "\n".join([head, *lines, "", last, ""])


def here(python: str) -> bool:
    """Return whether a Python runs here; a name alone may be a stand-in of a version manager."""
    return shutil.which(python) is not None and not subprocess.run([python, "-c", ""], capture_output=True).returncode


def main(extras: list[str]) -> None:
    """Measure these extras, or all, in every Python that is here."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        for python in filter(here, PYTHONS):
            for extra in extras or list(SMOKE):
                row = measure(python, wheel, extra.replace("core", ""), Path(folder))
                print(row, flush=True)
                with ROWS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
