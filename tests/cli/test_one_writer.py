"""One process alone writes a file or folder, and a run that is taken up goes on with the same data."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from fractal.cli import main
from fractal.datasets.synthetic import make_responses
from fractal.ensemble.self_training import SelfTraining
from fractal.errors import BadData
from fractal.files import exclusive, open_target
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.persistence import load_folder
from fractal.scorers.sentence import SentenceScorer
from fractal.writers import write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs locks of files")

HOLD = """
import sys
from fractal.files import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scorer that is quick rather than good, responses, and their scores."""
    place = tmp_path_factory.mktemp("writers")
    plan = TrainingPlan(epochs=1, members=2, folds=2, hidden=(8,))
    scorer = SentenceScorer(
        "product", ("cosine", "length"), "hashing(dim=64)", plan=plan, self_training=SelfTraining(rounds=0), cache=False
    )
    responses = make_responses(60, "summaries", seed=1)
    scorer.fit(responses)
    scorer.save_pretrained(place / "scorer")
    write(responses, place / "data.jsonl")
    write(scorer.score_responses(responses), place / "scores.jsonl")
    return place


@pytest.fixture
def fractal(capsys):
    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def held():
    """Hold a target in another process."""
    processes = []

    def hold(target) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.communicate("")


COMMANDS = {
    "score": ("score", "SCORER", "DATA", "--no-cache", "-o", "OUT.jsonl"),
    "score a table": ("score", "SCORER", "DATA", "--no-cache", "-o", "OUT.csv"),
    "disaggregate": ("disaggregate", "SCORER", "DATA", "-o", "OUT.jsonl"),
    "export": ("export", "SCORES", "-o", "OUT.csv"),
    "evaluate": ("evaluate", "SCORES", "--bootstrap", "0", "-o", "OUT.json"),
    "report": ("report", "SCORES", "--bootstrap", "0", "-o", "OUT.html"),
    "train": ("train", "DATA", "--encoder", "hashing(dim=64)", "--no-cache", "-o", "OUT"),
    "corrupt": ("corrupt", "DATA", "-o", "OUT.jsonl"),
    "calibrate": ("calibrate", "SCORES", "--labelled", "SCORES", "-o", "OUT.jsonl"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_writer_is_refused_and_told_which_process_is_at_it(fractal, folder, tmp_path, held, name):
    places = {"SCORER": folder / "scorer", "DATA": folder / "data.jsonl", "SCORES": folder / "scores.jsonl"}
    args = [str(tmp_path / arg) if arg.startswith("OUT") else str(places.get(arg, arg)) for arg in COMMANDS[name]]
    process = held(args[-1])
    code, _, err = fractal(*args)
    assert code == 2
    assert f"process {process.pid} is writing it" in err
    process.communicate("")
    assert not list(tmp_path.iterdir())


def test_of_two_runs_at_once_one_ends_and_the_file_is_whole(folder, tmp_path):
    out = tmp_path / "scores.jsonl"
    args = ["score", folder / "scorer", folder / "data.jsonl", "--no-cache", "-q", "-o", out]
    runs = [subprocess.Popen([sys.executable, "-m", "fractal", *map(str, args)], stderr=-1) for _ in range(3)]
    codes = sorted(run.wait(60) for run in runs if run.communicate())
    assert codes[0] == 0
    assert set(codes) <= {0, 2}
    assert len(out.read_bytes().splitlines()) == 60
    assert [path.name for path in tmp_path.iterdir()] == ["scores.jsonl"]


def test_a_lock_falls_with_its_process(tmp_path, held):
    process = held(tmp_path / "a")
    process.kill()
    process.wait()
    with exclusive(tmp_path / "a"), exclusive(tmp_path / "a"):
        assert (tmp_path / ".a.lock").exists()
    assert not list(tmp_path.iterdir())


def test_locks_pass_from_one_to_the_next(tmp_path):
    """A lock file that is removed while another process opens it locks nobody out, and nothing stays."""
    code = "import sys; from fractal.files import exclusive\nfor _ in range(200):\n  with exclusive(sys.argv[1]): pass"
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a")], stderr=subprocess.PIPE)
    refused = 0
    while run.poll() is None:
        try:
            with exclusive(tmp_path / "a"):
                pass
        except BadData:
            refused += 1
    run.communicate()
    assert not list(tmp_path.iterdir())


def test_a_folder_where_nothing_may_be_written_is_named(tmp_path):
    with pytest.raises(BadData, match="cannot be written"), open_target(tmp_path / "none" / "a.jsonl"):
        pass
    thread = threading.Thread(target=write, args=([], tmp_path / "a.jsonl"))
    thread.start()
    thread.join()
    assert (tmp_path / "a.jsonl").exists()


def stopped_run(folder, out, lines: int) -> None:
    """Leave what a run leaves that was killed after some lines."""
    digest = load_folder(folder / "scorer").digest
    written = (folder / "scores.jsonl").read_bytes().splitlines(keepends=True)
    out.with_name(f"{out.name}.part").write_bytes(b"".join(written[:lines]))
    out.with_name(f"{out.name}.part.json").write_text(json.dumps({"scorer": digest, "batch": 16}))


@pytest.mark.parametrize("change", ["sentences", "query", "context", "label", "extra", "nothing"])
def test_resuming_with_other_data_of_the_same_ids_is_refused(fractal, folder, tmp_path, change):
    data, out = tmp_path / "data.jsonl", tmp_path / "out.jsonl"
    records = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    third = records[2]
    third |= {
        "sentences": {"sentences": [*third["sentences"][:-1], "Another end."]},
        "query": {"query": "Another question?"},
        "context": {"context": ["Another passage."]},
        "label": {"label": 1 - third["label"]},
        "extra": {"source": "elsewhere"},
        "nothing": {},
    }[change]
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    stopped_run(folder, out, 32)
    code, _, err = fractal("score", folder / "scorer", data, "--no-cache", "--batch", 16, "-o", out, "--resume")
    if change == "nothing":
        assert code == 0
        assert len(out.read_bytes().splitlines()) == 60
    else:
        assert code == 2
        assert "as response 3, the data have another response under that id" in err
        assert not out.exists()


def test_records_without_ids_of_another_file_of_that_name_are_refused(fractal, folder, tmp_path):
    """Without ids a record is called by its file and line, which says nothing of what is in it."""
    out, data = tmp_path / "out.jsonl", tmp_path / "a.jsonl"
    args = ("score", folder / "scorer", data, "--no-cache", "--allow-missing", "--batch", 16, "-o", out)
    data.write_text("".join(json.dumps({"response": f"The river rose {n}."}) + "\n" for n in range(40)))
    assert fractal(*args)[0] == 0
    stopped_run(folder, out, 0)
    out.rename(tmp_path / "out.jsonl.part")
    data.write_text("".join(json.dumps({"response": f"The river fell {n}."}) + "\n" for n in range(40)))
    assert fractal(*args, "--resume")[0] == 2
