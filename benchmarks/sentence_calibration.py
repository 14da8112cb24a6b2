"""Whether sentence probabilities mean what they say: as scored, on curves by response labels, by a few gold labels.

python -m benchmarks.sentence_calibration [--seeds 2] [--most 600] [--encoder static] [--rules given] [--fits FOLDER]

Resumable: fits are kept in the folder, rows as they are measured; then the page is written.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.accuracy.data import SETS, WITHOUT_RATINGS
from benchmarks.accuracy.judging import FIRST_ERROR
from benchmarks.calibration import floor
from benchmarks.kept_scores import kept_scores
from benchmarks.logbook import RESULTS, Logbook
from benchmarks.machine import setting
from fractal.ensemble.sentence_calibration import fit_sentence_calibrator
from fractal.ensemble.shared_effect import CONFIDENCE, SharedEffect, fit_shared_effect
from fractal.evaluation.metrics import METRICS, Sample
from fractal.evaluation.metrics.localisation import FirstErrorF1
from fractal.evaluation.solvers import sigmoid

LOG, PAGE = RESULTS / "sentence_calibration.jsonl", RESULTS / "sentence_calibration.md"
GOAL = 0.05  # of calibration error above that of true probabilities
ALL = 100_000  # as --most
MADE_LOG = RESULTS / "sentence_calibration_made.jsonl"
TEST, MADE_SEEDS = 3_000, 3  # made responses to judge by
FEW, DRAWS = 20, 5  # responses whose sentences are labelled; how often they are drawn

ABOUT = (
    "Expected calibration error of sentence scores on test responses, 10 bins of equal mass, encoder "
    "`{encoder}`, labels of whole responses alone. *As scored*: what a scorer gives. "
    "*Floor*: what these probabilities would show if every one of them were true. *Line*: slope and shift under which "
    "held-out labels of responses are likeliest (`fractal calibrate`). *Effect*: the line with an effect that the "
    "sentences of a response share (`--clustered`), whether or not held-out labels bear it out; it is taken where it "
    f"explains them better in {CONFIDENCE:.0%} of the resamples (*better in*). *Gold of {FEW}*: a line by the sentence "
    f"labels of {FEW} training responses instead, mean of {DRAWS} draws. Wanted: at most {GOAL} above the floor on "
    "10 of the 12 sets whose training sentences have gold labels. Neutral sentences of `film_sentiment` are left out."
)


def measured(name: str, seed: int, most: int, encoder: str, rule: str, folder: Path) -> dict[str, Any]:
    """Judge the sentence scores of a fit, and those on each curve, against the test labels."""
    kept = kept_scores(name, seed, most, encoder, rule, folder)
    known = ~np.isnan(kept["truth"])
    truth, scores = kept["truth"][known], sigmoid(kept["test"].mean(1))[known]
    held, labels, form = sigmoid(kept["held"]), kept["labels"], str(kept["form"])
    effect = None if form == "mean" else fit_shared_effect(held, kept["offsets"], labels, form, kept["groups"])
    line = fit_sentence_calibrator(held, kept["offsets"], labels, form)
    return {
        **({"first errors": first_errors(kept)} if name in FIRST_ERROR else {}),
        "form": form,
        "ratings": int((~np.isnan(labels)).sum()),
        "sentences": len(truth),
        "rate": float(truth.mean()),
        "mean": float(scores.mean()),
        **floor(scores, seed),
        "scored": error(truth, scores),
        "line": error(truth, line(scores)),
        **_with_effect(effect, truth, scores),
        "gold": _with_gold(kept, truth, scores, form),
    }


def made(count: int, spread: float, seed: int) -> dict[str, Any]:
    """Judge the curves where the truth is known: sentences under a minimum that share a normal effect.

    The scores are those of a scorer that took sentences for independent, learned on other responses.
    """
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 7, size=2 * count + TEST)
    offsets = np.r_[0, np.cumsum(sizes)]
    features = 0.5 + 1.5 * random.normal(size=offsets[-1])
    chances = sigmoid(features + spread * np.repeat(random.normal(size=len(sizes)), sizes))
    truth = (random.random(offsets[-1]) < chances).astype(float)
    labels = np.minimum.reduceat(truth, offsets[:-1])
    first, second = offsets[count], offsets[2 * count]
    scores = fit_sentence_calibrator(sigmoid(features[:first]), offsets[: count + 1], labels[:count])(sigmoid(features))
    held = scores[first:second], offsets[count : 2 * count + 1] - first, labels[count : 2 * count]
    effect, line = fit_shared_effect(*held), fit_sentence_calibrator(*held)
    taken = fit_sentence_calibrator(*held, effect=effect if effect.holds else None)
    test, new = truth[second:], scores[second:]
    return {
        "rate": float(test.mean()),
        "mean": float(new.mean()),
        **floor(new, seed),
        "scored": error(test, new),
        "line": error(test, line(new)),
        **_with_effect(effect, test, new),
        "taken": error(test, taken(new)),
    }


def error(truth: np.ndarray, chances: np.ndarray) -> float:
    """Return the expected calibration error, in bins of equal mass."""
    return float(METRICS.build("calibration_error")(truth, chances))


def first_errors(kept: Mapping[str, Any]) -> dict[str, float]:
    """Judge how well first errors are found, below ½ and below the threshold that held-out labels of responses choose.

    A response without a step below it is taken to be right; the threshold is that which tells held-out right and wrong
    responses apart best, by the harmonic mean of the shares it gets right.
    """
    sizes = np.diff(kept["test_offsets"])
    groups = np.repeat(np.arange(len(sizes)), sizes)
    scores = sigmoid(kept["test"].mean(1))
    rated = ~np.isnan(kept["labels"])
    worst, right = np.minimum.reduceat(sigmoid(kept["held"]), kept["offsets"][:-1])[rated], kept["labels"][rated] >= 0.5
    cuts = np.unique(worst)
    flagged = worst < cuts[:, None]  # (cut, response)
    shares = flagged[:, ~right].mean(1), (~flagged[:, right]).mean(1)
    cut = float(cuts[np.argmax(shares[0] * shares[1] / np.maximum(shares[0] + shares[1], 1e-9))])
    whole = Sample.of(kept["truth"], scores, groups)
    rows = (np.bincount(groups, weights=kept["truth"] == 0) > 0)[groups] & ~np.isnan(kept["truth"])
    alone = Sample.of(kept["truth"][rows], scores[rows], groups[rows])
    area = METRICS.build("roc_auc")
    return {
        "all": area.read(whole.known()).value,
        "wrong": area.read(alone).value,
        "half": FirstErrorF1().read(whole).value,
        "cut": cut,
        "chosen": FirstErrorF1(threshold=cut).read(whole).value,
    }


def _with_effect(effect: SharedEffect | None, truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    if effect is None:
        return {"effect": None, "spread": None, "gain": None, "confidence": None}
    after = error(truth, effect.chances(scores))
    return {"effect": after, "spread": effect.spread, "gain": effect.gain, "confidence": effect.confidence}


def _with_gold(kept: Any, truth: np.ndarray, scores: np.ndarray, form: str) -> float | None:
    """Return the mean error on curves by the sentence labels of a few training responses."""
    starts, ends = kept["offsets"][:-1], kept["offsets"][1:]
    rows = [
        place for place, (a, b) in enumerate(zip(starts, ends, strict=True)) if not np.isnan(kept["gold"][a:b]).all()
    ]
    if len(rows) < FEW:
        return None
    errors = []
    for seed in range(DRAWS):
        gold = np.full(len(kept["held"]), np.nan)
        for place in np.random.default_rng(seed).permutation(rows)[:FEW]:
            gold[starts[place] : ends[place]] = kept["gold"][starts[place] : ends[place]]
        unrated = np.full(len(starts), np.nan)
        curve = fit_sentence_calibrator(sigmoid(kept["held"]), kept["offsets"], unrated, form, gold=gold)
        errors.append(error(truth, curve(scores)))
    return float(np.mean(errors))


def page(rows: list[dict[str, Any]], made_rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Write the tables: the rule given, auto, and what is to be learned from them."""
    command = "python -m benchmarks.sentence_calibration"
    lines = [
        "# Calibration of sentence probabilities",
        "",
        setting(*(f"{command} --most {most}" for most in dict.fromkeys(row["most"] for row in rows)))
        + f" Shared with other work. Rules and sets that are missing here were not run; all ratings: `--most {ALL}`.",
        "",
        ABOUT.format(encoder=options.encoder),
        "",
    ]
    for rule, most in dict.fromkeys((row["rule"], row["most"]) for row in rows):
        title = "The rule given" if rule == "given" else "`auto`"
        ratings = f"at most {most} ratings" if most < ALL else "all ratings"
        own = [row for row in rows if (row["rule"], row["most"]) == (rule, most)]
        lines += [f"## {title}, {ratings}", "", *_table(own), ""]
    return "\n".join([*lines, *_error_table(rows), *_made_table(made_rows)])


