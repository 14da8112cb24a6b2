"""Every format in miniature, what is guessed, what is refused and with which words."""

from __future__ import annotations

import gzip
import importlib.resources
import io
import json
import sys
from pathlib import Path

import jsonschema
import pytest

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.readers import ReadReport, read, read_scored
from fractal.readers.seen_ids import SeenIds
from fractal.readers.sources import MAX_LINE
from fractal.records import Preference, Response

DATA = Path(__file__).parents[1] / "data" / "readers"
GOOD = {"id": "good", "sentences": ["Fine."], "label": 1}


def lines(*records) -> io.BytesIO:
    raw = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    return io.BytesIO(b"".join(line + b"\n" for line in raw))


def table(rows, kind):
    columns = {name: [row.get(name) for row in rows] for name in {key: None for row in rows for key in row}}
    return pytest.importorskip(kind).DataFrame(columns)


def test_native_lines():
    report = ReadReport()
    rain, tide, whole, spaced = read(DATA / "native.jsonl", report=report)
    assert [sentence.text for sentence in rain.sentences] == ["Water rises as vapour.", "Clouds are made of cotton."]
    assert rain.text == "Water rises as vapour. Clouds are made of cotton."
    assert (rain.label, rain.sentence_labels, rain.group) == (0.0, (1.0, 0.0), "weather")
    assert rain.context == ("Clouds hold water.", "Warm air rises.")
    assert rain.extra == {"aggregation": "min", "meta": {"group": "weather", "source": "hand"}}
    assert (tide.query, tide.label, tide.sentence_labels, tide.group) == ("", None, (None,), None)
    assert [sentence.text for sentence in whole.sentences] == ["Ice is frozen water.", "It floats."]
    assert (whole.aspects, whole.group, whole.extra) == ({"true": 1.0, "short": 0.5}, "water", {"annotator": "K."})
    assert [(sentence.start, sentence.end) for sentence in spaced.sentences] == [(0, 11), (13, 22)]
    assert spaced.columns == {"length": (11.0, 9.0)}
    assert (report.read, report.sentences, report.labelled, report.rejected) == (4, 7, 3, 0)
    assert report.reader == "jsonl"
    assert report.carried >= {"annotator"}
    assert report.label_kind == "number"


def test_preferences_of_every_form():
    records = list(read(DATA / "preferences.jsonl"))
    assert [(p.better.text, p.worse.text, p.tie) for p in records] == [
        ("Air scatters blue light more.", "It is painted.", False),
        ("It is red. The path is longer.", "Red.", True),
        ("No, it is a solid.", "Yes, it flows.", False),
        ("Seven.", "Nine.", False),
        ("Neon.", "Iron.", False),
        ("Argon.", "Iron.", False),
        ("Iron.", "Neon.", False),
        ("Zinc.", "Iron.", True),
    ]
    first, fourth = records[0], records[3]
    assert (first.id, first.better.id, first.split_group) == ("p1", "p1/b", "sky")
    assert first.better.context == ("Air scatters blue light.",)
    assert first.better.sentence_labels == (1.0,)
    assert fourth.better.query == "Name a prime."
    assert records[4].better.id == "p5/0"


def test_steps():
    first, second = read(DATA / "steps.jsonl")
    assert first.query == "What is 3 + 4 × 2?"
    assert first.text == "First 4 × 2 = 8.\nThen 3 + 8 = 12."
    assert first.sentence_labels == (1.0, 0.0)
    assert (first.id, second.id) == ("steps.jsonl:1", "steps.jsonl:2")


def test_chats():
    report = ReadReport()
    first, second = read(DATA / "chat.jsonl", report=report)
    assert (first.query, first.text, first.label) == ("Is a whale a fish?", "No. It is a mammal.", 1.0)
    assert second.query == "user: Hello\n\nassistant: Good day.\n\nuser: Is a bat a bird?"
    assert second.label == 0.0
    assert report.label_kinds == {"label": "thumbs"}
    assert report.guessed["label"] == "thumbs"


def test_transcripts_end_in_the_response():
    """Comparisons of whole dialogues, as the best known set of them has them."""
    shared = "\n\nHuman: What is the capital of France?\n\nAssistant: Paris.\n\nHuman: How large is it?\n\nAssistant:"
    row = {"chosen": f"{shared} Two million people live there. It grows.", "rejected": f"{shared} I do not know."}
    report = ReadReport()
    (pair,) = read([row], report=report)
    assert isinstance(pair, Preference)
    assert [s.text for s in pair.better.sentences] == ["Two million people live there.", "It grows."]
    assert pair.better.query == pair.worse.query
    assert "capital of France" in pair.better.query
    assert "Paris." in pair.better.query
    assert report.counts == {"responses were transcripts (Human: … Assistant: …): the last turn is the response": 2}
    (plain,) = read([{"response": "Human: is a word. So is Assistant: as it stands."}])
    assert plain.text.startswith("Human: is")
    with pytest.raises(BadData, match="the last message is of the role 'user'"):
        list(read([{"response": "Human: Hello?\n\nAssistant: Yes?\n\nHuman: Nothing."}]))


