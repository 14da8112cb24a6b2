"""Compressed files that are cut, altered, nested or endless: bounded, and refused where they stand."""

from __future__ import annotations

import gzip
import json

from fractal.errors import FractalError
from fractal.readers import ReadReport, read
from fuzz.support import Run, cases, spoiled_bytes

RECORDS = [{"id": f"r{number}", "sentences": ["One.", "Two."], "label": number % 2} for number in range(50)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()


def test_spoiled_archives_give_what_comes_before_the_fault(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    run = Run("gzip archives")
    for number, chance in cases():
        packed = gzip.compress(LINES, chance.randint(0, 9))
        members = b"".join(gzip.compress(line + b"\n") for line in LINES.splitlines())
        whole = chance.choice([packed, members, gzip.compress(packed), packed + b"rest"])
        path.write_bytes(whole if chance.random() < 0.2 else spoiled_bytes(chance, whole))
        with run.case(f"case {number}"):
            report = ReadReport()
            try:
                records = list(read(path, on_error="reject", report=report))
            except FractalError:
                run.count("refused")
                continue
            run.count("read, and some set aside" if report.rejected else "read")
            assert len(records) == report.read
            assert len(records) == len(RECORDS) or report.rejected or len(path.read_bytes()) < len(whole)
    run.close()


def test_an_endless_line_in_a_small_archive_is_refused(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"x" * 30_000_000))
    report = ReadReport()
    assert not list(read(path, on_error="reject", report=report))
    assert report.rejected == 1