def _error_table(rows: list[dict[str, Any]]) -> list[str]:
    """Write how first errors are found, one line a set, means over seeds."""
    lines = [
        "## First errors",
        "",
        "Sets whose labels end at the first error. ROC AUC of steps over all solutions (there a step's place tells of "
        "its label) and over wrong ones alone; F1 of finding the first error, or that there is none, by the first step "
        "below ½, and below the threshold that tells held-out right and wrong *responses* apart best.",
        "",
        "| set | seeds | AUC, all | AUC, wrong alone | F1 at ½ | threshold | F1 at it |",
        "|---|" + "---:|" * 6,
    ]
    judged = [row for row in rows if "first errors" in row and row["rule"] == "given" and row["most"] < ALL]
    for name in dict.fromkeys(row["set"] for row in judged):
        cells = [row["first errors"] for row in judged if row["set"] == name]
        values = " | ".join(f"{_mean(cells, key):.3f}" for key in ("all", "wrong", "half", "cut", "chosen"))
        lines.append(f"| {name} | {len(cells)} | {values} |")
    return [*lines, ""]


def _made_table(rows: list[dict[str, Any]]) -> list[str]:
    """Write one line a spread and number of labels, means over seeds."""
    lines = [
        "## Made data",
        "",
        "Sentences under a minimum, 1 to 6 a response, whose log-odds share a normal effect of that spread; scores of "
        "a scorer that takes them for independent. *Taken*: the effect where resamples bear it out, else the line.",
        "",
        "| spread | labels | seeds | rate | mean probability | floor | as scored | line | effect | taken | its "
        "spread | gain, nats | better in | taken in |",
        "|---:|---:|" + "---:|" * 12,
    ]
    for spread, count in dict.fromkeys((row["true spread"], row["labels"]) for row in rows):
        cells = [row for row in rows if (row["true spread"], row["labels"]) == (spread, count)]
        values = [f"{_mean(cells, key):.3f}" for key in ("rate", "mean", "floor", "scored", "line", "effect", "taken")]
        times = sum(row["confidence"] >= CONFIDENCE for row in cells)
        effect = (
            f"{_mean(cells, 'spread'):.2f} | {_mean(cells, 'gain'):+.4f} | {_mean(cells, 'confidence'):.0%} | {times}"
        )
        lines.append(f"| {spread:g} | {count} | {len(cells)} | {' | '.join(values)} | {effect} |")
    return [*lines, ""]


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Write one line a set, means over its seeds."""
    lines = [
        "| set | form | ratings | seeds | rate | mean probability | floor | as scored | above the floor | line | "
        f"effect | its spread | gain, nats | better in | gold of {FEW} |",
        "|---|---|" + "---:|" * 13,
    ]
    reached = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = [row for row in rows if row["set"] == name]
        mean = {key: _mean(cells, key) for key in cells[0] if isinstance(cells[0][key], float | int) or key in NULLABLE}
        reached[name] = mean["scored"] - mean["floor"]
        forms = ", ".join(dict.fromkeys(row["form"] for row in cells))
        lines.append(
            f"| {name} | {forms} | {mean['ratings']:.0f} | {len(cells)} | {mean['rate']:.3f} | {mean['mean']:.3f} | "
            f"{mean['floor']:.3f} | {mean['scored']:.3f} | {reached[name]:+.3f} | {mean['line']:.3f} | "
            f"{_shown(mean['effect'])} | {_shown(mean['spread'], '.2f')} | {_shown(mean['gain'], '+.4f')} | "
            f"{_shown(mean['confidence'], '.0%')} | {_shown(mean['gold'])} |"
        )
    golden = {name: gap for name, gap in reached.items() if name != "film_sentiment"}
    within = sum(gap <= GOAL for gap in golden.values())
    taken = sum((row["confidence"] or 0) >= CONFIDENCE for row in rows)
    lines += [
        "",
        f"Within {GOAL} of the floor as scored: {within} of {len(golden)} sets with gold. The effect is taken in ",
    ]
    lines[-1] += f"{taken} of {sum(row['confidence'] is not None for row in rows)} fits."
    return lines


NULLABLE = ("effect", "spread", "gain", "confidence", "gold")


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    values = [row[key] for row in rows if row[key] is not None]
    return float(np.mean(values)) if values else float("nan")


def _shown(value: float, form: str = ".3f") -> str:
    return "–" if np.isnan(value) else format(value, form)


def main() -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(name for name in SETS if name not in WITHOUT_RATINGS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--most", type=int, default=600)
    parser.add_argument("--encoder", default="static")
    parser.add_argument("--rules", default="given,auto", help="given, auto, or both")
    parser.add_argument("--fits", type=Path, default=Path("kept-scores"), help="where fits are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    log = Logbook(LOG, "set", "seed", "most", "encoder", "rule")
    cells = [
        (name, seed, options.most, options.encoder, rule)
        for rule in options.rules.split(",")
        for seed in range(options.seeds)
        for name in options.sets.split(",")
    ]
    log.fill_in_turn(
        lambda *cell: {**dict(zip(log.keys, cell, strict=True)), **measured(*cell, options.fits)}, cells, str
    )
    drawn = Logbook(MADE_LOG, "labels", "true spread", "made seed")
    simulated = [(count, spread, seed) for spread in (0.0, 2.0) for count in (600, 1500) for seed in range(MADE_SEEDS)]
    drawn.fill_in_turn(lambda *cell: {**dict(zip(drawn.keys, cell, strict=True)), **made(*cell)}, simulated, str)
    PAGE.write_text(page(log.rows, drawn.rows, options), encoding="utf-8")


if __name__ == "__main__":
    main()
