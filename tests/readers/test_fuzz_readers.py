"""Thousands of mutated records to every reader: nothing but `BadData` comes out, and no good record is lost."""

from __future__ import annotations

import gzip
import io
import json
import random

import pytest

from fractal.errors import BadData
from fractal.readers import ReadReport, read, read_scored

MUTATED = 2_000
GOOD = [
    {"id": "g0", "query": "q", "context": ["c"], "sentences": ["One.", "Two."], "label": 1, "sentence_labels": [1, 0]},
    {"id": "g1", "query": "q", "context": [], "response": "One. Two.", "label": 0.5, "meta": {"group": "x"}},
    {"id": "g2", "prompt": "p", "completions": ["a", "b"], "labels": [1, 0]},
    {"id": "g3", "prompt": "p", "chosen": "yes, it is", "rejected": "no"},
    {"id": "g4", "query": "p", "a": {"sentences": ["x"]}, "b": {"sentences": ["y"]}, "preference": "b"},
    {"id": "g5", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."}]},
    {"id": "g6", "prompt": "p", "responses": ["x", "y", "z"], "ranking": [1, 2, 2]},
    {"id": "g7", "sentences": ["x"], "aspects": {"true": 0.5}, "columns": {"k": [1]}, "unknown": [1]},
]
ODD = [
    *(None, True, False, -1, 0, 1, 2, 0.5, 1e308, 10**30, "", " ", "\0", "x" * 3000, "a", "tie", "nan", "👍", "85%"),
    *(
        [],
        [[]],
        [None],
        [1],
        [""],
        ["x"],
        [["x", 1]],
        {},
        {"text": "x"},
        {"role": "user"},
        {"sentences": []},
        "[1",
        "[]",
    ),
    *([{"role": "assistant", "content": None}], {"group": []}, [0, 1], [[0, 1], [1, 0]], [[0, 0]], [[0, 1, "tie"]]),
]
FIELDS = sorted(
    {field for record in GOOD for field in record} | {"score", "text", "group", "offsets", "extra", "pairs"}
)
SPLICES = [
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"NaN",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\r",
    b"[" * 5000,
    b",",
    b"1e999",
    b"\\ud800",
]


def mutated(chance: random.Random, number: int) -> dict:
    record = dict(chance.choice(GOOD), id=f"m{number}")
    for _ in range(chance.randint(1, 3)):
        field = chance.choice(FIELDS)
        act = chance.random()
        if act < 0.25:
            record.pop(field, None)
        elif act < 0.5 and isinstance(record.get(field), list):
            record[field] = record[field] + [chance.choice(ODD)] if chance.random() < 0.5 else record[field][1:]
        else:
            record[field] = chance.choice(ODD)
    return record


def mutated_line(chance: random.Random, number: int) -> bytes:
    line = json.dumps(mutated(chance, number)).encode()
    if chance.random() < 0.6:
        at = chance.randrange(len(line))
        act = chance.random()
        if act < 0.4:
            line = line[:at]
        elif act < 0.8:
            line = line[:at] + chance.choice(SPLICES) + line[at:]
        else:
            line = line[:at] + bytes([chance.randrange(256)]) + line[at + 1 :]
    return line.replace(b"\n", b" ")


def good(number: int) -> dict:
    return dict(GOOD[number % 2], id=f"good {number}")


def names_of_good(records) -> list[str]:
    return [record.id for record in records if record.id.startswith("good ")]


EXPECTED = [f"good {number}" for number in range(MUTATED)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("read_records", [read, read_scored], ids=["read", "read_scored"])
def test_mutated_lines_of_json(seed, read_records):
    chance = random.Random(seed)
    lines = []
    for number in range(MUTATED):
        scored = dict(good(number), sentence_scores=[0.5, 0.5], response_score=0.5)
        lines += [mutated_line(chance, number), json.dumps(scored).encode()]
    report = ReadReport()
    stream = io.BytesIO(b"\n".join(lines))
    records = list(read_records(stream, "jsonl", on_error="reject", report=report))
    plain = [getattr(record, "response", record) for record in records]
    assert names_of_good(plain) == EXPECTED
    assert report.rejected == sum(report.reasons.values()) > MUTATED / 10


def test_every_refusal_says_where_and_why():
    chance = random.Random(2)
    refused = list(filter(None, (refusal(mutated_line(chance, number)) for number in range(MUTATED))))
    assert len(refused) > MUTATED / 5
    for error in refused:
        assert error.line == 1
        assert error.source
        assert error.problem


def refusal(line: bytes) -> BadData | None:
    try:
        list(read(io.BytesIO(line), "jsonl"))
    except BadData as error:
        return error
    return None


@pytest.mark.parametrize("reader", ["rows", "stepwise(form='rows')", "preference(form='rows')", "chat(form='rows')"])
def test_mutated_rows(reader):
    chance = random.Random(3)
    fitting = {"stepwise": GOOD[2], "preference": GOOD[3], "chat": GOOD[5]}.get(reader.partition("(")[0], GOOD[0])
    rows = []
    for number in range(MUTATED):
        rows += [mutated(chance, number), dict(fitting, id=f"good {number}")]
    records = list(read(rows, reader, on_error="reject", report=ReadReport()))
    assert names_of_good(records) == EXPECTED


@pytest.mark.parametrize(("reader", "delimiter"), [("csv", b","), ("tsv", b"\t")])
def test_mutated_tables_of_text(reader, delimiter):
    chance = random.Random(4)
    lines = [b"id,query,response,label".replace(b",", delimiter)]
    for number in range(MUTATED):
        cells = [f"m{number}".encode(), b"q", b'"It, is. So"', chance.choice([b"1", b"", b"0.5"])]
        at = chance.randrange(len(cells))
        line = delimiter.join(
            [*cells[:at], chance.choice([*SPLICES, b"", b"2", b"good", b'"', b"'"]), *cells[at + 1 :]]
        )
        place = chance.randrange(len(line))
        line = line[:place] + chance.choice([b"", b"x", b'"', b"\xe9", b"\0", delimiter]) + line[place:]
        kept = [f"good {number}".encode(), b'"q"', b'"A ""fine"" one. Yes, it is."', b"0.25"]
        lines += [line, delimiter.join(kept)]
    records = list(read(io.BytesIO(b"\n".join(lines)), reader, on_error="reject", report=ReadReport()))
    assert names_of_good(records) == EXPECTED


def frames():
    pandas, polars, pyarrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    datasets = pytest.importorskip("datasets")
    return {
        "frame": [pandas.DataFrame, lambda columns: polars.DataFrame(columns, strict=False)],
        "arrow": [pyarrow.table],
        "hub": [datasets.Dataset.from_dict],
    }


@pytest.mark.parametrize("reader", ["frame", "arrow", "hub"])
def test_mutated_frames(reader):
    chance = random.Random(5)
    texts = ["", " ", "\0", None, "One. Two.", "x" * 5000]
    rows = []
    for number in range(MUTATED):
        rows.append((f"m{chance.randrange(number + 1)}", chance.choice(texts), chance.choice([None, -1.0, 0.5, 7.0])))
        rows.append((f"good {number}", "One. Two.", 0.25))
    columns = dict(zip(("id", "response", "label"), map(list, zip(*rows, strict=True)), strict=True))
    for make in frames()[reader]:
        records = list(read(make(columns), on_error="reject", report=ReadReport()))
        assert names_of_good(records) == EXPECTED


@pytest.mark.parametrize("reader", ["parquet", "arrow"])
def test_damaged_files_of_columns(reader):
    pyarrow, feather, parquet = map(pytest.importorskip, ("pyarrow", "pyarrow.feather", "pyarrow.parquet"))
    table = pyarrow.table({"id": [f"r{i}" for i in range(50)], "response": ["One. Two."] * 50, "label": [0.5] * 50})
    buffer = io.BytesIO()
    if reader == "parquet":
        parquet.write_table(table, buffer)
    else:
        feather.write_feather(table, buffer, compression="uncompressed")
    whole, chance = buffer.getvalue(), random.Random(6)
    for _ in range(MUTATED):
        at = chance.randrange(len(whole))
        cut = whole[:at] if chance.random() < 0.3 else whole[:at] + bytes([chance.randrange(256)]) + whole[at + 1 :]
        list(read(io.BytesIO(cut), reader, on_error="reject", report=ReadReport()))


def test_damaged_gzip_gives_what_stands_before_the_damage():
    lines = b"".join(json.dumps(good(number)).encode() + b"\n" for number in range(MUTATED))
    packed, chance = gzip.compress(lines), random.Random(7)
    for _ in range(20):
        cut = packed[: chance.randrange(20, len(packed))]
        report = ReadReport()
        found = names_of_good(read(io.BytesIO(cut), "jsonl", on_error="reject", report=report))
        assert found == EXPECTED[: len(found)]
        assert report.rejected == 1
        with pytest.raises(BadData, match="cut short"):
            list(read(io.BytesIO(cut), "jsonl"))
