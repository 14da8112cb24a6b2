"""Suggestions: what is worth a label, dealt to several people, and back again."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fractal.cli import app
from fractal.datasets import make_responses
from fractal.errors import BadData, BadSpec
from fractal.estimator import SentenceScorer
from fractal.records import Response
from fractal.self_training import SelfTraining
from fractal.suggestions import (
    Suggestion,
    agreement,
    apply_answers,
    read_answers,
    suggest_labels,
    write_suggestions,
)
from fractal.training import TrainingPlan
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


def test_is_deterministic_and_never_asks_twice(scorer: SentenceScorer) -> None:
    found = suggest_labels(scorer, RESPONSES, 20)
    assert found == suggest_labels(scorer, RESPONSES, 20)
    answered = apply_answers(RESPONSES, [dataclasses.replace(one, label=1.0) for one in found])
    again = suggest_labels(scorer, answered, 20)
    assert not {(o.response_id, o.sentence) for o in found} & {(o.response_id, o.sentence) for o in again}


def test_diversity_spreads_and_reading_saves_words(scorer: SentenceScorer) -> None:
    def responses_asked(**options: float) -> int:
        return len({one.response_id for one in suggest_labels(scorer, RESPONSES, 30, **options)})  # type: ignore[arg-type]

    assert responses_asked(diversity=1.0, reading=0.0) > responses_asked(diversity=0.0, reading=2.0)


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
