"""Planted annotators: how near their estimated reliability comes without truth, and what their common label is worth.

    python -m benchmarks.raters [--draws 24]

Ratings are drawn for people of known reliability; a scorer is drawn as a score of given strength. No text is read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.logbook import RESULTS
from benchmarks.machine import setting
from fractal.evaluation.annotators import annotator_quality, combined_responses
from fractal.records import Response, ScoredResponse

TURNED = (0.95, 0.85, 0.75, 0.65, 0.1)
MIXED = (0.95, 0.85, 0.8, 0.7, 0.6)
CASES = (  # people, texts, ratings of a text, share of texts rated so often (the others once), scorer's d′, good share
    *((TURNED, 300, 2, 1.0, 0.0, 0.5), (TURNED, 150, 2, 1.0, 0.0, 0.5), (TURNED, 300, 2, 1.0, 0.0, 0.2)),
    *((MIXED, 300, 2, 1.0, 0.0, 0.5), (MIXED, 150, 3, 1.0, 0.0, 0.5)),
    *((TURNED, 500, 2, 0.1, 0.0, 0.5), (TURNED, 500, 2, 0.1, 1.5, 0.5)),
    *((TURNED, 500, 1, 1.0, 1.5, 0.5), (TURNED, 500, 1, 1.0, 1.0, 0.5), (MIXED, 500, 1, 1.0, 1.5, 0.5)),
)


def measure(case: tuple, seed: int) -> list[float]:
    """Return the mean error of the estimates, whether all pairs are in order, and how many labels come out right."""
    right, texts, often, share, strength, good_share = case
    random = np.random.default_rng(seed)
    ratings, scored, truth = [], [], {}
    for number in range(texts):
        good = bool(random.random() < good_share)
        truth[f"Text {number}."] = good
        score = float(1 / (1 + np.exp(-(strength * (good - 0.5) + random.normal()))))
        for person in random.choice(len(right), often if random.random() < share else 1, replace=False):
            label = float(good if random.random() < right[person] else not good)
            extra = {"annotator": f"person {person}"}
            row = Response.from_sentences(f"{number}/{person}", [f"Text {number}."], label=label, extra=extra)
            ratings.append(row)
            scored.append(ScoredResponse(row, (score,), score))
    report = annotator_quality(ratings, "annotator", scored if strength else ())
    estimated = np.array([one.accuracy for one in report.annotators])
    apart = [(i, j) for i in range(len(right)) for j in range(i) if right[j] - right[i] > 0.05]
    in_order = np.mean([estimated[j] > estimated[i] for i, j in apart])
    labels = combined_responses(report, "annotator")
    common = np.mean([_right(one.label, truth[one.text]) for one in labels])
    mean = np.mean([_right(float(np.mean([*one.extra["ratings"].values()])), truth[one.text]) for one in labels])
    inside = np.mean([one.low <= share <= one.high for one, share in zip(report.annotators, right, strict=True)])
    return [float(np.abs(estimated - right).mean()), float(in_order), float(inside), float(common), float(mean)]


def _right(label: float | None, good: bool) -> float:
    return 0.5 if label is None or label == 0.5 else float((label > 0.5) == good)


def main() -> None:
    """Measure all cases and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS / "raters.md")
    args = parser.parse_args()
    lines = [
        "# Annotators, without truth",
        "",
        f"{setting('python -m benchmarks.raters')} The cores were shared with other work.",
        "",
        f"Planted annotators, means over {args.draws} draws: how far estimates are from the planted shares of right "
        "ratings, how many pairs of people more than .05 apart are in order, how many planted shares lie in the 95% "
        "intervals, and the share of responses whose label is right: the common one, and the mean rating (even ones "
        "count half). A scorer's AUC of .86 is d′ 1.5, .76 is d′ 1; 0: none is given.",
        "",
        "| right | texts | ratings of a text | rated so often | scorer d′ | good | error | in order | in interval | "
        "common label right | mean rating right |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for case in CASES:
        figures = np.mean([measure(case, seed) for seed in range(args.draws)], 0)
        people, texts, often, share, strength, good = case
        told = [" ".join(f"{p:.2f}" for p in people), texts, often, f"{share:.0%}", f"{strength:g}", f"{good:.0%}"]
        cells = [f"{figures[0]:.3f}", *(f"{value:.1%}" for value in figures[1:])]
        lines.append(f"| {' | '.join(map(str, [*told, *cells]))} |")
        print(lines[-1], flush=True)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
