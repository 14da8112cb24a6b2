"""Made responses: their truth is consistent, they are the same everywhere, and no shortcut gives the faults away."""

import hashlib
import itertools
import math
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.datasets.synthetic import AGGREGATION_NAMES, TASKS, make_preferences, make_responses, make_splits
from fractal.errors import BadData, UnknownName
from fractal.records import Response

SUM = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
tasks = st.sampled_from(sorted(TASKS))
kinds = st.one_of(
    st.tuples(st.sampled_from(["min", "max", "count", "mean"]), st.just(2)),
    st.tuples(st.sampled_from(["min_levels", "max_levels", "mean"]), st.integers(2, 6)),
)


def aggregate(aggregation, labels):
    if aggregation in ("mean", "count"):
        return math.fsum(labels) / len(labels)
    return min(labels) if aggregation.startswith("min") else max(labels)


def fingerprint(task):
    pairs = make_preferences(20, task, seed=7)
    made = [
        *make_responses(40, task, noise=0.2, seed=7),
        *(side for pair in pairs for side in (pair.better, pair.worse)),
    ]
    told = [(r.id, r.group, r.query, r.context, r.text, r.label, r.sentence_labels) for r in made]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


GOLDEN = {
    "answers": "11f596ff9c493db1",
    "arithmetic": "9348f0df18b01e18",
    "retrieval": "658a89f60ef4a670",
    "summaries": "a6aea04665052ea0",
}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_seed_gives_the_same_responses_on_every_machine(task):
    assert fingerprint(task) == GOLDEN[task]


