"""Annotators without truth: the better ones come first, a turned scale is seen, and what cannot be told is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal import SentenceScorer, TrainingPlan, make_responses, read, write
from fractal.cli import app
from fractal.errors import BadData, BadSpec
from fractal.evaluation.annotators import annotator_quality, combined_responses
from fractal.evaluation.label_model import combine
from fractal.records import Response, ScoredResponse

PLANTED = {"ann": 0.95, "bob": 0.85, "cy": 0.75, "dan": 0.65, "eve": 0.1}


def planted(count, raters, seed=0, right=PLANTED, strength=1.5):
    """Ratings of so many texts by so many annotators each, a score of each rating's text, and the truth by text."""
    random = np.random.default_rng(seed)
    names, ratings, scored, truth = list(right), [], [], {}
    for number in range(count):
        good = bool(random.random() < 0.5)
        truth[f"Text {number}."] = float(good)
        score = 1 / (1 + math.exp(-(strength * (good - 0.5) + random.normal())))
        for name in random.choice(names, raters, replace=False):
            label = float(good if random.random() < right[name] else not good)
            response = Response.from_sentences(
                f"r{len(ratings)}", [f"Text {number}."], label=label, extra={"annotator": str(name)}
            )
            ratings.append(response)
            scored.append(ScoredResponse(response, (score,), score))
    return ratings, scored, truth


def accuracies(report):
    return {one.name: one.accuracy for one in report.annotators}


def right_of(combined, truth):
    return float(np.mean([(one.label > 0.5) == truth[one.text] for one in combined]))


def test_nothing_is_scored_where_people_share_enough():
    ratings, scored, _ = planted(300, 2)

    def never():
        pytest.fail("scores were asked for")
        yield from scored

    assert annotator_quality(ratings, "annotator", never()).compared_with == "one another"


@pytest.mark.parametrize("seed", range(3))
def test_the_better_come_first_and_who_turned_the_scale_is_seen(seed):
    ratings, _, truth = planted(500, 2, seed)
    report = annotator_quality(ratings, "annotator")
    estimated = accuracies(report)
    assert sum(estimated[one] > estimated[other] for one, other in pairwise(PLANTED)) >= 3  # of 4
    assert max(abs(estimated[name] - PLANTED[name]) for name in PLANTED) < 0.15
    verdicts = {one.name: one.verdict for one in report.annotators}
    assert "contradicts the others" in verdicts["eve"]
    assert verdicts["ann"] == verdicts["bob"] == "right more often than wrong"
    assert report.reliability == pytest.approx(np.mean(list(PLANTED.values())), abs=0.08)
    means = {text: np.mean([r.label for r in ratings if r.text == text]) for text in truth}
    majority = np.mean([0.5 if mean == 0.5 else (mean > 0.5) == truth[text] for text, mean in means.items()])
    assert right_of(combined_responses(report, "annotator"), truth) > majority + 0.1


def test_two_ratings_a_response_are_enough_to_see_a_turned_scale_that_the_mean_vote_would_hide():
    ratings, _, _ = planted(150, 2, seed=1)
    assert accuracies(annotator_quality(ratings, "annotator"))["eve"] < 0.4


def test_a_scorer_stands_in_where_nobody_met():
    ratings, scored, _ = planted(500, 1)
    with pytest.raises(BadData, match="no response is rated by two of the 5 annotators"):
        annotator_quality(ratings, "annotator")
    report = annotator_quality(ratings, "annotator", scored)
    estimated = accuracies(report)
    assert report.compared_with == "the scorer"
    assert estimated["ann"] > estimated["cy"] > estimated["eve"]
    assert estimated["bob"] > estimated["dan"]
    assert any("rests on what is expected" in note for note in report.notes)
    assert {one.shared for one in report.annotators} == {0}


def test_a_scorer_helps_where_few_responses_are_shared_and_is_in_no_label():
    gaps = []
    for seed in range(4):
        ratings, scored, truth = planted(400, 1, seed)
        twice, again, more = planted(30, 2, seed + 10)
        twice = [dataclasses.replace(r, query="again") for r in twice]
        again = [dataclasses.replace(one, response=r) for one, r in zip(again, twice, strict=True)]
        ratings, scored = [*ratings, *twice], [*scored, *again]
        alone, beside = annotator_quality(ratings, "annotator"), annotator_quality(ratings, "annotator", scored)
        gaps.append([np.mean([abs(accuracies(r)[n] - PLANTED[n]) for n in PLANTED]) for r in (alone, beside)])
        assert beside.compared_with == "one another and the scorer"
        votes = np.nan_to_num(beside.votes, nan=2.0).tolist()
        by_vote = {(tuple(row), label) for row, label in zip(votes, beside.labels.tolist(), strict=True)}
        assert len(by_vote) == len({row for row, _ in by_vote})  # equal votes, equal labels, whatever the scores
        assert len(beside.labels) == len(truth) + len(more)
    assert np.mean(gaps, 0)[1] < np.mean(gaps, 0)[0] - 0.03


