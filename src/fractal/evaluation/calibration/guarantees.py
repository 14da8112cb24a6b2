"""Thresholds with a promise: how often sentences of clean responses are flagged, how often flawed responses pass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData, BadSpec
from fractal.evaluation.metrics import Floats
from fractal.records import ScoredResponse

CUTS = 400  # thresholds that are tried at most, from the safest on
QUANTILES = 200  # of the scores of each kind, saved to notice data of another kind
SHIFTED = 1e-3  # how seldom data of the same kind are taken for another
MIXTURES = np.linspace(0, 1, 41)  # shares of clean responses that new data may have


@dataclasses.dataclass(frozen=True)
class Guarantee:
    """A threshold of sentence scores, and what is promised of the sentences beyond it.

    Learned under a minimum, sentences that score below it are flagged; under a maximum, those that score at least it.
    A response is clean where its label says that no sentence is to be flagged (1 under a minimum, 0 under a maximum),
    flawed where it says that some is. Of a new group (a query with its responses, say) drawn like those seen:

    - `false_alarms`: the share of flagged sentences in its clean responses is at most this on average;
    - `misses`: the share of its flawed responses without one flag is at most this on average.

    Each response of a group and each sentence of a response counts alike. Of all the sets of labelled groups that
    might have been drawn, the promise is true after all but 1 − `confidence`; without a confidence, on average.
    """

    threshold: float
    direction: str
    false_alarms: float | None
    misses: float | None
    confidence: float | None
    clean_groups: int
    flawed_groups: int
    left_out: int  # responses whose label says neither
    seen_false_alarms: float | None  # in the labelled groups themselves; none where no group is clean
    seen_misses: float | None
    cross_fitted: int  # responses that were scored by the members of an ensemble that held them out, not by all
    clean: tuple[float, ...]  # quantiles of the most suspicious score of each response, over groups
    flawed: tuple[float, ...]

    def flags(self, item: ScoredResponse) -> tuple[bool, ...]:
        """Say of each sentence whether it is flagged."""
        return tuple((score < self.threshold) == (self.direction == "min") for score in item.sentence_scores)

    def refuse_shifted(self, scored: Sequence[ScoredResponse]) -> None:
        """Refuse scores that no mixture of clean and flawed responses like those seen would show."""
        if not scored:
            return
        new = _Part.of(scored, self.direction)
        seen = [
            len(part) and count for part, count in ((self.clean, self.clean_groups), (self.flawed, self.flawed_groups))
        ]
        chance = math.sqrt(-math.log(SHIFTED / 2) / 2) * (new.groups**-0.5 + min(n for n in seen if n) ** -0.5)
        distance = _distance_to_mixture(new, np.array(self.clean), np.array(self.flawed))
        if distance > chance:
            raise BadData(
                "these responses are of another kind than those that the promise rests on: whatever mixture of clean "
                f"and flawed ones they are, their scores are off by {distance:.2f}, of which chance explains "
                f"{chance:.2f}. Give a threshold of your own, or rate some of them and promise anew with those"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Guarantee:
        """Read what `to_dict` gave."""
        try:
            read = cls(**{**plain, "clean": tuple(plain["clean"]), "flawed": tuple(plain["flawed"])})
            valid = math.isfinite(read.threshold) and read.direction in ("min", "max") and (read.clean or read.flawed)
        except (KeyError, TypeError) as error:
            raise BadSpec(f"this is no promise of a threshold: {error}") from error
        if not valid:
            raise BadSpec(
                f"threshold={read.threshold}, direction={read.direction!r}: this is no promise of a threshold"
            )
        return read

    def __str__(self) -> str:
        parts = []
        if self.false_alarms is not None:
            seen = f"({self.seen_false_alarms or 0.0:.1%} here, in {self.clean_groups:,} groups)"
            parts.append(f"at most {self.false_alarms:.1%} of the sentences of clean responses are flagged {seen}")
        if self.misses is not None:
            seen = f"({self.seen_misses or 0.0:.1%} here, in {self.flawed_groups:,} groups)"
            parts.append(f"at most {self.misses:.1%} of the flawed responses pass without a flag {seen}")
        how = "on average" if self.confidence is None else f"with a confidence of {self.confidence:.0%}"
        near = ""
        if self.cross_fitted:
            near = " Calibrated on responses that it trained on: near to the promise, and misses may come out higher."
        side = "below" if self.direction == "min" else "from"
        return f"Sentences that score {side} {self.threshold:.4f} are flagged; {how}, {' and '.join(parts)}.{near}"


def guarantee(
    scored: Sequence[ScoredResponse],
    *,
    false_alarms: float | None = None,
    misses: float | None = None,
    confidence: float | None = 0.95,
    cross_fitted: int = 0,
) -> Guarantee:
    """Find the threshold that holds what is promised, by scores that are held out and labels of their responses.

    Of false alarms alone it is the one that flags most, of misses alone the one that flags least, of both the one that
    flags most. What cannot be promised is refused: under a mean, by too few labels, or where no threshold does.
    """
    wanted = {name: level for name, level in (("false_alarms", false_alarms), ("misses", misses)) if level is not None}
    refuse_odd(wanted, confidence)
    direction = _direction(scored)
    clean, flawed, left_out = _by_label(scored, direction)
    cuts = {}
    if false_alarms is not None:
        _refuse_few(clean.groups, false_alarms, confidence, "a clean response")
        cuts["false_alarms"] = clean.alarms().lowest_cut(false_alarms, confidence)
    if misses is not None:
        _refuse_few(flawed.groups, misses, confidence, "a flawed response")
        cuts["misses"] = _turned(flawed.passes().lowest_cut(misses, confidence))
    cut = next(iter(cuts.values()))
    if len(cuts) == 2 and cuts["misses"] < cuts["false_alarms"]:
        raise BadData(
            f"no threshold holds both: where at most {misses:.1%} of the flawed responses pass, "
            f"{clean.alarms().mean(cuts['misses']):.1%} of the sentences of clean ones are flagged here; where these "
            f"are at most {false_alarms:.1%}, {flawed.passes().mean(_turned(cut)):.1%} pass. Promise less of one of "
            "them, or rate more responses"
        )
    return Guarantee(
        threshold=-cut if direction == "min" else float(np.nextafter(cut, np.inf)),
        direction=direction,
        false_alarms=false_alarms,
        misses=misses,
        confidence=confidence,
        clean_groups=clean.groups,
        flawed_groups=flawed.groups,
        left_out=left_out,
        seen_false_alarms=clean.alarms().mean(cut),
        seen_misses=flawed.passes().mean(_turned(cut)),
        cross_fitted=cross_fitted,
        clean=clean.quantiles(),
        flawed=flawed.quantiles(),
    )


def fewest_groups(level: float, confidence: float | None) -> int:
    """Return how many groups a promise of this level takes at least, if none of them speaks against it."""
    if confidence is None:
        return math.ceil(1 / level - 1 - 1e-9)
    return math.ceil(math.log(1 / (1 - confidence)) / math.log1p(level) - 1e-9)


@dataclasses.dataclass(frozen=True)
class _Losses:
    """Values with a group and a weight each: a group's loss is the weight of its values that lie above a cut."""

    values: Floats
    group: NDArray[np.int64]
    weights: Floats
    groups: int

    def above(self, cut: float) -> Floats:
        """Return the loss of each group: (group,)."""
        lost = np.where(self.values > cut, self.weights, 0.0)
        return np.asarray(np.bincount(self.group, lost, self.groups), dtype=np.float64)

    def mean(self, cut: float) -> float | None:
        """Return the mean loss, nothing where there is no group."""
        return float(self.above(cut).mean()) if self.groups else None

    def lowest_cut(self, level: float, confidence: float | None) -> float:
        """Return the lowest value above which the mean loss is at most the level, going down from where it is 0.

        It stops at the first value that fails: so the confidence is that of one test, however many are tried.
        """
        order = np.argsort(-self.values, kind="stable")
        mean_loss = np.cumsum(self.weights[order]) / self.groups
        distinct, first = np.unique(-self.values[order], return_index=True)
        possible = -distinct[np.r_[0.0, mean_loss[first[1:] - 1]] <= level]  # descending
        tried = possible[np.unique(np.linspace(0, len(possible) - 1, CUTS).astype(int))]
        best = float(tried[0])
        for cut in tried:
            if not _holds(self.above(cut), level, confidence):
                break
            best = float(cut)
        return best


