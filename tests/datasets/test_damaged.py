"""Official files that are damaged, huge or odd: data errors with file and line, never anything else."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile

import pytest

from fractal.cli import main
from fractal.datasets.published import common
from fractal.errors import BadData
from fractal.readers import ReadReport, read

QUESTION = {"id": "q", "question": ["who"], "context": ["He", "did", "."], "label": ["B", "O", "O"]}
FILES = {
    "multispanqa": ("train.json", json.dumps({"data": [QUESTION]}).encode()),
    "qa_feedback": ("train_feedback.json", b"[]"),
    "prm800k": ("phase1_train.jsonl", b'{"question": {"problem": "x"}, "label": {"steps": []}}\n'),
    "aquamuse": ("a.jsonl", b'{"query": "x", "target": "Yes, it is.", "input_urls": []}\n'),
    "fira": ("fira-trec19-raw-judgements.tsv", b"id\tqueryId\tdocumentId\n"),
}


def refused(reader: str, path) -> BadData:
    with pytest.raises(BadData) as caught:
        list(read(path, reader, report=ReadReport()))
    return caught.value


@pytest.mark.parametrize("reader", FILES)
@pytest.mark.parametrize("damage", ["cut", "flipped", "bytes"])
def test_damaged_files_are_named(tmp_path, reader, damage):
    name, content = FILES[reader]
    packed = gzip.compress(content)
    path = tmp_path / name
    path.write_bytes(
        {"cut": packed[:-9], "flipped": packed[:12] + b"\xff\xff" + packed[14:], "bytes": b"\xff" + content}[damage]
    )
    if reader == "fira":
        for beside, head in (("documents.tsv", "doc_id\tdoc_text"), ("queries.tsv", "query_id\tquery_text")):
            (tmp_path / beside).write_text(f"{head}\n")
    error = refused(reader, path)
    assert str(tmp_path) in error.source or name in error.source
    assert error.line is not None


def test_the_command_line_takes_a_cut_file_for_no_interruption(tmp_path, capsys):
    name, content = FILES["multispanqa"]
    (tmp_path / name).write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(tmp_path / name), "--reader", "multispanqa"])
    assert ended.value.code == 2
    assert "cut short" in capsys.readouterr().err


def test_a_document_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "MAX_DOCUMENT", 1_000_000)
    path = tmp_path / "train.json"
    path.write_bytes(gzip.compress(b"[" + b" " * 3_000_000))
    assert "longer than 1,000,000 bytes" in str(refused("multispanqa", path))


@pytest.mark.parametrize("damage", ["list", "content", "password", "compression"])
def test_shards_in_a_damaged_archive_are_named(tmp_path, damage):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.jsonl", '{"query": "x", "target": "Yes, it is.", "input_urls": []}\n' * 3)
    content = path.read_bytes()
    entry = content.index(b"PK\x01\x02")
    altered = {
        "list": content[:entry] + b"XX" + content[entry + 2 :],
        "content": content.replace(b"Yes", b"Yet"),
        "password": content[: entry + 8] + b"\x01" + content[entry + 9 :],
        "compression": content[: entry + 10] + b"\x63" + content[entry + 11 :],
    }
    path.write_bytes(altered[damage])
    with pytest.raises(BadData, match=r"a\.zip"):
        list(read(path, "aquamuse", on_error="reject", report=ReadReport()))


@pytest.mark.parametrize("marks", [[["B"], "O", "O"], [{}, "O", "O"], [None, "O", "O"], [1, 2, 3]])
def test_lists_inside_labels_are_refused(tmp_path, marks):
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"data": [{**QUESTION, "label": marks}]}))
    error = refused("multispanqa(negatives=0)", path)
    assert (error.field, error.line) == ("label", 1)


@pytest.mark.parametrize("content", [b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0a\x05abc", b"\x0f"])
def test_records_that_are_no_examples_are_refused(tmp_path, content):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(struct.pack("<Q", len(content)) + b"0000" + content + b"0000")
    assert refused("aquamuse", path).line == 1