def test_tables_of_text():
    report = ReadReport()
    oslo, rome, lima = read(DATA / "ratings.csv", label_scale="1..5", report=report)
    assert oslo.text == 'In Norway.\nIt is the "capital".'
    assert oslo.context == ("Oslo is in Norway.", "Bergen is, too.")
    assert (oslo.label, rome.label, lima.label) == (1.0, 0.0, None)
    assert (rome.context, lima.context) == (("Rome is in Italy.",), ())
    assert oslo.extra == {"annotator": "K."}
    assert report.guessed == {"query": "question", "context": "passages", "response": "answer", "label": "rating"}
    assert "response = answer" in str(report)
    good, bad = read(DATA / "verdicts.tsv")
    assert (good.id, good.label, bad.text, bad.label) == ("a", 1.0, 'It broke, "twice".', 0.0)


def native_rows():
    return [
        {"id": "a", "query": "q", "context": ["c", "d"], "sentences": ["One.", "Two."], "label": 0.5},
        {"id": "b", "query": None, "context": [], "sentences": ["One."], "label": None},
    ]


def expected():
    return list(read(native_rows()))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames(kind):
    assert list(read(table(native_rows(), kind))) == expected()


def test_columns_in_files_and_in_memory(tmp_path):
    pyarrow, feather, parquet = map(pytest.importorskip, ("pyarrow", "pyarrow.feather", "pyarrow.parquet"))
    ipc = pytest.importorskip("pyarrow.ipc")
    made = pyarrow.Table.from_pylist(native_rows())
    assert list(read(made)) == expected()
    assert list(read(made.to_batches()[0])) == expected()
    parquet.write_table(made, tmp_path / "a.parquet")
    feather.write_feather(made, tmp_path / "a.feather")
    with ipc.new_stream(tmp_path / "a.arrow", made.schema) as stream:
        stream.write_table(made)
    for name in ("a.parquet", "a.feather", "a.arrow"):
        assert list(read(tmp_path / name)) == expected()
        (tmp_path / name).rename(tmp_path / "unnamed")
        if name != "a.arrow":  # a stream has no magic number at its start
            assert list(read(tmp_path / "unnamed")) == expected()


def test_data_sets(tmp_path):
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(native_rows())
    assert list(read(made)) == expected()
    split = datasets.DatasetDict({"train": made, "test": made.select([1])})
    assert list(read(split, "hub(split='test')")) == expected()[1:]
    with pytest.raises(BadData, match=r"no split 'tets'. Did you mean 'test'"):
        list(read(split, "hub(split='tets')"))
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, native_rows())), encoding="utf-8")
    assert list(read(f"hub:{tmp_path}")) == expected()


def test_standard_input_and_gzip(monkeypatch, tmp_path):
    content = (DATA / "native.jsonl").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(content))))
    report = ReadReport()
    assert len(list(read("-", report=report))) == 4
    assert report.source == "standard input"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    assert list(read(tmp_path / "a.jsonl.gz")) == list(read(DATA / "native.jsonl"))
    (tmp_path / "unnamed").write_bytes(content)
    assert list(read(tmp_path / "unnamed")) == list(read(DATA / "native.jsonl"))


def test_an_open_stream_stays_open():
    stream = lines(GOOD)
    assert len(list(read(stream))) == 1
    assert not stream.closed


def test_columns_as_the_user_says():
    row = {"id": 7, "text": "Not this.", "out": {"best": "This."}, "h": 3, "len": [4], "note": "n"}
    columns = {"response": "out.best", "aspects.helpful": "h", "columns.length": "len"}
    (record,) = read([row], columns=columns, label_scale="1..5")
    assert (record.id, record.text) == ("7", "This.")
    assert record.aspects == {"helpful": 0.5}
    assert record.columns == {"length": (4.0,)}
    assert record.extra["note"] == "n"


def test_a_field_can_be_without_a_column():
    row = {"response": "Fine.", "feedback": "free words, no label"}
    with pytest.raises(BadData, match="free words"):
        list(read([row]))
    (record,) = read([row], columns={"label": ""})
    assert (record.label, record.extra) == (None, {"feedback": "free words, no label"})


