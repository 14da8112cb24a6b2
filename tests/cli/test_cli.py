"""The command line: what it prints, where it writes, and how it ends."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fractal.cli import app, main
from fractal.cli._command import Command
from fractal.cli._pages import document
from fractal.datasets.synthetic import make_responses
from fractal.readers import read, read_scored
from fractal.writers import write

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "cli"
ENCODER = "hashing(dim=64)"
QUICK = [
    *("--encoder", ENCODER, "--aggregation", "product", "--recipe", "own"),
    *("--set", "epochs=3", "--set", "members=2", "--set", "folds=2", "--set", "rounds=0"),
]


class Ended:
    """How a command ended: its exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def fractal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")

    def run(*args: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty made responses, rated and not, and a scorer that learned from them."""
    place = tmp_path_factory.mktemp("cli")
    os.environ["FRACTAL_CACHE"] = str(place / "cache")
    made = make_responses(40, "summaries", seed=3)
    write(made, place / "truth.jsonl")
    write([response.without_labels() for response in made], place / "answers.jsonl")
    with pytest.raises(SystemExit) as ended:
        main(["train", str(place / "truth.jsonl"), "-o", str(place / "scorer"), "--gold", "none", "-q", *QUICK])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["score", str(place / "scorer"), str(place / "answers.jsonl"), "-o", str(place / "scores.jsonl"), "-q"])
    assert ended.value.code == 0
    yield place
    os.environ.pop("FRACTAL_CACHE")


def commands():
    import click

    ctx = click.Context(app)
    for name in app.list_commands(ctx):
        command = app.get_command(ctx, name)
        yield from command.commands.values() if isinstance(command, click.Group) else [command]


@pytest.mark.parametrize("command", list(commands()), ids=lambda command: command.name)
def test_every_command_has_two_examples_and_a_line_of_help(command):
    assert isinstance(command, Command)
    assert len(command.examples) >= 2
    assert all("fractal " in example for example in command.examples)
    assert command.get_short_help_str(100).endswith(".")


def test_the_page_of_the_docs_is_fresh():
    stale = "run: python -m fractal.cli._pages docs/cli.md"
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == document(), stale


def test_help_is_quick_and_light():
    code = (
        "import sys, time\n"
        "from fractal.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(time.process_time())\n"  # of the whole process, its start included
        "print(sorted({'torch', 'numpy', 'rich', 'sklearn', 'transformers', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    spent = []
    for _ in range(5):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        *_, seconds, heavy = result.stdout.splitlines()
        assert heavy == "[]"
        spent.append(float(seconds))
    assert min(spent) < 0.5  # processor time: on a busy machine the clock tells of others


@pytest.mark.parametrize("family", ["aggregations", "priors", "readers", "writers", "metrics", "recipes", "splitters"])
def test_list_names_every_member(fractal, family):
    rows = json.loads(fractal("list", family, "--json").out)
    shown = fractal("list", family.removesuffix("s")).out
    assert rows
    assert all(row["name"] in shown and row["help"] for row in rows)


def test_train_reports_what_it_chose_and_names_the_next_command(fractal, folder, tmp_path):
    ended = fractal("train", folder / "truth.jsonl", "-o", tmp_path / "s", "--log", tmp_path / "epochs.jsonl", *QUICK)
    assert ended.code == 0
    assert ended.out == ""
    for said in (
        "40 responses",
        "held-out response ROC AUC",
        "held-out log-loss",
        "scalar features of sentence and context: done",
        "AUC 0.",
        "fractal score",
        "length shortcut",
    ):
        assert said in ended.err
    assert (tmp_path / "s" / "config.json").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"s", "epochs.jsonl"}
    told = [json.loads(line) for line in (tmp_path / "epochs.jsonl").open()]
    assert [(epoch["epoch"], epoch["stage"]) for epoch in told] == [
        (number, "scalar features of sentence and context") for number in (1, 2, 3)
    ]
    assert all(0.0 <= epoch["auc"] <= 1.0 for epoch in told)


@pytest.mark.parametrize("where", ["--cache", "--no-cache"])
def test_one_training_encodes_every_text_once(fractal, folder, tmp_path, monkeypatch, where):
    from collections import Counter

    from fractal.encoders.hashing import Hashing

    texts, encode = Counter(), Hashing.encode_tokens

    def counting(self, batch, progress=None):
        texts.update(batch)
        return encode(self, batch, progress)

    monkeypatch.setattr(Hashing, "encode_tokens", counting)
    place = [where, tmp_path / "cache"] if where == "--cache" else [where]
    ended = fractal("train", folder / "truth.jsonl", "-o", tmp_path / "s", *place, *QUICK)
    assert ended.code == 0
    assert ended.err.count("responses encoded: 40 in") == 1
    assert len(texts) > 100
    assert set(texts.values()) == {1}


def test_train_tells_all_as_json(fractal, folder, tmp_path):
    ended = fractal(
        "train", folder / "truth.jsonl", "-o", tmp_path / "s", "--valid", folder / "truth.jsonl", "--json", *QUICK
    )
    told = json.loads(ended.out)
    assert told["data"]["responses"] == 40
    assert told["data"]["sentence labels"] > 100  # they stand in the data, and are used
    assert {row["metric"] for row in told["validation"]["rows"]} >= {"roc_auc", "response_roc_auc"}
    assert {"name", "verdict", "sentence", "value"} == set(told["checks"][0])
    assert ended.err == ""


def test_gold_none_ignores_sentence_labels_and_gold_data_adds_them(fractal, folder, tmp_path):
    def labels(*gold: object) -> int:
        ended = fractal("train", *gold, "--dry-run", "--json", *QUICK)
        return json.loads(ended.out)["data"]["sentence labels"]

    rated = tmp_path / "rated.jsonl"
    write((dataclasses.replace(r.without_labels(), label=r.label) for r in read(folder / "truth.jsonl")), rated)
    known = labels(folder / "truth.jsonl")
    assert labels(folder / "truth.jsonl", "--gold", "none") == 0
    assert labels(rated) == 0
    assert labels(rated, "--gold", folder / "truth.jsonl") == known


def test_dry_run_trains_nothing(fractal, folder, tmp_path):
    ended = fractal("train", folder / "truth.jsonl", "--dry-run", "-o", tmp_path / "s", *QUICK)
    assert ended.code == 0
    assert "Nothing was trained" in ended.out
    assert not list(tmp_path.iterdir())


def test_priors_left_to_the_checks_are_told_with_the_reason(fractal, folder, tmp_path):
    made = ("--encoder", ENCODER, "--set", "epochs=2", "--prior", "auto", "--json")
    told = json.loads(fractal("train", folder / "truth.jsonl", "-o", tmp_path / "scorer", *made).out)
    whys = {choice["about"]: choice["why"] for choice in told["choices"]}
    assert whys["prior cosine"] == "Fewer than 100 responses tell by their labels whether it helps."


def test_a_file_of_settings_says_what_flags_say_and_flags_win(fractal, folder, tmp_path):
    settings = {
        "sources": [str(folder / "truth.jsonl")],
        "aggregation": "mean",
        "prior": ["cosine(weight=0.2)"],
        "encoder": ENCODER,
        "set": {"epochs": 2, "learning_rate": 0.5, "rounds": 0},
        "column": {"label": "label"},
    }
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    told = json.loads(fractal("train", "--config", path, "--aggregation", "min", "--dry-run", "--json").out)["options"]
    assert told["aggregation"] == "min"
    assert told["plan__epochs"] == "2"
    assert told["plan__learning_rate"] == "0.5"
    assert told["priors"] == "('cosine(weight=0.2)',)"
    toml = tmp_path / "settings.toml"
    toml.write_text(f'sources = ["truth.jsonl"]\nencoder = "{ENCODER}"\n')
    (tmp_path / "truth.jsonl").write_bytes((folder / "truth.jsonl").read_bytes())
    assert json.loads(fractal("train", "--recipe-file", toml, "--dry-run", "--json").out)["data"]["responses"] == 40


@pytest.mark.parametrize(
    ("content", "said"),
    [("agregation = 'min'", "Did you mean 'aggregation'?"), ("= 1", "is no TOML"), ("config = 'x'", "no option")],
)
def test_a_wrong_file_of_settings_is_explained(fractal, tmp_path, content, said):
    path = tmp_path / "wrong.toml"
    path.write_text(content)
    ended = fractal("train", "x.jsonl", "--config", path)
    assert ended.code == 2
    assert said in ended.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["train", "missing.jsonl", "-o", "x"], "cannot be opened"),
        (["train", "x.jsonl"], "say where the scorer goes"),
        (["train", "x.jsonl", "-o", "x", "--set", "epoch=3"], "Did you mean 'epochs'?"),
        (["train", "x.jsonl", "-o", "x", "--set", "epochs"], "write name=value"),
        (["train", "x.jsonl", "-o", "x", "--set", "epochs=0"], "give at least 1"),
        (["train", "x.jsonl", "-o", "x", "--set", "epochs=2.5"], "give a whole number"),
        (["train", "x.jsonl", "-o", "x", "--set", "learning_rate=fast"], "give a number"),
        (["train", "x.jsonl", "-o", "x", "--set", "from_initial=maybe"], "give True or False"),
        (["train", "x.jsonl", "-o", "x", "--set", "hidden=64,wide"], "give a whole number"),
        (["train", "x.jsonl", "-o", "x", "--set", "dropout=2"], "give a share"),
        (["scroe"], "Did you mean 'score'?"),
        (["score", "no-such-folder", "x.jsonl"], "no-such-folder"),
        (["list", "agregations"], "Did you mean 'aggregations'?"),
        (["disaggregate", "ratings.jsonl"], "--cross-fit"),
        (["show", "missing.jsonl"], "cannot be opened"),
        (["evaluate", "missing.jsonl", "--colour"], "No such option"),
        (["export", "missing.jsonl", "--to", "jsn"], "Did you mean 'jsonl'?"),
    ],
)
def test_what_a_user_does_wrong_is_said_without_a_traceback(fractal, tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    ended = fractal(*args)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--aggregation", "softmim"], "Did you mean 'softmin'?"),
        (["--splitter", "sentence"], "Did you mean 'sentences'?"),
        (["--encoder", "hashin"], "Did you mean 'hashing'?"),
        (["--prior", "cosin"], "Did you mean 'cosine'?"),
        (["--valid", "missing.jsonl"], "cannot be opened"),
        (["--column", "label=id"], "a label is"),
        (["--set", "learn_from=words"], "give 'responses' or 'sentences'"),
    ],
)
def test_what_cannot_be_learned_with_is_said_before_texts_are_encoded(fractal, folder, tmp_path, options, said):
    cache = tmp_path / "cache"
    ended = fractal("train", folder / "truth.jsonl", "-o", tmp_path / "s", "--cache", cache, *QUICK[:2], *options)
    assert ended.code == 2
    assert said in ended.err
    assert not list(tmp_path.iterdir())


def test_one_sided_labels_and_a_file_for_a_folder_are_refused(fractal, tmp_path):
    rated = tmp_path / "rated.jsonl"
    rated.write_text('{"response": "Good.", "label": 1}\n{"response": "Fine.", "label": 1}\n')
    for args, said in ((["-o", tmp_path / "s"], "all 2 labels are 1"), (["-o", rated], "is a file")):
        ended = fractal("train", rated, *args, "--encoder", ENCODER)
        assert (ended.code, said in ended.err, "encoded" in ended.err) == (2, True, False)
    for command in (["tune", "--study", rated, "--encoder", ENCODER, "-o", tmp_path / "t"], ["tune"]):
        ended = fractal(*command, rated)
        assert ended.code == 2
        assert "all 2 labels are 1" in ended.err


def test_a_file_that_is_no_study_is_refused(fractal, folder, tmp_path):
    pytest.importorskip("optuna")
    ended = fractal("tune", folder / "truth.jsonl", "--study", folder / "truth.jsonl", "-o", tmp_path, *QUICK[:2])
    assert ended.code == 2
    assert "no study that can be opened" in ended.err


def test_what_holds_no_epochs_is_refused_and_what_does_is_drawn(fractal, folder, tmp_path):
    for command in (["plot", "history", folder / "scores.jsonl"], ["report", folder / "scores.jsonl", "--log"]):
        args = [*command, folder / "scores.jsonl"] if command[0] == "report" else command
        ended = fractal(*args, "-o", tmp_path / "x.svg")
        assert (ended.code, "fractal train --log" in ended.err) == (2, True)
    log = tmp_path / "epochs.jsonl"
    log.write_text('{"epoch": 1, "parts": {"response": 0.7}, "held_out": null, "auc": 0.8}\n')
    assert fractal("report", folder / "scores.jsonl", "--log", log, "-o", tmp_path / "r.html").code == 0
    page = (tmp_path / "r.html").read_text()
    assert all(f"{what} by epoch" in page for what in ("Cost", "Held-out AUC of responses"))


def test_scores_without_labels_are_told_where_to_get_them(fractal, folder):
    for command in (["evaluate"], ["plot", "roc"]):
        ended = fractal(*command, folder / "scores.jsonl")
        assert (ended.code, "--truth" in ended.err) == (2, True)


def test_an_export_that_nothing_fits_says_so(fractal, folder, tmp_path):
    ended = fractal("export", folder / "scores.jsonl", "--to", "dpo", "-o", tmp_path / "pairs.jsonl")
    assert (tmp_path / "pairs.jsonl").read_text() == ""
    assert "It is empty" in ended.err


@pytest.mark.parametrize("package", ["torch", "sklearn"])
def test_the_light_installation_says_what_training_needs(package):
    without = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {package!r}:
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Missing())
import fractal
from fractal.cli import main
"""
    told = []
    for command in ("main(['train', 'x.jsonl', '-o', 'x'])", "fractal.SentenceScorer"):
        ended = subprocess.run([sys.executable, "-c", without + command], capture_output=True, text=True, check=False)
        told.append(ended.stderr.splitlines()[-1])
        assert ("Traceback" in ended.stderr) == command.startswith("fractal")
    assert all("pip install 'fractal-scores[train]'" in line for line in told)


@pytest.mark.parametrize("command", ["export {scores}", "show {scores} -n 0", "list encoders", "inspect {scores}"])
def test_who_stops_reading_hears_nothing(folder, command):
    args = command.format(scores=folder / "scores.jsonl").split()
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-m", "fractal", *args], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell):
    def asked(instruction: str, **words: str) -> str:
        environment = {**os.environ, "_FRACTAL_COMPLETE": f"{shell}_{instruction}", **words}
        command = [sys.executable, "-m", "fractal"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "_FRACTAL_COMPLETE" in asked("source")
    assert "train" in asked("complete", COMP_WORDS="fractal tr", COMP_CWORD="1" if shell != "fish" else "tr")
    options = asked("complete", COMP_WORDS="fractal train --agg", COMP_CWORD="2" if shell != "fish" else "--agg")
    assert "--aggregation" in options


def test_debug_shows_the_traceback():
    from fractal.errors import BadData

    for args in (["--debug", "show", "missing.jsonl"], ["show", "missing.jsonl", "--debug"]):
        with pytest.raises(BadData):
            main(args)


def test_scores_are_the_same_from_a_file_and_from_a_pipe(folder, tmp_path):
    piped = subprocess.run(
        [sys.executable, "-m", "fractal", "score", str(folder / "scorer"), "-", "-q"],
        stdin=(folder / "answers.jsonl").open("rb"),
        capture_output=True,
        check=True,
    )
    assert piped.stdout == (folder / "scores.jsonl").read_bytes()
    assert piped.stderr == b""


def test_disaggregated_labels_agree_with_the_response(fractal, folder):
    ended = fractal("disaggregate", folder / "scorer", folder / "truth.jsonl")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert len(rows) == 40
    assert all(min(row["disaggregated_labels"]) == row["label"] for row in rows)


def test_cross_fit_trains_on_the_data_itself(fractal, folder, tmp_path):
    out = tmp_path / "labelled.jsonl"
    ended = fractal(
        *("disaggregate", folder / "truth.jsonl", "--cross-fit", 2, "--encoder", ENCODER, "-o", out, "--json")
    )
    assert json.loads(ended.out) == {"labelled": 40, "rejected": 0, "output": str(out)}
    assert len(list(read_scored(out))) == 40


def test_evaluate_compares_with_the_truth_and_with_others(fractal, folder):
    plain = ["evaluate", folder / "scores.jsonl", "--truth", folder / "truth.jsonl", "--bootstrap", 20, "-m", "roc_auc"]
    told = json.loads(fractal(*plain, "--json").out)
    assert told["rows"][0]["metric"] == "roc_auc"
    against = fractal(*plain, "--against", folder / "scores.jsonl")
    assert against.code == 0
    assert "+0.000" in against.out
    assert fractal(*plain, "--markdown").out.startswith("| metric |")
    assert fractal("evaluate", folder / "scores.jsonl").code == 2


def test_evaluate_finds_the_threshold_for_a_wanted_precision_or_recall(fractal, folder, tmp_path):
    plain = ["evaluate", folder / "scores.jsonl", "--truth", folder / "truth.jsonl", "--bootstrap", 20, "-m", "roc_auc"]
    ended = fractal(*plain, "--wanted-recall", 0.8, "--json", "-o", tmp_path / "e.json")
    cut = json.loads(ended.out)["threshold"]
    assert json.loads((tmp_path / "e.json").read_text())["threshold"] == cut
    labelled = {response.id: response for response in read(folder / "truth.jsonl")}
    pairs = [
        (score, sentence.label)
        for item in read_scored(folder / "scores.jsonl")
        for score, sentence in zip(item.sentence_scores, labelled[item.response.id].sentences, strict=True)
        if sentence.label is not None
    ]
    bad = [score for score, label in pairs if label < 0.5]
    assert cut["recall"] == pytest.approx(sum(score <= cut["threshold"] for score in bad) / len(bad))
    assert cut["recall"] >= 0.8
    assert cut["recall_interval"][0] <= cut["recall"]
    shown = fractal(*plain, "--wanted-precision", 0.5, "--of", "good").out.splitlines()[-1]
    assert shown.startswith("Threshold ")
    assert "precision 0.5 of the good" in shown
    for more in (["--against", folder / "scores.jsonl"], ["--wanted-precision", 0.5], ["-m", "mae", "--of", "fine"]):
        assert fractal(*plain, "--wanted-recall", 0.8, *more).code == 2


def test_calibrate_moves_scores_and_keeps_their_order(fractal, folder, tmp_path):
    """From response labels alone, and from sentence labels as well."""
    scores, truth, out = folder / "scores.jsonl", folder / "truth.jsonl", tmp_path / "calibrated.jsonl"
    plain = ["calibrate", scores, "--labelled", scores, "--truth", truth, "--aggregation", "min", "-o", out]
    facts = json.loads(fractal(*plain, "--json").out)
    assert facts["written"] == len(list(read_scored(out))) == len(list(read_scored(scores)))
    assert facts["response_labels"] > 0
    assert facts["sentence_labels"] > 0
    slope, shift = facts["slope"], facts["shift"]
    for before, after in zip(read_scored(scores), read_scored(out), strict=True):
        assert after.response_score == before.response_score
        for old, new in zip(before.sentence_scores, after.sentence_scores, strict=True):
            odds = slope * math.log(old / (1 - old)) + shift
            assert new == pytest.approx(1 / (1 + math.exp(-odds)), abs=1e-3)
    product = [*plain[:-4], "--aggregation", "product", "-o", out, "--clustered"]
    found = json.loads(fractal(*product, "--json").out)["clustered"]
    assert found["holds"] == (found["confidence"] >= 0.95)
    assert "sentences cluster" in fractal(*product).err
    assert fractal(*plain[:-4], "--aggregation", "mean", "--clustered").code == 2
    unlabelled = fractal("calibrate", scores, "--labelled", scores)
    assert (unlabelled.code, "nothing to calibrate" in unlabelled.err) == (2, True)


def test_show_filters_and_says_when_nothing_is_left(fractal, folder):
    scored = list(read_scored(folder / "scores.jsonl"))
    worst = min(scored, key=lambda item: (min(item.sentence_scores), item.response_score))
    assert fractal("show", folder / "scores.jsonl", "-n", 1).out.startswith(worst.response.id)
    one = fractal("show", folder / "scores.jsonl", "--id", scored[4].response.id, "-n", 0)
    assert one.out.count("score ") == 1
    nothing = fractal("show", folder / "scores.jsonl", "--find", "no response says this")
    assert (nothing.code, nothing.out) == (1, "")


def test_report_plot_and_export_write_their_files(fractal, folder, tmp_path):
    page = fractal("report", folder / "scores.jsonl", "--truth", folder / "truth.jsonl", "-o", tmp_path / "r.html")
    assert page.out == f"{tmp_path / 'r.html'}\n"
    assert "<html" in (tmp_path / "r.html").read_text()
    for kind in ("roc", "precision_recall", "calibration", "positions"):
        out = tmp_path / f"{kind}.svg"
        source = [folder / "scores.jsonl", "--truth", folder / "truth.jsonl"]
        assert fractal("plot", kind, *source, "-o", out).code == 0
        assert out.stat().st_size > 1000
    assert fractal("export", folder / "scores.jsonl", "-o", tmp_path / "scores.csv").code == 0
    assert (tmp_path / "scores.csv").read_text().count("\n") > 100


def test_inspect_finds_what_would_mislead(fractal, folder, tmp_path):
    rows = [json.loads(line) for line in (folder / "truth.jsonl").open()][:6]
    rows += [{**rows[0], "id": "again"}, {**rows[1], "id": "opposite", "label": 1 - rows[1]["label"]}]
    rows.append({"id": "long", "response": "word " * 600, "label": 1})
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = fractal("inspect", tmp_path / "bad.jsonl", folder / "truth.jsonl", "--json")
    told = json.loads(ended.out)
    found = told["files"][0]["suspicious"]
    assert [row["id"] for row in found["the same response twice"]] == ["again"]
    assert [row["id"] for row in found["the same text with opposite labels"]] == ["opposite"]
    assert [row["id"] for row in found["a sentence of extreme length"]] == ["long"]
    assert {leak["what"] for leak in told["leaks"]} == {"the same response", "the same query or group"}
    checks = {check["name"]: check["verdict"] for check in told["files"][0]["checks"]}
    assert checks["contradicted responses"] == "warn"
    assert fractal("inspect", tmp_path / "bad.jsonl", "--strict").code == 1
    assert fractal("inspect", tmp_path / "bad.jsonl").code == 0


def test_cache_is_shown_and_emptied(fractal, tmp_path):
    from fractal.encoders import ENCODERS, EmbeddingCache, cached_encode

    cached_encode(ENCODERS.build(ENCODER), ["one", "two"], EmbeddingCache(tmp_path))
    assert json.loads(fractal("cache", "info", "--folder", tmp_path, "--json").out)["entries"] == 2
    assert fractal("cache", "clear", "--folder", tmp_path, "-y").code == 0
    assert json.loads(fractal("cache", "info", "--folder", tmp_path, "--json").out)["entries"] == 0


def test_doctor_looks_at_everything(fractal):
    ended = fractal("doctor", "--json")
    whats = [row["what"] for row in json.loads(ended.out)]
    assert {"fractal", "extra train", "devices", "cache"} <= set(whats)


def test_tune_goes_on_with_its_study(fractal, folder, tmp_path):
    pytest.importorskip("optuna")
    plain = ["tune", folder / "truth.jsonl", "-o", tmp_path, "--encoder", ENCODER, "--set", "epochs=2"]
    plain += ["--set", "members=2", "--set", "folds=2"]
    first = json.loads(fractal(*plain, "--trials", 1, "--json").out)
    both = json.loads(fractal(*plain, "--trials", 2, "--json").out)
    assert both["trials"][0] == first["trials"][0]
    assert len(both["trials"]) == 2
    assert (tmp_path / "trials.svg").exists()
    ended = fractal("train", folder / "truth.jsonl", "--config", tmp_path / "best.toml", "--dry-run", "--json")
    assert json.loads(ended.out)["options"]["recipe"] == both["best"]["settings"]["recipe"]


def test_a_terminal_session_is_as_it_was(fractal, folder):
    """What a person sees; `REGENERATE=1` writes it anew."""
    session = [
        ["list", "splitters"],
        ["inspect", folder / "truth.jsonl"],
        ["show", GOLDEN / "scores.jsonl"],
        ["evaluate", GOLDEN / "scores.jsonl", "-m", "roc_auc", "-m", "response_mae", "--bootstrap", 0],
        ["scroe"],
    ]
    seen = ""
    for args in session:
        shown = " ".join(f"'{arg}'" if "=" in str(arg) else str(arg) for arg in args)
        ended = fractal(*args)
        seen += f"$ fractal {shown}\n{ended.err}{ended.out}[{ended.code}]\n\n"
    seen = (
        "\n".join(line.rstrip() for line in seen.replace(f"{folder}/", "").replace(f"{GOLDEN}/", "").splitlines())
        + "\n"
    )
    path = GOLDEN / "session.txt"
    if os.environ.get("REGENERATE"):
        path.write_text(seen, encoding="utf-8")
    assert seen == path.read_text(encoding="utf-8")


def test_interrupted_training_leaves_no_scorer_and_goes_on(folder, tmp_path):
    """Ctrl-C in the middle: exit code 130, no folder; with --resume the scorer is the one of an undisturbed run."""
    out, whole = tmp_path / "scorer", tmp_path / "whole"
    quick = [arg if arg != "epochs=3" else "epochs=80" for arg in QUICK] + ["--set", "patience=80"]
    train = [sys.executable, "-m", "fractal", "train", str(folder / "truth.jsonl"), *quick, "-q"]
    subprocess.run([*train, "-o", whole], check=True)
    # a shell makes its background jobs deaf to Ctrl-C, and what they start: here it must be heard
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([*train, "-o", out], stderr=subprocess.PIPE, preexec_fn=heard)
    kept = tmp_path / "scorer.training"
    deadline = time.monotonic() + 60
    while not (kept.is_dir() and any(kept.glob("*.safetensors"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert not out.exists()
    subprocess.run([*train, "-o", out, "--resume"], check=True)
    assert (out / "head.safetensors").read_bytes() == (whole / "head.safetensors").read_bytes()
    assert not kept.exists()
