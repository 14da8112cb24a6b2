"""Training with texts, vectors and columns in files: the same scorer as in memory, by size, resumed after a kill."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from fractal import AspectScorer, SentenceScorer, TrainingPlan, make_responses, write  # noqa: E402
from fractal.array_space import IN_MEMORY, ArraySpace  # noqa: E402
from fractal.cli import main  # noqa: E402
from fractal.datasets.synthetic import make_preferences  # noqa: E402
from fractal.encoders import ENCODERS  # noqa: E402
from fractal.encoders.embedding import embed  # noqa: E402
from fractal.errors import BadSpec  # noqa: E402
from fractal.features.pipeline import FeaturePipeline  # noqa: E402
from fractal.hardware import free_memory  # noqa: E402
from fractal.scorers import training_space as module  # noqa: E402
from fractal.scorers.training_space import bytes_needed, training_space  # noqa: E402
from support.folders import digests  # noqa: E402

PLAN = TrainingPlan(epochs=3, members=2, folds=2, hidden=(8,))
TINY = 1e-6  # GB


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Cut what is encoded and laid at once so small that these few responses are many parts."""
    monkeypatch.setattr("fractal.encoders.embedding.RESPONSES_AT_ONCE", 17)
    monkeypatch.setattr("fractal.encoders.block.TILE", 40)
    monkeypatch.setattr("fractal.features.table.ROWS_AT_ONCE", 64)


def saved(scorer, folder):
    return digests(scorer.save_pretrained(folder))


CASES = {
    "every choice": {},
    "vectors that sentences share": {"recipe": "paper", "aggregation": "product"},
    "priors": {"recipe": "own", "aggregation": "product", "priors": "auto", "start": "auto"},
    "vectors whole": {"recipe": "default", "aggregation": "mean", "directions": 0},
    "sentence labels that teach": {"recipe": "own", "aggregation": "product", "priors": ("hybrid(share=0.5)",)},
    "sentence labels": {"recipe": "own", "aggregation": "product", "learn_from": "sentences"},
}


@pytest.mark.parametrize("options", CASES.values(), ids=list(CASES))
def test_a_scorer_is_the_same_to_the_last_bit(tmp_path, options):
    responses = make_responses(60, task="summaries", seed=1)

    def fit(limit):
        scorer = SentenceScorer(encoder="hashing(dim=32)", plan=PLAN, cache=False, memory_limit=limit, **options)
        return scorer.fit(iter(responses))

    inside = fit(1e6)
    with pytest.warns(UserWarning, match="what is learned is the same") as warned:
        in_files = fit(TINY)
    for said in ("kept in a file in ", "laid in files in "):
        (where,) = [
            one.filename for one in warned if re.search(f"{said}.*what is learned is the same", str(one.message))
        ]
        assert where == __file__
    assert saved(inside, tmp_path / "memory") == saved(in_files, tmp_path / "files")


def test_texts_go_to_a_file_where_vectors_find_room(tmp_path, monkeypatch):
    responses = make_responses(60, task="summaries", seed=1)
    options = {"encoder": "hashing(dim=32)", "plan": PLAN, "cache": False, "memory_limit": 1e6}
    inside = SentenceScorer(**options).fit(iter(responses))
    monkeypatch.setattr(module, "TEXTS", 0.0)
    with pytest.warns(UserWarning, match="texts take more than") as warned:
        in_file = SentenceScorer(**options).fit(iter(responses))
    assert not any("vectors and columns take about" in str(one.message) for one in warned)
    assert saved(inside, tmp_path / "memory") == saved(in_file, tmp_path / "file")


@pytest.mark.filterwarnings("ignore:vectors and columns", "ignore:texts take")
def test_preferences_and_aspects_are_the_same_too(tmp_path):
    pairs = make_preferences(40, task="summaries", seed=1)
    rated = [
        replace(response, aspects={"right": response.label, "wrong": 1 - response.label})
        for response in make_responses(60, task="summaries", seed=1)
    ]
    for name, fit in {
        "pairs": lambda plain: plain.fit(iter(pairs)),
        "aspects": lambda plain: AspectScorer("auto", plain).fit(iter(rated)),
        "labels beside": lambda plain: plain.fit(iter(rated), [response.aspects["wrong"] for response in rated]),
    }.items():
        folders = []
        for limit in (1e6, TINY):
            plain = SentenceScorer(encoder="hashing(dim=16)", recipe="own", plan=PLAN, cache=False, memory_limit=limit)
            folders.append(saved(fit(plain), tmp_path / f"{name} {limit}"))
        assert folders[0] == folders[1]