@dataclasses.dataclass(frozen=True)
class _Part:
    """Responses of one kind: how suspicious each sentence is (minus its score under a minimum), and their groups."""

    suspicion: Floats  # (sentence,)
    sizes: NDArray[np.int64]  # (response,)
    group: NDArray[np.int64]  # (response,)
    groups: int

    @classmethod
    def of(cls, scored: Sequence[ScoredResponse], direction: str) -> _Part:
        names = {name: place for place, name in enumerate(dict.fromkeys(item.response.split_group for item in scored))}
        scores = np.array([score for item in scored for score in item.sentence_scores], dtype=np.float64)
        return cls(
            suspicion=scores if direction == "max" else -scores,
            sizes=np.array([len(item.sentence_scores) for item in scored], dtype=np.int64),
            group=np.array([names[item.response.split_group] for item in scored], dtype=np.int64),
            groups=len(names),
        )

    @property
    def weights(self) -> Floats:
        """How much each response counts inside its group: (response,)."""
        return 1 / np.bincount(self.group, minlength=self.groups)[self.group]

    @property
    def worst(self) -> Floats:
        """The most suspicious sentence of each response: (response,)."""
        return np.maximum.reduceat(self.suspicion, np.cumsum(self.sizes) - self.sizes)

    def alarms(self) -> _Losses:
        """The share of sentences that are flagged."""
        weights = np.repeat(self.weights / self.sizes, self.sizes)
        return _Losses(self.suspicion, np.repeat(self.group, self.sizes), weights, self.groups)

    def passes(self) -> _Losses:
        """The share of responses without a flag: their worst sentence lies below the cut, turned round."""
        return _Losses(-self.worst, self.group, self.weights, self.groups)

    def quantiles(self) -> tuple[float, ...]:
        """Spread the worst sentences of responses over the groups."""
        if not self.groups:
            return ()
        order = np.argsort(self.worst, kind="stable")
        reached = np.cumsum(self.weights[order]) / self.groups
        places = np.searchsorted(reached, (np.arange(QUANTILES) + 0.5) / QUANTILES)
        return tuple(self.worst[order][np.minimum(places, len(order) - 1)].tolist())


