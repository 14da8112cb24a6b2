"""Files as people have them: delimiters, encodings, workbooks, broken rows; and two thousand that nobody has."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path

import pytest

from fractal.errors import FractalError
from fractal.server.importing import ColumnMapping, parse, preview
from fractal.server.settings import Limits
from support.effort import few
from support.studios import COLUMNS, WORDS, Opened, ratings_csv

ROWS = [
    {
        "id": f"r{number}",
        "query": "Why?",
        "response": f'Answer {number} is ä. It is so, "really"; yes.',
        "label": number % 2,
    }
    for number in range(12)
]
MAPPING = ColumnMapping(columns={"response": "response", "label": "label", "id": "id", "query": "query"})


def as_csv(delimiter: str, encoding: str) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, list(ROWS[0]), delimiter=delimiter)
    table.writeheader()
    table.writerows(ROWS)
    return text.getvalue().encode(encoding)


def as_xlsx() -> bytes:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra 'serve' brings openpyxl")
    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.append(list(ROWS[0]))
    for row in ROWS:
        book.active.append(list(row.values()))
    book.save(out)
    return out.getvalue()


def as_parquet() -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'data' brings pyarrow")
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), out)
    return out.getvalue()


FORMS = {
    **{f"csv {d!r} {e}": as_csv(d, e) for d in ",;\t|" for e in ("utf-8", "utf-8-sig", "cp1252", "utf-16")},
    "jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
    "array": json.dumps(ROWS, indent=1).encode(),
    "gzip": gzip.compress(as_csv(";", "utf-8")),
    "xlsx": as_xlsx(),
    "parquet": as_parquet(),
}
HARM = (b'"', b"\0", b"\xff", b"\r", b"{" * 50, b"[" * 5000, b"1e999", b"\xed\xa0\x80")


def read(content: bytes, folder: Path, mapping: ColumnMapping = MAPPING, name: str = "upload"):
    path = folder / "upload"
    path.write_bytes(content)
    return parse(path, name, mapping, Limits(), folder / "rejects.jsonl")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str, tmp_path: Path) -> None:
    records, report = read(FORMS[form], tmp_path)
    assert report.rejected == 0, report.examples
    assert [record.text for record in records] == [row["response"] for row in ROWS]
    assert [record.label for record in records] == [row["label"] for row in ROWS]


@pytest.mark.parametrize("form", FORMS)
def test_previews_show_columns_and_rows(form: str, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(FORMS[form])
    shown = preview(path, "upload", Limits())
    assert shown["columns"] == ["id", "query", "response", "label"]
    assert shown["roles"]["response"] == "response"
    assert len(shown["rows"]) == 10


def test_bad_rows_are_listed_and_good_ones_kept(studio: Opened) -> None:
    lines = ratings_csv(30).splitlines()
    lines[3] = lines[3].replace("gut", "mittel").replace("schlecht", "mittel")
    lines.insert(8, "only;two")
    job = studio.bring("\n".join(lines), columns=COLUMNS, words=WORDS)
    facts = job["result"]
    assert (facts["responses"], facts["rejected"]) == (29, 2)
    dataset = studio.get("/v1/datasets").json()[0]
    rejects = [json.loads(line) for line in studio.get(f"/v1/datasets/{dataset['id']}/rejects").text.splitlines()]
    assert len(rejects) == 2
    assert any("mittel" in one["problem"] for one in rejects)


def test_pasted_paragraphs_are_responses(tmp_path: Path) -> None:
    records, _ = read(b"One answer. It has two sentences.\n\nAnother answer!\n", tmp_path, ColumnMapping())
    assert [len(record.sentences) for record in records] == [2, 1]


def broken(chance: random.Random) -> bytes:
    """A file that somebody has damaged."""
    content = bytearray(chance.choice(list(FORMS.values())))
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(content) + 1)
        act = chance.randrange(4)
        if act == 0:
            content[place:place] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 20)))
        elif act == 1:
            del content[place : place + chance.randint(1, 200)]
        elif act == 2:
            content[place:place] = chance.choice(HARM)
        elif content:
            content[place % len(content)] ^= 1 << chance.randrange(8)
    return bytes(content)


def outcome(act, *arguments):
    """What came of it, or what was said; anything but an error that says something goes through."""
    try:
        return act(*arguments)
    except FractalError as error:
        return str(error)


def survive(count: int, folder: Path, seed: int) -> None:
    """Damaged files end in an error that says something, or in rows: never in anything else."""
    chance = random.Random(seed)
    for _ in range(count):
        assert outcome(read, broken(chance), folder)
        assert outcome(preview, folder / "upload", "upload", Limits())


def test_damaged_files_are_survived(tmp_path: Path) -> None:
    survive(100, tmp_path, 3)


@pytest.mark.slow
def test_many_damaged_files_are_survived(tmp_path: Path) -> None:
    survive(few(500, 2_000), tmp_path, 4)


@pytest.mark.parametrize("seed", range(20))
def test_no_good_row_is_lost_beside_damaged_ones(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    lines = [json.dumps(row) for row in ROWS]
    harmed = set(chance.sample(range(len(lines)), 4))
    for place in harmed:
        lines[place] = chance.choice(
            ['{"id": ', "[1, 2", '{"response": ""}', "\x00", '{"response": 3, "label": "?"}', lines[place][:-9]]
        )
    records, report = read("\n".join(lines).encode(), tmp_path)
    assert {record.id for record in records} >= {row["id"] for place, row in enumerate(ROWS) if place not in harmed}
    assert report.rejected == len(harmed)


def test_damaged_uploads_by_the_api(studio: Opened) -> None:
    chance = random.Random(5)
    for _ in range(15):
        told = studio.upload(broken(chance))
        assert studio.job(told["job"])["state"] in ("done", "failed")
        job = studio.post("/v1/datasets", {"upload": told["upload"], "name": "x"})
        studio.work()
        assert studio.job(job.json()["job"])["state"] in ("done", "failed")
        assert "look at the worker's log" not in studio.job(job.json()["job"])["error"]
