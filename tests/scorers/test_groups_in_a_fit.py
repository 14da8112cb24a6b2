"""What a fit makes of groups: shared contexts are held out rightly, and no figure is of what was seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fractal import SentenceScorer, TrainingPlan, make_responses
from fractal.records import Response
from fractal.scorers.membership import HeldOutIndex

PLAN = TrainingPlan(epochs=3)


def scorer(**options: object) -> SentenceScorer:
    return SentenceScorer(
        **{"encoder": "hashing", "recipe": "own", "aggregation": "product", "plan": PLAN, "cache": False, **options}
    )


def rated(**changes: object) -> list[Response]:
    return [
        dataclasses.replace(response, group=None, **changes)
        for response in make_responses(60, task="summaries", seed=3)
    ]


def test_one_instruction_in_every_row_holds_responses_out_and_says_how() -> None:
    fitted = scorer().fit(rated(query="Summarise the passage."))
    held_out: HeldOutIndex = fitted.held_out_index_
    assert (held_out.members > 0).all()
    assert fitted.data_["grouped by"] == "context"
    assert fitted.data_["groups"] > 10
    assert all(np.isfinite(value) for value in fitted.metrics_.values())
    assert [finding.verdict for finding in fitted.checks_ if finding.name == "groups"] == ["warn"]
    assert any(np.isfinite(epoch.best) for epoch in fitted.history_)


def test_responses_of_one_context_are_held_out_together() -> None:
    responses = rated(query="")
    twins = [
        Response.from_sentences(
            f"{r.id}-{copy}", [s.text for s in r.sentences[copy:]], context=r.context, label=r.label
        )
        for r in responses
        for copy in (0, 1)
        if len(r.sentences) > 2
    ]
    fitted = scorer().fit(twins)
    shares = fitted.held_out_index_.shares(twins, 5)
    assert (shares[0::2] == shares[1::2]).all()
    assert [finding.verdict for finding in fitted.checks_ if finding.name == "leaking groups"] == ["ok"]


@pytest.mark.parametrize(
    "options", [{"plan": TrainingPlan(epochs=2, folds=0)}, {"plan": TrainingPlan(epochs=2, folds=1)}]
)
def test_where_nothing_is_held_out_no_figure_is_given(options: dict[str, object], tmp_path) -> None:
    fitted = scorer(**options).fit(rated())
    assert fitted.metrics_ == {}
    card = (fitted.save_pretrained(tmp_path / "scorer") / "README.md").read_text()
    assert "Nothing was held out, so nothing is said." in card
    assert "nan" not in card


def test_figures_are_of_held_out_responses_alone() -> None:
    """One member of five folds holds a fifth out: labels of the other four fifths must not count."""
    responses = rated()
    fitted = scorer(plan=TrainingPlan(epochs=2, members=1)).fit(responses)
    held_out = fitted.held_out_index_.shares(responses, 1)
    assert held_out.shape == (60, 1)
    unseen = {
        int(key) for key, mask in zip(fitted.held_out_index_.keys, fitted.held_out_index_.members, strict=True) if mask
    }
    assert 8 <= len(unseen) <= 16
    known = [r for r in responses if int(HeldOutIndex.of([r], np.ones((1, 1), np.float32)).keys[0]) in unseen]
    logits = fitted.predict(known)
    labels = np.array([r.label for r in known])
    ahead = np.subtract.outer(logits[labels == 1], logits[labels == 0])
    expected = np.where(ahead == 0, 0.5, ahead > 0).mean()
    assert fitted.metrics_["held-out response ROC AUC"] == pytest.approx(expected, abs=0.02)