@pytest.mark.filterwarnings("ignore:vectors and columns", "ignore:texts take")
def test_a_kill_is_taken_up_where_it_was(tmp_path):
    responses = make_responses(60, task="summaries", seed=1)
    options = {"encoder": "hashing(dim=16)", "plan": PLAN, "aggregation": "product", "cache": False}
    whole = SentenceScorer(**options, memory_limit=TINY).fit(responses)
    epochs = itertools.count()

    def stop(epoch):
        if next(epochs) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SentenceScorer(**options, memory_limit=TINY).fit(responses, checkpoints=tmp_path / "runs", callbacks=[stop])
    again = []
    resumed = SentenceScorer(**options, memory_limit=1e6)  # in memory: its checkpoints are the same
    resumed.fit(responses, checkpoints=tmp_path / "runs", callbacks=[again.append])
    assert len(again) < len(whole.history_)
    assert saved(resumed, tmp_path / "resumed") == saved(whole, tmp_path / "whole")


def test_columns_in_files_are_laid_once_a_block(tmp_path, monkeypatch):
    block = embed(make_responses(30, seed=1), ENCODERS.build("hashing(dim=16)"), space=ArraySpace(tmp_path))
    first = FeaturePipeline.fit_several(block, [(("cosine",), 0), (("sentence",), 8)])
    monkeypatch.setattr("fractal.features.pipeline.compute", lambda *_, **__: pytest.fail("laid again"))
    second = FeaturePipeline.fit_several(block, [(("sentence",), 8), (("cosine",), 0)])
    assert second[0][1] is first[1][1]
    assert second[1][1] is first[0][1]


def test_a_text_of_no_response_is_an_empty_block_in_files(tmp_path):
    block = embed([], ENCODERS.build("hashing(dim=16)"), space=ArraySpace(tmp_path))
    assert block.sentences.shape == (0, 16)
    assert len(block) == 0


def test_files_are_chosen_by_size_alone(monkeypatch):
    responses = make_responses(30, task="summaries", seed=1)
    needed = bytes_needed(responses, 384)
    assert training_space(responses, 384, needed / 2**30) == IN_MEMORY
    with pytest.warns(UserWarning, match="that memory_limit allows"):
        assert training_space(responses, 384, needed / 2**30 * 0.99).in_files
    monkeypatch.setattr(module, "free_memory", lambda: needed)
    with pytest.warns(UserWarning, match="half of the memory that is free"):
        assert training_space(responses, 384).in_files
    monkeypatch.setattr(module, "free_memory", lambda: 2 * needed)
    assert training_space(responses, 384) == IN_MEMORY
    with pytest.raises(BadSpec, match="memory_limit=-1"):
        training_space(responses, 384, -1)


def test_what_a_fit_needs_is_about_what_is_said():
    responses = make_responses(200, task="summaries", seed=1)
    block = embed(responses, ENCODERS.build("hashing(dim=64)"))
    vectors = sum(array.nbytes for array in (block.sentences, block.queries, block.chunks))
    recipes = [(("cosine", "length"), 0), (("sentence",), 0)]
    columns = sum(table.dense.nbytes for _, table in FeaturePipeline.fit_several(block, recipes))
    said = bytes_needed(responses, 64)
    assert vectors + columns < said < 4 * (vectors + columns)


def test_free_memory_is_a_number_of_bytes():
    assert 1 << 20 < free_memory() < 1 << 50


def test_the_command_line_reads_into_a_file(tmp_path, capsys):
    write(make_responses(60, task="summaries", seed=1), tmp_path / "rated.jsonl")
    write(make_responses(60, task="summaries", seed=1)[:9], tmp_path / "gold.jsonl")
    options = ["--encoder", "hashing(dim=16)", "--recipe", "own", "--set", "epochs=2"]
    options += ["--gold", str(tmp_path / "gold.jsonl")]
    folders = []
    for limit in ("1e6", "1e-6"):
        folder = tmp_path / f"scorer {limit}"
        arguments = ["train", str(tmp_path / "rated.jsonl"), "-o", str(folder), *options]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--set", f"memory_limit={limit}"])
        assert not ended.value.code
        folders.append(digests(folder))
    said = capsys.readouterr().err
    assert said.count("texts take more than") == 1
    assert "what is learned is the same" in said
    assert folders[0] == folders[1]
