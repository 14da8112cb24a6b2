"""An encoder tuned end to end on labels of whole responses: probes choose how it reads, then every member learns."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fractal.errors import MissingExtra
from fractal.finetuning.backbone import Backbone, load_backbone
from fractal.finetuning.expert import TunedExpert
from fractal.finetuning.inputs import Collator, FrozenStates, Units
from fractal.finetuning.network import TunedNetwork
from fractal.finetuning.plan import TuningPlan
from fractal.finetuning.reading import read_columns, read_logits
from fractal.finetuning.windows import Reader, Sequences
from fractal.hardware import choose_device, native_bf16
from fractal.mil.bags import Bags
from fractal.mil.training.callbacks import Callback, Epoch, at_stage
from fractal.mil.training.loop import FittedHead, fit_head
from fractal.mil.training.plan import Objective, TrainingPlan
from fractal.records import Response

__all__ = ["Tuned", "tune"]

PROBE = TrainingPlan(epochs=150, learning_rate=0.05, patience=20, hidden=(), dropout=0.0, from_initial=False)


@dataclass(frozen=True, eq=False)
class Tuned:
    """A tuned encoder, what it says of training responses that it did not learn from, and how it came there."""

    expert: TunedExpert
    held_out: Tensor  # (sentence, [level − 1,] 1), nan where every member learned from the response
    probes: Mapping[str, float]  # what held-out labels cost the frozen states under each reading
    history: tuple[Epoch, ...]
    notes: tuple[str, ...] = ()  # what was cut, skipped or chosen, for the report


@dataclass(frozen=True, eq=False)
class _View:
    """One way of reading all training responses, with the probe of its frozen states."""

    sequences: Sequences
    states: FrozenStates | None
    columns: Tensor  # (sentence, column): the frozen states'
    probe: FittedHead

    @property
    def cost(self) -> float:
        return float(self.probe.held_out.nanmean())


def tune(
    responses: Sequence[Response],
    bags: Bags,
    objective: Objective,
    plan: TuningPlan,
    callbacks: Sequence[Callback] = (),
    checkpoints: Path | None = None,
    passages: Sequence[Sequence[str]] = (),
) -> Tuned:
    """Tune an encoder on bags of labels; of their members the first `plan.members` are tuned.

    The bags' columns are not read: the encoder reads the texts. `passages` holds the nearest passage of every sentence,
    where there is a context.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtra("Tuning an encoder", "finetune", "accelerate")
    from accelerate import PartialState

    from fractal.finetuning.trainer import train

    device = choose_device(plan.device, "Tuning")
    processes = PartialState(cpu=device.type == "cpu")
    if processes.num_processes > 1:
        device = processes.device  # each process its own
    bf16 = plan.precision == "bf16" or (plan.precision == "auto" and native_bf16(device.type))
    backbone = load_backbone(plan.encoder, plan.revision)
    backbone.freeze(plan.frozen)
    bags = bags.to("cpu")
    dtype = torch.bfloat16 if bf16 else torch.float32
    session = _Session(responses, passages, bags, objective, plan, backbone, device, dtype)
    views = session.chosen_views()
    members = min(plan.members, bags.weights.shape[1])
    networks: list[TunedNetwork] = []
    history: list[Epoch] = []
    held_out: list[Tensor] = []
    for member in range(members):
        network = session.network(views, member)
        stage = f"tuning {plan.encoder}" + (f" (member {member + 1} of {members})" if members > 1 else "")
        units = Units(bags, bags.weights[:, member], session.tokens(views))
        collator = Collator(
            session.labels, {v: views[v].sequences for v in views}, {v: views[v].states for v in views}, backbone.filler
        )
        history += train(
            network,
            units,
            collator,
            objective,
            plan,
            device=device,
            bf16=bf16,
            seed=plan.seed + member,
            callbacks=at_stage(callbacks, stage),
            checkpoints=checkpoints / f"tuned-{session.digest}-{member}" if checkpoints else None,
        )
        held_out.append(session.held_out(network, views, member))
        network.backbone.merge_adapters()
        network.backbone.join()
        networks.append(network.eval())
    expert = TunedExpert(tuple(networks), session.reader, plan, session.frozen_reading, bf16)
    return Tuned(expert, _mean_known(held_out), session.costs, tuple(history), tuple(session.notes))


