"""Errors that users meet: words that help, and a life across processes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal import errors
from fractal.errors import BadData, BadFolder, BadSpec, FractalError, MissingExtra, NotFitted, UnknownName, suggestion

SAMPLES = [
    BadSpec("'x(' is no aggregation"),
    UnknownName("aggregation", "softmim", ["min", "softmin"]),
    BadData("found 3: a label lies in [0, 1]", source="train.jsonl", line=3, field="label"),
    BadData("nothing here"),
    BadFolder("config.json is missing"),
    MissingExtra("The encoder 'minilm'", "train", "torch"),
    NotFitted("fit first"),
    errors.TrainingDiverged("the loss is NaN at epoch 3"),
    errors.WorkersDied("4 workers died on responses 0 to 4096"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "suggestion"])
def test_every_error_is_one_that_the_command_line_catches(name):
    assert issubclass(getattr(errors, name), FractalError)


def test_every_kind_of_error_is_sampled():
    kinds = {getattr(errors, name) for name in errors.__all__ if name != "suggestion"}
    assert {type(error) for error in SAMPLES} == kinds - {FractalError}


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(BadSpec("x"), ValueError), (SAMPLES[1], LookupError), (SAMPLES[2], ValueError), (SAMPLES[5], ImportError)],
)
def test_an_error_is_also_the_builtin_that_python_users_expect(error, builtin):
    assert isinstance(error, builtin)


def test_an_unknown_name_lists_the_known_ones():
    assert str(SAMPLES[1]) == "No aggregation is called 'softmim'. Did you mean 'softmin'? Known: min, softmin."
    assert str(UnknownName("loss", "x", [])) == "No loss is called 'x'. Known: none."


def test_bad_data_says_where_it_stands():
    assert str(SAMPLES[2]) == "train.jsonl, line 3, field 'label': found 3: a label lies in [0, 1]"
    assert str(BadData("odd", line=0)) == "line 0: odd"
    assert str(BadData("odd", field="label").at("a.csv", 7)) == "a.csv, line 7, field 'label': odd"


def test_a_missing_extra_says_what_to_install():
    assert "pip install 'fractal-scores[train]'" in str(SAMPLES[5])
    assert "torch is not installed" in str(SAMPLES[5])
    assert "not installed" not in str(MissingExtra("It", "plots"))


@given(known=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5))
def test_a_known_word_is_its_own_suggestion(known):
    assert suggestion(known[0], known) == f" Did you mean {known[0]!r}?"


def test_nothing_is_suggested_for_what_is_far_away():
    assert suggestion("qqq", ["softmin", "mean"]) == ""
    assert suggestion("x", []) == ""
