"""Trains a tiny encoder and prints the loss of every step; `accelerate launch` runs it in several processes."""

from __future__ import annotations

import sys

import torch

from fractal.finetuning import trainer
from fractal.finetuning.fit import tune
from fractal.finetuning.plan import TuningPlan
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.objectives.losses import ResponseLoss
from fractal.mil.training.plan import Objective
from support.tuning_models import review_bags, reviews


def main(folder: str, batch: int) -> None:
    """Tune with so many responses a process and step: all of them, so that every step sees the same data."""
    losses: list[float] = []
    plain = trainer.TuningTrainer.training_step

    def noted(self: trainer.TuningTrainer, *args: object, **kwargs: object) -> torch.Tensor:
        loss = plain(self, *args, **kwargs)
        losses.append(float(self.accelerator.gather(loss.reshape(1)).mean()))
        return loss

    trainer.TuningTrainer.training_step = noted
    rated = reviews(16)
    bags = review_bags(rated, folds=1)
    plan = TuningPlan(folder, epochs=1, min_steps=6, batch_size=batch, reading="own", device="cpu", precision="fp32")
    tune(rated, bags, Objective((ResponseLoss(),), AGGREGATIONS.build("product")), plan)
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        sys.stdout.write(f"losses {' '.join(map(str, losses))}\n")


main(sys.argv[1], int(sys.argv[2]))
