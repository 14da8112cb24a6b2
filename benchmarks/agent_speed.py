"""How long it takes to read, score and report 1,000 traces of 40 steps, by the command line, each command on its own.

python -m benchmarks.agent_speed [--encoders fast,base] [--traces 1000] [--steps 40] > benchmarks/results/agent_speed.md
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import setting

TASKS = 100
RATED = 300  # runs to train on, three of each task; training is not in the sum
TOOLS = ("find_customer", "find_order", "read_policy", "update_order", "refund", "send_mail", "calculate", "search")
WORDS = (
    *("order", "parcel", "refund", "address", "customer", "policy", "item", "price", "delivery", "card", "return"),
    *("exchange", "window", "receipt", "account", "please", "because", "however", "already", "confirm", "change"),
    *("cancel", "standard", "express", "blue", "large", "small", "last", "first", "two", "three"),
)


def write_traces(path: Path, count: int, steps: int, seed: int) -> None:
    """Write runs of `steps` messages each, half of them calls with results; some runs update the wrong order."""
    chance = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            task, right = number % TASKS, chance.random() < 0.6
            messages = [{"role": "system", "content": "Look an order up before you change it."}]
            for step in range(steps):
                if step % 4 == 0:
                    messages.append({"role": "user", "content": sentence(chance, 15)})
                messages += call(chance, task, step, right) if step % 2 else [answer(chance)]
            row = {"id": f"run{number}", "task_id": f"task{task}", "agent": f"agent{number % 7}", "messages": messages}
            file.write(json.dumps(row | {"reward": float(right)}) + "\n")


def sentence(chance: random.Random, words: int) -> str:
    """Return so many words."""
    return " ".join(chance.choices(WORDS, k=words)).capitalize() + "."


def answer(chance: random.Random) -> dict:
    """Return a message of the agent."""
    return {"role": "assistant", "content": " ".join(sentence(chance, 12) for _ in range(3))}


def call(chance: random.Random, task: int, step: int, right: bool) -> list[dict]:
    """Return a call and its result; the decisive one is an update in the middle of the run."""
    tool = "update_order" if step == 21 else TOOLS[(task + step) % len(TOOLS)]
    order = f"#W{task}{0 if right or step != 21 else 7}"
    arguments = {"order": order, "customer": f"c{task}", "page": chance.randrange(3), "note": sentence(chance, 6)}
    name = f"c{step}"
    asked = {"id": name, "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
    said = {"role": "assistant", "content": None, "tool_calls": [asked]}
    return [
        said,
        {"role": "tool", "tool_call_id": name, "content": json.dumps({"order": order, "text": sentence(chance, 30)})},
    ]


def seconds(*words: str) -> float:
    """Run a command, and return how long it took."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fractal", *words], check=True, capture_output=True)
    return time.perf_counter() - started


def measure(encoder: str, traces: int, steps: int, folder: Path) -> list[float]:
    """Train on runs of the same tasks, then time what is done with new ones."""
    rated, new = folder / "rated.jsonl", folder / "new.jsonl"
    write_traces(rated, RATED, steps, 0)
    write_traces(new, traces, steps, 1)
    reader = ("--reader", "openai_messages")
    scorer, scores, labelled = (str(folder / name) for name in (f"scorer-{encoder}", "scores.jsonl", "labelled.jsonl"))
    plan = ("--set", "epochs=10", "--set", "members=2", "--set", "folds=2")
    training = seconds("train", str(rated), *reader, "-o", scorer, "--encoder", encoder, "--no-cache", *plan)
    scoring = seconds("score", scorer, str(new), *reader, "-o", scores)
    labelling = seconds("disaggregate", scorer, str(new), *reader, "-o", labelled)
    return [training, scoring, seconds("report", scores, "-o", str(folder / "report.html")), labelling]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", default="fast,base")
    parser.add_argument("--traces", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    command = f"python -m benchmarks.agent_speed --encoders {options.encoders} --traces {options.traces}"
    print("# Reading, scoring and reporting runs of agents\n")
    told = f"{setting(f'{command} --steps {options.steps}')} Shared with other work: load {os.getloadavg()[0]:.0f}."
    print(f"{told}\n")
    print(
        f"{options.traces:,} generated traces of {options.steps} steps (openai_messages) of {TASKS} tasks, wall-clock "
        "seconds of each command, its start included. No expert of traces reads a vector, so no text is encoded "
        "in training either.\n"
    )
    heads = ("encoder", "read and score", "report", "**read, score and report**", "disaggregate")
    print(f"| {' | '.join([*heads, f'train on {RATED}, 10 epochs'])} |")
    print("|---|---:|---:|---:|---:|---:|")
    for encoder in options.encoders.split(","):
        with tempfile.TemporaryDirectory() as folder:
            training, scoring, report, labelling = measure(encoder, options.traces, options.steps, Path(folder))
        row = [scoring, report, scoring + report, labelling, training]
        cells = [f"{value:.1f}" for value in row]
        cells[2] = f"**{cells[2]}**"
        print(f"| {encoder} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
