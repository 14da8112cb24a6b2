"""What it gives to draw sentence scores to their response's mean, by the share that held-out ratings ask for.

python -m benchmarks.shrinking [--seeds 3] [--most 600] [--encoder static] [--fits FOLDER]   writes the page

The fits are those of benchmarks.direction, under the rule given; the test responses are scored with and without.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.data import SETS, WITHOUT_RATINGS
from benchmarks.direction import (
    LONG,
    areas,
    kept_at,
    kept_fit,
    options_of,
    run_missing,
    set_of,
    whole_fits,
)
from benchmarks.logbook import RESULTS, Logbook
from benchmarks.machine import setting
from fractal.ensemble.shrinking import shrunk
from fractal.ensemble.weighting import without_common
from fractal.mil.aggregations import FORMS
from fractal.mil.segments import segment_mean
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.sentence import SentenceScorer

LOG, PAGE = RESULTS / "shrinking.jsonl", RESULTS / "shrinking.md"


def measured(name: str, seed: int, most: int, encoder: str, folder: Path) -> dict[str, Any]:
    """Score the test sentences as they are, drawn to their response's mean, and by that mean alone."""
    data = set_of(name, most, seed)
    rule = next(direction for direction, form in FORMS.items() if form == data.aggregation)
    scorer = SentenceScorer(encoder=encoder, plan=TrainingPlan(seed=seed, shrink=False))
    corpus, config = scorer.prepare(data.bare())
    path = kept_at(folder, name, seed)
    block = None if path.exists() else scorer.embed(corpus.responses)
    fits = np.load(path) if block is None else whole_fits(data, corpus, block, config, scorer, path, (rule,))
    offsets, test_offsets = (
        torch.tensor([0, *(len(response.sentences) for response in responses)]).cumsum(0)
        for responses in (corpus.responses, data.test)
    )
    result = shrunk(kept_fit(rule, fits, len(corpus.labels)), offsets, torch.from_numpy(corpus.labels))
    logits = torch.from_numpy(fits[f"test_{rule}"]).unsqueeze(1)
    drawn = without_common(logits, test_offsets, result.ensemble.topic_share)
    mean = segment_mean(logits, test_offsets).repeat_interleave(test_offsets.diff(), dim=0)
    scores = {"without": logits, "with": drawn, "mean alone": mean}
    return {
        "rule": rule,
        "share": float(result.choices[-1].taken),
        **{what: areas(data, values.squeeze(1).numpy()) for what, values in scores.items()},
    }


def main() -> None:
    """Run what is missing, then write the page."""
    options = options_of(__doc__, 3)
    torch.set_num_threads(1)
    log = Logbook(LOG, "set", "seed", "most", "encoder")
    run_missing(log, [name for name in SETS if name not in WITHOUT_RATINGS], options, measured)
    PAGE.write_text(page(log.rows, options), encoding="utf-8")


def page(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Write the table: sentence AUC with and without, and of the response's mean alone."""
    command = f"python -m benchmarks.shrinking --most {options.most} --encoder {options.encoder}"
    lines = [
        "# Drawn to the response",
        "",
        f"{setting(command)} At most {options.most} training responses of a set"
        + "".join(f" ({count} of {name})" for name, count in LONG.items())
        + f", encoder `{options.encoder}`, the rule given, the same fits with and without. Sentence ROC AUC on test "
        "responses, means over seeds; order inside a response is the same by construction. Mean alone: the mean "
        "log-odds of a response copied to its sentences. The shares to try and the least gain were chosen on "
        "`absa16_reviews` and generated data.",
        "",
        "| set | seeds | without | with | gain | least gain of a seed | mean alone | shares taken |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    table = []
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = [row for row in rows if row["set"] == name]
        areas_of = {what: np.array([row[what][0] for row in cells]) for what in ("without", "with", "mean alone")}
        gains = areas_of["with"] - areas_of["without"]
        values = [areas_of["without"].mean(), areas_of["with"].mean(), gains.mean(), areas_of["mean alone"].mean()]
        table.append(values)
        shares = ", ".join(f"{row['share']:.2f}" for row in cells)
        lines.append(
            f"| {name} | {len(cells)} | {values[0]:.3f} | {values[1]:.3f} | {values[2]:+.3f} | {gains.min():+.3f} | "
            f"{values[3]:.3f} | {shares} |"
        )
    without, with_it, gain, alone = np.mean(table, axis=0)
    means = f"{without:.3f} | {with_it:.3f} | {gain:+.4f} | | {alone:.3f}"
    lines.append(f"| **macro**, {len(table)} sets | {len(rows)} fits | {means} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
