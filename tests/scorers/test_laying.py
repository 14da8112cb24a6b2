"""Vectors and columns laid by several processes: the same scorer whatever their number, whoever of them dies."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fractal import AspectScorer, SentenceScorer, TrainingPlan, make_responses, write  # noqa: E402
from fractal.array_space import IN_MEMORY, ArraySpace  # noqa: E402
from fractal.encoders import ENCODERS  # noqa: E402
from fractal.encoders.base import Encoder  # noqa: E402
from fractal.encoders.embedding import embed  # noqa: E402
from fractal.encoders.laying import VECTORS, embed_by_workers  # noqa: E402
from fractal.errors import BadSpec  # noqa: E402
from fractal.features import prior_similarity  # noqa: E402
from fractal.features.pipeline import FeaturePipeline  # noqa: E402
from fractal.scorers import training_space as module  # noqa: E402
from fractal.scorers.training_space import training_space  # noqa: E402
from support.folders import digests  # noqa: E402

PLAN = TrainingPlan(epochs=2, members=2, folds=2, hidden=(8,))
ENCODER = ENCODERS.build("hashing(dim=16)")


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Cut what is encoded and laid at once so small that these few responses are many parts."""
    monkeypatch.setattr("fractal.encoders.embedding.RESPONSES_AT_ONCE", 17)
    monkeypatch.setattr("fractal.encoders.block.TILE", 40)


def fitted(workers, limit=1e6, **options):
    scorer = SentenceScorer(encoder="hashing(dim=16)", plan=PLAN, cache=False, memory_limit=limit, **options)
    return scorer.set_params(workers=workers)


