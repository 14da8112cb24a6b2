"""Best-of-N: how good the response is that scores pick of several to one query, beside chance, length and the best.

python -m benchmarks.best_of_n [--sets processbench] [--seeds 3]      resumable: what was measured is kept
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.accuracy.data import load
from benchmarks.logbook import Logbook, options, sets_and_seeds
from benchmarks.machine import setting
from fractal.evaluation.best_of import best_of, rivalry
from fractal.records import Preference, Response, ScoredResponse

SETS = (
    *("prm800k_subset", "processbench", "prmbench", "qa_feedback_pref"),
    *("agents_tau_retail", "agents_tau_airline", "agents_hotpot_react"),
)
FIT = 600  # records that are learned from at most
EPOCHS = 12
RESAMPLES = 2000
CONCLUSION = """
In `prm800k_subset` a wrong solution ends at its error, so where a solution stands says much of its label: the longest
one is picked right more than twice as often as a random one, and the figures there say little of other sets.

Picked by our scores, solutions and answers are better than a random or the longest one, with intervals above 0 on all
four sets of these; whether the response score or the worst sentence picks better differs from set to set, and a plain
scorer of responses is as good on `prmbench`. On runs of agents no way of picking is told from a random one: few tasks,
and intervals on both sides of 0. So pick solutions and answers by `fractal pick`, and runs of agents by what you know.
"""
Values = dict[str, float]  # how good each response is, by id

WAYS: dict[str, Callable[[list[ScoredResponse], str], str]] = {
    "response score": lambda rivals, per: best_of(rivals, per=per)[0].chosen.response.id,
    "deciding sentence": lambda rivals, per: best_of(rivals, "sentence", per=per)[0].chosen.response.id,
    "deciding sentence − spread": lambda rivals, per: best_of(rivals, "sentence", 1.0, per)[0].chosen.response.id,
    "mean of sentences": lambda rivals, per: best_of(rivals, "mean", per=per)[0].chosen.response.id,
    "longest": lambda rivals, per: max(rivals, key=lambda item: len(item.response.text)).response.id,
    "shortest": lambda rivals, per: min(rivals, key=lambda item: len(item.response.text)).response.id,
}
BASELINES = ("response_level", "attention")  # that learn from the same ratings
ALL = (*WAYS, *BASELINES, "random", "oracle")


def parts(name: str, seed: int) -> tuple[str, str, list[Response | Preference], list[list[Response]], Values]:
    """Return form, what belongs together, what is learned from, the rivals of every other query, and their worth."""
    if name.startswith("agents"):
        from benchmarks.agents import load as load_runs

        records: list[Response | Preference] = list(load_runs(name))
        form, per = "product", "group"
    else:
        data = load(name)
        form, per = data.aggregation, "query"
        records = [*data.train, *(() if name == "qa_feedback_pref" else data.test)]
    groups = sorted({record.split_group for record in records})
    order = np.random.default_rng(seed).permutation(len(groups))
    rank = {groups[place]: number for number, place in enumerate(order.tolist())}
    half = len(groups) // 2
    train = sorted((r for r in records if rank[r.split_group] < half), key=lambda r: rank[r.split_group])[:FIT]
    rest = [record for record in records if rank[record.split_group] >= half]
    worth = _worth(rest)
    responses = {r.id: r for record in rest for r in _both(record)}.values()
    together: dict[str, list[Response]] = {}
    for response in responses:
        if response.id in worth:
            together.setdefault(rivalry(response, per), []).append(response.without_labels())
    several = [some for some in together.values() if len({worth[response.id] for response in some}) > 1]
    return form, per, [_bare(record) for record in train], several, worth


def _both(record: Response | Preference) -> tuple[Response, ...]:
    return (record.better, record.worse) if isinstance(record, Preference) else (record,)


def _bare(record: Response | Preference) -> Response | Preference:
    if isinstance(record, Preference):
        return dataclasses.replace(record, better=record.better.without_labels(), worse=record.worse.without_labels())
    return dataclasses.replace(record.without_labels(), label=record.label)


def _worth(records: Sequence[Response | Preference]) -> Values:
    """The label; of preferences the share of comparisons that a response wins, ties half."""
    wins: dict[str, list[float]] = {}
    for record in records:
        if isinstance(record, Preference):
            wins.setdefault(record.better.id, []).append(0.5 if record.tie else 1.0)
            wins.setdefault(record.worse.id, []).append(0.5 if record.tie else 0.0)
        elif record.label is not None:
            wins.setdefault(record.id, []).append(record.label)
    return {id: float(np.mean(values)) for id, values in wins.items()}


def measure(name: str, seed: int) -> dict:
    """Fit once, pick for every query by every way, and keep how good each pick is."""
    from fractal.mil.training.plan import TrainingPlan
    from fractal.scorers.baselines import BASELINES as REGISTERED
    from fractal.scorers.sentence import SentenceScorer

    form, per, train, several, worth = parts(name, seed)
    plan = TrainingPlan(seed=seed, epochs=EPOCHS)
    scorer = SentenceScorer(aggregation=form, encoder="fast", plan=plan).fit(train)
    everything = [response for some in several for response in some]
    scored = {item.response.id: item for item in scorer.score_responses(everything)}
    values: dict[str, list[float]] = {way: [] for way in ALL}
    for some in several:
        rivals = [scored[response.id] for response in some]
        for way, pick in WAYS.items():
            values[way].append(worth[pick(rivals, per)])
        values["random"].append(float(np.mean([worth[response.id] for response in some])))
        values["oracle"].append(max(worth[response.id] for response in some))
    for baseline in BASELINES:
        if any(isinstance(record, Preference) for record in train):
            del values[baseline]
            continue
        made = REGISTERED[baseline](aggregation=form, encoder="fast", seed=seed).fit(train)
        by_id = {item.response.id: item for item in made.score_responses(everything)}
        for some in several:
            values[baseline].append(worth[best_of([by_id[r.id] for r in some], per=per)[0].chosen.response.id])
    queries = [
        hashlib.blake2b(rivalry(some[0], per).encode(), digest_size=8).hexdigest() for some in several
    ]  # no text
    tied = sum(bool(best_of([scored[r.id] for r in some], per=per)[0].tied) for some in several)
    sizes = float(np.mean([len(some) for some in several]))
    return {
        "set": name,
        "seed": seed,
        "n": len(train),
        "size": sizes,
        "tied": tied,
        "queries": queries,
        "values": values,
    }


def page(rows: list[dict]) -> str:
    """Write what was measured."""
    lines = [
        "# Best-of-N",
        "",
        setting("python -m benchmarks.best_of_n") + " The cores were shared with other work.",
        "",
        f"Half of the queries of each set, at most {FIT} records of them, teach (labels of responses alone, of "
        f"`qa_feedback_pref` preferences); encoder `fast`, {EPOCHS} epochs. Of the other half, those queries are "
        "taken whose responses are not equally good; one response is picked for each. Runs of agents belong together "
        "by task, the others by query. Figures: how good the picked ones are on average (share of good ones; of "
        "`qa_feedback_pref` share of comparisons with the other three won), mean over seeds, and in brackets how far "
        "it is above random with a 95% interval by query. *Deciding sentence*: the worst under a minimum, the mean "
        "under a mean; *− spread*: less one spread between the heads. *Gap closed*: by the response score, the "
        "default, of the way from random to oracle.",
        "",
        f"| set | queries | of | seeds | {' | '.join(ALL)} | gap closed |",
        f"|---|---:|---:|---:|{'---|' * len(ALL)}---:|",
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        means = {way: by_query(own, way) for way in ALL if all(way in row["values"] for row in own)}
        random, oracle = (np.mean([*means[way].values()]) for way in ("random", "oracle"))
        cells = [_cell(means, way) if way in means else "–" for way in ALL]
        closed = (np.mean([*means["response score"].values()]) - random) / (oracle - random)
        size = np.mean([row["size"] for row in own])
        lines.append(
            f"| {name} | {len(means['random'])} | {size:.1f} | {len(own)} | {' | '.join(cells)} | {closed:.0%} |"
        )
    missing = [name for name in SETS if all(row["set"] != name for row in rows)]
    if missing:
        lines += ["", f"Not run: {', '.join(missing)}."]
    return "\n".join([*lines, CONCLUSION])


def by_query(rows: list[dict], way: str) -> dict[str, float]:
    """Return how good the pick of a way is for each query, the mean over the seeds that judged it."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for query, value in zip(row["queries"], row["values"][way], strict=True):
            values.setdefault(query, []).append(value)
    return {query: float(np.mean(each)) for query, each in values.items()}


def _cell(means: dict[str, dict[str, float]], way: str) -> str:
    value = np.mean([*means[way].values()])
    if way in ("random", "oracle"):
        return f"{value:.3f}"
    gains = np.array([means[way][query] - means["random"][query] for query in means["random"]])
    rng = np.random.default_rng(0)
    drawn = gains[rng.integers(0, len(gains), (RESAMPLES, len(gains)))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{value:.3f} ({gains.mean():+.3f}, {low:+.3f} to {high:+.3f})"


def _said(row: dict) -> str:
    means = ", ".join(f"{way} {np.mean(values):.3f}" for way, values in row["values"].items())
    return f"{row['set']}, seed {row['seed']}: {means}"


def main() -> None:
    """Measure what is missing and write the page."""
    import torch

    args = options(__doc__, "best_of_n", SETS, seeds=3).parse_args()
    torch.set_num_threads(1)
    book = Logbook(args.log, "set", "seed")
    book.fill_in_turn(measure, sets_and_seeds(args), _said)
    args.out.write_text(page(book.rows), encoding="utf-8")


if __name__ == "__main__":
    main()
