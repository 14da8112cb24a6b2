"""What is written and read back is the same record, in every form that keeps records whole."""

from __future__ import annotations

import dataclasses
import io
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.readers import READERS, read, read_scored
from fractal.records import Preference, Response, ScoredResponse, Sentence
from fractal.writers import WRITERS, write

WHOLE = ["jsonl", "parquet"]
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
SHARES = st.floats(0, 1)
LABELS = st.none() | SHARES
CLASHING = st.sampled_from(
    ["label", "meta", "extra", "sentence_scores", "chosen", "rejected", "score", "text", "group"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def responses(draw, ids=NAMES):
    words = draw(st.lists(TEXTS, min_size=1, max_size=4).filter(lambda texts: any(text.strip() for text in texts)))
    text, sentences = draw(TEXTS), []
    for word in words:
        start = len(text)
        sentences.append(Sentence(word, start, start + len(word), draw(LABELS)))
        text += word + draw(TEXTS)
    if draw(st.booleans()):  # the usual case: joined by blanks
        plain = Response.from_sentences("x", words, labels=[sentence.label for sentence in sentences])
        text, sentences = plain.text, plain.sentences
    return Response(
        id=draw(ids),
        sentences=tuple(sentences),
        text=text,
        query=draw(TEXTS),
        context=tuple(draw(st.lists(TEXTS, max_size=2))),
        label=draw(LABELS),
        group=draw(st.none() | NAMES),
        aspects=draw(st.dictionaries(NAMES, SHARES, max_size=2)),
        columns=draw(st.dictionaries(NAMES, st.tuples(*[st.floats(-1e9, 1e9)] * len(words)), max_size=2)),
        extra=draw(st.dictionaries(NAMES | CLASHING, JSON, max_size=3)),
    )


@st.composite
def preferences(draw):
    better, worse = draw(responses(st.just("one"))), draw(responses(st.just("two")))
    if draw(st.booleans()):
        shared = {"query": better.query, "context": better.context, "group": better.group, "extra": better.extra}
        worse = dataclasses.replace(worse, **shared)
    tie = (better.text, better.query) == (worse.text, worse.query) or draw(st.booleans())
    return Preference(better, worse, tie=tie, id=draw(TEXTS))


@st.composite
def scored(draw, ids=NAMES):
    response = draw(responses(ids))
    each = st.tuples(*[SHARES] * len(response.sentences))
    return ScoredResponse(
        response, draw(each), draw(SHARES), draw(st.just(()) | each), draw(st.just(()) | each), draw(TEXTS)
    )


def returned(records, form, back):
    buffer = io.BytesIO()
    assert write(records, buffer, form) == len(records)
    buffer.seek(0)
    return list(back(buffer, form))


@pytest.mark.parametrize("form", WHOLE)
@given(st.lists(responses(), max_size=3, unique_by=lambda response: response.id))
def test_responses_come_back(form, records):
    assert returned(records, form, read) == records


@pytest.mark.parametrize("form", WHOLE)
@given(preferences())
def test_preferences_come_back(form, record):
    assert returned([record], form, read) == [record]


@pytest.mark.parametrize("form", WHOLE)
@given(st.lists(scored(), max_size=3, unique_by=lambda one: one.response.id))
def test_scores_come_back(form, records):
    assert returned(records, form, read_scored) == records


@pytest.mark.parametrize("form", ["csv", "tsv"])
@given(st.lists(scored(), min_size=1, max_size=3, unique_by=lambda one: one.response.id))
def test_scores_come_back_from_spreadsheets(form, records):
    assert returned(records, form, read_scored) == records


@pytest.mark.parametrize("form", [*WHOLE, "csv", "tsv"])
@given(scored(), st.lists(TEXTS, min_size=2, max_size=3, unique=True))
def test_scores_of_several_aspects_come_back(form, record, aspects):
    records = [dataclasses.replace(record, aspect=aspect) for aspect in aspects]
    assert returned(records, form, read_scored) == records


@pytest.mark.parametrize("form", ["csv", "tsv"])
@given(st.lists(responses(), min_size=1, max_size=3, unique_by=lambda response: response.id))
def test_responses_come_back_from_spreadsheets(form, records):
    assert returned(records, form, read) == records


@given(responses())
def test_steps_come_back_with_their_labels_made_hard(record):
    (back,) = returned([record], "stepwise", lambda source, form: read(source, "stepwise(form='jsonl')"))
    texts = [sentence.text for sentence in record.sentences]
    assert [sentence.text for sentence in back.sentences] == texts
    hard = tuple(None if label is None else float(label >= 0.5) for label in record.sentence_labels)
    assert back.sentence_labels == hard
    assert (back.id, back.query, back.context, back.label, back.group, back.extra) == (
        *(record.id, record.query, record.context, record.label, record.group),
        record.extra,
    )


@given(scored())
def test_a_scored_file_is_a_file_of_responses_with_more_fields(record):
    (back,) = returned([record], "jsonl", read)
    assert back.sentences == record.response.sentences
    assert back.extra["sentence_scores"] == list(record.sentence_scores)


@settings(max_examples=20)
@given(st.lists(responses(), min_size=1, max_size=3, unique_by=lambda response: response.id))
def test_the_fast_way_reads_as_the_thorough_way(records):
    buffer = io.BytesIO()
    write(records, buffer, "jsonl")
    fast = list(read(io.BytesIO(buffer.getvalue()), "jsonl"))
    assert fast == list(read(io.BytesIO(buffer.getvalue()), "jsonl", label_scale="0..1"))


@pytest.mark.parametrize("registry", [READERS, WRITERS], ids=["readers", "writers"])
def test_every_reader_and_writer_is_a_component(registry):
    for name in registry:
        component = registry.build(name)
        assert registry.spec(component) == name
        assert registry.build(registry.spec(component)) == component
        assert pickle.loads(pickle.dumps(component)) == component
        assert hash(component) == hash(registry.build(name))
        assert registry.summary(name).endswith((".", ":"))
