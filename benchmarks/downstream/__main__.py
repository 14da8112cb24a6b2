"""Step scores that help to train: step AUC, best-of-N, and arms of GRPO on chained arithmetic. Resumable.

python -m benchmarks.downstream                                 a CPU: pretrains once, then a minute or two a run
python -m benchmarks.downstream --device cuda --jobs 16 --prompts 32 --looked-at 1024      as published
python -m benchmarks.downstream --arms outcome --seeds 1 --width 256 --layers 6            a larger policy
python -m benchmarks.downstream --page                          writes the page of what was measured
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.downstream.arms import ARMS, MAIN
from benchmarks.logbook import RESULTS, Logbook

BUILD = Path(__file__).parents[2] / "build" / "downstream"
ALWAYS, SEEDS = 3, 5  # seeds of every arm that come first, and of all


def measure(options: argparse.Namespace, part: str, name: str, seed: int) -> dict:
    """Measure one cell: a method of selection, or an arm."""
    import torch

    from benchmarks.downstream import selection, training

    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    policy, plan = load(options), plan_of(options)
    started, spent = time.perf_counter(), time.process_time()
    try:
        if part == "selection":
            drawn = selection.Plan(prompts=plan.warmup * options.prompts, answers=options.answers)
            facts = selection.measure(policy, drawn, name, seed)
        else:
            looks = list(training.Run(ARMS[name], policy, plan, seed).looks())
            facts = {"looks": looks, "plan": dataclasses.asdict(plan)}
    except Exception as error:  # what fails is published, too, and the other cells go on
        facts = {"failed": f"{type(error).__name__}: {error}"}
    times = {"s": round(time.perf_counter() - started, 1), "cpu_s": round(time.process_time() - spent, 1)}
    return {"part": part, "name": name, "seed": seed, **facts, **times, "machine": machine(options.device)}


def plan_of(options: argparse.Namespace):
    """Return the plan of the arms under these options."""
    from benchmarks.downstream.training import Plan

    return Plan(updates=options.updates, prompts=options.prompts, answers=options.answers, looked_at=options.looked_at)


def load(options: argparse.Namespace):
    """Read the pretrained policy."""
    import torch

    from benchmarks.downstream.policy import Policy, Size

    policy = Policy(Size(options.width, options.layers)).to(options.device)
    policy.load_state_dict(torch.load(options.policy, map_location=options.device, weights_only=True))
    return policy


def pretrained(options: argparse.Namespace) -> dict:
    """Pretrain the policy that all arms start from, and keep its weights."""
    import torch

    from benchmarks.downstream.policy import Size, weights
    from benchmarks.downstream.pretraining import Pretraining, pretrain

    started = time.perf_counter()
    policy, looks = pretrain(Pretraining(size=Size(options.width, options.layers)), options.device)
    options.policy.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: value.cpu() for name, value in policy.state_dict().items()}, options.policy)
    facts = {"looks": looks, "weights": weights(policy), "s": round(time.perf_counter() - started, 1)}
    return {"part": "pretraining", "name": "", "seed": 0, **facts, "machine": machine(options.device)}


def machine(device: str) -> str:
    """Say what ran it."""
    import torch

    from benchmarks.machine import cpu

    version = f"torch {torch.__version__}"
    return f"{torch.cuda.get_device_name()}, {version}" if device.startswith("cuda") else f"{cpu()}, {version}"


def cells(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Return what is to be measured, the most wanted first."""
    from benchmarks.downstream.selection import METHODS

    arms = options.arms.split(",") if options.arms else [*ARMS]
    runs = [("arms", name, seed) for seed in range(options.seeds) for name in arms]
    selection = [] if options.arms else [("selection", name, s) for s in range(options.seeds) for name in METHODS]
    last = [cell for cell in runs if cell[2] >= ALWAYS and cell[1] not in MAIN]
    return [*(cell for cell in runs if cell not in last), *selection, *last]


def said(row: dict) -> str:
    """Say in a line what came of a cell."""
    if "failed" in row:
        return f"{row['name']}, seed {row['seed']}: {row['failed']}"
    if row["part"] == "selection":
        return f"{row['name']}, seed {row['seed']}: step AUC {row['roc_auc']:.3f} in {row['s']:.0f} s"
    curve = " ".join(f"{look['right']:.3f}" for look in row["looks"])
    return f"{row['name']}, seed {row['seed']}: {curve} in {row['s']:.0f} s"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--arms", default="", help="names, with commas between; all arms and the selection if left out")
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--prompts", type=int, default=16, help="of a batch")
    parser.add_argument("--answers", type=int, default=16, help="to each prompt")
    parser.add_argument("--looked-at", type=int, default=512, help="prompts of a look")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--policy", type=Path, default=BUILD / "policy.pt")
    parser.add_argument("--log", type=Path, default=RESULTS / "downstream.jsonl")
    parser.add_argument("--out", type=Path, default=RESULTS / "downstream.md")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    options = parser.parse_args()
    book = Logbook(options.log, "part", "name", "seed")
    if not options.page:
        if not options.policy.exists():
            book.add(pretrained(options))
        book.fill(functools.partial(measure, options), cells(options), options.jobs, said)
    from benchmarks.downstream.tables import write

    write(book.rows, options.out)


if __name__ == "__main__":
    main()
