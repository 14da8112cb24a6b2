"""What is seen of a long task: lines on stderr, a bar or a picture on a terminal, nothing where it is quiet."""

from __future__ import annotations

import pytest

from fractal.cli._progress import ProgressReporter, TrainingReporter
from fractal.mil.training.callbacks import Epoch


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr("fractal.cli._progress.LINE_EVERY", 0.0)


def epoch(number: int, stage: str = "product") -> Epoch:
    return Epoch(number, 3, {"response": 0.7}, 0.6, 0.5, 1000.0, 2.0, 0.8, stage)


def test_lines_without_a_terminal_say_share_rate_and_time_left(capsys, often):
    with ProgressReporter("Encoding") as report:
        for done in (1, 2, 4):
            report(done, 4)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 3
    assert lines[0].startswith("Encoding: 1 of 4 (25%), ")
    assert lines[0].endswith(" left")
    assert lines[-1].startswith("Encoding: 4 in ")


def test_a_task_of_unknown_size_is_counted(capsys, often, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)  # no bar either
    with ProgressReporter("scored") as report:
        report(0)
        report(2_048)
    *lines, last = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("scored: 2,048, ")
    assert last.startswith("scored: 2,048 in ")


def test_a_line_is_written_every_ten_seconds_alone(capsys):
    with ProgressReporter("Encoding") as report:
        for done in range(1, 100):
            report(done, 100)
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_is_seen_where_it_is_quiet_or_nothing_was_done(capsys, often, monkeypatch, terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with ProgressReporter("Encoding", quiet=True) as report, TrainingReporter(quiet=True) as training:
        report(4, 4)
        training(epoch(1))
    with ProgressReporter("Encoding"), TrainingReporter():
        pass
    assert capsys.readouterr().err == ""
    assert report.done == 4


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with ProgressReporter("Encoding") as report:
        report(2000, 2000)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2000/2000" in err
    assert "/s" in err


@pytest.mark.parametrize("terminal", [False, True])
def test_every_head_that_is_done_leaves_one_line(capsys, monkeypatch, terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "120")
    with TrainingReporter() as report:
        for stage, epochs in (("first", 3), ("second", 2)):  # the second stops early
            for number in range(1, epochs + 1):
                report(epoch(number, stage))
    err = capsys.readouterr().err
    assert err.count("first: done after 3 epochs · response 0.700 · held-out loss 0.600 (best 0.500), AUC 0.800") == 1
    assert err.count("second: done after 2 epochs") == 1
    assert terminal or len(err.splitlines()) == 2


def test_between_there_are_lines_of_the_head_that_trains(capsys, often):
    with TrainingReporter() as report:
        report(epoch(1))
        report(epoch(2))
    assert "product: epoch 2/3 · response 0.700" in capsys.readouterr().err
