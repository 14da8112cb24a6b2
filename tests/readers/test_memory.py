"""Small files that would fill the memory, or hold the processor for hours: refused in plain words, or read in time."""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile

import pytest

from fractal.errors import BadData
from fractal.readers import ReadReport, arrow_messages, folders, read, sources
from fractal.readers.traces import spans


def written(table, path, *, stream=False, **options):
    ipc = pytest.importorskip("pyarrow.ipc")
    new = ipc.new_stream if stream else ipc.new_file
    with new(path, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["texts", "dictionary"])
def test_an_arrow_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch, compression, stream, kind):
    pyarrow = pytest.importorskip("pyarrow")
    monkeypatch.setattr(arrow_messages, "MAX_BATCH", 1_000_000)
    column = pyarrow.array(["x" * 100_000] * 30)
    if kind == "dictionary":
        column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 3, "int32"), ["y" * 2_000_000])
    table = pyarrow.table({"response": column})
    path = written(table, tmp_path / "a.arrow", stream=stream, compression=compression)
    assert path.stat().st_size < 100_000
    with pytest.raises(BadData, match=r"a\.arrow, line 1: .* takes .* unpacked, at most 1,000,000 .*: put fewer rows"):
        list(read(path))


def test_an_arrow_file_that_claims_rows_without_bytes_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    path = written(pyarrow.table({"response": pyarrow.nulls(2 * 10**9)}), tmp_path / "a.arrow")
    with pytest.raises(BadData, match="claims 2,000,000,000 rows"):
        list(read(path))


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("stream", [True, False])
def test_the_looked_at_bytes_are_those_that_unpacking_takes(tmp_path, compression, stream):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"response": pyarrow.array(["One. " * 100] * 5_000), "label": [1] * 5_000})
    path = written(table, tmp_path / "a.arrow", stream=stream, compression=compression)
    with path.open("rb") as file:
        assert arrow_messages.count_batches(file) == (1, "")
        for most, fits in ((table.nbytes + 1_000, True), (table.nbytes - 1_000, False)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(arrow_messages, "MAX_BATCH", most)
                count, fault = arrow_messages.count_batches(file)
                assert (count, not fault) == (int(fits), fits)


def test_views_and_runs_are_weighed_by_their_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    if not hasattr(pyarrow, "string_view"):
        pytest.skip("this pyarrow has no views")
    texts = pyarrow.array([f"{number} " + "x" * 40_000 for number in range(300)], pyarrow.string_view())
    report = ReadReport()
    records = list(read(written(pyarrow.table({"response": texts}), tmp_path / "a.arrow"), report=report))
    assert len(records) == 300  # 12 MB in all, of which each row is a small part
    runs = pyarrow.RunEndEncodedArray.from_arrays(pyarrow.array([90, 190]), pyarrow.array(["z" * 2_000_000, "One."]))
    path = written(pyarrow.table({"response": runs}), tmp_path / "b.arrow")
    lengths = [len(row.fields["response"]) for row in folders.READERS.build("arrow").rows(path)]
    assert lengths == [2_000_000] * 90 + [4] * 100


def test_an_array_of_little_objects_is_refused_by_what_it_takes_in_memory(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(gzip.compress(b"[" + b"{}," * 12_000_000 + b"{}]", 1))
    assert path.stat().st_size < 400_000
    for reader in ("jsonl", "openai_messages"):
        with pytest.raises(BadData, match="write one object a line"):
            list(read(path, reader, on_error="reject", report=ReadReport()))


def test_a_document_is_read_no_further_than_it_may_be_long(monkeypatch):
    monkeypatch.setattr(sources, "MAX_HELD", 1_000)
    stream = io.BytesIO(b"[\n" + b" " * 100_000)
    with pytest.raises(BadData, match="more than 1,000 bytes"):
        list(read(stream, "jsonl"))
    assert stream.tell() < 50_000


def test_spans_that_wait_for_their_traces_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(spans, "MAX_OBJECTS", 50_000)
    path = tmp_path / "a.jsonl"
    span = {"type": "GENERATION", "startTime": "2025-01-01T00:00:00Z", "output": "Hello. " * 40}
    path.write_text("".join(json.dumps({"traceId": f"t{n}", "id": f"s{n}", **span}) + "\n" for n in range(500)))
    with pytest.raises(BadData, match=r"a\.jsonl, line \d+: .* split the file by trace"):
        list(read(path, "langfuse", on_error="reject", report=ReadReport()))


def test_a_response_of_very_many_rows_is_refused_alone(tmp_path):
    path = tmp_path / "a.csv"
    rows = "".join(f"a,{number},x\n" for number in range(1, 200_001))
    path.write_text(f"id,sentence_index,sentence\nb,1,One.\n{rows}c,1,Two.\n")
    report = ReadReport()
    assert [one.id for one in read(path, on_error="reject", report=report)] == ["b", "c"]
    assert "the sentences of 'a' take" in report.examples["sentence"]
    assert "line 3:" in report.examples["sentence"]


def test_texts_that_stand_in_every_row_of_a_response_count_once(tmp_path):
    path = tmp_path / "a.csv"
    context = "A long text. " * 1_000
    rows = "".join(f"a,{number},1000,Sentence {number}.,{context}\n" for number in range(1, 1_001))
    path.write_text(f"id,sentence_index,sentence_count,sentence,context\n{rows}")  # 13 MB
    (response,) = read(path)
    assert len(response.sentences) == 1_000


@pytest.mark.parametrize("twice", [False, True])
def test_a_table_of_very_many_columns_takes_no_square_of_time(tmp_path, twice):
    path = tmp_path / "a.csv"
    names = [f"c{number}" for number in range(150_000)] + ["response", "c7" if twice else "id"]
    path.write_text(",".join(names) + "\n" + "1," * 150_000 + "One. Two.,a\n")
    started = time.monotonic()
    if twice:
        with pytest.raises(BadData, match=r"field 'c7': the header is .* no name twice") as caught:
            list(read(path))
        assert len(str(caught.value)) < 3_000
    else:
        assert [one.id for one in read(path)] == ["a"]
    assert time.monotonic() - started < 20


def test_a_mapping_to_no_column_of_very_many_is_named_in_time(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({f"c{number}": 1 for number in range(150_000)}) + "\n")
    started = time.monotonic()
    with pytest.raises(BadData, match="no column 'answer'"):
        list(read(path, columns={"response": "answer"}))
    assert time.monotonic() - started < 20


def sheet(path, change=None):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (("id", "response"), ("a", "One. Two.")):
        book.active.append(row)
    if change:
        change(book.active)
    book.save(path)
    return path


def test_a_sheet_with_a_cell_far_away_is_read_in_time(tmp_path):
    path = sheet(tmp_path / "a.xlsx", lambda active: active.cell(1_048_576, 2_000, "x"))
    started, report = time.monotonic(), ReadReport()
    assert [one.id for one in read(path, on_error="reject", report=report)] == ["a"]
    assert report.examples["response"].startswith("line 1048576:")
    assert time.monotonic() - started < 20


def test_a_workbook_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MAX_SHARED", 15_000)
    path = sheet(tmp_path / "a.xlsx")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/more.xml", "x" * 20_000)
    with pytest.raises(BadData, match=r"'xl/more.xml' in it unpacks to 20,000 bytes"):
        list(read(path))


def test_a_workbook_of_very_many_shared_texts_is_refused(tmp_path):
    path = sheet(tmp_path / "a.xlsx")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", b"<sst>" + b"<si><t>x</t></si>" * 1_100_000 + b"</sst>")
    with pytest.raises(BadData, match=r"'xl/sharedStrings.xml' in it holds more than 4,000,000 tags"):
        list(read(path))


@pytest.mark.parametrize("change", [(b"<row", b"<r\x00w"), (b'r="A2"', b'r="??"'), (b't="inlineStr"', b't="d"')])
def test_a_workbook_with_odd_parts_is_refused_or_read(tmp_path, change):
    path = sheet(tmp_path / "a.xlsx")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(*change) if "worksheets" in name else content)
    report = ReadReport()
    try:
        records = list(read(path, on_error="reject", report=report))
    except BadData as error:
        problem = error.problem
    else:
        problem = "" if len(records) == report.read else "lost"
    assert not problem or "no workbook of Excel" in problem


def test_damage_that_no_reader_places_is_said_to_come_after_the_last_line(tmp_path):
    from fractal.readers.session import ReadSession

    session = ReadSession(tmp_path / "a.gz", on_error="reject", report=ReadReport())

    def reading():
        with session.open():
            session.refuse(6, BadData("bad"), "")
            session.accept(sources.BadRow(7, BadData("bad")), None)
            raise EOFError("ended early")

    with pytest.raises(BadData, match=r"a\.gz: after line 7 the compressed file is cut short") as caught:
        reading()
    assert caught.value.line is None


def test_what_stands_before_a_fault_comes_through_where_the_first_records_are_looked_at_together(tmp_path):
    from fractal.readers.preview import previewed
    from fractal.readers.session import ReadSession

    def rows():
        yield from range(3)
        raise EOFError("cut")

    session = ReadSession("x", on_error="reject", report=ReadReport())
    items = previewed(rows(), session, lambda row: (sources.BadRow(1, BadData("odd")), None))
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(EOFError):
        next(items)