class _Session:
    """What all members of one tuning share: the texts as tokens, the frozen states, the probes."""

    def __init__(
        self,
        responses: Sequence[Response],
        passages: Sequence[Sequence[str]],
        bags: Bags,
        objective: Objective,
        plan: TuningPlan,
        backbone: Backbone,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.responses, self.passages = responses, passages
        self.bags, self.objective, self.plan = bags, objective, plan
        self.backbone, self.device, self.dtype = backbone, device, dtype
        self.reader = Reader.of(
            backbone.tokenizer,
            causal=backbone.causal,
            window=min(plan.window, backbone.longest),
            sentence_tokens=plan.sentence_tokens,
        )
        self.digest = _digest(responses, bags, objective, plan)
        self.costs: dict[str, float] = {}
        self.notes: list[str] = []
        self.frozen_reading = ""
        nothing = torch.zeros(len(bags.features), 0)
        self.labels = replace(
            bags, features=nothing, shared=(), vectors=nothing, sentence_pairs=None, weights=torch.ones(len(bags), 1)
        )
        self.can_cut = backbone.to(device).can_be_cut()
        if not self.can_cut and backbone.frozen_layers:
            self.notes.append("the states of the frozen layers are computed at every step: this model cannot be cut")

    def chosen_views(self) -> dict[str, _View]:
        """Return how sentences are read: as asked, or as held-out labels of the frozen probes prefer."""
        readings = self._candidates()
        views: dict[str, _View] = {}
        for reading in readings:
            for view in _views_of(reading):
                if view not in views:
                    views[view] = self._view(view)
            self.costs[reading] = float(np.mean([views[view].cost for view in _views_of(reading)]))
        taken = min(self.costs, key=lambda reading: self.costs[reading])
        self.frozen_reading = taken
        chosen = {view: views[view] for view in _views_of(taken)}
        cut = max(view.sequences.cut for view in chosen.values())
        if cut:
            self.notes.append(
                f"{cut} sentences have more than {self.plan.sentence_tokens} tokens: their middle is not read"
            )
        return chosen

    def _candidates(self) -> tuple[str, ...]:
        if self.plan.reading != "auto":
            return (self.plan.reading,)
        if self.backbone.causal:
            return ("full",)
        compared = any(response.query for response in self.responses) or any(self.passages)
        return ("both", "twin") if compared else ("both",)

    def _view(self, view: str) -> _View:
        sequences = self.reader.sequences(view, self.responses, self.passages)
        states = None
        if self.can_cut:
            states = FrozenStates.of(self.backbone, sequences, self.device, self.dtype)
            if states is None:
                self.notes.append(f"{view}: no room on the disk for the frozen layers' states: computed at every step")
        network = TunedNetwork(self.backbone, (view,), self.objective.aggregation.thresholds, len(sequences.companions))
        columns = read_columns(network.to(self.device), view, sequences, self.device, self.dtype)
        head = network.head(view)
        head.learn_scale(columns.to(self.device))
        ready = head.standardise(columns.to(self.device)).cpu()
        members = self.bags.weights.shape[1]
        bags = Bags.make(
            ready,
            self.bags.offsets,
            self.bags.labels,
            targets=self.bags.targets,
            pairs=self.bags.pairs,
            weights=self.bags.weights,
            preference_offset=self.bags.preference_offset,
        )
        plan = replace(PROBE, members=members, batch_size=len(bags), seed=self.plan.seed, device="cpu")
        return _View(sequences, states, columns, fit_head(bags, self.objective, plan))

    def network(self, views: Mapping[str, _View], member: int) -> TunedNetwork:
        """Return a member before it is tuned: the encoder as it came, each head where its probe ended."""
        torch.manual_seed(self.plan.seed + member)
        backbone = copy.deepcopy(self.backbone)
        if all(view.states is not None for view in views.values()):
            backbone.cut()
        if backbone.causal and self.plan.lora_rank:
            backbone.add_adapters(self.plan.lora_rank)
        first = next(iter(views.values())).sequences
        outputs = self.objective.aggregation.thresholds
        network = TunedNetwork(backbone, tuple(views), outputs, len(first.companions))
        for name, view in views.items():
            head = network.head(name)
            head.learn_scale(view.columns)
            probe = view.probe.head.member_states()
            with torch.no_grad():
                head.linear.weight.copy_(probe["enter"][member].T)
                head.linear.bias.copy_(probe["enter_bias"][member] + probe["shift"][member])
        return network.to(self.device)

    def tokens(self, views: Mapping[str, _View]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Count the tokens of every response: (bag,)."""
        sequences = next(iter(views.values())).sequences
        of_sentence = torch.from_numpy(sequences.end - sequences.start)
        if self.backbone.causal:
            of_sentence = torch.ones_like(of_sentence)
        counts = torch.zeros(len(self.bags), dtype=torch.long).index_add_(0, self.bags.sentence_bag, of_sentence)
        return counts.numpy()

    def held_out(self, network: TunedNetwork, views: Mapping[str, _View], member: int) -> Tensor:
        """Return what a member says of the responses that it did not learn from; nan elsewhere."""
        unseen = (self.bags.weights[:, member] == 0)[self.bags.sentence_bag]
        logits = sum_of_views(network, views, unseen.nonzero().squeeze(1).numpy(), self.device, self.dtype)
        shape = (len(unseen), *logits.shape[1:])
        out = torch.full(shape, torch.nan)
        out[unseen] = logits
        return out


def sum_of_views(
    network: TunedNetwork, views: Mapping[str, _View], sentences: np.ndarray, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the mean log-odds of all views for some sentences."""
    parts = [
        read_logits(network, name, view.sequences, device, dtype, sentences, view.states)
        for name, view in views.items()
    ]
    return torch.stack(parts).mean(0)


def _digest(responses: Sequence[Response], bags: Bags, objective: Objective, plan: TuningPlan) -> str:
    """What checkpoints belong to: another plan, objective or other data must not take them up."""
    digest = hashlib.blake2b(repr((plan, objective)).encode(), digest_size=8)
    for values in (bags.labels, bags.weights, bags.pairs, *(bags.targets[name] for name in sorted(bags.targets))):
        digest.update(b"-" if values is None else values.cpu().contiguous().numpy().tobytes())
    for response in responses:
        digest.update(f"{response.query}\0{response.text}".encode("utf-8", "replace"))
    return digest.hexdigest()


def _views_of(reading: str) -> tuple[str, ...]:
    return ("own", "full") if reading == "both" else (reading,)


def _mean_known(parts: Sequence[Tensor]) -> Tensor:
    """Return the mean over the members that know something; nan where none does."""
    return torch.stack(list(parts)).nanmean(0)
