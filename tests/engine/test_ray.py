"""A cluster of several nodes on one machine: the same bytes as the processes of one, nodes killed or not."""

from __future__ import annotations

import threading
import time

import pytest

from fractal import SentenceScorer, TrainingPlan, make_responses, write
from fractal.engine import score_files
from support.folders import digests

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'fractal-scores[ray]'")

PLAN = TrainingPlan(epochs=2, members=2, folds=2, hidden=(8,))


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.add_node(num_cpus=1)
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def work(tmp_path):
    fitted = SentenceScorer(encoder="hashing(dim=32)", plan=PLAN, recipe="own", cache=False)
    fitted.fit(make_responses(40, task="summaries", seed=1)).save_pretrained(tmp_path / "scorer")
    write(make_responses(150, task="summaries", seed=7), tmp_path / "answers.jsonl")
    options = {"cache": False, "unit_bytes": 8_000}
    score_files(tmp_path / "scorer", tmp_path / "answers.jsonl", tmp_path / "local", workers=1, **options)
    return tmp_path, options


def test_a_cluster_writes_the_same_bytes(cluster, work):
    folder, options = work
    score_files(folder / "scorer", folder / "answers.jsonl", folder / "ray", engine="ray", workers=2, **options)
    assert digests(folder / "ray") == digests(folder / "local")


def test_a_node_that_dies_changes_nothing(cluster, work):
    folder, options = work
    killed = threading.Event()

    def kill(done, total):
        if done == 3 and not killed.is_set():
            killed.set()
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            cluster.add_node(num_cpus=1)

    score_files(
        folder / "scorer", folder / "answers.jsonl", folder / "ray", engine="ray", workers=2, progress=kill, **options
    )
    assert killed.is_set()
    time.sleep(0.5)
    assert digests(folder / "ray") == digests(folder / "local")


def test_a_dataset_is_scored(cluster, work):
    from fractal.engine.ray import score_dataset

    folder, _ = work
    rows = ray.data.from_items(
        [{"id": str(i), "sentences": [f"The answer is {i}.", "It is short."]} for i in range(20)], override_num_blocks=2
    )
    scored = score_dataset(folder / "scorer", rows).take_all()
    assert sorted(row["id"] for row in scored) == sorted(str(i) for i in range(20))
    assert all(len(row["sentence_scores"]) == 2 for row in scored)