def test_a_scorer_is_not_asked_where_people_share_enough():
    ratings, scored, _ = planted(300, 2)
    report = annotator_quality(ratings, "annotator", scored)
    assert report.compared_with == "one another"
    assert accuracies(report) == accuracies(annotator_quality(ratings, "annotator"))


def test_leniency_is_told():
    random = np.random.default_rng(0)
    ratings = []
    for number in range(400):
        good = random.random() < 0.5
        for name, on_good, on_bad in (("kind", 0.98, 0.6), ("fair", 0.9, 0.9), ("strict", 0.6, 0.98)):
            label = float(random.random() < (on_good if good else 1 - on_bad))
            extra = {"annotator": name}
            ratings.append(Response.from_sentences(f"{name}{number}", [f"T {number}."], label=label, extra=extra))
    leniency = {one.name: one.leniency for one in annotator_quality(ratings, "annotator").annotators}
    assert leniency["kind"] > 0.1 > abs(leniency["fair"])
    assert leniency["strict"] < -0.1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_order_names_and_form_of_the_ratings_change_nothing(seed, raters):
    ratings, _, _ = planted(40, raters, seed)
    report = annotator_quality(ratings, "annotator")
    table = {}
    for one in ratings:
        table.setdefault(one.text, {})[one.extra["annotator"]] = one.label
    by_name = [Response.from_sentences(text, [text], extra={"by": votes}) for text, votes in table.items()]
    assert accuracies(annotator_quality(by_name, "by")) == pytest.approx(accuracies(report), abs=1e-9)
    shuffled = [ratings[place] for place in np.random.default_rng(seed).permutation(len(ratings))]
    assert accuracies(annotator_quality(shuffled, "annotator")) == pytest.approx(accuracies(report), abs=1e-9)
    labels = report.labels[~np.isnan(report.labels)]
    assert ((labels >= 0) & (labels <= 1)).all()
    for one in report.annotators:
        assert one.low <= one.accuracy <= one.high
        assert one.shared <= one.ratings
        assert -1 <= one.leniency <= 1
    assert sum(one.ratings for one in report.annotators) == len(ratings)


def test_who_met_nobody_is_told_apart_and_still_counts_in_the_label():
    ratings, _, _ = planted(200, 2)
    ratings += [
        Response.from_sentences(f"x{n}", [f"Only {n}."], label=float(n % 2), extra={"annotator": "zoe"})
        for n in range(9)
    ]
    report = annotator_quality(ratings, "annotator")
    (zoe,) = [one for one in report.annotators if one.name == "zoe"]
    assert math.isnan(zoe.accuracy)
    assert zoe.verdict.startswith("shares no response")
    assert json.loads(json.dumps(report.to_dict()))["annotators"][-1]["accuracy"] is None
    labels = {one.text: one.label for one in combined_responses(report, "annotator")}
    assert labels["Only 1."] > 0.5 > labels["Only 2."]


def test_what_cannot_be_is_refused_and_what_is_left_out_is_counted():
    ratings, scored, _ = planted(60, 2)
    alone = [r for r in ratings if r.extra["annotator"] == "ann"]
    with pytest.raises(BadData, match="all ratings are by 'ann'"):
        annotator_quality(alone, "annotator", scored)
    with pytest.raises(BadData, match="Did you mean 'annotator'"):
        annotator_quality(ratings, "anotator")
    with pytest.raises(BadData, match="no number"):
        annotator_quality([dataclasses.replace(ratings[0], extra={"by": {"a": "good"}})], "by")
    with pytest.raises(BadData, match="the name of one annotator"):
        annotator_quality([dataclasses.replace(ratings[0], extra={"by": ["a", "b"]})], "by")
    with pytest.raises(BadSpec, match="several aspects"):
        annotator_quality(ratings[:40], "annotator", [dataclasses.replace(one, aspect="tone") for one in scored])
    again = dataclasses.replace(ratings[0], id="again", label=1 - ratings[0].label)
    nameless = dataclasses.replace(ratings[1], id="nameless", extra={})
    report = annotator_quality([*ratings, again, nameless], "annotator")
    assert any(note.startswith("1 ratings are by somebody who rated the same response again") for note in report.notes)
    assert any(note.startswith("1 rated responses name no annotator") for note in report.notes)
    labelled = Response.from_sentences("x", [again.text], labels=[1.0], label=1.0, extra={"annotator": "zoe"})
    noted = annotator_quality([*ratings, labelled], "annotator").notes
    assert any(note.startswith("1 sentence labels stand in further rows") for note in noted)
    place = [r.text for r in report.responses].index(again.text)
    names = [one.name for one in report.annotators]
    assert report.votes[place, names.index(again.extra["annotator"])] == again.label
    two = annotator_quality([r for r in planted(60, 2, right={"a": 0.9, "b": 0.8})[0]], "annotator")
    assert any("two annotators alone" in note for note in two.notes)


