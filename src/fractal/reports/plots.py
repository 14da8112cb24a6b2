"""Plots for papers: ROC, precision and recall, calibration, training history, score by position."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData, BadSpec, MissingExtra
from fractal.files import open_target
from fractal.records import ScoredResponse
from fractal.reports.summary import calibration, calibration_pairs, positions
from fractal.reports.training import AREA, history_series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
SIZE = (4.2, 3.4)  # inches: two stand side by side on a page
INK, LINE, OTHER = "#222222", "#1f5f99", "#b4540a"
MOST_POINTS = 2_000  # of a curve; more cannot be seen


def plot_roc(scored: Iterable[ScoredResponse]) -> Figure:
    """True positives against false positives over all thresholds, of known sentence (else response) labels."""
    level, truth, scores = _known(scored)
    hits, misses = _counts(truth, scores)
    right, wrong = _share(hits), _share(misses)
    area = float(np.diff(wrong) @ (right[1:] + right[:-1]) / 2)
    figure, axes = _axes("false positive rate", "true positive rate", "equal")
    axes.plot([0, 1], [0, 1], linestyle=":", color=INK, linewidth=0.8)
    axes.plot(*_thinned(wrong, right), color=LINE, label=f"{level}s, area {area:.3f}")
    axes.legend(loc="lower right", frameon=False)
    return figure


def plot_precision_recall(scored: Iterable[ScoredResponse]) -> Figure:
    """Precision against recall in finding what is bad, from the lowest score upwards."""
    level, truth, scores = _known(scored)
    bad, good = _counts(1 - truth, 1 - scores)
    precision, recall = bad[1:] / (bad[1:] + good[1:]), _share(bad)[1:]
    figure, axes = _axes(f"recall of bad {level}s", "precision", "equal")
    share = float(1 - truth.mean())
    axes.axhline(share, linestyle=":", color=INK, linewidth=0.8, label=f"by chance {share:.3f}")
    axes.plot(*_thinned(recall, precision), color=LINE, drawstyle="steps-post", label="scores")
    axes.legend(loc="best", frameon=False)
    return figure


def plot_calibration(scored: Iterable[ScoredResponse], bins: int = 10) -> Figure:
    """Mean known label against mean score, in bins of the score; the size of a dot is its count."""
    level, pairs = calibration_pairs(scored)
    if not pairs:
        raise _unlabelled()
    table = calibration(pairs, bins)
    largest = max(each.count for each in table)
    figure, axes = _axes(f"mean {level} score", "mean label", "equal")
    axes.plot([0, 1], [0, 1], linestyle=":", color=INK, linewidth=0.8)
    where = [each.score for each in table], [each.label for each in table]
    axes.plot(*where, color=LINE, linewidth=1)
    axes.scatter(*where, s=[12 + 110 * each.count / largest for each in table], color=LINE, zorder=3)
    return figure


def plot_history(history: Iterable[Any]) -> Figure:
    """Each part of the cost by epoch, as training told it; beneath, how well held-out responses are told apart."""
    series = history_series(history)
    areas = series.pop(AREA, [])
    if not series:
        raise BadData("the history holds no epoch: give the epochs that a training told")
    figure, axes = _axes("epoch", "cost", "free")
    for number, (name, points) in enumerate(series.items()):
        held_out = name.startswith("held")
        colour = OTHER if held_out else None
        axes.plot(
            *zip(*points, strict=True), label=name, color=colour, linestyle="-" if held_out or not number else "--"
        )
    axes.legend(frameon=False, fontsize="small")
    if areas:
        _beneath(axes, AREA).plot(*zip(*areas, strict=True), color=OTHER)
    return figure


def plot_positions(scored: Iterable[ScoredResponse], places: int = 20) -> Figure:
    """Mean sentence score by place in the response."""
    means = positions(scored, places)
    if not means:
        raise BadData("there is no scored response to plot")
    figure, axes = _axes("place of the sentence", "mean score", "free")
    axes.plot([each.place for each in means], [each.score for each in means], color=LINE, marker="o", markersize=4)
    axes.set_ylim(0, 1)
    axes.locator_params(axis="x", integer=True)
    return figure


PLOTS: dict[str, Callable[..., Figure]] = {
    "roc": plot_roc,
    "precision_recall": plot_precision_recall,
    "calibration": plot_calibration,
    "history": plot_history,
    "positions": plot_positions,
}


def save_plot(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, SVG or PDF, by the file's ending; the same figure gives the same bytes.

    The file appears whole or not at all.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise BadSpec(f"{target.name!r}: a plot is written as {', '.join(SUFFIXES)}; end the file's name so")
    import matplotlib

    dated = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[target.suffix.lower()]
    with matplotlib.rc_context({"svg.hashsalt": "fractal", "pdf.fonttype": 42}), open_target(target) as stream:
        figure.savefig(stream, format=target.suffix[1:].lower(), dpi=200, bbox_inches="tight", metadata=dated)
    return target


def _axes(x: str, y: str, shape: str) -> tuple[Figure, Axes]:
    """A figure of its own: no window, no global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("Plotting", "plots", "matplotlib") from error
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = _plain(figure.add_subplot(), x, y)
    if shape == "equal":
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure, axes


def _plain(axes: Axes, x: str, y: str) -> Axes:
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    return axes


def _beneath(axes: Axes, y: str) -> Axes:
    """Further axes under these, along the same x."""
    rows = axes.figure.add_gridspec(2, 1, height_ratios=(2, 1))
    axes.set_subplotspec(rows[0])
    lower = _plain(axes.figure.add_subplot(rows[1], sharex=axes), axes.get_xlabel(), y)
    axes.set_xlabel("")
    axes.tick_params(labelbottom=False)
    return lower


def _unlabelled() -> BadData:
    return BadData("no sentence and no response has a label: there is nothing to hold the scores against")


def _known(scored: Iterable[ScoredResponse]) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Return 0/1 labels and scores; graded labels count as good from one half."""
    level, pairs = calibration_pairs(scored)
    if not pairs:
        raise _unlabelled()
    scores, labels = np.array(pairs, dtype=np.float64).T
    truth = (labels >= 0.5).astype(np.float64)
    if truth.min() == truth.max():
        raise BadData(f"every known {level} label is on one side: a curve needs good and bad ones")
    return level, truth, scores


def _counts(truth: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """How many true and how many false ones lie above each threshold, from the highest; ties move together."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    true, false = np.cumsum(truth[order])[last], np.cumsum(1 - truth[order])[last]
    return np.concatenate([[0.0], true]), np.concatenate([[0.0], false])


def _share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / counts[-1]
    return shares


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
    shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int))
    return x[shown], y[shown]
