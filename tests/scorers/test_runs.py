"""What failed in a run of an agent: a step, or something that passed runs did and this one did not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.test_passed_runs import tasks
from fractal import AspectScorer, SentenceScorer, TrainingPlan, make_responses, write
from fractal.encoders import ENCODERS
from fractal.encoders.block import texts_only
from fractal.encoders.embedding import embed
from fractal.encoders.hashing import Hashing
from fractal.errors import BadData
from fractal.features import FEATURES, compute, reads_vectors
from fractal.features.table import WITHOUT_VECTORS
from fractal.readers.scored import read_scored
from fractal.records import Response
from fractal.records.steps import MISSING_CALL, call_name, step_of
from fractal.scorers.reward_shaping import WorstOfMembers
from fractal.scorers.runs import run_memory, run_verdicts
from fractal.scorers.runtime import load_runtime

QUICK = {"encoder": "hashing(dim=32)", "cache": False, "plan": TrainingPlan(epochs=6, members=2, folds=2)}


def without_write(run):
    """The same run without its one call that matters."""
    steps = [sentence.text for place, sentence in enumerate(run.sentences) if place != 2]
    return Response.from_sentences(f"{run.id}-short", steps, label=0.0, group=run.group)


@pytest.fixture(scope="module")
def runs():
    made = tasks(14)
    lacking = [without_write(run) for run in made if run.label == 1][::6]
    return [replace(run, extra={"aggregation": "min"}) for run in [*made, *lacking]]


@pytest.fixture(scope="module")
def scorer(runs):
    return SentenceScorer(**QUICK).fit(runs)


def test_a_wrong_step_is_named_and_what_is_missing_is_an_answer_of_its_own(runs, scorer):
    scored = scorer.disaggregate(runs)
    steps = []
    for item, verdict in zip(scored, run_verdicts(scorer, scored), strict=True):
        if item.response.id.endswith("-short"):
            assert verdict.missing == "write"
            assert "nothing wrong is seen" in str(verdict)
        elif item.response.label == 0:
            assert verdict.missing == ""
            assert str(verdict).endswith(f"step {verdict.step + 1}")
            steps.append(verdict.step)
    assert steps.count(2) > 0.8 * len(steps)


def test_a_labelled_run_says_what_is_missing_and_a_file_keeps_it(runs, scorer, tmp_path):
    scored = scorer.disaggregate(runs)
    missing = {item.response.id: item.response.extra.get(MISSING_CALL) for item in scored}
    verdicts = {verdict.id: verdict for verdict in run_verdicts(scorer, scored)}
    for run in runs:
        assert missing[run.id] == ((verdicts[run.id].missing or None) if run.label == 0 else None)
    assert sum(tool == "write" for tool in missing.values()) >= 5
    write(scored, tmp_path / "labelled.jsonl")
    again = {
        item.response.id: item.response.extra.get(MISSING_CALL) for item in read_scored(tmp_path / "labelled.jsonl")
    }
    assert again == missing


def test_what_a_run_lacks_is_found_call_by_call(runs, scorer):
    """The slow twin: each run beside all passed others of its task."""
    memory = run_memory(scorer.ensemble_)
    for run, (lack, tool) in zip(runs, memory.left_out(texts_only(runs)), strict=True):
        calls = {call for sentence in run.sentences for call in step_of(sentence.text).calls}
        others = [o for o in runs if o.group == run.group and o.label == 1 and (o.id, o.text) != (run.id, run.text)]
        strongest = 0.0
        for call in {call for other in others for s in other.sentences for call in step_of(s.text).calls} - calls:
            share = np.mean([any(call in step_of(s.text).calls for s in other.sentences) for other in others])
            strongest = max(strongest, share * memory.weights[-1].max(1)[memory.names.index(call_name(call))])
        assert lack == pytest.approx(strongest)
        assert tool == "write" or strongest < 0.1


def test_scoring_without_torch_compares_with_the_same_passed_runs(runs, tmp_path):
    plain = SentenceScorer(aggregation="product", recipe="runs", **QUICK).fit(runs)
    plain.save_pretrained(tmp_path / "scorer")
    again = load_runtime(tmp_path / "scorer", cache=False).score_responses(runs)
    for first, second in zip(plain.score_responses(runs), again, strict=True):
        np.testing.assert_allclose(first.sentence_scores, second.sentence_scores, atol=1e-5)


def test_a_scorer_of_text_has_no_verdicts_on_runs():
    responses = make_responses(30, task="summaries", seed=0)
    scorer = SentenceScorer(recipe="own", **QUICK).fit(responses)
    with pytest.raises(BadData, match="not fitted on runs of agents"):
        run_verdicts(scorer, scorer.score_responses(responses))


def test_runs_are_scored_and_labelled_without_encoding_a_word(runs, scorer, tmp_path, monkeypatch):
    scored, labelled = scorer.score_responses(runs), scorer.disaggregate(runs)
    scorer.save_pretrained(tmp_path / "scorer")
    monkeypatch.setattr(Hashing, "encode", None)  # called, it would raise
    monkeypatch.setattr(Hashing, "encode_tokens", None)
    assert not scorer.ensemble_.reads_vectors
    assert scorer.score_responses(runs) == scored
    assert scorer.disaggregate(runs) == labelled
    worst = WorstOfMembers(scorer).score_responses(runs)
    assert all(min(low.sentence_scores) <= min(one.sentence_scores) for low, one in zip(worst, scored, strict=True))
    again = load_runtime(tmp_path / "scorer", cache=False).score_responses(runs)
    np.testing.assert_allclose(again[0].sentence_scores, scored[0].sentence_scores, atol=1e-5)


def test_of_several_aspects_nothing_is_encoded_either_where_nothing_reads_vectors(runs, monkeypatch):
    rated = [replace(run, label=None, aspects={"done": run.label}) for run in runs]
    scorer = AspectScorer({"done": "product"}, SentenceScorer(recipe="runs", **QUICK)).fit(rated)
    scored, labelled = scorer.score_responses(rated), scorer.disaggregate(rated)
    monkeypatch.setattr(Hashing, "encode", None)
    monkeypatch.setattr(Hashing, "encode_tokens", None)
    assert scorer.score_responses(rated) == scored
    assert scorer.disaggregate(rated) == labelled


@pytest.mark.parametrize("name", sorted(WITHOUT_VECTORS - {"precomputed"}))
def test_features_that_are_said_to_read_texts_alone_do_so(runs, name):
    block = embed(runs, ENCODERS.build("hashing(dim=32)"))
    fitted = {name: FEATURES.build(name).fit(block)} if hasattr(FEATURES.build(name), "fit") else {}
    with_vectors = compute(block, (name,), fitted=fitted)
    np.testing.assert_array_equal(compute(texts_only(runs), (name,), fitted=fitted).dense, with_vectors.dense)
    assert not reads_vectors([name])
    assert reads_vectors([name, "cosine"])