def _turned(cut: float) -> float:
    """Return the cut of turned values: what does not lie above the one lies above the other."""
    return float(np.nextafter(-cut, -np.inf))


def _holds(losses: Floats, level: float, confidence: float | None) -> bool:
    """Whether the mean loss of groups drawn like these is at most the level.

    Without a confidence: on average over the draws of these and one more group (conformal risk control). With one: by
    betting against it (Waudby-Smith and Ramdas): the stake of each round is set by the rounds before, and a fortune of
    1 / (1 − confidence) is made that seldom where the mean loss is larger.
    """
    count = len(losses)
    if confidence is None:
        return bool((losses.sum() + 1) / (count + 1) <= level + 1e-12)
    drawn = losses[np.random.default_rng(0).permutation(count)]  # the order must not depend on the losses
    rounds = np.arange(2, count + 2)
    means = (0.5 + np.cumsum(drawn)) / rounds
    spread = (0.25 + np.cumsum((drawn - means) ** 2)) / rounds
    before = np.r_[0.25, spread[:-1]]
    needed = math.log(1 / (1 - confidence))
    stakes = np.minimum(1.0, np.sqrt(2 * needed / (count * before)))
    return bool(np.cumsum(np.log1p(-stakes * (drawn - level))).max() >= needed)


def refuse_odd(wanted: Mapping[str, float], confidence: float | None) -> None:
    """Refuse levels and confidences that are none."""
    if not wanted:
        raise BadSpec("say what is to be promised: false_alarms=0.05, misses=0.1, or both")
    for name, level in wanted.items():
        if not 0 < level < 1:
            raise BadSpec(f"{name}={level}: give a share between 0 and 1, as 0.05")
    if confidence is not None and not 0 < confidence < 1:
        raise BadSpec(f"confidence={confidence}: give a share between 0 and 1, as 0.95, or none for an average")


def _direction(scored: Sequence[ScoredResponse]) -> str:
    rules = {item.aggregation for item in scored}
    if len(rules) > 1 or len({item.aspect for item in scored}) > 1:
        raise BadData("these scores were learned under several rules or aspects: promise something of one at a time")
    rule = next(iter(rules), "")
    if not scored or rule not in ("min", "max"):
        raise BadSpec(
            f"these scores were learned under {f'a {rule}' if rule else 'a rule that they do not name'}: only under a "
            "minimum or a maximum does a response's label say of its sentences that none is to be flagged"
        )
    return rule


def _by_label(scored: Sequence[ScoredResponse], direction: str) -> tuple[_Part, _Part, int]:
    best, worst = (1.0, 0.0) if direction == "min" else (0.0, 1.0)
    labels = [item.response.label_of(item.aspect) for item in scored]
    clean, flawed = ([item for item, y in zip(scored, labels, strict=True) if y == which] for which in (best, worst))
    return _Part.of(clean, direction), _Part.of(flawed, direction), len(scored) - len(clean) - len(flawed)


def _refuse_few(groups: int, level: float, confidence: float | None, what: str) -> None:
    if groups < (needed := fewest_groups(level, confidence)):
        sure = "" if confidence is None else f" with a confidence of {confidence:.0%}"
        raise BadData(
            f"{groups:,} groups (queries, documents) hold {what}, and to promise {level:.1%}{sure} takes at least "
            f"{needed:,}: rate more responses, or promise less"
        )


def _distance_to_mixture(new: _Part, clean: Floats, flawed: Floats) -> float:
    """Return the largest gap between the distribution of worst sentences and the mixture that is nearest to it."""
    order = np.argsort(new.worst, kind="stable")
    places = new.worst[order]
    reached = np.cumsum(new.weights[order]) / new.groups
    last = np.r_[places[1:] != places[:-1], True]
    places, reached = places[last], reached[last]
    parts = [np.searchsorted(np.sort(part), places, side="right") / len(part) for part in (clean, flawed) if len(part)]
    if len(parts) == 1:
        return float(np.abs(reached - parts[0]).max())
    gaps = [np.abs(reached - share * parts[0] - (1 - share) * parts[1]).max() for share in MIXTURES]
    return float(min(gaps))
