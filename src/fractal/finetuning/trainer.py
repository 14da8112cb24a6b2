"""The trainer of transformers with our loss; checkpoints, resuming, accumulation and launching are the library's."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, get_linear_schedule_with_warmup

from fractal.errors import TrainingDiverged
from fractal.finetuning.inputs import Collator, Units, batch_bags
from fractal.finetuning.network import TunedNetwork
from fractal.finetuning.plan import TuningPlan
from fractal.mil.aggregations import Aggregation
from fractal.mil.objectives.base import Scores, Term
from fractal.mil.training.callbacks import Callback, Epoch
from fractal.mil.training.plan import Objective

__all__ = ["TuningTrainer", "train"]


class TuningTrainer(Trainer):
    """The library's trainer; only the loss is ours: the terms of the objective under the response's aggregation."""

    terms: tuple[Term, ...] = ()
    aggregation: Aggregation

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return what the objective costs as the view whose turn it is reads the batch."""
        views = list(inputs["views"])
        view = views[self.state.global_step % len(views)]
        logits = model(view=view, inputs=inputs["views"][view])
        loss = objective_loss(logits.float(), inputs, self.terms, self.aggregation)
        return (loss, {"logits": logits}) if return_outputs else loss


def objective_loss(logits: Tensor, batch: dict[str, Any], terms: Sequence[Term], aggregation: Aggregation) -> Tensor:
    """Return the weighted sum of the terms on a batch, a plain function of the log-odds."""
    bags = batch_bags(batch)
    scores = Scores(logits, bags.offsets, aggregation)
    return torch.stack([term.weight * term(scores, bags).sum() for term in terms]).sum()


class _Telling(TrainerCallback):
    """Passes what the trainer logs on to those who listen to our trainings."""

    def __init__(self, callbacks: Sequence[Callback], a_pass: int, sentences: int, term: str) -> None:
        self._callbacks, self._a_pass, self._sentences, self._term = callbacks, a_pass, sentences, term
        self.history: list[Epoch] = []
        self._started, self._first = time.perf_counter(), 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note at which step this process begins."""
        self._started, self._first = time.perf_counter(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Tell of every pass."""
        if not logs or "loss" not in logs:
            return
        spent, steps = time.perf_counter() - self._started, max(state.global_step - self._first, 1)
        told = Epoch(
            epoch=math.ceil(state.global_step / self._a_pass),
            epochs=math.ceil(state.max_steps / self._a_pass),
            parts={self._term: float(logs["loss"])},
            held_out=math.nan,
            best=math.nan,
            sentences_per_second=self._sentences * steps / self._a_pass / max(spent, 1e-9),
            seconds_left=spent / steps * (state.max_steps - state.global_step),
        )
        self.history.append(told)
        for listen in self._callbacks:
            listen(told)


def train(
    network: TunedNetwork,
    units: Units,
    collator: Collator,
    objective: Objective,
    plan: TuningPlan,
    *,
    device: torch.device,
    bf16: bool,
    seed: int,
    callbacks: Sequence[Callback] = (),
    checkpoints: Path | None = None,
) -> tuple[Epoch, ...]:
    """Tune the network on the units; with a folder for checkpoints a run that was killed goes on from its last one."""
    batch = max(plan.batch_size // units.most_bags, 1)
    a_step = batch * plan.accumulate * PartialState(cpu=device.type == "cpu").num_processes
    a_pass = max(math.ceil(len(units.units) / a_step), 1)
    passes = plan.passes(len(network.views))
    steps = max(passes * a_pass, plan.min_steps)
    units.deal(steps * a_step, batch, seed)
    with tempfile.TemporaryDirectory(prefix="fractal-tuning-") as temporary:
        arguments = TrainingArguments(
            output_dir=str(checkpoints or temporary),
            max_steps=steps,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=plan.accumulate,
            max_grad_norm=plan.clip,
            train_sampling_strategy="sequential",  # dealt already, alike in every process
            remove_unused_columns=False,
            bf16=bf16,
            use_cpu=device.type == "cpu",
            seed=seed,
            data_seed=seed,
            save_strategy="steps" if checkpoints else "no",
            save_steps=max(a_pass, 1),
            save_total_limit=1,
            logging_strategy="steps",
            logging_steps=max(a_pass, 1),
            logging_nan_inf_filter=False,
            report_to=[],
            disable_tqdm=True,
            ddp_find_unused_parameters=len(network.views) > 1,
            average_tokens_across_devices=False,
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)  # several devices are for `accelerate launch`, not for threads
        telling = _Telling(callbacks, a_pass, int(collator.bags.offsets[-1]), objective.terms[0].name)
        optimiser = _optimiser(network, plan)
        schedule = get_linear_schedule_with_warmup(optimiser, int(plan.warmup * steps), steps)
        trainer = TuningTrainer(
            model=network,
            args=arguments,
            data_collator=collator,
            train_dataset=units,
            optimizers=(optimiser, schedule),
            callbacks=[telling],
        )
        for printing in ("PrinterCallback", "ProgressCallback"):
            for callback in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == printing]:
                trainer.remove_callback(callback)
        trainer.terms, trainer.aggregation = objective.terms, objective.aggregation
        found = trainer.train(resume_from_checkpoint=_last(checkpoints))
    if not math.isfinite(found.training_loss):
        raise TrainingDiverged(
            f"tuning left the finite numbers (encoder_rate {plan.encoder_rate:g}): try {plan.encoder_rate / 5:g}"
        )
    return tuple(telling.history)


def _optimiser(network: TunedNetwork, plan: TuningPlan) -> torch.optim.Optimizer:
    """AdamW: the encoder at its own rate, biases and norms without decay."""
    groups: list[dict[str, Any]] = []
    for part, rate in ((network.backbone, plan.encoder_rate), (network.heads, plan.head_rate)):
        learning = [parameter for parameter in part.parameters() if parameter.requires_grad]
        for chosen, decay in ((_products, plan.weight_decay), (_others, 0.0)):
            parameters = chosen(learning)
            if parameters:
                groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def _products(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.dim() > 1]


def _others(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.dim() <= 1]


def _last(checkpoints: Path | None) -> str | None:
    """Return the last whole checkpoint in a folder."""
    if checkpoints is None or not checkpoints.is_dir():
        return None
    whole = [path for path in checkpoints.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return str(max(whole, key=lambda path: int(path.name.partition("-")[2]))) if whole else None
