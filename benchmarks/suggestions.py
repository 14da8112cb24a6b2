"""Sentence labels chosen by `suggest_labels` against labels chosen at random: test AUC by the share that is labelled.

python -m benchmarks.suggestions [--most 400] [--seeds 2] [--sets absa16_reviews,wikiqa]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.logbook import Logbook, options
from benchmarks.machine import setting

if TYPE_CHECKING:
    from fractal.records import Response
    from fractal.scorers.sentence import SentenceScorer

CHOSEN_ON = ("absa16_reviews", "multispanqa_windows", "wikiqa")  # the rule was chosen by their curves
SETS = (*CHOSEN_ON, "uss_satisfaction", "wice_windows", "prmbench")
SHARES = (0.01, 0.05, 0.10, 0.25, 0.50)
WANTED = 0.70  # share of the labels that suggestions may need
RISE = 0.01  # of AUC from no label to all: with less there is no number of labels for an AUC
Place = tuple[str, int]
Curve = dict[str, list[float]]  # way → mean AUC at none and at each share


def measure(name: str, most: int, seed: int) -> list[dict]:
    """Fit with more and more labels, chosen either way; suggestions come from the scorer of the step before."""
    from benchmarks.accuracy.data import load
    from benchmarks.accuracy.judging import judge
    from fractal.mil.training.plan import TrainingPlan
    from fractal.scorers.active_learning import Suggestion, apply_answers
    from fractal.scorers.sentence import SentenceScorer

    data = load(name, most=most)
    truth = {(r.id, place): s.label for r in data.train for place, s in enumerate(r.sentences) if s.label is not None}
    bare = [response.without_labels() for response in data.test]
    rows: list[dict] = []

    def labelled(chosen: Sequence[Place]) -> list[Response]:
        return apply_answers(data.bare(), [Suggestion(id, at, "", label=truth[id, at]) for id, at in chosen])

    def fitted(way: str, share: float, chosen: Sequence[Place]) -> SentenceScorer:
        scorer = SentenceScorer(data.aggregation, plan=TrainingPlan(seed=seed)).fit(labelled(chosen))
        found = judge(scorer.score_responses(bare), data.test, name)
        rows.append({"set": name, "most": most, "seed": seed, "way": way, "share": share, **found})
        return scorer

    start = fitted("none", 0.0, [])
    fitted("all", 1.0, list(truth))
    for way in ("random", "suggested"):
        ask = at_random(truth, seed) if way == "random" else by_suggestion(labelled, seed)
        scorer, chosen = start, []
        for share in SHARES:
            chosen = chosen + ask(scorer, chosen, round(share * len(truth)) - len(chosen))
            scorer = fitted(way, share, chosen)
    return rows


Ask = Callable[["SentenceScorer", list[Place], int], list[Place]]


def at_random(truth: dict[Place, float], seed: int) -> Ask:
    """Return a way to ask: whatever comes, each sentence as likely as any other."""
    order = [list(truth)[i] for i in np.random.default_rng(seed).permutation(len(truth))]
    return lambda scorer, chosen, count: order[len(chosen) : len(chosen) + count]


def by_suggestion(labelled: Callable[[Sequence[Place]], list[Response]], seed: int) -> Ask:
    """Return a way to ask: what the scorer suggests."""
    from fractal.scorers.active_learning import suggest_labels

    def ask(scorer: SentenceScorer, chosen: list[Place], count: int) -> list[Place]:
        asked = suggest_labels(scorer, labelled(chosen), count, reading=0.0, seed=seed)
        return [(one.response_id, one.sentence) for one in asked]

    return ask


def needed(shares: Sequence[float], areas: Sequence[float], target: float) -> float:
    """Share of labels at which a curve first reaches the target, by straight lines between what was measured."""
    best = np.maximum.accumulate(areas)
    if best[-1] < target:
        return float("nan")
    first = int(np.argmax(best >= target))  # where the curve is flat after it, labels were spent for nothing
    if first == 0:
        return shares[0]
    passed = (target - best[first - 1]) / (best[first] - best[first - 1])
    return float(shares[first - 1] + passed * (shares[first] - shares[first - 1]))


def above(curve: Sequence[float]) -> float:
    """The area under a learning curve above its start: the mean gain in AUC over the shares of labels."""
    return float(np.trapezoid(curve, (0.0, *SHARES)) / SHARES[-1] - curve[0])


def curves(rows: list[dict]) -> dict[str, Curve]:
    """Average the AUC of each set over seeds, before anything is made of it."""

    def mean(name: str, way: str, share: float) -> float:
        return float(np.mean([r["auc"] for r in rows if (r["set"], r["way"], r["share"]) == (name, way, share)]))

    found: dict[str, Curve] = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        none = mean(name, "none", 0.0)
        found[name] = {way: [none, *(mean(name, way, share) for share in SHARES)] for way in ("random", "suggested")}
        found[name]["all"] = [mean(name, "all", 1.0)]
    return found


def together(found: dict[str, Curve], names: Sequence[str]) -> Curve:
    """The mean of several sets' curves, way by way."""
    return {way: np.mean([found[name][way] for name in names], axis=0).tolist() for way in found[names[0]]}


