"""Spoiled files to readers of every kind: data errors and nothing else; every good line beside them comes through."""

from __future__ import annotations

import io
import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from fractal.errors import FractalError
from fractal.readers import READERS, ReadReport, read
from fuzz.support import SLOWEST, cases, spoiled_bytes, spoiled_value

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
}


def content_of(chance: random.Random, name: str) -> tuple[str, str, bytes]:
    """Return a reader, the name of its file, and what is in it, spoiled."""
    if name in TABLES:
        file, content = TABLES[name]
        return name.strip(), file, spoiled_bytes(chance, content)
    file, document, lines = DOCUMENTS[name]
    for _ in range(chance.randint(0, 2)):
        document = spoiled_value(chance, document)
    if lines and isinstance(document, list):
        content = "".join(json.dumps(one) + "\n" for one in document).encode()
    else:
        content = json.dumps(document).encode()
    return name, file, content if chance.random() < 0.6 else spoiled_bytes(chance, content)


def outcome(reader: str, path: Path, on_error: str) -> str:
    """Return how reading ended: read, or refused as data are."""
    started = time.monotonic()
    try:
        list(read(path, reader, on_error=on_error, report=ReadReport()))
        ended = "read"
    except FractalError:
        ended = "refused"
    assert time.monotonic() - started < SLOWEST
    return ended


def test_spoiled_files_are_read_or_refused(tmp_path):
    names = [*DOCUMENTS, *TABLES]
    assert {name.partition("(")[0].strip() for name in names} - {"auto"} <= set(READERS.names())
    (tmp_path / "documents.tsv").write_text("doc_id\tdoc_text\nd\tA text.\n")
    (tmp_path / "queries.tsv").write_text("query_id\tquery_text\nq\twho\n")
    (tmp_path / "train.src").write_text("title <EOT> text <EOP>\n")
    outcomes: Counter[str] = Counter()
    for number, chance in cases():
        reader, file, content = content_of(chance, names[number % len(names)])
        path = tmp_path / file
        path.write_bytes(content)
        try:
            outcomes[outcome(reader, path, chance.choice(["raise", "reject"]))] += 1
        except Exception as error:
            raise AssertionError(f"case {number}, {reader}: {content[:400]!r}") from error
    print(f"readers: {dict(outcomes)}")
    assert outcomes["refused"]


@pytest.mark.parametrize("reader", ["jsonl", "csv"])
def test_no_good_line_is_lost_beside_spoiled_ones(reader):
    """Half of the lines are good and stand between spoiled ones, which are one line each and close their quotes."""
    checked = 0
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
        checked += len(wanted)
    print(f"good lines beside spoiled ones ({reader}): {checked} of {checked}")


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_spoiled_columns_are_read_or_refused(tmp_path, form):
    pyarrow = pytest.importorskip("pyarrow")
    parquet, ipc = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.ipc")
    table = pyarrow.Table.from_pylist([{**PLAIN, "id": f"r{number}"} for number in range(20)])
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        parquet.write_table(table, path)
    else:
        with ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    whole = path.read_bytes()
    for number, chance in cases():
        path.write_bytes(spoiled_bytes(chance, whole))
        try:
            outcome(form, path, chance.choice(["raise", "reject"]))
        except Exception as error:
            raise AssertionError(f"case {number}, {form}") from error
