"""A tuned encoder as one more expert: scaled on held-out labels, with a share of the sum, or left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.config import FitConfig
from fractal.ensemble.control import preference_offset
from fractal.ensemble.experts import Ensemble, Predictor
from fractal.ensemble.objective import gold_cost, label_terms, labels_cost
from fractal.ensemble.result import Choice, FitResult
from fractal.ensemble.weighting import response_cost, sentence_cost, without_common
from fractal.errors import BadSpec
from fractal.finetuning.expert import TunedExpert
from fractal.finetuning.fit import tune
from fractal.finetuning.plan import TuningPlan
from fractal.finetuning.reading import nearest_passages
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.objectives.losses import SentenceLoss
from fractal.mil.optimise import minimise
from fractal.mil.segments import lift, segment_mean
from fractal.mil.training.callbacks import Callback
from fractal.mil.training.plan import Objective
from fractal.records.corpus import Corpus
from fractal.registry import parse

__all__ = [
    "TunedEnsemble",
    "harmless_share",
    "joined_by",
    "label_bags",
    "most_share",
    "restored_tuned",
    "tuning_plan",
    "with_tuned_expert",
    "within_correlation",
]

FOLDER = "tuned"  # of a saved scorer, in which the encoders stand

MOST = 1 / 2  # of the ensemble: weights chosen by held-out labels undervalued the tuned encoder
UNLIKE, ALIKE = 0.5, 0.75  # correlations with the other experts inside responses: of no share, and of the whole of it


@dataclass(frozen=True, eq=False)
class TunedEnsemble(Ensemble):
    """The experts on frozen vectors, and a tuned encoder whose scaled log-odds have a share of the sum."""

    tuned: TunedExpert = field(kw_only=True)
    tuned_scale: float = field(kw_only=True)
    tuned_shift: float = field(kw_only=True)
    share: float = field(kw_only=True)

    @classmethod
    def of(cls, ensemble: Ensemble, tuned: TunedExpert, scale: float, shift: float, share: float) -> TunedEnsemble:
        """Add a tuned encoder to an ensemble."""
        parts = (ensemble.experts, ensemble.weights, ensemble.shift, ensemble.aggregation, ensemble.topic_share)
        return cls(*parts, tuned=tuned, tuned_scale=scale, tuned_shift=shift, share=share)

    @property
    def reads_vectors(self) -> bool:
        """Whether anything reads vectors: a tuned encoder sees the passages that they say are near."""
        return True

    def logits(self, read: Predictor) -> Tensor:
        """Return the log-odds of all experts: (sentence, [level − 1,] member)."""
        return self.labelling_logits(read, np.zeros(len(read.block), dtype=bool))

    def labelling_logits(self, read: Predictor, trained_on: NDArray[np.bool_]) -> Tensor:
        """Return the log-odds by which responses are labelled, of which some (bag,) were trained on.

        A member without a tuned encoder of its own labels those by the experts on frozen vectors alone.
        """
        frozen, block = super().logits(read), read.block
        own = self.tuned.logits(block.responses, nearest_passages(block))
        own = without_common(own, torch.from_numpy(block.offsets), self.topic_share)
        own = own * self.tuned_scale + self.tuned_shift
        members, tuned = frozen.shape[-1], own.shape[-1]
        if tuned < members:
            own = torch.cat([own, own.mean(-1, keepdim=True).expand(*own.shape[:-1], members - tuned)], -1)
        joined = (1 - self.share) * frozen + self.share * own
        known = torch.from_numpy(trained_on[block.sentence_bag]).view(-1, *(1,) * (frozen.dim() - 1))
        return torch.where(known & (torch.arange(members) >= tuned), frozen, joined)

    def config(self) -> dict[str, Any]:
        """Return everything but arrays and files, as plain data."""
        tuned = {"scale": self.tuned_scale, "shift": self.tuned_shift, "share": self.share}
        return {**super().config(), "tuned": tuned}

    def files(self) -> dict[str, bytes]:
        """Return the tuned encoder as files by path."""
        return {f"{FOLDER}/{name}": content for name, content in self.tuned.files().items()}


def restored_tuned(ensemble: Ensemble, config: Mapping[str, Any], folder: Path | None) -> Ensemble:
    """Return the ensemble with the tuned encoder that its configuration tells of, if any, read from the folder."""
    tuned = config.get("tuned")
    if tuned is None:
        return ensemble
    if folder is None:
        raise ValueError("its tuned encoder is missing")
    return TunedEnsemble.of(
        ensemble, TunedExpert.restored(folder / FOLDER), tuned["scale"], tuned["shift"], tuned["share"]
    )


def tuning_plan(tune: str | TuningPlan, seed: int) -> TuningPlan:
    """Return what `tune` asks for: a plan, a folder, or a name with options as in `minilm(members=5)`."""
    if isinstance(tune, TuningPlan):
        return tune
    if "(" not in tune:
        return TuningPlan(encoder=tune, seed=seed)
    name, options = parse(tune, "tuning plan")
    try:
        return TuningPlan(**{"encoder": name, "seed": seed, **options})
    except TypeError as error:
        known = ", ".join(one.name for one in fields(TuningPlan))
        raise BadSpec(f"tune={tune!r}: no such option ({error}). Known: {known}.") from error


def with_tuned_expert(
    result: FitResult,
    block: EncodedBlock,
    corpus: Corpus,
    config: FitConfig,
    plan: TuningPlan,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Tune an encoder beside a fit; return the fit with it, or as it was, and why, where it is left out."""
    aggregation = result.ensemble.aggregation
    bags = label_bags(block, corpus, result.weights, config)
    terms = (SentenceLoss(),) if config.supervised else label_terms(bags, config.gold_weight)
    objective = Objective(terms, aggregation, validation_loss="gold" if config.supervised else "response")
    passages = nearest_passages(block)
    tuned = tune(block.responses, bags, objective, plan, callbacks, config.checkpoints, passages)
    own = without_common(tuned.held_out, bags.offsets, result.ensemble.topic_share)
    known = held_out_only(bags, own)
    scale, shift = fitted_line(own, known, aggregation, config)
    alike = within_correlation(own, result.held_out, bags.offsets)
    cost_of = sentence_cost if config.supervised else response_cost
    scaled = own * scale + shift

    def cost(logits: Tensor) -> float:
        return cost_of(logits, known, aggregation)

    most = most_share(scale, alike)
    share = harmless_share(result.held_out, scaled, cost, most)
    joined = joined_by(share, result.held_out, scaled)
    costs = {
        "without": cost(result.held_out),
        "with": cost(joined),
        "alone": cost(torch.nan_to_num(own)),
    }
    reading = Choice(f"reading of {plan.encoder}", dict(tuned.probes), tuned.expert.reading, "; ".join(tuned.notes))
    about = f"tuned {plan.encoder}"
    if not share:
        why = _why_left_out(scale, alike) if not most else "left out: with any share of it held-out labels cost more"
        return replace(result, choices=(*result.choices, reading, Choice(about, costs, "without", why)))
    why = f"a share of {share:.2f}: inside responses its order agrees with the other experts' by {alike:.2f}"
    why += f", which allows {most:.2f}, at which held-out labels would cost more" if share < most else ""
    if tuned.expert.members < bags.weights.shape[1]:
        why += "; a training response that its encoders learned from is labelled by the other experts alone"
    return replace(
        result,
        ensemble=TunedEnsemble.of(result.ensemble, tuned.expert, scale, shift, share),
        held_out=joined,
        cost=cost_of(joined, replace(bags, weights=torch.ones(len(bags), 1)), aggregation),
        choices=(*result.choices, reading, Choice(about, costs, "with", why)),
        history=(*result.history, *tuned.history),
    )


