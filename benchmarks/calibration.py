"""Whether response probabilities mean what they say: calibration error on test responses, before and after the curve.

python -m benchmarks.calibration [--sets faithbench,qags] [--seeds 2] [--most 600] [--encoder static] [--fits FOLDER]

Resumable: what was measured is kept, and the fits are, which are those of benchmarks.sentence_calibration.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.kept_scores import kept_scores
from benchmarks.logbook import Logbook, options
from benchmarks.machine import setting
from fractal.evaluation.calibration import fit_calibrator
from fractal.evaluation.metrics import METRICS, CalibrationError, mass_bins
from fractal.mil.aggregations import AGGREGATIONS, Aggregation

SETS = (  # the sets whose responses are rated good or bad
    *("wikiqa", "multispanqa_windows", "wice_windows", "absa16_reviews", "faithbench", "qags"),
    *("prmbench", "processbench", "prm800k_subset", "film_sentiment"),
)
BINS, FOLDS = 10, 5
DRAWS = 500
WANTED = 0.05
WORDS = ("set", "encoder", "kind")
ABOUT = (
    f"Expected calibration error on test responses in {BINS} bins of equal mass, wanted: at most {WANTED}. At most "
    f"{{most}} training responses of a set, encoder `{{encoder}}`. *Before* and *after* the curve that held-out "
    "training responses choose. *Floor*: what probabilities show that are all true, on so many labels, and what one "
    "such draw in twenty exceeds. *Debiased*: the root mean squared gap less what chance puts into it. *Mean − "
    "rate*: mean probability less the share of good test responses. *Same source*: the error on held-out training "
    "responses, on curves chosen without their groups; the weights of experts have seen these labels. The form is "
    "the one each set states; no test label is used but to judge."
)
calibration_error = CalibrationError(bins=BINS)


def measure(name: str, seed: int, most: int, encoder: str, folder: Path) -> dict:
    """Hold the response probabilities of a fit against the test labels, and against held-out ones of the same source.

    As a scorer does, the curve is learned on held-out probabilities and applied to each member's.
    """
    kept = kept_scores(name, seed, most, encoder, "given", folder)
    form = AGGREGATIONS.build(str(kept["form"]))
    rated, known = ~np.isnan(kept["labels"]), ~np.isnan(kept["test_labels"])
    held = _chances(form, kept["held"][:, None], kept["offsets"])[rated, 0]
    labels, groups = kept["labels"][rated], np.unique(kept["groups"][rated], return_inverse=True)[1]
    curve = fit_calibrator(held, labels, groups=groups)
    members, truth = _chances(form, kept["test"], kept["test_offsets"])[known], kept["test_labels"][known]
    before, after = members.mean(1), curve(members).mean(1)
    return {
        "learned from": len(labels),
        "test": len(truth),
        "kind": curve.kind,
        "gap": float(after.mean() - truth.mean()),
        "area": float(METRICS.build("concordance")(truth, after)),
        "before": calibration_error(truth, before),
        "after": calibration_error(truth, after),
        "debiased": debiased(truth, after),
        **floor(after, seed),
        "same source": calibration_error(labels, _out_of_fold(held, labels, groups)),
    }


def _chances(form: Aggregation, logits: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the response probabilities (response, member) that log-odds of sentences imply."""
    return form.from_logits(torch.from_numpy(logits), torch.from_numpy(offsets)).sigmoid().numpy()


def _out_of_fold(chances: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the probabilities of responses on curves that were chosen and fitted without their group's fold."""
    fold = (np.random.default_rng(1).permutation(groups.max() + 1) % FOLDS)[groups]
    calibrated = np.empty_like(chances)
    for each in range(FOLDS):
        out = fold == each
        calibrated[out] = fit_calibrator(chances[~out], labels[~out], groups=groups[~out])(chances[out])
    return calibrated


def floor(chances: np.ndarray, seed: int) -> dict[str, float]:
    """Return the error that probabilities show on so few labels even if every one of them is true."""
    rng = np.random.default_rng(seed)
    drawn = [calibration_error((rng.random(len(chances)) < chances).astype(float), chances) for _ in range(DRAWS)]
    return {"floor": float(np.mean(drawn)), "floor_95": float(np.quantile(drawn, 0.95))}


def debiased(truth: np.ndarray, chances: np.ndarray) -> float:
    """Return the root mean squared gap of the bins less what chance alone puts there; the better part of a bin's gap.

    A bin of n labels with mean m is off by chance by m (1 − m) / (n − 1), squared, which is taken away.
    """
    place = mass_bins(chances, BINS)
    total = 0.0
    for each in np.unique(place):
        mine = place == each
        count, mean = int(mine.sum()), float(truth[mine].mean())
        by_chance = mean * (1 - mean) / (count - 1) if count > 1 else 0.25
        total += count / len(truth) * ((chances[mine].mean() - mean) ** 2 - by_chance)
    return float(np.sqrt(max(total, 0.0)))


def table(rows: list[dict]) -> list[str]:
    """Write one line a set, means over its seeds."""
    lines = [
        "| set | learned from | test | seeds | AUC | before | after | floor [95%] | debiased | mean − rate | "
        "same source | curve |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    means = []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        mean = {key: float(np.mean([row[key] for row in own])) for key in own[0] if key not in WORDS}
        means.append(mean)
        kinds = ", ".join(sorted({row["kind"] for row in own}))
        lines.append(
            f"| {name} | {mean['learned from']:.0f} | {mean['test']:.0f} | {len(own)} | {mean['area']:.3f} "
            f"| {mean['before']:.3f} | {mean['after']:.3f} | {mean['floor']:.3f} [{mean['floor_95']:.3f}] "
            f"| {mean['debiased']:.3f} | {mean['gap']:+.3f} | {mean['same source']:.3f} | {kinds} |"
        )
    if means:
        shown = {key: float(np.mean([mean[key] for mean in means])) for key in means[0]}
        lines.append(
            f"| mean | | | | {shown['area']:.3f} | {shown['before']:.3f} | {shown['after']:.3f} "
            f"| {shown['floor']:.3f} [{shown['floor_95']:.3f}] | {shown['debiased']:.3f} | "
            f"| {shown['same source']:.3f} | |"
        )
    return lines


def page(rows: list[dict], most: int, encoder: str) -> str:
    """Write what was measured."""
    head = [
        "# Calibration of response probabilities",
        "",
        setting(f"python -m benchmarks.calibration --most {most} --encoder {encoder}") + " Shared with other work.",
        "",
        ABOUT.format(most=most, encoder=encoder),
        "",
    ]
    return "\n".join([*head, *table(rows)]) + "\n"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = options(__doc__, "calibration", SETS, seeds=2)
    parser.add_argument("--most", type=int, default=600)
    parser.add_argument("--encoder", default="static")
    parser.add_argument("--fits", type=Path, default=Path("kept-scores"), help="where fits are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    book = Logbook(args.log, "set", "seed", "most", "encoder")
    cells = [(name, seed, args.most, args.encoder) for seed in range(args.seeds) for name in args.sets.split(",")]
    book.fill_in_turn(
        lambda *cell: {**dict(zip(book.keys, cell, strict=True)), **measure(*cell, args.fits)},
        cells,
        lambda row: f"{row['set']}, seed {row['seed']}: {row['before']:.3f} before, {row['after']:.3f} after",
    )
    shown = [row for row in book.rows if (row["most"], row["encoder"]) == (args.most, args.encoder)]
    args.out.write_text(page(shown, args.most, args.encoder), encoding="utf-8")


if __name__ == "__main__":
    main()
