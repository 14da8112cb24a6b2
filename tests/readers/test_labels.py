"""Labels as people write them, and the mistakes that must not become labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec
from fractal.readers.labels import LabelColumn, LabelForm, Scale, read_label


@pytest.mark.parametrize(
    ("written", "label", "kind"),
    [
        (True, 1.0, "boolean"),
        (False, 0.0, "boolean"),
        (0, 0.0, "number"),
        (1, 1.0, "number"),
        (0.25, 0.25, "number"),
        (np.float32(0.5), 0.5, "number"),
        (np.int64(1), 1.0, "number"),
        (np.bool_(True), 1.0, "boolean"),
        ("pass", 1.0, "word"),
        ("FAIL", 0.0, "word"),
        (" Good ", 1.0, "word"),
        ("bad", 0.0, "word"),
        ("👍", 1.0, "thumbs"),
        ("👎🏽", 0.0, "thumbs"),
        ("up", 1.0, "thumbs"),
        ("thumbs_down", 0.0, "thumbs"),
        (":thumbsup:", 1.0, "thumbs"),
        ("85%", 0.85, "percentage"),
        ("0 %", 0.0, "percentage"),
        ("4 stars", 0.75, "stars"),
        ("One star", 0.0, "stars"),
        ("five-star", 1.0, "stars"),
        ("four out of Five", 0.8, "stars"),
        ("0.5", 0.5, "number as text"),
        ("1e-3", 0.001, "number as text"),
        (None, None, ""),
        ("", None, ""),
    ],
)
def test_labels_as_people_write_them(written, label, kind):
    assert read_label(written) == (label, kind)


@pytest.mark.parametrize(
    "written",
    [
        2,
        -0.1,
        math.nan,
        math.inf,
        pytest.param(10**400, id="huge"),
        "nan",
        "maybe",
        "101%",
        "-1%",
        [1],
        {"label": 1},
        b"1",
        "1_0",
        "six stars",
        "four",
        "fourteen stars",
        "٣",
    ],
)
def test_what_is_no_label_is_refused(written):
    with pytest.raises(BadData, match="found"):
        read_label(written)


@given(st.floats(-10, 10), st.floats(-10, 10).filter(lambda width: abs(width) > 1e-3), st.floats(0, 1))
def test_a_scale_maps_its_ends_to_0_and_1_and_keeps_shares(worst, width, share):
    scale = Scale(worst, worst + width)
    assert scale.share(scale.worst) == 0.0
    assert scale.share(scale.best) == 1.0
    inside = min(max(worst + share * width, min(worst, worst + width)), max(worst, worst + width))
    assert scale.share(inside) == pytest.approx(share, abs=1e-9)


@given(st.integers(2, 50), st.data())
def test_levels_are_stored_as_shares_of_the_highest(levels, data):
    level = data.draw(st.integers(0, levels - 1))
    label, _ = read_label(level, LabelForm(levels=levels))
    assert label == level / (levels - 1)
    with pytest.raises(BadData, match=r"whole number 0\.\."):
        read_label(levels, LabelForm(levels=levels))


def test_ratings_read_by_their_scale():
    form = LabelForm.of("1..5")
    assert [read_label(rating, form)[0] for rating in (1, 3, 5, "4")] == [0.0, 0.5, 1.0, 0.75]
    assert read_label(1, LabelForm.of("5..1"))[0] == 1.0
    assert read_label(0, LabelForm.of((-1, 1)))[0] == 0.5
    with pytest.raises(BadData, match=r"outside the scale 1\.\.5"):
        read_label(6, form)


def test_levels_need_whole_numbers():
    with pytest.raises(BadData, match=r"0\.\.3"):
        read_label(0.5, LabelForm(levels=4))


@pytest.mark.parametrize("given", ["1-5", "1..", "a..b", "1..1", "0..inf", (1, 2, 3), "nan..1"])
def test_what_is_no_scale_is_refused(given):
    with pytest.raises(BadSpec):
        Scale.parse(given)


def test_a_form_is_one_thing():
    with pytest.raises(BadSpec, match="not both"):
        LabelForm.of("1..5", 5)
    with pytest.raises(BadSpec, match="at least 2"):
        LabelForm(levels=1)


def test_one_column_keeps_one_kind():
    column = LabelColumn("label")
    assert column.read(1) == 1.0
    column.keep()
    assert column.read(None) is None
    assert column.read(0.5) == 0.5
    with pytest.raises(BadData, match=r"word.*'number'") as caught:
        column.read("good")
    assert caught.value.field == "label"


def test_a_refused_record_says_nothing_about_the_kind():
    column = LabelColumn("label")
    column.read("good")
    column.forget()
    assert column.read(1) == 1.0


def test_a_wrong_label_leaves_the_kind_alone():
    column = LabelColumn("label")
    with pytest.raises(BadData):
        column.read(7)
    column.forget()
    assert column.read("pass") == 1.0
