"""What every splitter obeys, whatever the text."""

from __future__ import annotations

import inspect
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.records.splitting import SPLITTERS, Splitter

SCRAPS = [
    "The cat sat.", "It rained.Then it", "Dr. ", "e.g. ", "et al. ", "U.S. He", "3.14", "[3]", "http://a.b/C.D",
    "a", "B", "B\xa0.", "\x85.", "\u3000",
    " ", "\n", "\n\n", "\r\n", "\t", "\x1c", "\u2028", "\u200b", "\x00", "\ud7ff", "\ud83d", "😀", "\ufe0f",
    "```", "~~~\n", "`x. Y`", "$$", "\\[", "\\]", "\\(", "\\)", "\\begin{a}", "\\end{a}",
    "Step 3:", "Final answer: 5", "1. ", "- ", "# Title", "|", "> ", "**",
    ".", "?!", "; ", "...", "…", "。", "！", "।", "؟", '"', "”", "(", ")",
]  # fmt: skip
texts = st.lists(st.sampled_from(SCRAPS) | st.text(max_size=5), max_size=30).map("".join)
SPECS = [*SPLITTERS, "sentences(language='zh')", "sentences(language='no such tongue')", "presplit(separator='\\n')"]


@pytest.fixture(params=SPECS, scope="module")
def splitter(request: pytest.FixtureRequest) -> Splitter:
    return SPLITTERS.build(request.param)


@given(text=texts)
def test_a_sentence_stands_where_it_says(splitter, text):
    for part in splitter(text):
        assert text[part.start : part.end] == part.text


@given(text=texts)
def test_sentences_are_in_order_and_apart(splitter, text):
    end = 0
    for part in splitter(text):
        assert part.start >= end
        end = part.end


@given(text=texts)
def test_only_white_space_is_lost(splitter, text):
    assert "".join("".join(part.text.split()) for part in splitter(text)) == "".join(text.split())


@given(text=texts)
def test_no_sentence_is_blank_or_padded(splitter, text):
    for part in splitter(text):
        assert part.text
        assert part.text == part.text.strip()


@given(text=texts)
def test_a_text_is_cut_the_same_way_twice(splitter, text):
    assert splitter(text) == splitter(text)


@given(text=texts, before=st.sampled_from(["", " ", "\n\n", "\t\n"]), after=st.sampled_from(["", " ", "\n\n"]))
def test_white_space_around_a_text_changes_nothing(splitter, text, before, after):
    bare = text.strip()
    padded = splitter(before + bare + after)
    assert [part.text for part in padded] == [part.text for part in splitter(bare)]


@pytest.mark.parametrize("blank", ["", " ", "\n", " \r\n\t\u3000\u2028", "\n" * 5000])
def test_a_blank_text_has_no_sentences(splitter, blank):
    assert splitter(blank) == ()


def test_a_splitter_can_be_built_from_its_text_again(splitter):
    assert SPLITTERS.build(SPLITTERS.spec(splitter)) == splitter


def test_a_splitter_pickles_and_hashes(splitter):
    assert pickle.loads(pickle.dumps(splitter)) == splitter
    assert hash(splitter) == hash(SPLITTERS.build(SPLITTERS.spec(splitter)))


@pytest.mark.parametrize("name", list(SPLITTERS))
def test_a_splitter_says_what_it_does_in_one_line(name):
    assert SPLITTERS.summary(name).endswith(".")
    assert inspect.isclass(SPLITTERS[name])
