"""Spoiled files to readers of every kind: data errors and nothing else; every good line beside them comes through."""

from __future__ import annotations

import io
import json
import random
import zipfile
from typing import Any

import pytest

from fractal.errors import FractalError
from fractal.readers import READERS, ReadReport, read, read_scored
from fuzz.support import Run, cases, spoiled_bytes, spoiled_value

QUESTION = {"id": "q", "question": ["who"], "context": ["He", "did", "it", "."], "label": ["B", "O", "O", "O"]}
FEEDBACK = {"question": "q", "passages": [["T", "One."]], "preference": [1, 2, 0, 1, 2, 1]} | {
    f"prediction {number}": f"Answer {number}. It is long." for number in range(1, 5)
}
FEEDBACK["feedback"] = {"errors": [{"error type": "Irrelevant", "start": 0, "end": 5}], "missing-info": []}
STEP = {"completions": [{"text": "a", "rating": 1}], "chosen_completion": 0, "human_completion": None}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGES = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "Hello.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": "42"},
    {"role": "assistant", "content": "It is 42."},
]
SPAN = {"traceId": "t", "id": "s", "type": "GENERATION", "startTime": "2025-01-01T00:00:00Z", "input": MESSAGES[:1]}
RUN = {"trace_id": "t", "id": "s", "run_type": "llm", "inputs": {"messages": MESSAGES[:1]}, "outputs": MESSAGES[3]}
PLAIN = {"id": "a", "query": "q", "sentences": ["One.", "Two."], "label": 1, "sentence_labels": [1, 0]}
REGION = {"value": {"start": 0, "end": 4, "text": "One.", "labels": ["good"]}, "type": "labels"}
TASK = {"id": 1, "data": {"id": "a", "response": "One. Two."}}
TASK["annotations"] = [{"result": [REGION, {"value": {"rating": 4}, "type": "rating"}], "was_cancelled": False}]
ANSWER = {"value": [{"start": 0, "end": 4, "label": "good"}], "status": "submitted"}
ARGILLA = {"id": "a", "fields": {"response": "One. Two."}, "responses": {"sentences": [ANSWER]}}
SCORED = {**PLAIN, "sentence_scores": [0.9, 0.2], "response_score": 0.2, "sentence_spread": [0.1, 0.1], "aspect": ""}

DOCUMENTS = {  # reader → name of the file, what is in it, whether each object stands on a line
    "jsonl": ("a.jsonl", [PLAIN, {**PLAIN, "id": "b"}], True),
    "stepwise": ("a.jsonl", [{"id": "g", "prompt": "p", "completions": ["a", "b"], "labels": [1, 0]}], True),
    "preference": ("a.jsonl", [{"prompt": "p", "chosen": "yes, it is", "rejected": "no"}], True),
    "chat": ("a.jsonl", [{"id": "m", "messages": [MESSAGES[0], MESSAGES[3]]}], True),
    "openai_messages": ("a.jsonl", [{"id": "m", "messages": MESSAGES, "reward": 1}], True),
    "langfuse": ("a.jsonl", [SPAN | {"output": MESSAGES[3]}], True),
    "langsmith": ("a.jsonl", [RUN], True),
    "opentelemetry": ("a.jsonl", [{"traceId": "t", "spanId": "s", "name": "chat", "attributes": {}}], True),
    "openinference": ("a.jsonl", [{"context": {"trace_id": "t", "span_id": "s"}, "attributes": {}}], True),
    "steps": ("a.jsonl", [{"id": "r", "task": "t", "steps": [{"thought": "x", "action": "f", "result": "1"}]}], True),
    "multispanqa": ("train.json", {"data": [QUESTION, {**QUESTION, "id": "r"}]}, False),
    "qa_feedback(give='both')": ("train_feedback.json", [FEEDBACK], False),
    "label_studio": ("a.json", [TASK, TASK], False),
    "argilla": ("a.json", [ARGILLA, ARGILLA], False),
    "scored": ("scores.jsonl", [SCORED, {**SCORED, "id": "b"}], True),
    "folder": ("files/a.jsonl", [PLAIN, {**PLAIN, "id": "b"}], True),
    "prm800k": ("phase1.jsonl", [{"question": {"problem": "p"}, "label": {"steps": [STEP, STEP]}}], True),
    "aquamuse": ("a.jsonl", [{"query": "x", "target": "Yes, it is.", "input_urls": ["u"]}], True),
}
TABLES = {
    "csv": ("a.csv", b"id,response,label\na,One. Two.,1\nb,Three.,0\n"),
    "tsv": ("a.tsv", b"id\tresponse\tlabel\na\tOne. Two.\t1\nb\tThree.\t0\n"),
    "csv ": ("s.csv", b"id,sentence_index,sentence_count,sentence\na,1,2,One.\na,2,2,Two.\nb,1,1,Three.\n"),
    "fira": ("x-raw-judgements.tsv", b"id\tqueryId\tdocumentId\trelevanceLevel\n1\tq\td\t1_X\n"),
    "wikicatsum": ("train.tgt", b"a summary . <SNT> of two .\n"),
    "auto": ("noending", b'{"id": "a", "response": "One. Two."}\n'),
    "xlsx": ("a.xlsx", b""),
    "aquamuse ": ("a.tfrecord", b""),
    "aquamuse  ": ("a.zip", b""),
}