def test_the_hash_seed_of_python_changes_nothing():
    code = (
        "import hashlib; from fractal.datasets.synthetic import *;"
        "print(hashlib.sha256(repr([make_responses(20, task) for task in sorted(TASKS)]).encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


@pytest.mark.parametrize("task", sorted(TASKS))
def test_seeds_differ_and_a_longer_list_begins_with_the_shorter(task):
    assert make_responses(30, task, seed=1) != make_responses(30, task, seed=2)
    assert make_responses(30, task)[:17] == make_responses(17, task)


@settings(max_examples=60, deadline=None)
@given(tasks, kinds, st.integers(0, 10**6), st.floats(0, 1))
def test_labels_are_what_the_sentences_make_of_them(task, kind, seed, difficulty):
    aggregation, levels = kind
    for response in make_responses(12, task, aggregation, levels=levels, seed=seed, difficulty=difficulty):
        labels = response.sentence_labels
        assert response.label == pytest.approx(aggregate(aggregation, labels))
        assert all(abs(label * (levels - 1) - round(label * (levels - 1))) < 1e-9 for label in labels)
        assert [fault == "" for fault in response.extra["faults"]] == [label == 1 for label in labels]
        assert 2 <= len(labels) <= 12


@settings(max_examples=40, deadline=None)
@given(tasks, kinds, st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_the_better_response_is_better(task, kind, seed, difficulty, ties):
    aggregation, levels = kind
    for pair in make_preferences(8, task, aggregation, levels=levels, seed=seed, difficulty=difficulty, ties=ties):
        better = aggregate(aggregation, pair.better.sentence_labels)
        worse = aggregate(aggregation, pair.worse.sentence_labels)
        assert (abs(better - worse) < 1e-9) if pair.tie else (better > worse)
        assert (pair.better.query, pair.better.context) == (pair.worse.query, pair.worse.context)
        assert pair.better.label is None
        assert pair.better.group == pair.worse.group


@pytest.mark.parametrize("task", sorted(TASKS))
def test_texts_places_and_groups(task):
    responses = make_responses(300, task)
    assert len({response.id for response in responses}) == 300
    scenes = {}
    for response in responses:
        for sentence in response.sentences:
            assert response.text[sentence.start : sentence.end] == sentence.text
            assert sentence.text[0].isupper() or sentence.text[0].isdigit()
            assert sentence.text.endswith(".")
            assert not re.search(r"[{}]|\.\.|,,|  ", sentence.text)
        scene = (response.query, response.context)
        assert scenes.setdefault(response.group, scene) == scene
    assert 60 < len(scenes) < 240
    assert len(set(scenes.values())) == len(scenes)
    lengths = {len(response.sentences) for response in responses}
    assert len(lengths) >= 6
    assert len({sentence.text for response in responses for sentence in response.sentences}) > 500


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("aggregation", ["min", "max"])
def test_about_half_of_the_responses_are_good(task, aggregation):
    labels = [response.label for response in make_responses(600, task, aggregation)]
    assert 0.4 < sum(labels) / 600 < 0.6


@pytest.mark.parametrize("aggregation", AGGREGATION_NAMES)
def test_noise_changes_exactly_that_share_of_response_labels_and_no_sentence(aggregation):
    clean = make_responses(200, "answers", aggregation, levels=5 if aggregation == "mean" else None)
    noisy = make_responses(200, "answers", aggregation, levels=5 if aggregation == "mean" else None, noise=0.15)
    assert [r.sentences for r in clean] == [r.sentences for r in noisy]
    assert sum(abs(a.label - b.label) > 1e-9 for a, b in zip(clean, noisy, strict=True)) == 30


def test_noise_turns_pairs_round():
    clean, noisy = make_preferences(100, ties=0.2), make_preferences(100, ties=0.2, noise=0.25)
    turned = [(a, b) for a, b in zip(clean, noisy, strict=True) if a != b]
    clear = sum(not pair.tie for pair in clean)
    assert 60 < clear < 95
    assert len(turned) == round(0.25 * clear)
    assert all((a.better, a.worse) == (b.worse, b.better) for a, b in turned)


def test_no_pair_is_a_tie_where_none_is_wanted():
    assert not any(pair.tie for pair in make_preferences(10, "answers", ties=0.0))


def test_good_summaries_bring_no_number_that_the_source_lacks():
    for response in make_responses(200, "summaries", difficulty=0.0):
        known = set(re.findall(r"\d[\d,]*\d|\d", " ".join(response.context)))
        for sentence in response.sentences:
            if sentence.label == 1:
                assert set(re.findall(r"\d[\d,]*\d|\d", sentence.text)) <= known


def test_good_steps_calculate_rightly_and_every_other_fault_than_a_slip_does_too():
    checked = slips = 0
    for response in make_responses(400, "arithmetic", "count"):
        for sentence, fault in zip(response.sentences, response.extra["faults"], strict=True):
            found = SUM.search(sentence.text)
            if found:
                a, sign, b, stated = found.groups()
                a, b = int(a), int(b)
                right = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign]
                assert (right == int(stated)) == (fault != "wrong result")
                checked, slips = checked + 1, slips + (fault == "wrong result")
    assert checked > 300
    assert slips > 10


def test_wrong_numbers_are_sometimes_carried_on_and_sometimes_not():
    faults = [r.extra["faults"] for r in make_responses(400, "arithmetic")]
    carried = [found for found in faults if "carried on" in found]
    assert len(carried) > 20
    for found in carried:
        assert any(fault not in ("", "carried on") for fault in found[: found.index("carried on")])
    assert any(one and not other for found in faults for one, other in itertools.pairwise(found))


def test_a_subtle_fault_is_as_rare_as_the_difficulty_is_low():
    def share(difficulty):
        faults = [f for r in make_responses(300, difficulty=difficulty) for f in r.extra["faults"] if f]
        return sum(f in ("swapped value", "wrong subject", "turned trend", "added detail") for f in faults) / len(
            faults
        )

    assert share(0.0) < 0.2 < share(0.5) < 0.5 < share(1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_keep_groups_together_and_come_near_to_the_shares(seed):
    responses = make_responses(500, "summaries")
    parts = make_splits(responses, seed=seed)
    assert sorted(r.id for part in parts for r in part) == sorted(r.id for r in responses)
    groups = [{r.split_group for r in part} for part in parts]
    assert sum(len(group) for group in groups) == len(set().union(*groups))
    assert [len(part) / 500 for part in parts] == pytest.approx([0.7, 0.15, 0.15], abs=0.01)
    assert parts == make_splits(responses, seed=seed)


def test_what_cannot_be_made_is_said():
    with pytest.raises(UnknownName, match="Did you mean 'summaries'"):
        make_responses(1, "summary")
    with pytest.raises(UnknownName, match="'mean'"):
        make_responses(1, aggregation="meen")
    with pytest.raises(BadData, match="min_levels"):
        make_responses(1, aggregation="min", levels=3)
    for bad in ({"noise": 1.5}, {"difficulty": -0.1}, {"difficulty": math.nan}, {"n": -1}, {"levels": 1}):
        with pytest.raises(BadData):
            make_responses(**{"n": 1, **bad})
    with pytest.raises(BadData, match="ties"):
        make_preferences(1, ties=2.0)
    with pytest.raises(BadData, match="shares"):
        make_splits(make_responses(2), (0.5, 0.6))
    assert make_responses(0) == []
    assert all(isinstance(response, Response) for response in make_responses(1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "least", "most"),
    [("retrieval", 0.75, 0.97), ("answers", 0.8, 0.97), ("summaries", 0.8, 0.97), ("arithmetic", 0.68, 0.9)],
)
def test_faults_are_learnt_from_relations_and_not_from_words_or_places(task, least, most):
    from support.shortcuts import auc, place_and_length, sentence_pairs

    responses = make_responses(1500, task)
    assert auc(responses, None) < 0.75
    assert auc(responses, place_and_length) < 0.65
    assert least < auc(responses, sentence_pairs) < most
