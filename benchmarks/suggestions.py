"""Sentence labels chosen by `suggest_labels` against labels chosen at random: test AUC by the share that is labelled.

python -m benchmarks.suggestions [--seeds 1] [--sets absa16_reviews,faithbench]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import cpu

RESULTS = Path(__file__).parent / "results"
LOG, PAGE = RESULTS / "suggestions.jsonl", RESULTS / "suggestions.md"
SETS = ("faithbench", "absa16_reviews", "multispanqa_windows")
SHARES = (0.01, 0.05, 0.10, 0.25, 0.50)
WANTED = 0.70  # share of the labels that suggestions may need


def measure(name: str, seed: int) -> list[dict]:
    """Fit with more and more labels, chosen either way; suggestions come from the scorer of the step before."""
    from benchmarks.accuracy.data import load
    from benchmarks.accuracy.judging import judge
    from fractal.estimator import SentenceScorer
    from fractal.self_training import SelfTraining
    from fractal.suggestions import apply_answers, suggest_labels
    from fractal.training import TrainingPlan

    data = load(name)
    truth = {(r.id, place): s.label for r in data.train for place, s in enumerate(r.sentences) if s.label is not None}
    bare = [response.without_labels() for response in data.test]
    shuffled = [list(truth)[i] for i in np.random.default_rng(seed).permutation(len(truth))]

    def fitted(responses: list) -> SentenceScorer:
        scorer = SentenceScorer(data.aggregation, plan=TrainingPlan(seed=seed), self_training=SelfTraining(rounds=0))
        return scorer.fit(responses)

    def labelled(chosen: list) -> list:
        from fractal.suggestions import Suggestion

        answers = [Suggestion(id, place, "", label=truth[id, place]) for id, place in chosen]
        return apply_answers(data.bare(), answers)

    def row(way: str, share: float, scorer: SentenceScorer) -> dict:
        found = judge(scorer.score_responses(bare), data.test, name)
        return {"set": name, "seed": seed, "way": way, "share": share, **found}

    start = fitted(data.bare())
    rows = [row("none", 0.0, start)]
    for way in ("random", "suggested"):
        scorer, chosen = start, []
        for share in SHARES:
            wanted = round(share * len(truth))
            if way == "random":
                chosen = shuffled[:wanted]
            else:
                asked = suggest_labels(scorer, labelled(chosen), 2 * (wanted - len(chosen)), reading=0.0)
                places = [(one.response_id, one.sentence) for one in asked]
                chosen += [place for place in places if place in truth][: wanted - len(chosen)]
            scorer = fitted(labelled(chosen))
            rows.append(row(way, share, scorer))
    return rows


def needed(shares: list[float], suggested: list[float], target: float) -> float:
    """Share of labels at which suggestions first reach the target, by straight lines between what was measured."""
    best = np.maximum.accumulate(suggested)
    return float(np.interp(target, best, shares)) if best[-1] >= target else float("nan")


def page(rows: list[dict]) -> str:
    """Write the table."""
    seeds = 1 + max(row["seed"] for row in rows)
    lines = [
        "# Labels suggested against labels at random",
        "",
        f"Machine: {cpu()}, one thread, torch {torch.__version__}, numpy {np.__version__}. "
        "`python -m benchmarks.suggestions`.",
        "",
        f"Sentence ROC AUC on test responses by the share of training sentences with a label; every response has its "
        f"own label throughout; no self-training; mean of {seeds} seed(s).",
        "",
        f"| set | labels | none | {' | '.join(f'{share:.0%}' for share in SHARES)} |",
        f"|---|---|---|{'---|' * len(SHARES)}",
    ]
    ratios = []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        none = float(np.mean([row["auc"] for row in own if row["way"] == "none"]))
        curve = {
            way: [float(np.mean([r["auc"] for r in own if (r["way"], r["share"]) == (way, share)])) for share in SHARES]
            for way in ("random", "suggested")
        }
        for way, areas in curve.items():
            lines.append(f"| {name} | {way} | {none:.3f} | {' | '.join(f'{area:.3f}' for area in areas)} |")
        for share, area in zip(SHARES, curve["random"], strict=True):
            if area > none:
                ratios.append((name, share, needed([0.0, *SHARES], [none, *curve["suggested"]], area) / share))
    lines += ["", "Labels that suggestions need for the AUC that random labels reach, as a share of theirs:", ""]
    lines += ["| set | random labels | needed |", "|---|---|---|"]
    for name, share, ratio in ratios:
        lines.append(f"| {name} | {share:.0%} | {'not reached at 50%' if np.isnan(ratio) else f'{ratio:.0%}'} |")
    reached = [ratio for _, _, ratio in ratios if not np.isnan(ratio)]
    held = sum(ratio <= WANTED for ratio in reached)
    lines += [
        "",
        f"At most {WANTED:.0%} in {held} of {len(ratios)} cases"
        + (f"; mean where reached {np.mean(reached):.0%}, median {np.median(reached):.0%}." if reached else "."),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
    known = {(row["set"], row["seed"]) for row in rows}
    for seed in range(args.seeds):
        for name in args.sets.split(","):
            if (name, seed) not in known:
                found = measure(name, seed)
                rows += found
                with LOG.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in found)
                PAGE.write_text(page(rows))
    PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