def ratios(curve: Curve) -> list[float]:
    """Labels that suggestions need for what random ones reach, as a share of those that random ones need for it.

    Both curves are first made to rise: what was once reached can be kept. nan where random labels have gained nothing
    yet; a target above all that suggestions reach counts as all labels, at least twice the most that was asked for.
    """
    found = []
    shares = (0.0, *SHARES)
    for target in np.maximum.accumulate(curve["random"])[1:]:
        own = needed(shares, curve["random"], target)
        theirs = needed(shares, curve["suggested"], target)
        found.append(float("nan") if own == 0 else (1.0 if np.isnan(theirs) else theirs) / own)
    return found


def page(rows: list[dict]) -> str:
    """Write the tables."""
    found = curves(rows)
    kept = [name for name, curve in found.items() if curve["all"][0] - curve["random"][0] >= RISE]
    unseen = [name for name in kept if name not in CHOSEN_ON]
    groups = {words: names for words, names in (("all", kept), ("those not chosen on", unseen)) if names}
    lines = [
        *_preface(rows),
        "",
        *_learning(found, groups),
        "",
        *_shares(found, groups),
        "",
        *_verdict(found, kept),
        _by_seed(rows, kept),
    ]
    return "\n".join(lines) + "\n"


def _learning(found: dict[str, Curve], groups: dict[str, list[str]]) -> list[str]:
    head = f"| set | labels | none | {' | '.join(f'{share:.0%}' for share in SHARES)} | all | mean gain |"
    lines = [head, f"|---|---|{'---:|' * (len(SHARES) + 3)}"]
    macro = {f"**macro**, {words} ({len(names)})": together(found, names) for words, names in groups.items()}
    for name, curve in (found | macro).items():
        for way in ("random", "suggested"):
            areas = " | ".join(f"{area:.3f}" for area in (*curve[way], *curve["all"]))
            lines.append(f"| {name} | {way} | {areas} | {above(curve[way]):+.4f} |")
    return lines


def _shares(found: dict[str, Curve], groups: dict[str, list[str]]) -> list[str]:
    lines = [
        "Labels that suggestions need for the AUC that random labels reach, as a share of theirs:",
        "",
        f"| set | {' | '.join(f'{share:.0%}' for share in SHARES)} | mean |",
        f"|---|{'---:|' * (len(SHARES) + 1)}",
    ]
    lines += [f"| {name} | {_percents(ratios(found[name]))} |" for name in groups["all"]]
    for words, names in groups.items():
        mean = [_average(column) for column in zip(*(ratios(found[name]) for name in names), strict=True)]
        lines.append(f"| mean of these, {words} ({len(names)}) | {_percents(mean)} |")
        same = ratios(together(found, names))
        lines.append(f"| **for the same macro-average AUC**, {words} ({len(names)}) | {_percents(same)} |")
    return lines