def test_scores_of_others():
    row = {"sentences": ["A.", "B."], "s": [0.25, 0.75], "aggregation": "min"}
    (record,) = read_scored([row], columns={"sentence_scores": "s"})
    assert (record.sentence_scores, record.response_score) == ((0.25, 0.75), 0.25)
    with pytest.raises(BadData, match="response_score"):
        list(read_scored([{"sentences": ["A."], "sentence_scores": [0.5]}]))


BAD = {
    "wrong JSON": (b'{"id": "x", "sentences": ["a"]', "", "no JSON"),
    "an array": (b"[1, 2]", "", "jq -c"),
    "NaN": (b'{"sentences": ["a"], "label": NaN}', "", "write null"),
    "a NUL byte": (b'{"sentences": ["a\0b"]}', "", "NUL byte"),
    "an escaped NUL": (rb'{"id": "x", "sentences": ["a\u0000b"]}', "sentences", "NUL byte"),
    "wrong encoding": (b'{"sentences": ["caf\xe9"]}', "", "0xe9.*not UTF-8"),
    "10 MB": (b'{"sentences": ["' + b"a" * MAX_LINE + b'"]}', "", r"10,000,0\d\d bytes long"),
    "no response": ({"id": "x", "label": 1}, "response", "name its column"),
    "an empty response": ({"id": "x", "response": "  "}, "response", "empty"),
    "no sentences": ({"id": "x", "sentences": []}, "sentences", "empty"),
    "blank sentences": ({"id": "x", "sentences": ["", " "]}, "sentences", "empty"),
    "a label out of range": ({"id": "x", "sentences": ["a"], "label": 4}, "label", r"scale=1\.\.5"),
    "a label below": ({"id": "x", "sentences": ["a"], "label": -0.5}, "label", "found -0.5"),
    "a strange label": ({"id": "x", "sentences": ["a"], "label": "meh"}, "label", "'meh'.*pass, fail"),
    "a label of another kind": ({"id": "x", "sentences": ["a"], "label": "good"}, "label", "word.*'number'"),
    "unequal lengths": (
        {"id": "x", "sentences": ["a", "b"], "sentence_labels": [1]},
        *("sentence_labels", "1 labels for 2 sentences"),
    ),
    "columns of unequal length": ({"id": "x", "sentences": ["a"], "columns": {"k": [1, 2]}}, "columns.k", "2 values"),
    "a duplicate id": ({"id": "good", "sentences": ["b"]}, "id", "second time"),
    "a preference over itself": ({"chosen": "a", "rejected": "a"}, "preference", "over itself"),
    "a strange preference": ({"a": "x", "b": "y", "preference": "c"}, "preference", "'a', 'b' or 'tie'"),
    "sentences of another response": (
        {"id": "x", "response": "Blue sky.", "sentences": ["Red sky."]},
        *("sentences", "not found in the response"),
    ),
    "a chat without answer": ({"messages": [{"role": "user", "content": "Hi"}]}, "messages", "assistant"),
    "a pair of nobody": ({"responses": ["x", "y"], "pairs": [[0, 2]]}, "pairs", r"0\.\.1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_records_are_named_by_place_and_reason(case, tmp_path):
    record, field, words = BAD[case]
    with pytest.raises(BadData, match=f"(?s){words}") as caught:
        list(read(lines(GOOD, record)))
    assert (caught.value.line, caught.value.field) == (2, field)
    report, rejects = ReadReport(), tmp_path / "rejects.jsonl"
    source = lines(GOOD, record, dict(GOOD, id="next"))
    kept = list(read(source, on_error="reject", rejects=rejects, report=report))
    assert [one.id for one in kept] == ["good", "next"]
    assert (report.rejected, report.reasons) == (1, {field or "the line": 1})
    (reject,) = map(json.loads, rejects.read_text(encoding="utf-8").splitlines())
    assert (reject["line"], reject["field"]) == (2, field)
    assert reject["problem"] == caught.value.problem
    assert case in ("10 MB", "an array") or reject["record"]


def test_a_column_whose_name_is_no_text_is_rejected_with_its_row(tmp_path):
    report, rejects = ReadReport(), tmp_path / "rejects.jsonl"
    rows = [{"response": "Fine.", "odd\udcf3": "x\udcf3"}, {"response": "Good."}]
    assert len(list(read(rows, on_error="reject", rejects=rejects, report=report))) == 1
    (reject,) = map(json.loads, rejects.read_text(encoding="utf-8").splitlines())
    assert "\\udcf3" in reject["field"]


def test_rejects_can_be_mended_and_read_again(tmp_path):
    rejects = tmp_path / "rejects.jsonl"
    list(read(lines({"id": "x", "sentences": ["a"], "label": 3}), on_error="reject", rejects=rejects))
    (reject,) = map(json.loads, rejects.read_text(encoding="utf-8").splitlines())
    (record,) = read([reject["record"]], label_scale="1..5")
    assert record.label == 0.5


def test_an_unclosed_quote_costs_its_own_row_alone():
    content = b'id,response,label\na,"Fine.,1\nb,"Also ""fine"".",1\nc,Good.,1\n'
    report = ReadReport()
    records = list(read(io.BytesIO(content), "csv", on_error="reject", report=report))
    assert [record.id for record in records] == ["b", "c"]
    assert report.rejected == 1


@pytest.mark.parametrize("header", [b"id,,label", b"id,id,label"])
def test_a_header_without_clear_names_is_refused(header):
    with pytest.raises(BadData, match="the header is"):
        list(read(io.BytesIO(header + b"\n1,2,3\n"), "csv"))


def test_a_table_of_sentences_with_a_missing_row_is_refused():
    rows = b"id,sentence_index,sentence_count,sentence\na,1,2,One.\nb,1,1,Two.\n"
    report = ReadReport()
    assert [r.id for r in read(io.BytesIO(rows), "csv", on_error="reject", report=report)] == ["b"]
    assert report.reasons == {"sentence_index": 1}


def test_other_encodings_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,response\n1,Fine.\n", encoding="utf-16")
    with pytest.raises(BadData, match=r"UTF-16.*iconv"):
        list(read(path))
    path.write_text("id,response\n1,Fine.\n", encoding="utf-8-sig")
    assert next(read(path)).id == "1"


def test_a_missing_file_and_unknown_words_are_named(tmp_path):
    with pytest.raises(BadData, match="cannot be opened"):
        list(read(tmp_path / "none.jsonl"))
    with pytest.raises(UnknownName, match="jsonl"):
        read(lines(), "jsnl")
    with pytest.raises(BadSpec, match="Did you mean 'response'"):
        read(lines(), columns={"respnse": "x"})
    with pytest.raises(BadData, match="Did you mean 'answer'"):
        list(read([{"answer": "x"}], columns={"response": "answr"}))
    with pytest.raises(BadSpec, match="overwrite"):
        read("a.jsonl", on_error="reject", rejects="a.jsonl")


def test_records_pass_through_in_memory():
    record = Response.from_sentences("x", ["Fine."])
    other = Response.from_sentences("y", ["Bad."])
    assert list(read([record, Preference(record, other, id="p")])) == [record, Preference(record, other, id="p")]
    with pytest.raises(BadData, match="second time"):
        list(read([record, record]))


def test_reading_tells_of_rejects_when_nobody_asked(caplog):
    list(read(lines(GOOD, b"{"), on_error="reject"))
    assert "1 rejected" in caplog.text


def test_ids_are_remembered_through_every_fold():
    seen, ids = SeenIds(), [f"r{number}" for number in range(600_000)]
    for id in ids:
        seen.add(id)
    assert len(seen) == len(ids)
    assert all(id in seen for id in ids[::997])
    assert not any(f"other {number}" in seen for number in range(2_000))


def test_reading_needs_no_memory_for_the_file():
    """Lines that are made while they are read: what stays is a hash an id."""

    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.made, self.rest = 0, b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            while not self.rest and self.made < 20_000:
                record = {"id": f"r{self.made}", "sentences": ["x" * 1000], "label": 1}
                self.rest, self.made = json.dumps(record).encode() + b"\n", self.made + 1
            part, self.rest = self.rest[: len(buffer)], self.rest[len(buffer) :]
            buffer[: len(part)] = part
            return len(part)

    import tracemalloc

    tracemalloc.start()
    assert sum(1 for _ in read(Endless(), "jsonl")) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000  # the file has 20 MB


def test_the_schema_describes_what_is_read_and_refuses_what_is_not():
    text = importlib.resources.files("fractal.schema").joinpath("response.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    for line in (DATA / "native.jsonl").read_text(encoding="utf-8").splitlines():
        check.validate(json.loads(line))
    for line in (DATA / "preferences.jsonl").read_text(encoding="utf-8").splitlines()[:2]:
        check.validate(json.loads(line))
    for case in ("no response", "no sentences", "a label out of range", "a label below", "a strange preference"):
        assert not check.is_valid(BAD[case][0]), case


def test_reading_imports_no_heavy_package():
    import subprocess

    heavy = ("torch", "pandas", "polars", "pyarrow", "datasets")
    code = f"import sys, fractal.readers, fractal.writers; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_hint_for_a_missing_response_names_no_object_and_no_column_that_is_taken():
    row = {"question": "Why?", "bot": {"reply": "So. There."}, "label": 1}
    with pytest.raises(BadData, match=r"columns=\{'response': 'bot.reply'\}"):
        list(read([row]))
    assert next(iter(read([row], columns={"response": "bot.reply"}))).text == "So. There."