def most_share(scale: float, alike: float) -> float:
    """Return the most of the sum that a tuned encoder may get, by how its order inside responses is like the others'.

    None where its scale is not above 0: then held-out labels gain nothing by it. A network that knows which responses
    are good, but not by which sentences, passes every test on response labels; its order inside responses tells.
    """
    return 0.0 if scale <= 0 else MOST * float(np.clip((alike - UNLIKE) / (ALIKE - UNLIKE), 0.0, 1.0))


def harmless_share(frozen: Tensor, tuned: Tensor, cost: Callable[[Tensor], float], most: float) -> float:
    """Return the largest share up to `most`, in tenths of it, at which held-out labels cost no more than without.

    The share at which they cost least would be too small: labels of responses undervalue the tuned encoder.
    """
    without = cost(frozen)
    shares = (most * tenths / 10 for tenths in range(10, 0, -1))
    return next((share for share in shares if cost(joined_by(share, frozen, tuned)) <= without), 0.0)


def joined_by(share: float, frozen: Tensor, own: Tensor) -> Tensor:
    """Join log-odds, of which those of the tuned encoder (nan where it held nothing out) have a share."""
    joined = (1 - share) * frozen + share * own
    return torch.where(joined.isnan(), frozen, joined)


def _why_left_out(scale: float, alike: float) -> str:
    if scale <= 0:
        return "left out: its log-odds do not rise with the held-out labels"
    return (
        f"left out: inside responses its order agrees with the other experts' by {alike:.2f} (a correlation; more than "
        f"{UNLIKE} is wanted): what it knows of responses it need not have from the sentences that matter"
    )


