"""Responses unlike those of training are marked and said; held-out ones of the same source are not."""

from __future__ import annotations

import json
import random
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal import (
    AspectScorer,
    Response,
    SentenceScorer,
    TrainingPlan,
    load_scorer,
    make_responses,
    read_scored,
    write,
)
from fractal.cli import main
from fractal.encoders import ENCODERS
from fractal.encoders.embedding import embed
from fractal.engine import score_files
from fractal.errors import BadFolder
from fractal.evaluation import evaluate
from fractal.evaluation.unlike import UnlikeTraining
from fractal.scorers.likeness import FEWEST, TrainingProfile
from fractal.scorers.likeness import _words as response_words
from fractal.scorers.persistence import load_folder
from fractal.scorers.runtime import load_runtime

ENCODER = ENCODERS.build("hashing")
PLAN = TrainingPlan(epochs=2, members=2, folds=2, hidden=(4,))
GERMAN = ("Das Haus ist schon sehr alt", "Niemand weiß, wer es gebaut hat", "Man kann dort immer noch wohnen")
CHINESE = ("北京的天气今天很好我们去公园", "这座博物馆在去年夏天重新开放", "没有人知道它是什么时候建成的")
OTHER = (
    "Preheat your oven while butter melts in some saucepan",
    "Whisk egg yolks together until pale and creamy",
    "Fold flour gently so batter stays light",
)


def block_of(responses):
    return embed(responses, ENCODER, late=False)


def written(sentences, like, seed=0):
    """Return responses of these sentences, as many in each as in others."""
    draw = random.Random(seed)
    return [
        Response.from_sentences(
            f"new {i}", [draw.choice(sentences) + "." for _ in r.sentences], query=r.query, context=r.context
        )
        for i, r in enumerate(like)
    ]


def scorer_of(rated, **options):
    scorer = SentenceScorer("product", "own", encoder="hashing(dim=64)", plan=PLAN, cache=False, **options)
    return scorer.fit(rated)


@pytest.fixture(scope="module")
def scorer():
    return scorer_of(make_responses(120, task="summaries", seed=1))


@pytest.mark.parametrize("task", ["summaries", "retrieval", "arithmetic", "answers"])
@pytest.mark.parametrize("count", [60, 400])
def test_at_most_a_twentieth_of_the_same_source_is_unlike_training(task, count):
    made = make_responses(count + 400, task=task, seed=3)
    profile = TrainingProfile.of(block_of(made[:count]))
    held_out = profile.unlike(block_of(made[count:]))
    assert np.mean([bool(reasons) for reasons in held_out]) <= 0.05


def test_new_questions_are_not_unlike_training_because_it_repeats_its_own():
    made = make_responses(430, task="summaries", seed=3)
    repeated = [replace(r, id=f"{r.id} {copy}", context=(f"passage {copy}",)) for r in made[:30] for copy in range(10)]
    profile = TrainingProfile.of(block_of(repeated))
    assert np.mean([bool(reasons) for reasons in profile.unlike(block_of(made[30:]))]) <= 0.1
    named = TrainingProfile.of(block_of(made[:300]), [str(number % 30) for number in range(300)])
    assert np.mean([bool(reasons) for reasons in named.unlike(block_of(made[300:]))]) <= 0.05


def test_what_is_like_a_few_questions_is_not_known():
    made = make_responses(FEWEST * 2, task="summaries", seed=3)
    assert TrainingProfile.of(block_of(made), [str(number % 9) for number in range(len(made))]) is None
    assert TrainingProfile.of(block_of(made), [str(number % 10) for number in range(len(made))]) is not None


@pytest.mark.parametrize(
    ("sentences", "reason"),
    [(GERMAN, "language"), (CHINESE, "language"), (OTHER, "domain")],
    ids=["de", "zh", "cooking"],
)
def test_another_language_and_another_domain_are(sentences, reason):
    made = make_responses(300, task="summaries", seed=3)
    profile = TrainingProfile.of(block_of(made[:200]))
    unlike = profile.unlike(block_of(written(sentences, made[200:])))
    assert np.mean([reason in reasons for reasons in unlike]) >= 0.8


def test_another_length_is():
    made = make_responses(200, task="summaries", seed=3)
    profile = TrainingProfile.of(block_of(made))
    long = [Response.from_sentences(r.id, [s.text for s in (*r.sentences,) * 6]) for r in made[:20]]
    assert all("length" in reasons for reasons in profile.unlike(block_of(long)))


def test_scoring_marks_and_warns_and_the_same_source_is_silent(scorer, recwarn):
    held_out = make_responses(100, task="summaries", seed=2)
    scored = scorer.score_responses(held_out)
    assert not [w for w in recwarn if issubclass(w.category, UnlikeTraining)]
    assert np.mean([bool(item.unlike) for item in scored]) <= 0.05
    with pytest.warns(UnlikeTraining, match=r"100 of 100 responses \(100%\) are unlike.*language 100"):
        scored = scorer.score_responses(written(GERMAN, held_out))
    assert all("language" in item.unlike for item in scored)
    labelled = [replace(i, response=replace(i.response, label=float(n % 2))) for n, i in enumerate(scored)]
    assert "100 of 100 responses" in str(evaluate(labelled, bootstrap=0))


