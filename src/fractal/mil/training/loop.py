"""One loop that trains a head: whole ensembles at once, stopped and chosen by held-out response labels."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fractal.errors import TrainingDiverged
from fractal.hardware import choose_device, choose_precision, suited_threads
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.fused_mlp import Fetcher
from fractal.mil.head import Head, HeadShape
from fractal.mil.objectives.base import Scores, Term
from fractal.mil.objectives.losses import PreferenceLoss, ResponseLoss, SentenceLoss
from fractal.mil.training.callbacks import Callback, Epoch
from fractal.mil.training.checkpoints import load_checkpoint, run_fingerprint, save_checkpoint
from fractal.mil.training.plan import Objective, TrainingPlan
from fractal.mil.training.validation import ValidationFold, validate, validation_folds
from fractal.prefixes import under

__all__ = ["FittedHead", "fit_head"]


@dataclass(frozen=True)
class FittedHead:
    """A trained head: every member at its best epoch, and how it came there."""

    head: Head
    aggregation: Aggregation
    history: tuple[Epoch, ...]
    best_epochs: tuple[int, ...]  # a member; 0 is the state before training
    held_out: Tensor  # (member,): the cost of held-out response labels at the best epoch


@dataclass
class _Run:
    """All that changes while training; with the bags and the plan it determines every later step, bit by bit."""

    head: Head
    optimiser: torch.optim.Optimizer
    generator: torch.Generator  # deals the batches, on the host
    noise: torch.Generator  # draws what is dropped, on the device
    precision: torch.dtype
    fetch: Fetcher
    folds: tuple[ValidationFold, ...] = ()
    epoch: int = 0
    best: Tensor = field(default_factory=lambda: torch.empty(0))
    best_epochs: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    best_states: dict[str, Tensor] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return all but the tensors, as plain data."""
        return {"epoch": self.epoch, "history": [asdict(epoch) for epoch in self.history]}

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that later steps depend on."""
        tensors = {f"head.{name}": value for name, value in self.head.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best_states.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        drawn = {"generator": self.generator.get_state(), "noise": self.noise.get_state()}
        return tensors | drawn | {"best_cost": self.best, "best_epochs": self.best_epochs}

    def restore(self, plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from here: the steps after it give the same bits whether or not the process lived on."""
        device = self.best.device
        self.head.load_state_dict(under("head.", tensors))
        self.best_states = {name: value.to(device) for name, value in under("best.", tensors).items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in under("optimiser.", tensors).items():
            number, _, part = name.partition(".")
            state.setdefault(int(number), {})[part] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.generator.set_state(tensors["generator"])
        self.noise.set_state(tensors["noise"])
        self.best, self.best_epochs = tensors["best_cost"].to(device), tensors["best_epochs"]
        self.epoch, self.history = plain["epoch"], [Epoch(**epoch) for epoch in plain["history"]]


def fit_head(
    bags: Bags,
    objective: Objective,
    plan: TrainingPlan,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> FittedHead:
    """Train a head on the bags that each member may see, and keep each member's best epoch by those that it may not.

    `Bags.weights` says what a member sees; a bag of weight 0 is held out. Where a member holds nothing out it keeps
    its last epoch. With a checkpoint the run can be killed and taken up again, to the same bits. A run may go on from
    the parameters of an earlier one (`start`): these are no epoch to choose, as they have not seen the labels at hand.
    """
    device = choose_device(plan.device)
    belongs_to = "" if checkpoint is None else run_fingerprint(bags, objective, plan, start)
    bags = bags.to(device)
    run = _start(bags, objective, plan, device)
    if start is not None:
        run.head.load_state_dict(dict(start))
    if checkpoint is not None:
        saved = load_checkpoint(checkpoint, belongs_to)
        if saved is not None:
            run.restore(*saved)
    with suited_threads(_first_layer(plan, bags)):
        if run.epoch == 0:
            _validate(run, bags, objective)
        if run.epoch == 0 and start is not None:
            run.best.fill_(math.inf)
        while run.epoch < plan.epochs and run.epoch - int(run.best_epochs.max()) < plan.patience:
            epoch = _train_epoch(run, bags, objective, plan)
            run.history.append(epoch)
            if checkpoint is not None:
                save_checkpoint(checkpoint, belongs_to, run.plain(), run.tensors())
            for listen in callbacks:
                listen(epoch)
    run.head.load_member_states(run.best_states)
    run.head.eval()
    return FittedHead(
        run.head, objective.aggregation, tuple(run.history), tuple(run.best_epochs.tolist()), run.best.cpu()
    )


def _start(bags: Bags, objective: Objective, plan: TrainingPlan, device: torch.device) -> _Run:
    generator = torch.Generator().manual_seed(plan.seed)
    noise = torch.Generator(device).manual_seed(plan.seed + 1)
    shape = HeadShape(
        columns=bags.features.shape[1],
        shared=tuple(shared.rows.shape[1] for shared in bags.shared),
        members=plan.members,
        hidden=plan.hidden,
        thresholds=objective.aggregation.thresholds,
        dropout=plan.dropout,
        from_initial=plan.from_initial,
    )
    head = Head(shape, generator).to(device)
    optimiser = torch.optim.AdamW(
        _decayed_apart(head, plan.weight_decay), lr=plan.learning_rate, fused=device.type in ("cpu", "cuda")
    )
    precision = choose_precision(plan.precision, _first_layer(plan, bags), device.type)
    run = _Run(head, optimiser, generator, noise, precision, Fetcher(precision), validation_folds(bags, plan.members))
    run.best = torch.full((plan.members,), math.inf, device=device)
    run.best_epochs = torch.zeros(plan.members, dtype=torch.long)
    return run


def _first_layer(plan: TrainingPlan, bags: Bags) -> int:
    """Count the weights of a member's first layer."""
    columns = bags.features.shape[1] + sum(shared.rows.shape[1] for shared in bags.shared)
    return columns * (plan.hidden[0] if plan.hidden else 1)


def _decayed_apart(head: Head, decay: float) -> list[dict[str, object]]:
    """Products decay; biases and the start from the initial logits do not."""
    parameters = dict(head.named_parameters())
    products = [name for name in parameters if name.startswith(("enter", "weights")) and "bias" not in name]
    decayed = [parameters.pop(name) for name in products]
    return [{"params": decayed, "weight_decay": decay}, {"params": list(parameters.values()), "weight_decay": 0.0}]


def _train_epoch(run: _Run, bags: Bags, objective: Objective, plan: TrainingPlan) -> Epoch:
    started = time.perf_counter()
    run.head.train()
    weights = torch.tensor(objective.weights(run.epoch, plan.epochs), device=bags.features.device)  # (term,)
    sums: Tensor | None = None
    batches = 0
    for batch in bags.batches(plan.batch_of(len(bags)), run.generator, run.fetch):
        logits = run.head(batch, run.noise, run.precision)
        scores = Scores(logits, batch.offsets, objective.aggregation)
        parts = torch.stack([term(scores, batch) for term in objective.terms])  # (term, member)
        loss = (weights.to(parts.dtype) @ parts).sum()
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        run.optimiser.step()
        values = parts.detach().mean(1)
        sums, batches = values if sums is None else sums + values, batches + 1
    run.epoch += 1
    means = (sums / batches).tolist() if sums is not None else []
    _refuse_divergence(means, run, plan)
    held_out, auc = _validate(run, bags, objective)
    spent = time.perf_counter() - started
    return Epoch(
        epoch=run.epoch,
        epochs=plan.epochs,
        parts=_by_name(objective.terms, means),
        held_out=float(held_out.nanmean()),
        best=float(run.best.mean()),
        sentences_per_second=len(bags.features) / spent,
        seconds_left=spent * (plan.epochs - run.epoch),
        auc=float(auc.nanmean()),
        held_out_by_member=tuple(held_out.tolist()),
        auc_by_member=tuple(auc.tolist()),
    )


def _by_name(terms: Sequence[Term], values: Sequence[float]) -> dict[str, float]:
    named: dict[str, float] = {}
    for term, value in zip(terms, values, strict=True):
        key = term.name if term.name not in named else f"{term.name} {sum(k.startswith(term.name) for k in named) + 1}"
        named[key] = value
    return named


def _validate(run: _Run, bags: Bags, objective: Objective) -> tuple[Tensor, Tensor]:
    """Cost and order of the labels that each member may not see (member,); one of lower cost than ever is kept."""
    term = _validation_term(bags, objective)
    cost, order = validate(run.head, bags, run.folds, term, objective.aggregation, run.precision)
    better = cost.isnan() | (cost < run.best)
    run.best = torch.where(better, cost, run.best)
    run.best_epochs[better.cpu()] = run.epoch
    now = run.head.member_states()
    if not run.best_states:
        run.best_states = {name: value.clone() for name, value in now.items()}
    for name, value in now.items():
        run.best_states[name][better] = value[better]
    return cost, order


def _validation_term(bags: Bags, objective: Objective) -> Term:
    if isinstance(objective.validation_loss, Term):
        return objective.validation_loss
    if objective.validation_loss != "response":
        return SentenceLoss(target=objective.validation_loss)
    has_pairs = bags.pairs is not None and len(bags.pairs) > 0
    return PreferenceLoss(kind="logit") if has_pairs else ResponseLoss()


def _refuse_divergence(means: Sequence[float], run: _Run, plan: TrainingPlan) -> None:
    if all(math.isfinite(value) for value in means):
        return
    raise TrainingDiverged(
        f"training left the finite numbers in epoch {run.epoch} (learning rate {plan.learning_rate:g}): "
        f"try learning_rate={plan.learning_rate / 10:g}, and look for extreme values among your own columns"
    )