def test_judges_set_aside_weigh_others_and_are_in_no_label():
    random = np.random.default_rng(0)
    truth = random.random(600) < 0.5
    votes = np.array([[t if random.random() < right else not t for right in (0.8, 0.8, 0.95)] for t in truth], float)
    aside = combine(votes, ["a", "b", "c"], aside=["c"])
    assert aside.accuracies == combine(votes, ["a", "b", "c"]).accuracies
    assert len({(*row[:2], label) for row, label in zip(votes.tolist(), aside.labels.tolist(), strict=True)}) == 4
    alone = votes.copy()
    alone[0] = [math.nan, math.nan, 1.0]
    assert math.isnan(combine(alone, ["a", "b", "c"], aside=["c"]).labels[0])


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """A file of ratings, two a response by five annotators, one turned round, and a scorer that learned from it."""
    folder = tmp_path_factory.mktemp("annotators")
    random = np.random.default_rng(0)
    ratings = []
    for response in make_responses(150, task="summaries", seed=1):
        for name in random.choice(list(PLANTED), 2, replace=False):
            label = response.label if random.random() < PLANTED[name] else 1 - response.label
            extra = {"annotator": str(name)}
            ratings.append(dataclasses.replace(response, id=f"{response.id}/{name}", label=label, extra=extra))
    write(ratings, folder / "ratings.jsonl")
    plan = TrainingPlan(epochs=5, members=3, folds=3)
    scorer = SentenceScorer(aggregation="product", encoder="hashing(dim=32)", plan=plan, cache=False).fit(ratings)
    scorer.save_pretrained(folder / "scorer")
    return folder


def run(*words):
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.stderr
    return result


def test_inspect_tells_of_annotators_and_writes_the_common_label(rated, tmp_path):
    target = tmp_path / "rated.jsonl"
    shown = run("inspect", rated / "ratings.jsonl", "--annotator", "annotator", "--combined", target)
    assert "Annotators, held against one another" in shown.stdout
    assert "contradicts the others" in shown.stdout
    assert "Ratings are right" in shown.stdout
    assert "Nothing suspicious." in shown.stdout
    combined = list(read(target))
    assert len(combined) == 150
    assert all(set(one.extra["ratings"]) <= set(PLANTED) for one in combined)
    assert all(len(one.extra["ratings"]) == 2 for one in combined)
    words = ("inspect", rated / "ratings.jsonl", "--annotator", "annotator", "--scorer", rated / "scorer", "--json")
    facts = json.loads(run(*words).stdout)["annotators"]
    assert facts["compared_with"] == "one another"
    assert facts["reliability"] == pytest.approx(np.mean(list(PLANTED.values())), abs=0.1)
    assert {one["name"] for one in facts["annotators"]} == set(PLANTED)
    wrong = CliRunner().invoke(app, ["inspect", str(rated / "ratings.jsonl"), "--combined", "x.jsonl"])
    assert wrong.exit_code == 2
    assert "--annotator" in wrong.stderr


def test_suggest_takes_the_reliability_of_those_who_rated(rated, tmp_path):
    words = (
        "suggest",
        rated / "scorer",
        rated / "ratings.jsonl",
        "--kind",
        "rating",
        "-k",
        5,
        "-o",
        tmp_path / "a.csv",
    )
    told = run(*words).stderr
    assert "Ratings are right" in told
    assert "by one another" in told
    given_words = run(*words[:-1], tmp_path / "b.csv", "--reliability", 0.9).stderr
    assert "Ratings are right" not in given_words
    nobody = tmp_path / "nobody.jsonl"
    write(
        [dataclasses.replace(r, extra={"annotator": "ann"}) for r in list(read(rated / "ratings.jsonl"))[:40]], nobody
    )
    assert "Ratings are taken to be right" in run("suggest", rated / "scorer", nobody, "-o", tmp_path / "c.csv").stderr
    refused = ["suggest", rated / "scorer", nobody, "-o", tmp_path / "d.csv", "--rated-by", "annotator"]
    ended = CliRunner().invoke(app, [str(word) for word in refused])
    assert ended.exit_code != 0
    assert "all ratings are by 'ann'" in ended.stderr