def test_a_saved_scorer_remembers_with_torch_and_without(scorer, tmp_path):
    folder = scorer.save_pretrained(tmp_path / "scorer")
    assert "the" not in json.loads((folder / "config.json").read_text())["profile"], "no word of the data is kept"
    strange = written(GERMAN, make_responses(30, task="summaries", seed=2))
    with pytest.warns(UnlikeTraining):
        expected = [item.unlike for item in scorer.score_responses(strange)]
    for loaded in (load_scorer(folder, cache=False), load_runtime(folder, cache=False)):
        with pytest.warns(UnlikeTraining):
            assert [item.unlike for item in loaded.score_responses(strange)] == expected
    resaved = load_scorer(folder, cache=False).save_pretrained(tmp_path / "again")
    assert load_folder(resaved).config["profile"] == load_folder(folder).config["profile"]


def test_of_several_aspects_each_record_is_marked_and_responses_are_counted_once(tmp_path):
    rated = [
        replace(r, aspects={"good": r.label, "short": float(i % 2)}) for i, r in enumerate(make_responses(60, seed=1))
    ]
    plain = SentenceScorer(encoder="hashing(dim=64)", plan=PLAN, cache=False, recipe="own")
    scorer = AspectScorer({"good": "product", "short": "mean"}, plain).fit(rated)
    folder = scorer.save_pretrained(tmp_path / "scorer")
    strange = written(GERMAN, rated[:20])
    write(strange, tmp_path / "new.jsonl")
    report = score_files(folder, tmp_path / "new.jsonl", tmp_path / "shards", workers=1)
    assert sum(report.unlike.values()) == 20
    for one in (scorer, load_scorer(folder, cache=False), load_runtime(folder, cache=False)):
        with pytest.warns(UnlikeTraining, match="20 of 20 responses"):
            scored = one.score_responses(strange)
        assert len(scored) == 40
        assert all("language" in item.unlike for item in scored)


@pytest.mark.filterwarnings("error::fractal.evaluation.unlike.UnlikeTraining")
def test_of_few_training_responses_and_of_scorers_of_before_nothing_is_said(scorer, tmp_path):
    few = scorer_of(make_responses(FEWEST - 1, task="summaries", seed=1))
    strange = written(GERMAN, make_responses(30, task="summaries", seed=2))
    assert {item.unlike for item in few.score_responses(strange)} == {()}
    assert few.profile_ is None
    old = Path(__file__).parents[1] / "data" / "saved_format_1" / "one_label"
    assert {item.unlike for item in load_scorer(old, cache=False).score_responses(strange)} == {()}


def test_the_command_line_says_it_once_of_all_batches_and_keeps_the_marks(scorer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scorer.save_pretrained("scorer")
    write(written(GERMAN, make_responses(30, task="summaries", seed=2)), "new.jsonl")
    for words in (["-o", "scores.jsonl", "--batch", "7"], ["-o", "shards/", "--workers", "1"]):
        with pytest.raises(SystemExit, match="0"):
            main(["score", "scorer", "new.jsonl", *words])
        assert capsys.readouterr().err.count("30 of 30 responses (100%) are unlike") == 1
    assert all("language" in item.unlike for item in read_scored("scores.jsonl"))
    assert json.loads(Path("shards/manifest.json").read_text())["unlike_training"]["language"] >= 1


def test_a_profile_that_does_not_fit_is_refused(scorer, tmp_path):
    folder = scorer.save_pretrained(tmp_path / "scorer")
    config = json.loads((folder / "config.json").read_text())
    for broken in (None, {"language": [0.1, 1.0]}):
        (folder / "config.json").write_text(json.dumps({**config, "profile": broken}))
        with pytest.raises(BadFolder):
            load_folder(folder)
    profile = replace(scorer.profile_, centroids=scorer.profile_.centroids[:, :5])
    with pytest.raises(BadFolder, match="5 columns"):
        profile.unlike(block_of(make_responses(3, seed=1)))


@given(st.text(st.characters(max_codepoint=130), max_size=60))
def test_words_of_a_response_are_runs_of_letters(text):
    letters = "".join(letter if letter.isalpha() else " " for letter in text.lower())
    assert response_words(Response.from_sentences("a", [text or " "])) == letters.split()


def test_marks_cost_little_beside_scores(scorer):
    block = scorer.embed(make_responses(300, task="summaries", seed=2))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        scorer.profile_.unlike(block)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3, "a millisecond a response, though the machine is shared"


def test_marks_are_the_same_alone_and_in_company(scorer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnlikeTraining)
        made = make_responses(20, task="summaries", seed=2) + written(OTHER, make_responses(20, seed=2))
        together = [item.unlike for item in scorer.score_responses(made)]
        assert [scorer.score_responses([one])[0].unlike for one in made] == together
