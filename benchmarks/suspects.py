"""Suspect ratings: of labels of which one in ten was turned, how many of the first fifty suspects are such.

python -m benchmarks.suspects [--sets wikiqa,qags] [--seeds 2]      resumable: what was measured is kept
"""

from __future__ import annotations

import dataclasses
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.guarantees import EPOCHS, FIT, SETS, bare, parts
from benchmarks.logbook import Logbook, options, sets_and_seeds
from benchmarks.machine import setting
from fractal.evaluation.metrics import METRICS
from fractal.evaluation.suspects import WAYS, suspects

TURNED, FIRST = 0.1, 50
CONFIDENCE = "confidence alone"
CONCLUSION = """
What this says: looking at the first fifty finds two to five times as many wrong ratings as looking at any fifty, except
on `faithbench`, where the scorer itself is near chance. Holding a rating against the sentence that decides, or adding
the two, ranks no better than confidence alone on four of these five sets, and better on `faithbench`; one seed tells
little more. So the default ranks by the response score, which for labels of 0 and 1 is the order of confidence, and
shows the deciding sentence as the reason to look."""


def measure(name: str, seed: int) -> dict:
    """Turn labels, learn from them, and rank them by heads that held them out."""
    from fractal.mil.training.plan import TrainingPlan
    from fractal.scorers.sentence import SentenceScorer

    aggregation, train, _, _ = parts(name, seed)
    turned = np.random.default_rng(seed + 5).random(len(train)) < TURNED
    noisy = [
        dataclasses.replace(bare(response), label=1 - (response.label or 0.0) if wrong else response.label)
        for response, wrong in zip(train, turned.tolist(), strict=True)
    ]
    plan = TrainingPlan(seed=seed, epochs=EPOCHS)
    scorer = SentenceScorer(aggregation=aggregation, encoder="fast", plan=plan).fit(noisy)
    scored = scorer.held_out_scores(noisy)
    place = {id(item): number for number, item in enumerate(scored)}
    rankings = {way: [place[id(one.scored)] for one in suspects(scored, way)] for way in WAYS}
    doubt = [abs((item.response.label or 0.0) - item.response_score) for item in scored]
    rankings[CONFIDENCE] = np.argsort(-np.array(doubt), kind="stable").tolist()
    row = {"set": name, "seed": seed, "ratings": len(train), "turned": int(turned.sum())}
    for way, order in rankings.items():
        points = np.empty(len(order))
        points[order] = -np.arange(len(order), dtype=float)
        row[way] = float(turned[order[:FIRST]].mean())
        row[f"{way}, AUC"] = float(METRICS.build("concordance")(turned.astype(float), points))
    return row


def page(rows: list[dict]) -> str:
    """Write what was measured."""
    ways = (CONFIDENCE, *WAYS)
    lines = [
        "# Suspect ratings",
        "",
        setting("python -m benchmarks.suspects") + " The cores were shared with other work.",
        "",
        f"At most {FIT} responses of each set, rated good or bad; {TURNED:.0%} of the ratings are turned at random. "
        f"Encoder `fast`, {EPOCHS} epochs, the form that each set states. Ratings are ranked by heads that held them "
        f"out. Figures: share of turned ones among the first {FIRST}, and in brackets the chance that a turned rating "
        "stands before one that is not; means over seeds. *Confidence alone*: by the distance of the label from the "
        "response score. *response*, *sentence*, *both*: by the divergence of the label from the response score, from "
        "the sentence that decides, from both. Ratings of the sets are taken for right; where they are not, nothing "
        "here can be perfect.",
        "",
        f"| set | seeds | turned, of | {' | '.join(ways)} |",
        "|---|---:|---:|" + "---|" * len(ways),
    ]
    names = list(dict.fromkeys(row["set"] for row in rows))
    table = {name: [row for row in rows if row["set"] == name] for name in names}
    for name, own in table.items():
        count, size = (np.mean([row[key] for row in own]) for key in ("turned", "ratings"))
        lines.append(
            f"| {name} | {len(own)} | {count:.0f}, {size:.0f} | {' | '.join(_cell([own], way) for way in ways)} |"
        )
    lines.append(f"| **mean** | | | {' | '.join(_cell([*table.values()], way) for way in ways)} |")
    missing = [name for name in SETS if name not in names]
    lines += ["", f"Not run: {', '.join(missing)}." if missing else "", CONCLUSION]
    return "\n".join(lines) + "\n"


def _cell(tables: list[list[dict]], way: str) -> str:
    first, area = (np.mean([np.mean([row[key] for row in own]) for own in tables]) for key in (way, f"{way}, AUC"))
    return f"{first:.2f} ({area:.3f})"


def main() -> None:
    """Measure what is missing and write the page."""
    import torch

    args = options(__doc__, "suspects", SETS, seeds=2).parse_args()
    torch.set_num_threads(1)
    book = Logbook(args.log, "set", "seed")
    book.fill_in_turn(
        measure,
        sets_and_seeds(args),
        lambda row: f"{row['set']}, seed {row['seed']}: {row[CONFIDENCE]:.2f} {row['both']:.2f}",
    )
    args.out.write_text(page(book.rows), encoding="utf-8")


if __name__ == "__main__":
    main()