def _verdict(found: dict[str, Curve], kept: list[str]) -> list[str]:
    table = [ratios(found[name]) for name in kept]
    cases = [ratio for row in table for ratio in row if not np.isnan(ratio)]
    held = sum(ratio <= WANTED for ratio in cases)
    left_out = [name for name in found if name not in kept]
    same, apart = _average(ratios(together(found, kept))), _average(cases)
    lines = [
        f"The goal is {WANTED:.0%} of the labels for the same AUC, in the macro-average. For the same macro-average "
        f"AUC it is {same:.0%}; as a mean of each set's ratios {apart:.0%}, "
        "which hangs on single cases: a bump of one curve at few labels can outweigh all others.",
        "",
        f"At most {WANTED:.0%} in {held} of {len(cases)} cases; median {np.median(cases):.0%}.",
    ]
    return lines + (
        [f"Left out, as all labels gain less than {RISE} there: {', '.join(left_out)}."] if left_out else []
    )


def _by_seed(rows: list[dict], kept: list[str]) -> str:
    """Say how much hangs on the seeds."""
    parts = [[row for row in rows if row["seed"] == seed] for seed in sorted({row["seed"] for row in rows})]
    whole = (curves(part) for part in parts if {row["set"] for row in part} >= set(kept))
    told = (f"{_average(ratios(together(found, kept))):.0%}" for found in whole)
    return f"For the same macro-average AUC, by each seed alone: {', '.join(told)}."


def _percents(values: Sequence[float]) -> str:
    """Show shares of labels, and their mean."""
    return " | ".join("–" if np.isnan(value) else f"{value:.0%}" for value in (*values, _average(values)))


def _average(values: Sequence[float]) -> float:
    """Return the mean of what is known; nan where nothing is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _preface(rows: list[dict]) -> list[str]:
    most, seeds = rows[0]["most"], sorted({row["seed"] for row in rows})
    return [
        "# Labels suggested against labels at random",
        "",
        setting(f"python -m benchmarks.suggestions --most {most} --seeds {len(seeds)}"),
        "",
        "Sentence ROC AUC on test responses by the share of training sentences with a label; every response has its "
        f"own label throughout; at most {most} training responses a set; no self-training; mean over {len(seeds)} "
        "seed(s) of training and of what is drawn. Suggestions come from the scorer fitted with the labels of the step "
        "before. The mean gain is the area under the learning curve up to 50% above its start.",
        "",
        "The rules of this page, laid down before the suggestions were looked at: sets whose training sentences all "
        f"have labels; of these, sets on which all labels gain at least {RISE} of AUC over none, as a curve without a "
        "rise has no number of labels for an AUC; AUC averaged over seeds, then both curves made to rise, then read "
        "backwards by straight lines. An AUC that suggestions do not reach at 50% counts as all labels. One thing was "
        "put right after the curves were seen: where a curve is flat, its first share counts, not its last, which had "
        "flattered suggestions. And one was added after two seeds: the labels for the same macro-average AUC, beside "
        "the mean of each set's ratios, which had been the only reading.",
        "",
        f"The rule was chosen among fifteen on {', '.join(CHOSEN_ON)} (500 responses, those of this table among them, "
        "one or two seeds), by the AUC of the same "
        "test responses; the other sets were not looked at before this table.",
    ]


def main() -> None:
    """Run what is missing and write the page."""
    parser = options(__doc__, "suggestions", SETS, seeds=2)
    parser.add_argument("--most", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    book = Logbook(args.log, "set", "most", "seed")
    for seed in range(args.seeds):
        for name in args.sets.split(","):
            if (name, args.most, seed) not in book:
                for row in measure(name, args.most, seed):
                    book.add(row)
                args.out.write_text(page(book.rows), encoding="utf-8")
    args.out.write_text(page(book.rows), encoding="utf-8")


if __name__ == "__main__":
    main()
