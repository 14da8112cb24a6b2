"""Several weak judges of one response → one soft label, each judge's accuracy estimated without any truth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fractal.errors import BadData, BadSpec
from fractal.evaluation.intervals import percentile_interval
from fractal.evaluation.metrics import resampled_weights
from fractal.records import Response

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MIN_JUDGES = 3  # with fewer judges, accuracies cannot be told from agreement
EXPECTED, PRIOR_VOTES = 2 / 3, 6.0  # before any data, a judge is right in four cases of six
PRIOR_SPREAD, PRIOR_JUDGES = 0.1, 2.0  # how far judges' rates are expected to differ, worth two judges' evidence
LEAST_VARIANCE = 1e-4
USELESS = 0.05  # an accuracy surely this near to chance is not worth counting
LEAST_WIDTH = 0.02  # narrowest spread of a judge's scores, so that one lucky value cannot decide alone
SURE = 30.0  # largest log-odds of a label
SETTLED = 1e-6  # labels that move less are settled
FLAT = 1e-9  # labels that vary less say nothing about a judge
EDGE, EDGE_ROUNDS = 0.98, 100  # nobody starts out surer than this


@dataclasses.dataclass(frozen=True)
class Judge:
    """What is estimated of one judge: right on good, right on bad, and both in the mean, with an interval."""

    name: str
    kind: str  # "votes" (0 or 1) or "scores"
    on_good: float
    on_bad: float
    accuracy: float  # mean of the two: ½ is chance
    low: float
    high: float
    votes: int
    dropped: str = ""  # why its votes are not counted


@dataclasses.dataclass(frozen=True)
class Combined:
    """A soft label for every response, nan where no judge that counts has voted, and the judges behind it."""

    labels: Floats  # (response,)
    judges: tuple[Judge, ...]
    good_share: float
    report: tuple[str, ...]

    @property
    def accuracies(self) -> dict[str, float]:
        """Return the estimated accuracy of every judge; ½ is chance."""
        return {judge.name: judge.accuracy for judge in self.judges}

    @property
    def dropped(self) -> tuple[str, ...]:
        """Return the judges whose votes do not count."""
        return tuple(judge.name for judge in self.judges if judge.dropped)

    def __str__(self) -> str:
        return "\n".join(self.report)


@dataclasses.dataclass(frozen=True)
class _Fit:
    """Judges under one guess of the truth. Votes: chance of a 1 on bad and on good. Scores: means and one width."""

    share: float
    on_bad: Floats  # (judge,) P(vote 1 | bad), or the mean score of bad responses
    on_good: Floats  # (judge,)
    width: Floats  # (judge,) nan for votes

    @classmethod
    def of(cls, table: _Votes, good: Floats) -> _Fit:
        """Take the most likely judges, given how good each response seems: (response,)."""
        wanted = good[:, None] * table.seen
        number, right = table.seen.sum(axis=0), wanted.sum(axis=0)  # (judge,)
        total, good_total = table.filled.sum(axis=0), (wanted * table.filled).sum(axis=0)
        # scores are in standard units: one more at 0, the judge's own mean, keeps the means apart from too few votes
        on_good, on_bad = good_total / (right + 1), (total - good_total) / (number - right + 1)
        votes = table.binary
        wrong = (number - right)[votes]
        hits = np.stack([good_total[votes], wrong - (total - good_total)[votes]])  # right on good, right on bad
        on_good[votes], against = _drawn(hits, np.stack([right[votes], wrong]), alike=table.alike)
        on_bad[votes] = 1 - against
        away = wanted * (table.filled - on_good) ** 2 + (table.seen - wanted) * (table.filled - on_bad) ** 2
        spread = np.sqrt(away.sum(axis=0) / np.maximum(number, 1) + LEAST_WIDTH**2)
        share = (float(good.sum()) + 1) / (good.size + 2)
        return cls(share, on_bad, on_good, np.where(votes, np.nan, spread))

    @property
    def odds(self) -> float:
        """Return the log-odds of a response that nobody has judged."""
        return math.log(self.share / (1 - self.share))

    def evidence(self, table: _Votes) -> Floats:
        """Return the log-odds that each vote gives to good: (response, judge), 0 where there is none."""
        with np.errstate(invalid="ignore"):
            votes = table.filled * np.log(self.on_good / self.on_bad)
            votes += (1 - table.filled) * np.log((1 - self.on_good) / (1 - self.on_bad))
            middle = (self.on_good + self.on_bad) / 2
            scores = (table.filled - middle) * (self.on_good - self.on_bad) / self.width**2
        return np.where(table.binary, votes, scores) * table.seen

    def rates(self, binary: Mask) -> Floats:
        """Return how often each judge is right on good and on bad: (2, judge); scores are cut half-way."""
        gap = np.where(binary, 0.0, (self.on_good - self.on_bad) / np.where(binary, 1.0, 2 * self.width))
        return np.where(binary, [self.on_good, 1 - self.on_bad], _normal(gap))


@dataclasses.dataclass(frozen=True)
class _Votes:
    """The table of votes, and which judges vote 0 or 1 rather than give scores."""

    filled: Floats  # (response, judge) 0 where there is no vote; scores in standard units of their judge
    seen: Mask
    binary: Mask  # (judge,)
    alike: bool = True  # whether judges are drawn to what they have in common

    @classmethod
    def of(cls, votes: ArrayLike, *, alike: bool = True) -> _Votes:
        table = np.array(votes, dtype=np.float64)  # None becomes nan
        if table.ndim != 2 or not table.shape[1]:
            raise BadData(f"votes of shape {table.shape}: give a table with a row a response and a column a judge")
        seen = ~np.isnan(table)
        if np.isinf(table).any():
            raise BadData("a vote is infinite: give numbers, and nan or None where a judge has not voted")
        filled = np.where(seen, table, 0.0)
        binary = ((filled == 0) | (filled == 1)).all(axis=0)
        number = np.maximum(seen.sum(axis=0), 1)
        centred = (filled - filled.sum(axis=0) / number) * seen
        wide = np.sqrt((centred**2).sum(axis=0) / number)
        return cls(np.where(binary, filled, centred / np.where(wide > 0, wide, 1.0)), seen, np.asarray(binary), alike)

    def take(self, judges: Mask) -> _Votes:
        return _Votes(self.filled[:, judges], self.seen[:, judges], self.binary[judges], self.alike)

    def rows(self, chosen: Mask) -> _Votes:
        return _Votes(self.filled[chosen], self.seen[chosen], self.binary, self.alike)

    def first_guess(self) -> Floats:
        """Return the votes by the judges' agreement, each judge's scores as ranks.

        Most are taken to be right more often than wrong. The mean vote would not do: of two judges it is even wherever
        they differ, and who differs from everybody would never be seen.
        """
        votes = self.filled.copy()
        for judge in np.flatnonzero(~self.binary):
            mine = self.seen[:, judge]
            _, place, count = np.unique(self.filled[mine, judge], return_inverse=True, return_counts=True)
            votes[mine, judge] = ((np.cumsum(count) - count / 2) / count.sum())[place.ravel()]
        sides = (2 * votes - 1) * self.seen  # −1 … 1, 0 where there is no vote
        edge = _edges(sides.T @ sides, self.seen.T.astype(np.float64) @ self.seen)
        return _chance(sides @ np.log((1 + edge) / (1 - edge)))


def _edges(together: Floats, met: Floats) -> Floats:
    """Return each judge's edge, right less wrong: two judges agree in the mean by the product of theirs (judge,).

    Both arguments are (judge, judge): the sum of the products of their votes, and on how many responses they met.
    """
    others = 1 - np.eye(len(met))
    together, met = together * others, met * others
    expected = np.full(len(met), 2 * EXPECTED - 1)
    edge = expected
    for _ in range(EDGE_ROUNDS):
        better = (together @ edge + PRIOR_JUDGES * expected) / (met @ edge**2 + PRIOR_JUDGES)
        edge = (edge + np.clip(better, -EDGE, EDGE)) / 2  # a full step would go to and fro
    return np.asarray(edge)


def _drawn(hits: Floats, number: Floats, *, alike: bool) -> Floats:
    """Return each judge's rates, drawn to the judges' common accuracy as far as they do not clearly differ.

    Judges who are not taken to be `alike` are drawn to what is expected of any, as much as so many votes weigh.
    """
    if not alike:
        return np.asarray((hits + PRIOR_VOTES * EXPECTED) / (number + PRIOR_VOTES))
    common = (hits.sum() + PRIOR_VOTES * EXPECTED) / (number.sum() + PRIOR_VOTES)
    chance = common * (1 - common)
    apart = (hits / np.maximum(number, 1) - common) ** 2 - chance / np.maximum(number, 1)  # beyond sampling
    variance = (apart.sum() + PRIOR_JUDGES * PRIOR_SPREAD**2) / (number.size + PRIOR_JUDGES)
    strength = max(chance / max(variance, LEAST_VARIANCE) - 1, PRIOR_VOTES)
    return np.asarray((hits + strength * common) / (number + strength))


def _settle(table: _Votes, rounds: int) -> Floats:
    """Judge the judges by the labels and the labels by the judges, until neither moves (expectation–maximisation)."""
    good = table.first_guess()
    for _ in range(rounds):
        fit = _Fit.of(table, good)
        better = _chance(fit.odds + fit.evidence(table).sum(axis=1))
        moved, good = float(np.abs(better - good).max(initial=0.0)), better
        if moved < SETTLED:
            break
    return good


def _chance(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -SURE, SURE))))


def _against_the_others(table: _Votes, counted: Mask, fit: _Fit, bootstrap: int, seed: int) -> Floats:
    """Measure every judge by the labels that the other kept judges give: balanced accuracy, (resample, judge).

    Where P(good) is q, the mean vote is f + (s − f) q: so the slope of votes over q is s − f, what a judge tells.
    """
    evidence = fit.evidence(table)
    odds = fit.odds + evidence[:, counted].sum(axis=1)
    others = _chance(odds[:, None] - evidence * counted)  # (response, judge)
    seen, size = table.seen.astype(np.float64), len(odds)
    parts = np.stack([seen, seen * others, table.filled, seen * others**2, table.filled * others, table.filled**2])
    drawn = [
        np.einsum("pnj,nr->prj", parts, weights, optimize=True) for weights in resampled_weights(size, bootstrap, seed)
    ]
    number, q, votes, qq, qv, vv = np.concatenate(drawn, axis=1)  # (resample, judge) each
    number = np.maximum(number, 1.0)
    together, apart = qv / number - q * votes / number**2, qq / number - (q / number) ** 2
    slope = np.where(apart > FLAT, together / np.maximum(apart, FLAT), 0.0)
    rest = np.sqrt(np.maximum(vv / number - (votes / number) ** 2 - slope * together, LEAST_WIDTH**2))
    return np.where(table.binary, np.clip(0.5 + slope / 2, 0, 1), _normal(slope / (2 * rest)))


def _normal(values: Floats) -> Floats:
    """Return the share of a normal curve below each value."""
    return np.asarray(0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(values / math.sqrt(2))))


def _sift(
    table: _Votes, drop: bool, contradicting: str, bootstrap: int, confidence: float, seed: int, rounds: int
) -> _Sifted:
    """Leave out the least useful judge and settle anew, until every judge that is left tells something."""
    counted, reasons = np.asarray(table.seen.any(axis=0)), [""] * table.binary.size
    while True:
        good = _settle(table.take(counted), rounds)
        fit = _Fit.of(table, good)
        draws = _against_the_others(table, counted, fit, bootstrap, seed)
        low, high = np.array([percentile_interval(each, confidence) for each in draws.T]).T
        distance = np.maximum(high - 0.5, 0.5 - low)  # from chance, at most
        useless = counted & (distance < USELESS)
        if contradicting == "drop":
            useless |= counted & (high < 0.5)
        if not drop or counted.sum() < MIN_JUDGES or not useless.any():
            break
        worst = int(np.argmin(np.where(useless, high, np.inf)))
        counted[worst] = False
        reasons[worst] = "contradicts the others" if high[worst] < 0.5 else "cannot be told from chance"
    return _Sifted(counted, reasons, fit, low, high)


class _Sifted(NamedTuple):
    counted: Mask
    reasons: list[str]
    fit: _Fit
    low: Floats
    high: Floats


def combine(
    votes: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    drop: bool = True,
    contradicting: str = "turn",
    bootstrap: int = 200,
    confidence: float = 0.95,
    rounds: int = 200,
    seed: int = 0,
    aside: Sequence[str] = (),
    alike: bool = True,
) -> Combined:
    """Weigh judges by how well they foretell one another, drop the useless, and give each response a soft label.

    Judges are learned from responses that several rated, where there are some: one vote alone tells nothing of who cast
    it. Those named `aside` help to weigh the others, and their own votes are in no label. Models of one kind are
    `alike`: drawn to their common accuracy as far as they do not clearly differ.
    `votes` is (response, judge): 0 or 1, or scores on the judge's own scale, higher is better; nan where a judge has
    not voted. Taken for granted: most judges are right more often than wrong, and err independently. A judge that is
    surely near chance is dropped; one that contradicts the others is turned around, or dropped where that is wished.
    """
    if contradicting not in ("turn", "drop"):
        raise BadSpec(f"contradicting={contradicting!r}: a judge that contradicts the others is to 'turn' or to 'drop'")
    if bootstrap < 2 or not 0 < confidence < 1:
        raise BadSpec(f"bootstrap={bootstrap}, confidence={confidence}: give at least 2, and a share such as 0.95")
    table = _Votes.of(votes, alike=alike)
    count = table.binary.size
    titles = tuple(names) if names is not None else tuple(f"judge {place + 1}" for place in range(count))
    if len(titles) != count:
        raise BadData(f"{len(titles)} names for {count} judges: give one a judge")
    if not table.seen.any():
        raise BadData("no judge has voted on any response: there is nothing to combine")
    compared = table.seen.sum(axis=1) > 1
    learned = table.rows(compared) if compared.any() else table
    sifted = _sift(learned, drop, contradicting, bootstrap, confidence, seed, rounds)
    # who met no other judge counts as judges do on average
    alone = np.asarray(table.seen.any(axis=0) & ~learned.seen.any(axis=0))
    counted = (sifted.counted | alone) & ~np.isin(titles, aside)
    good = _chance(sifted.fit.odds + sifted.fit.evidence(table)[:, counted].sum(axis=1))
    good = np.where(table.seen[:, counted].any(axis=1), good, np.nan)
    accuracy = sifted.fit.rates(table.binary)
    judges = tuple(
        Judge(
            name=titles[place],
            kind="votes" if table.binary[place] else "scores",
            on_good=float(accuracy[0, place]),
            on_bad=float(accuracy[1, place]),
            accuracy=float(accuracy[:, place].mean()),
            low=0.0 if alone[place] else float(sifted.low[place]),
            high=1.0 if alone[place] else float(sifted.high[place]),
            votes=int(table.seen[:, place].sum()),
            dropped=sifted.reasons[place] or ("" if table.seen[:, place].any() else "has not voted"),
        )
        for place in range(count)
    )
    return Combined(good, judges, sifted.fit.share, _report(good, judges, sifted.fit.share))


def _report(good: Floats, judges: tuple[Judge, ...], share: float) -> tuple[str, ...]:
    labels = good[~np.isnan(good)]
    unsure = int((np.abs(labels - 0.5) < 0.3).sum())
    lines = [
        f"{labels.size:,} responses labelled by {sum(not judge.dropped for judge in judges)} of {len(judges)} judges; "
        f"{share:.0%} are good; {unsure:,} labels lie between 0.2 and 0.8."
    ]
    for judge in judges:
        turned = "counts turned around, as it contradicts the others: is its scale right?"
        state = f"dropped: {judge.dropped}" if judge.dropped else (turned if judge.high < 0.5 else "counts")
        lines.append(
            f"{judge.name}: {judge.votes:,} {judge.kind}, right on {judge.on_good:.0%} of the good and "
            f"{judge.on_bad:.0%} of the bad (mean {judge.accuracy:.2f}, {judge.low:.2f} … {judge.high:.2f}); {state}."
        )
    if len(judges) < MIN_JUDGES:
        lines.append("Fewer than three judges: their accuracies rest on what is expected of a judge, not on data.")
    return tuple(lines)


def votes_of(responses: Sequence[Response], field: str = "votes") -> tuple[Floats, tuple[str, ...]]:
    """Return the table of votes that responses carry in an extra field: a list by place, or a mapping by judge."""
    rows: list[Mapping[str, Any]] = []
    for response in responses:
        votes = response.extra.get(field, ())
        if not isinstance(votes, Mapping | Sequence) or isinstance(votes, str):
            raise BadData(
                f"the response {response.id!r} has {votes!r}: give a list of votes, or votes by judge", field=field
            )
        listed = not isinstance(votes, Mapping)
        rows.append({f"judge {place + 1}": vote for place, vote in enumerate(votes)} if listed else dict(votes))
    names = tuple(dict.fromkeys(name for votes in rows for name in votes))
    if not names:
        raise BadData("no response carries votes: give the field that holds them", field=field)
    try:
        table = np.array([[votes.get(name) for name in names] for votes in rows], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadData("a vote is no number: give 0, 1 or a score, and None where there is none", field=field) from error
    return table, names


def combine_responses(
    responses: Iterable[Response], field: str = "votes", **options: Any
) -> tuple[list[Response], Combined]:
    """Give responses the soft label of the judges in an extra field; one without votes keeps the label that it has."""
    rows = list(responses)
    table, names = votes_of(rows, field)
    combined = combine(table, names, **options)
    labelled = [
        row if math.isnan(label) else dataclasses.replace(row, label=float(label))
        for row, label in zip(rows, combined.labels, strict=True)
    ]
    return labelled, combined