def label_bags(block: EncodedBlock, corpus: Corpus, weights: NDArray[np.float32], config: FitConfig) -> Bags:
    """Lay the labels of a corpus as bags without columns, with who holds out what."""
    gold = [np.nan if s.label is None else s.label for r in block.responses for s in r.sentences]
    has_pairs = len(corpus.pairs) > 0
    return Bags.make(
        torch.zeros(len(block.sentences), 0),
        torch.from_numpy(block.offsets),
        torch.from_numpy(corpus.labels.astype(np.float32)),
        targets={"gold": torch.tensor(gold, dtype=torch.float32)},
        pairs=torch.from_numpy(corpus.pairs) if has_pairs else None,
        weights=torch.from_numpy(weights),
        preference_offset=preference_offset(corpus, config, weights),
    )


def held_out_only(bags: Bags, held_out: Tensor) -> Bags:
    """Return the bags with the labels and pairs of those alone whose held-out log-odds are known."""
    known = segment_mean(held_out.isnan().view(len(held_out), -1).float().mean(1), bags.offsets) == 0  # (bag,)
    targets = {
        name: torch.where(lift(known, bags.offsets, len(held_out)), values, torch.nan)
        for name, values in bags.targets.items()
    }
    pairs = bags.pairs
    if pairs is not None:
        pairs = pairs[known[pairs[:, 0]] & known[pairs[:, 1]]]
    weights = torch.ones(len(bags), 1)
    labels = torch.where(known, bags.labels, torch.nan)
    return replace(bags, labels=labels, targets=targets, pairs=pairs, weights=weights)


def fitted_line(held_out: Tensor, bags: Bags, aggregation: Aggregation, config: FitConfig) -> tuple[float, float]:
    """Return the scale and shift of log-odds under which held-out labels cost least."""
    logits = torch.nan_to_num(held_out)
    cost = gold_cost(bags, aggregation) if config.supervised else labels_cost(bags, aggregation, config.gold_weight)

    def of_line(line: Tensor) -> Tensor:
        return cost(logits * line[0] + line[1]) + 1e-4 * (line - torch.tensor([1.0, 0.0])).square().sum()

    (line,) = minimise([torch.tensor([1.0, 0.0])], of_line, 50)
    scale, shift = line.tolist()
    return (scale, shift) if np.isfinite([scale, shift]).all() else (0.0, 0.0)


def within_correlation(first: Tensor, second: Tensor, offsets: Tensor) -> float:
    """Return how alike two log-odds order the sentences of a response: their correlation, each response at its mean."""
    both = torch.stack([_one(first), _one(second)], 1)  # (sentence, 2)
    centred = both - lift(segment_mean(both, offsets), offsets, len(both))
    centred = centred[~centred.isnan().any(1)].double()
    spread = centred.square().sum(0).prod().sqrt()
    return float(centred.prod(1).sum() / spread) if float(spread) > 0 else 0.0


def _one(logits: Tensor) -> Tensor:
    return logits.reshape(len(logits), -1).mean(1)
