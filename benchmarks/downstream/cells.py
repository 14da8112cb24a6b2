"""One cell of the benchmark: a method of selection or an arm under a seed, measured in a process of its own."""

from __future__ import annotations

import argparse
import dataclasses
import time
import warnings

import torch

from benchmarks.downstream import selection, training
from benchmarks.downstream.arms import ARMS
from benchmarks.downstream.policy import Policy, Size, weights
from benchmarks.downstream.pretraining import Pretraining, pretrain
from benchmarks.machine import cpu


def measure(options: argparse.Namespace, part: str, name: str, seed: int) -> dict:
    """Measure one cell: a method of selection, or an arm with many or few answers."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    started, spent = time.perf_counter(), time.process_time()
    try:
        facts = _selected(options, name, seed) if part == "selection" else _trained(options, part, name, seed)
    except Exception as error:  # what fails is published, too, and the other cells go on
        facts = {"failed": f"{type(error).__name__}: {error}"}
    times = {"s": round(time.perf_counter() - started, 1), "cpu_s": round(time.process_time() - spent, 1)}
    return {"part": part, "name": name, "seed": seed, **facts, **times, "machine": machine(options.device)}


def _selected(options: argparse.Namespace, name: str, seed: int) -> dict:
    policy, plan = load(options), selection.Plan()
    return selection.measure(policy, plan, _answers(plan, seed, options), name, seed)


def _trained(options: argparse.Namespace, part: str, name: str, seed: int) -> dict:
    plan = training.PLANS[part]
    looks = list(training.Run(ARMS[name], load(options), plan, seed).looks())
    return {"looks": looks, "plan": dataclasses.asdict(plan)}


def _answers(plan: selection.Plan, seed: int, options: argparse.Namespace) -> tuple[training.Samples, training.Samples]:
    """Return the answers of a seed; one process keeps the last, as drawing takes longest."""
    key = (plan, seed, options.policy, options.device)
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = selection.draw_answers(load(options), plan, seed)
    return _LAST[key]


_LAST: dict[tuple, tuple[training.Samples, training.Samples]] = {}


def load(options: argparse.Namespace) -> Policy:
    """Read the pretrained policy."""
    policy = Policy(Size(options.width, options.layers)).to(options.device)
    policy.load_state_dict(torch.load(options.policy, map_location=options.device, weights_only=True))
    return policy


def pretrained(options: argparse.Namespace) -> dict:
    """Pretrain the policy that all arms start from, and keep its weights."""
    started = time.perf_counter()
    policy, looks = pretrain(Pretraining(size=Size(options.width, options.layers)), options.device)
    options.policy.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: value.cpu() for name, value in policy.state_dict().items()}, options.policy)
    facts = {"looks": looks, "weights": weights(policy), "s": round(time.perf_counter() - started, 1)}
    return {"part": "pretraining", "name": "", "seed": 0, **facts, "machine": machine(options.device)}


def machine(device: str) -> str:
    """Say what ran it."""
    version = f"torch {torch.__version__}"
    return f"{torch.cuda.get_device_name()}, {version}" if device.startswith("cuda") else f"{cpu()}, {version}"
