"""Plots: what they draw agrees with slow twins, they are saved alike twice, and they say what is missing."""

import sys

import numpy as np
import pytest

from fractal.errors import BadData, BadSpec, MissingExtra
from fractal.records import Response, ScoredResponse
from fractal.reports import plots
from support.scored_samples import make_scored

pytest.importorskip("matplotlib", reason="the extra 'plots' brings matplotlib")


def _pairs(scored):
    return [
        (label, score)
        for item in scored
        for label, score in zip(item.response.sentence_labels, item.sentence_scores, strict=True)
    ]


def _one(labels, scores):
    response = Response.from_sentences("a", [f"S{number}." for number in range(len(labels))], labels=labels)
    return [ScoredResponse(response, tuple(scores), min(scores))]


def _area(xs, ys):
    return sum((xs[i + 1] - xs[i]) * (ys[i + 1] + ys[i]) / 2 for i in range(len(xs) - 1))


@pytest.mark.parametrize("seed", range(3))
def test_the_roc_area_is_the_share_of_pairs_in_order(seed):
    scored = make_scored(20, seed)
    pairs = [(label, round(score, 1)) for label, score in _pairs(scored)]  # ties
    line = plots.plot_roc(_one(*zip(*pairs, strict=True))).axes[0].lines[1]
    good = [score for label, score in pairs if label]
    bad = [score for label, score in pairs if not label]
    area = np.mean([(g > b) + 0.5 * (g == b) for g in good for b in bad])
    assert _area(line.get_xdata(), line.get_ydata()) == pytest.approx(area)
    assert line.get_label() == f"sentences, area {area:.3f}"


def test_precision_and_recall_agree_with_counting():
    scored = make_scored(15, 4)
    line = plots.plot_precision_recall(scored).axes[0].lines[1]
    pairs = _pairs(scored)
    all_bad = sum(not label for label, _ in pairs)
    drawn = set(zip(np.round(line.get_xdata(), 9), np.round(line.get_ydata(), 9), strict=True))
    for threshold in {score for _, score in pairs}:
        found = [label for label, score in pairs if score <= threshold]
        bad = sum(not label for label in found)
        assert (round(bad / all_bad, 9), round(bad / len(found), 9)) in drawn


def test_a_calibrated_score_lies_on_the_diagonal():
    scored = _one([1, 0, 0, 0, 1, 1, 1, 0], [0.25] * 4 + [0.75] * 4)
    line = plots.plot_calibration(scored).axes[0].lines[1]
    assert line.get_xydata().tolist() == [[0.25, 0.25], [0.75, 0.75]]


def test_positions_are_means_by_place():
    scored = _one([1, 0, 1], [0.2, 0.4, 0.9]) + _one([1], [0.6])
    line = plots.plot_positions(scored, places=2).axes[0].lines[0]
    assert line.get_xydata() == pytest.approx(np.array([[1, 0.4], [2, 0.65]]))


def test_history_takes_epochs_and_mappings():
    class Epoch:
        def __init__(self, epoch):
            self.epoch, self.parts, self.held_out = epoch, {"response": 1 / epoch}, float("nan")

    (line,) = plots.plot_history([Epoch(1), Epoch(2)]).axes[0].lines  # a cost that is undefined is not drawn
    assert line.get_xydata().tolist() == [[1, 1], [2, 0.5]]
    costs, areas = plots.plot_history(
        {"epoch": epoch, "parts": {"response": 1 / epoch}, "held_out": None, "auc": 1 - 0.5 / epoch} for epoch in (1, 2)
    ).axes
    assert [line.get_xydata().tolist() for line in costs.lines] == [[[1, 1], [2, 0.5]]]
    assert [line.get_xydata().tolist() for line in areas.lines] == [[[1, 0.5], [2, 0.75]]]
    assert (costs.get_xlabel(), areas.get_xlabel(), areas.get_ylabel()) == ("", "epoch", "held-out AUC")
    lines = plots.plot_history([{"train": 3.0, "held_out": 2.0}, {"train": 2.0, "held_out": 1.0}]).axes[0].lines
    assert [line.get_label() for line in lines] == ["train", "held_out"]


@pytest.mark.parametrize("ending", plots.SUFFIXES)
@pytest.mark.parametrize("name", sorted(plots.PLOTS))
def test_every_plot_is_written_in_every_form_and_alike_twice(tmp_path, name, ending):
    source = [{"train": 1.0}, {"train": 0.5}] if name == "history" else make_scored(10)
    written = [
        plots.save_plot(plots.PLOTS[name](source), tmp_path / f"{turn}{ending}").read_bytes() for turn in range(2)
    ]
    assert written[0] == written[1]
    assert written[0].startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending])


def test_what_cannot_be_plotted_is_explained(tmp_path):
    bare = [ScoredResponse(item.response.without_labels(), item.sentence_scores, 0.5) for item in make_scored(3)]
    with pytest.raises(BadData, match="has a label"):
        plots.plot_roc(bare)
    with pytest.raises(BadData, match="has a label"):
        plots.plot_calibration(bare)
    with pytest.raises(BadData, match="one side"):
        plots.plot_precision_recall(_one([1, 1], [0.2, 0.3]))
    with pytest.raises(BadData, match="no epoch"):
        plots.plot_history([])
    with pytest.raises(BadSpec, match=r"\.pdf"):
        plots.save_plot(plots.plot_positions(make_scored(2)), tmp_path / "plot.jpeg")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"fractal-scores\[plots\]"):
        plots.plot_positions(make_scored(2))
