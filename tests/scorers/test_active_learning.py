"""Suggestions: what is worth a label, dealt to several people, and back again."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fractal.cli import app
from fractal.datasets.synthetic import make_responses
from fractal.ensemble.self_training import SelfTraining
from fractal.errors import BadData, BadSpec, UnknownName
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Response
from fractal.scorers.active_learning import (
    Suggestion,
    _Pool,
    _worth,
    agreement,
    apply_answers,
    read_answers,
    suggest_labels,
    write_suggestions,
)
from fractal.scorers.asking import believed, expected_fall, refuse_kinds
from fractal.scorers.sentence import SentenceScorer
from fractal.writers import write


def bare(responses: list[Response]) -> list[Response]:
    return [
        dataclasses.replace(r, sentences=tuple(dataclasses.replace(s, label=None) for s in r.sentences))
        for r in responses
    ]


RESPONSES = bare(make_responses(120, "summaries", seed=5, difficulty=0.0))


@pytest.fixture(scope="module")
def scorer() -> SentenceScorer:
    plan = TrainingPlan(epochs=5, members=2, folds=2)
    made = SentenceScorer(
        "product", "own", "hashing", start="even", self_training=SelfTraining(rounds=0), plan=plan, cache=False
    )
    return made.fit(RESPONSES)


def test_asks_only_about_what_the_response_label_leaves_open(scorer: SentenceScorer) -> None:
    label = {r.id: r.label for r in RESPONSES}
    found = suggest_labels(scorer, RESPONSES, 40)
    assert len({(one.response_id, one.sentence) for one in found}) == 40
    assert {label[one.response_id] for one in found} == {0.0}  # in a good response every sentence is good
    assert [one.text for one in found] == [
        next(r for r in RESPONSES if r.id == one.response_id).sentences[one.sentence].text for one in found
    ]


def test_asks_what_labels_imply_only_when_nothing_else_is_left(scorer: SentenceScorer) -> None:
    label = {r.id: r.label for r in RESPONSES}
    implied = [label[one.response_id] == 1.0 for one in suggest_labels(scorer, RESPONSES, 100_000)]
    assert len(implied) == sum(len(r.sentences) for r in RESPONSES)
    assert implied == sorted(implied)
    assert 0 < sum(implied) < len(implied)


def test_is_deterministic_and_never_asks_twice(scorer: SentenceScorer) -> None:
    found = suggest_labels(scorer, RESPONSES, 20)
    assert found == suggest_labels(scorer, RESPONSES, 20)
    assert found != suggest_labels(scorer, RESPONSES, 20, seed=1)
    answered = apply_answers(RESPONSES, [dataclasses.replace(one, label=1.0) for one in found])
    again = suggest_labels(scorer, answered, 20)
    assert not {(o.response_id, o.sentence) for o in found} & {(o.response_id, o.sentence) for o in again}


@given(st.floats(0.001, 0.999), st.floats(0.51, 0.999))
def test_an_answer_settles_what_all_its_outcomes_leave_less_open(chance: float, reliability: float) -> None:
    """The slow way: both answers, each with its chance and the posterior of Bayes."""
    left = 0.0
    for yes in (True, False):
        if_good = reliability if yes else 1 - reliability
        likely = chance * if_good + (1 - chance) * (1 - if_good)
        posterior = chance * if_good / likely
        left += likely * posterior * (1 - posterior)
        (after,) = believed(np.array([chance]), np.array([float(yes)]), reliability)
        assert after == pytest.approx(posterior, rel=1e-6)
    fall = float(expected_fall(np.array([chance]), reliability)[0])
    assert fall == pytest.approx(chance * (1 - chance) - left, abs=1e-9)
    assert -1e-12 <= fall <= chance * (1 - chance)
    assert float(expected_fall(np.array([chance]), 1.0)[0]) == chance * (1 - chance)
    assert believed(np.array([chance]), np.array([0.5]), reliability)[0] == pytest.approx(chance)


def test_one_kind_alone_and_no_doubt_is_what_it_was(scorer: SentenceScorer) -> None:
    plain = suggest_labels(scorer, RESPONSES, 25)
    assert {one.kind for one in plain} == {"label"}
    assert plain == suggest_labels(scorer, RESPONSES, 25, kinds=("label",), reliability=1.0)


def test_second_opinions_go_to_labels_that_may_be_wrong(scorer: SentenceScorer) -> None:
    """In a good response every sentence is good: labels that deny it are asked about before those that do not."""
    good = [response for response in RESPONSES if response.label == 1.0][:30]
    wrong = {response.id for response in good[:6]}
    labelled = [
        dataclasses.replace(
            r, sentences=tuple(dataclasses.replace(s, label=float(r.id not in wrong)) for s in r.sentences)
        )
        for r in good
    ]
    options = {"kinds": ("opinion",), "reliability": 0.9, "reading": 0.0}
    asked = suggest_labels(scorer, labelled, 10, **options)  # type: ignore[arg-type]
    assert {one.kind for one in asked} == {"opinion"}
    assert sum(one.response_id in wrong for one in asked) >= 5  # a fifth of the labels
    assert suggest_labels(scorer, good, 10, **options) == []  # type: ignore[arg-type]  # nothing is labelled


def test_ratings_are_asked_for_where_there_are_none(scorer: SentenceScorer) -> None:
    """A rating that is never wrong needs no other, and one that is missing settles most."""
    unrated = [dataclasses.replace(r, label=None) if place % 2 else r for place, r in enumerate(RESPONSES[:40])]
    missing = {r.id for r in unrated if r.label is None}
    asked = suggest_labels(scorer, unrated, 15, kinds=("rating",), reading=0.0)
    assert {one.response_id for one in asked} <= missing
    assert [(one.sentence, one.text, one.kind) for one in asked] == [(-1, "", "rating")] * 15
    assert len({one.response_id for one in asked}) == 15
    mixed = suggest_labels(scorer, unrated, 60, kinds=("label", "rating"), reliability=0.9, reading=1.0)
    assert {one.kind for one in mixed} == {"label", "rating"}
    assert len({(one.response_id, one.sentence) for one in mixed}) == 60


def test_several_kinds_of_answers_come_back(tmp_path: Path, scorer: SentenceScorer) -> None:
    response = dataclasses.replace(
        Response.from_sentences("r", ["One.", "Two."], labels=[1.0, None], label=1.0), query="What?"
    )
    answers = [
        Suggestion("r", 0, "One.", label=0.0, kind="opinion"),
        Suggestion("r", 1, "Two.", label=1.0),
        Suggestion("r", -1, "", label=0.5, kind="rating"),
    ]
    for name in ("asked.csv", "asked.jsonl"):
        write_suggestions(answers, tmp_path / name)
        assert read_answers(tmp_path / name) == answers
    (answered,) = apply_answers([response], read_answers(tmp_path / "asked.csv"))
    assert answered.sentence_labels == (0.5, 1.0)
    assert answered.label == 0.75
    (rated,) = apply_answers([dataclasses.replace(response, label=None)], answers)
    assert rated.label == 0.5
    with pytest.raises(BadData, match="sentence -1 of 'x'"):
        apply_answers([response], [Suggestion("x", -1, "", label=1.0, kind="rating")])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kinds": ("opinion",)}, "below 1"),
        ({"kinds": ("label",), "reliability": 0.5}, "above 0.5"),
        ({"kinds": ()}, "one or several"),
        ({"kinds": ("guess",)}, "guess"),
    ],
)
def test_questions_that_tell_nothing_are_refused(scorer: SentenceScorer, options: dict, said: str) -> None:
    with pytest.raises((BadSpec, UnknownName), match=said):
        suggest_labels(scorer, RESPONSES, 5, **options)


def test_ratings_are_refused_under_a_mean() -> None:
    with pytest.raises(BadSpec, match="mean"):
        refuse_kinds(("rating",), 0.9, "mean")


def test_diversity_spreads_and_reading_saves_words(scorer: SentenceScorer) -> None:
    def responses_asked(**options: float) -> int:
        return len({one.response_id for one in suggest_labels(scorer, RESPONSES, 30, **options)})  # type: ignore[arg-type]

    assert responses_asked(diversity=1.0, reading=0.0) > responses_asked(diversity=0.0, reading=2.0)


def pool(directions: np.ndarray, left_open: np.ndarray, known: np.ndarray | None = None) -> _Pool:
    """One response a sentence, all scored at even odds."""
    count = len(directions)
    responses = [Response.from_sentences(f"r{i}", ["One."], label=0.0) for i in range(count)]
    unknown = np.ones(count, dtype=bool) if known is None else ~known
    rows, x = np.arange(count), np.column_stack([directions, np.ones(count)])
    return _Pool(responses, rows, np.zeros(count, int), np.full(count, 0.5), left_open, left_open, unknown, unknown, x)


def test_worth_is_the_variance_that_a_label_takes_from_the_wanted_log_odds() -> None:
    generator = np.random.default_rng(0)
    x, variance = generator.normal(size=(7, 3)), generator.uniform(0.01, 0.25, size=7)
    information, wanted = np.eye(3) + x.T @ x, x.T @ np.diag(generator.uniform(size=7)) @ x
    before = np.trace(wanted @ np.linalg.inv(information))
    after = [
        np.trace(wanted @ np.linalg.inv(information + v * np.outer(r, r))) for r, v in zip(x, variance, strict=True)
    ]
    assert _worth(x, variance, information, wanted) == pytest.approx(before - np.array(after))


def test_draws_in_proportion_to_what_is_open() -> None:
    some = pool(np.zeros((2, 1)), np.array([0.24, 0.06]))
    first = sum(some.drawn(1, 1.0, 0.0, seed)[0] == 0 for seed in range(1000))
    assert 760 < first < 840  # 4 to 1, but for what the label itself tells


def test_labels_tell_of_sentences_like_their_own() -> None:
    directions = np.repeat(np.eye(2), 500, axis=0)
    left_open, known = np.full(1000, 0.2), np.arange(1000) < 400  # of the first kind most are labelled
    left_open[known] = 0.0
    kinds = np.array(pool(directions, left_open, known).drawn(50, 1.0, 0.0, 0)) // 500
    assert kinds.mean() > 0.9  # by count it would be 5/6


def test_diversity_tells_those_drawn_of_those_before() -> None:
    directions = np.repeat(np.eye(2), [950, 50], axis=0)
    even, same = (
        np.mean(
            [(np.array(pool(directions, np.full(1000, 0.25)).drawn(40, d, 0.0, s)) >= 950).mean() for s in range(5)]
        )
        for d in (1.0, 0.0)
    )
    assert even > same


def test_certain_scores_and_no_responses_are_drawn_from_too(scorer: SentenceScorer) -> None:
    some = dataclasses.replace(pool(np.eye(3), np.zeros(3)), scores=np.array([0.0, 1.0, 1.0]))
    assert sorted(some.drawn(3, 1.0, 0.25, 0)) == [0, 1, 2]
    assert suggest_labels(scorer, [], 5) == []
    with pytest.raises(BadSpec, match="diversity"):
        suggest_labels(scorer, RESPONSES, 5, diversity=2.0)


def test_more_than_there_is_gives_all_there_is(scorer: SentenceScorer) -> None:
    few = RESPONSES[:3]
    assert len(suggest_labels(scorer, few, 1000)) == sum(len(r.sentences) for r in few)


def test_annotators_share_reading_evenly_and_overlap(scorer: SentenceScorer) -> None:
    found = suggest_labels(scorer, RESPONSES, 40, annotators=("ana", "ben", "cem"), overlap=0.25)
    count = Counter(one.annotator for one in found)
    assert sum(count.values()) == 50
    assert max(count.values()) <= 2 * min(count.values())
    assert Counter(Counter((o.response_id, o.sentence) for o in found).values()) == {1: 30, 2: 10}
    seen = Counter((o.response_id, o.sentence, o.annotator) for o in found)
    assert max(seen.values()) == 1
    with pytest.raises(BadSpec, match="two or more"):
        suggest_labels(scorer, RESPONSES, 5, annotators=("ana",), overlap=0.5)


def test_lines_come_back_as_written(scorer: SentenceScorer, tmp_path: Path) -> None:
    found = suggest_labels(scorer, RESPONSES, 10, annotators=("ana", "ben"), overlap=0.5)
    path = tmp_path / "ask.jsonl"
    assert write_suggestions(found, path) == 15
    assert read_answers(path) == found


def test_answers_become_mean_labels() -> None:
    response = Response.from_sentences("r", ["One.", "Two."], label=0.0)
    answers = [Suggestion("r", 0, "One.", label=1.0), Suggestion("r", 0, "One.", label=0.0), Suggestion("r", 1, "Two.")]
    assert apply_answers([response], answers)[0].sentence_labels == (0.5, None)
    assert agreement(answers) == 0.0
    assert math.isnan(agreement(answers[2:]))
    with pytest.raises(BadData, match="sentence 7 of 'r'"):
        apply_answers([response], [Suggestion("r", 7, "?", label=1.0)])


@pytest.mark.parametrize("line", ["{", "[]", '{"response_id": "r", "sentence": 0, "text": "x", "label": 3}', "{}"])
def test_bad_lines_are_told_with_their_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(f'{{"response_id": "r", "sentence": 0, "text": "x"}}\n{line}\n')
    with pytest.raises(BadData, match=r"answers\.jsonl, line 2"):
        read_answers(path)


def test_command_asks_and_takes_answers(scorer: SentenceScorer, tmp_path: Path) -> None:
    folder, data = tmp_path / "scorer", tmp_path / "data.jsonl"
    scorer.save_pretrained(folder)
    write(RESPONSES[:20], data)
    ask, labelled = tmp_path / "ask.jsonl", tmp_path / "labelled.jsonl"
    asked = CliRunner().invoke(app, ["suggest", str(folder), str(data), "-k", "5", "-o", str(ask)])
    assert asked.exit_code == 0, asked.output
    write_suggestions([dataclasses.replace(one, label=0.0) for one in read_answers(ask)], ask)
    told = CliRunner().invoke(app, ["suggest", str(folder), str(data), "--answers", str(ask), "-o", str(labelled)])
    assert told.exit_code == 0, told.output
    from fractal.readers import read

    labels = [
        label for record in read(str(labelled)) if isinstance(record, Response) for label in record.sentence_labels
    ]
    assert np.sum([label == 0.0 for label in labels]) == 5
    mixed = ["--kind", "label", "--kind", "opinion", "--kind", "rating", "--reliability", "0.9", "--reading", "1"]
    again = CliRunner().invoke(app, ["suggest", str(folder), str(labelled), "-k", "6", "-o", str(ask), *mixed])
    assert again.exit_code == 0, again.output
    assert "sentences to label" in again.output
    assert "responses to rate" in again.output
    assert len(read_answers(ask)) == 6