@pytest.mark.filterwarnings("ignore:vectors and columns", "ignore:texts take")
@pytest.mark.parametrize("options", [{}, {"recipe": "paper", "aggregation": "product"}], ids=["usual", "shared rows"])
def test_a_scorer_is_the_same_to_the_last_bit(tmp_path, options):
    responses = make_responses(60, task="summaries", seed=1)
    folders = {}
    for workers, limit in (("auto", 1e6), (1, 1e-6), (2, 1e6), (3, 1e-6)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            scorer = fitted(workers, limit, **options).fit(iter(responses))
        assert ("by 2 processes" in " ".join(str(one.message) for one in said)) == (workers == 2)
        folders[workers, limit] = digests(scorer.save_pretrained(tmp_path / f"{workers} {limit}"))
    assert len({str(sorted(one.items())) for one in folders.values()}) == 1


@pytest.mark.filterwarnings("ignore:vectors and columns")
def test_aspects_are_the_same_too(tmp_path):
    rated = [replace(one, aspects={"right": one.label}) for one in make_responses(40, seed=1)]
    folders = [
        digests(
            AspectScorer({"right": "product"}, fitted(workers, recipe="own"))
            .fit(rated)
            .save_pretrained(tmp_path / workers)
        )
        for workers in ("1", "2")
    ]
    assert folders[0] == folders[1]


def vectors(block):
    return {name: getattr(block, name) for name in (*VECTORS, "offsets", "chunk_offsets")}


def test_a_worker_that_dies_is_replaced(tmp_path):
    responses = make_responses(120, task="summaries", seed=2)
    whole = embed(responses, ENCODER)
    killed = []

    def kill_one(done, total):
        if not killed:
            killed.append(multiprocessing.active_children()[0])
            killed[0].kill()
        assert done <= total == len(responses)

    with pytest.warns(UserWarning, match=r"a worker died \(exit -9\) on responses [\d]+ to [\d]+.*lays them again"):
        block = embed_by_workers(responses, ENCODER, progress=kill_one, space=ArraySpace(tmp_path, 2))
    assert killed
    assert not multiprocessing.active_children()
    for name, array in vectors(whole).items():
        np.testing.assert_array_equal(array, getattr(block, name))
    assert not list(tmp_path.iterdir())


def test_columns_are_laid_again_where_a_worker_dies(tmp_path, monkeypatch):
    from fractal.features import laying

    responses = make_responses(120, task="summaries", seed=2)
    recipes = [(("cosine", "neighbours"), 0), (("chunks", "context", "sentence"), 8)]
    expected = FeaturePipeline.fit_several(embed(responses, ENCODER), recipes)
    block = embed(responses, ENCODER, space=ArraySpace(tmp_path, 2))
    in_order, killed = laying._in_order, []

    def killing(made):
        for part in made:
            if not killed:
                killed.append(multiprocessing.active_children()[0])
                killed[0].kill()
            yield part

    monkeypatch.setattr(laying, "_in_order", lambda made: in_order(killing(made)))
    with pytest.warns(UserWarning, match="another process lays them again"):
        laid = FeaturePipeline.fit_several(block, recipes)
    for (_, table), (_, other) in zip(expected, laid, strict=True):
        np.testing.assert_array_equal(table.dense, other.dense)
        for one, two in zip(table.shared, other.shared, strict=True):
            np.testing.assert_array_equal(one.values, two.values)
            np.testing.assert_array_equal(one.index, two.index)
            np.testing.assert_array_equal(one.row_offsets, two.row_offsets)
    np.testing.assert_array_equal(prior_similarity(embed(responses, ENCODER)), prior_similarity(block))


def test_what_no_process_can_be_sent_is_encoded_here(tmp_path):
    @dataclass(frozen=True)
    class Local(type(ENCODER)):
        """A class that no other process knows."""

    responses = make_responses(30, seed=2)
    with pytest.warns(UserWarning, match="no worker process can be started.*This process encodes alone"):
        block = embed_by_workers(responses, Local(dim=16), space=ArraySpace(tmp_path, 2))
    assert isinstance(Local(dim=16), Encoder)
    assert block.space == ArraySpace(tmp_path)
    np.testing.assert_array_equal(block.sentences, embed(responses, ENCODER).sentences)


@pytest.mark.filterwarnings("ignore:vectors and columns", "ignore:texts take")
def test_a_fit_that_was_stopped_goes_on_with_another_number_of_workers(tmp_path):
    responses = make_responses(60, task="summaries", seed=1)
    options = {"recipe": "own", "aggregation": "product"}

    def stop(*_):
        raise KeyboardInterrupt

    for stopped in ({"on_encode": stop}, {"callbacks": [stop]}):
        with pytest.raises(KeyboardInterrupt):
            fitted(2, **options).fit(responses, checkpoints=tmp_path / "runs", **stopped)
        assert not multiprocessing.active_children()
    epochs = []
    resumed = fitted(1, **options).fit(responses, checkpoints=tmp_path / "runs", callbacks=[epochs.append])
    whole = fitted(3, **options).fit(responses)
    assert len(epochs) < len(whole.history_)
    assert digests(resumed.save_pretrained(tmp_path / "1")) == digests(whole.save_pretrained(tmp_path / "3"))


def test_an_encoder_on_a_gpu_encodes_alone(tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class OnDevice(type(ENCODER)):
        """An encoder that says where it runs."""

        device: str = "auto"

    monkeypatch.setattr("fractal.encoders.laying.choose_device", lambda *_: torch.device("cuda"))
    monkeypatch.setattr("fractal.encoders.laying.laying_pool", lambda *_: pytest.fail("started"))
    responses = make_responses(30, seed=2)
    with pytest.warns(UserWarning, match="runs on a GPU: this process encodes alone"):
        block = embed_by_workers(responses, OnDevice(dim=16), space=ArraySpace(tmp_path, 2))
    assert block.space.workers == 2
    np.testing.assert_array_equal(block.sentences, embed(responses, ENCODER).sentences)


SCRIPT = """
from fractal import SentenceScorer, TrainingPlan, read
print("begun")
scorer = SentenceScorer(encoder="hashing(dim=16)", recipe="own", aggregation="product", workers=2, cache=False)
print(scorer.set_params(plan__epochs=1).fit(read("rated.jsonl")).cost_ > 0)
"""


REGISTERING = """
from fractal.features import FEATURES
from fractal.features.base import scalars
@FEATURES.register("letters")
def letters(block):
    return scalars("letters", {"count": [len(s.text) for r in block.responses for s in r.sentences]})
"""


@pytest.mark.parametrize("registers", [False, True])
def test_a_script_without_a_guard_runs_once(tmp_path, registers):
    write(make_responses(60, seed=1), tmp_path / "rated.jsonl")
    script = REGISTERING + SCRIPT.replace('"own"', '"own + letters"') if registers else SCRIPT
    (tmp_path / "script.py").write_text(script)
    run = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.stdout.split() == ["begun", "True"], run.stderr
    assert "by 2 processes" in run.stderr
    assert ("This process lays the columns alone" in run.stderr) == registers


def test_workers_are_started_where_they_pay(monkeypatch):
    responses = make_responses(30, task="summaries", seed=1)
    monkeypatch.setattr("fractal.processes.pool.os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert training_space(responses, 16, 1e6) == IN_MEMORY
    assert training_space(responses, 16, 1e6, 1) == IN_MEMORY
    with pytest.warns(UserWarning, match="alone, as there are fewer than 50,000 sentences"):
        assert training_space(responses, 16, 1e-6).workers == 1
    with pytest.warns(UserWarning, match="and workers=4 share them: .* by 4 processes"):
        assert training_space(responses, 16, 1e6, "4").workers == 4
    monkeypatch.setattr(module, "WORTH_WORKERS", 10)
    with pytest.warns(UserWarning, match="by 3 processes"):
        assert training_space(responses, 16, 1e-6).workers == 3
    monkeypatch.setattr(module, "CAN_SHARE", False)
    with pytest.warns(UserWarning, match="cannot be shared on this system"):
        assert training_space(responses, 16, 1e-6, 2).workers == 1
    with pytest.raises(BadSpec, match="workers='many'"):
        training_space(responses, 16, 1e6, "many")
