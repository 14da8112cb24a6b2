"""Records in a file: read again equal, in whatever part and order, and in memory as long as they are few."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.datasets.synthetic import make_preferences, make_responses
from fractal.errors import BadFolder
from fractal.records import Preference, Response
from fractal.records.corpus import gather, gather_aspects
from fractal.records.stored import RecordFile, StoredRecords, collected, in_same_place, texts_bytes

TEXTS = st.text(st.characters(codec=None), max_size=12)  # lone surrogates too
LABELS = st.none() | st.floats(0, 1)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    sentences = draw(st.lists(TEXTS.filter(bool), min_size=1, max_size=4))
    labels = draw(st.lists(LABELS, min_size=len(sentences), max_size=len(sentences)))
    column = draw(st.none() | st.just(tuple(map(float, range(len(sentences))))))
    return Response.from_sentences(
        draw(TEXTS),
        sentences,
        labels=labels,
        query=draw(TEXTS),
        context=tuple(draw(st.lists(TEXTS, max_size=2))),
        label=draw(LABELS),
        group=draw(st.none() | TEXTS),
        aspects=draw(st.dictionaries(TEXTS, st.floats(0, 1), max_size=2)),
        columns={} if column is None else {"own": column},
        extra=draw(st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS | st.lists(TEXTS), max_size=2)),
    )


def stored(records, folder):
    file = RecordFile(folder)
    for record in records:
        file.append(record)
    return file.records()


@settings(max_examples=60, deadline=None)
@given(st.lists(responses(), max_size=5), st.randoms())
def test_what_is_read_again_equals_what_was_stored(tmp_path_factory, records, draw):
    again = stored(records, tmp_path_factory.getbasetemp())
    assert list(again) == records
    assert len(again) == len(records)
    assert [again[place] for place in range(-len(records), len(records))] == [*records, *records]
    first, last, step = draw.randint(0, 5), draw.randint(0, 5), draw.choice([1, 2, -1])
    part = again[first:last:step]
    assert list(part) == records[first:last:step]
    assert list(part[::-1]) == records[first:last:step][::-1]
    for record in again:
        dataclasses.replace(record)  # passes all checks of a new record


@pytest.mark.parametrize("at_once", [1, 500, 1 << 20])
def test_parts_of_any_size_are_read_at_once(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr("fractal.records.stored.READ_AT_ONCE", at_once)
    records = [*make_responses(9, task="summaries", seed=1), *make_preferences(5, task="summaries", seed=1)]
    again = stored(records, tmp_path)
    assert list(again) == records
    assert [*zip(again, again, strict=True)] == [*zip(records, records, strict=True)]  # read twice at the same time
    assert not list(tmp_path.iterdir())  # the file has no name
    with pytest.raises(IndexError):
        again[len(records)]


def test_few_records_stay_in_memory_and_many_go_to_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    records, told = make_responses(20, task="summaries", seed=1), []
    size = sum(map(texts_bytes, records))
    assert collected(iter(records), size, told.append) == records
    assert collected(records, 0, told.append) is records
    assert not told
    spilled = collected(iter(records), size - 1, told.append)
    assert isinstance(spilled, StoredRecords)
    assert list(spilled) == records
    assert told == [tmp_path]


def test_a_corpus_is_the_same_from_a_file(tmp_path):
    drawn = random.Random(0)
    rated = [
        dataclasses.replace(r, aspects={"a": drawn.random()} if drawn.random() < 0.7 else {})
        for r in make_responses(40, task="summaries", seed=1)
    ]
    pairs = make_preferences(20, task="summaries", seed=1)
    for records in (rated, pairs, [*rated, *pairs]):
        plain, filed = gather(records).in_canonical_order(), gather(stored(records, tmp_path)).in_canonical_order()
        assert isinstance(filed.responses, StoredRecords)
        assert tuple(filed.responses) == plain.responses
        assert np.array_equal(filed.pairs, plain.pairs)
        assert np.array_equal(filed.labels, plain.labels, equal_nan=True)
        assert filed.grouping.groups == plain.grouping.groups
    labels = [drawn.random() for _ in rated]
    assert tuple(gather(stored(rated, tmp_path), labels).responses) == gather(rated, labels).responses
    plain, filed = (gather_aspects(records, ["a"]) for records in (rated, stored(rated, tmp_path)))
    alone = filed.of_aspect("a")
    assert isinstance(alone.responses, StoredRecords)
    assert tuple(alone.responses) == plain.of_aspect("a").responses
    assert filed.of_aspect("a") is alone  # not written twice


def test_records_stand_where_those_beside_them_do(tmp_path):
    records = tuple(make_responses(3, seed=1))
    assert in_same_place(records, iter(records)) == records
    assert isinstance(in_same_place(stored(records, tmp_path), iter(records)), StoredRecords)


def test_a_folder_that_takes_no_file_is_a_plain_error(tmp_path):
    with pytest.raises(BadFolder, match="name a folder that can be written to"):
        RecordFile(tmp_path / "missing")


def test_a_disk_that_is_full_is_a_plain_error(tmp_path):
    file = RecordFile(tmp_path)
    file._file.close()

    class Full:
        def write(self, content=b""):
            raise OSError(28, "No space left on device")

        close = write  # what is still to be written cannot be

    file._file = Full()
    with pytest.raises(BadFolder, match="No space left"):
        file.append(Preference(*make_responses(2, seed=1)))