def message(number: int, content: bytes) -> bytes:
    """Return a field of a protocol buffer that holds bytes."""
    length, head = len(content), bytearray([number << 3 | 2])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes(head) + bytes([length]) + content


def tfrecord(row: dict[str, str]) -> bytes:
    """Return a TFRecord file of one example."""
    entries = [
        message(1, key.encode()) + message(2, message(1, message(1, value.encode()))) for key, value in row.items()
    ]
    example = message(1, b"".join(message(1, entry) for entry in entries))
    return len(example).to_bytes(8, "little") + b"\0" * 4 + example + b"\0" * 4


def workbook() -> bytes:
    """Return a workbook of Excel with one record."""
    openpyxl = pytest.importorskip("openpyxl")
    book, stream = openpyxl.Workbook(), io.BytesIO()
    for row in (("id", "response", "label"), ("a", "One. Two.", 1), ("b", "Three.", 0)):
        book.active.append(row)
    book.save(stream)
    return stream.getvalue()


def repacked(chance: random.Random, content: bytes) -> bytes:
    """Return an archive with one of its parts spoiled, its sum right."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(stream, "w") as target:
        place = chance.randrange(len(archive.namelist()))
        for number, name in enumerate(archive.namelist()):
            part = archive.read(name)
            target.writestr(name, spoiled_bytes(chance, part) if number == place else part)
    return stream.getvalue()


@pytest.fixture(scope="module", autouse=True)
def binary_files() -> None:
    """Make the files that are no text."""
    record = tfrecord({"query": "x", "target": "Yes, it is.", "input_urls": "u"})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("aquamuse/train.tfrecord", record)
    for name, content in (("xlsx", workbook()), ("aquamuse ", record), ("aquamuse  ", archive.getvalue())):
        TABLES[name] = (TABLES[name][0], content)


def content_of(chance: random.Random, name: str) -> tuple[str, str, bytes]:
    """Return a reader, the name of its file, and what is in it, spoiled."""
    if name in TABLES:
        file, content = TABLES[name]
        if content.startswith(b"PK") and chance.random() < 0.6:
            return name.strip(), file, repacked(chance, content)
        return name.strip(), file, spoiled_bytes(chance, content)
    file, document, lines = DOCUMENTS[name]
    for _ in range(chance.randint(0, 2)):
        document = spoiled_value(chance, document)
    if lines and isinstance(document, list):
        content = "".join(json.dumps(one) + "\n" for one in document).encode()
    else:
        content = json.dumps(document).encode()
    return name, file, content if chance.random() < 0.6 else spoiled_bytes(chance, content)


def outcome(reader: str, source: Any, on_error: str) -> str:
    """Return how reading ended: read, or refused as data are; what is left out is counted, what is read as well."""
    report = ReadReport()
    try:
        if reader == "scored":
            records = list(read_scored(source, on_error=on_error, report=report))
        else:
            records = list(read(source, reader, on_error=on_error, report=report))
    except FractalError:
        return "refused"
    assert len(records) == report.read, f"{len(records)} records, {report.read} counted"
    assert on_error == "reject" or not report.rejected
    return "read, and some set aside" if report.rejected else "read"


def test_spoiled_files_are_read_or_refused(tmp_path):
    names = [*DOCUMENTS, *TABLES]
    covered = {name.partition("(")[0].strip() for name in names} - {"auto", "scored"}
    assert covered | {"parquet", "arrow", "rows", "frame", "hub"} == set(READERS.names())
    (tmp_path / "files").mkdir()
    (tmp_path / "documents.tsv").write_text("doc_id\tdoc_text\nd\tA text.\n")
    (tmp_path / "queries.tsv").write_text("query_id\tquery_text\nq\twho\n")
    (tmp_path / "train.src").write_text("title <EOT> text <EOP>\n")
    run = Run("files to readers")
    for number, chance in cases():
        reader, file, content = content_of(chance, names[number % len(names)])
        path = tmp_path / file
        path.write_bytes(content)
        with run.case(f"case {number}, {reader}: {content[:300]!r}"):
            source = path.parent if reader == "folder" else path
            run.count(outcome(reader, source, chance.choice(["raise", "reject"])))
    run.close()
    assert run.outcomes["refused"]


@pytest.mark.parametrize("reader", ["rows", "frame"])
def test_spoiled_rows_in_memory_are_read_or_refused(reader):
    pandas = pytest.importorskip("pandas")
    run = Run(f"{reader} in memory")
    for number, chance in cases():
        rows = [{**PLAIN, "id": f"r{place}"} for place in range(4)]
        for _ in range(chance.randint(1, 3)):
            rows = spoiled_value(chance, rows)
        with run.case(f"case {number}: {str(rows)[:300]}"):
            source = rows
            if reader == "frame":
                try:
                    source = pandas.DataFrame(rows)
                except (ValueError, TypeError, OverflowError, AttributeError):  # it is no frame
                    continue
            run.count(outcome(reader, source, chance.choice(["raise", "reject"])))
    run.close()


@pytest.mark.parametrize("reader", ["jsonl", "csv"])
def test_no_good_line_is_lost_beside_spoiled_ones(reader):
    """Half of the lines are good and stand between spoiled ones, which are one line each and close their quotes."""
    run = Run(f"good lines beside spoiled ones, {reader}")
    for _, chance in cases():
        lines, wanted = [], []
        for number in range(40):
            bad = spoiled_bytes(chance, json.dumps(PLAIN).encode() if reader == "jsonl" else b"a,One.,1")
            lines.append(bad.replace(b"\n", b"").replace(b"\r", b"").replace(b'"', b"" if reader == "csv" else b'"'))
            wanted.append(f"good {number}")
            good = {**PLAIN, "id": wanted[-1]}
            lines.append(json.dumps(good).encode() if reader == "jsonl" else f"{wanted[-1]},One.,1".encode())
        head = b"" if reader == "jsonl" else b"id,response,label\n"
        stream = io.BytesIO((head or b"\n") + b"\n".join(lines) + b"\n")
        records = list(read(stream, reader, on_error="reject", report=ReadReport()))
        kept = [record.id for record in records if record.id.startswith("good ")]
        assert kept == wanted
        run.count("good lines", len(wanted))
    run.close()


@pytest.mark.parametrize("form", ["parquet", "arrow", "arrow lz4", "arrow stream zstd"])
def test_spoiled_columns_are_read_or_refused(tmp_path, form):
    form, stream, compression = form.partition(" ")[0], "stream" in form, (form.split()[1:] or [None])[-1]
    pyarrow = pytest.importorskip("pyarrow")
    parquet, ipc = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.ipc")
    table = pyarrow.Table.from_pylist([{**PLAIN, "id": f"r{number}"} for number in range(20)])
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        parquet.write_table(table, path)
    else:
        writer_of = ipc.new_stream if stream else ipc.new_file
        with writer_of(path, table.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table, max_chunksize=7)
    whole = path.read_bytes()
    run = Run(f"{form} files" + (f", {compression}" if compression else ""))
    for number, chance in cases():
        path.write_bytes(spoiled_bytes(chance, whole))
        with run.case(f"case {number}, {form}"):
            run.count(outcome(form, path, chance.choice(["raise", "reject"])))
    run.close()
