"""What a pipe says is read whole and once, and no small file fills the memory."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading

import pytest

from fractal.errors import BadData
from fractal.readers import ReadReport, read, read_scored

RECORDS = [{"id": f"r{number}", "sentences": ["One.", "Two " * 20], "label": number % 2} for number in range(400)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
TABLE = ("id,response,label\n" + "".join(f"r{number},One is there.,1\n" for number in range(3_000))).encode()

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes with names")


@pytest.fixture
def fifo(tmp_path):
    """Write what is given to a pipe with a name, once."""
    threads = []

    def make(content: bytes, name: str = "pipe"):
        path = tmp_path / name
        os.mkfifo(path)

        def feed():
            with path.open("wb") as stream:
                stream.write(content)

        threads.append(threading.Thread(target=feed, daemon=True))
        threads[-1].start()
        return path

    yield make
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@posix
@pytest.mark.parametrize("form", ["jsonl", "gzip", "csv", "named csv", "tsv.gz"])
def test_a_pipe_gives_every_record(fifo, form):
    content, count = {
        "jsonl": (LINES, 400),
        "gzip": (gzip.compress(LINES), 400),
        "csv": (TABLE, 3_000),
        "named csv": (TABLE, 3_000),
        "tsv.gz": (gzip.compress(TABLE.replace(b",", b"\t")), 3_000),
    }[form]
    path = fifo(content, "a.csv" if form == "named csv" else "pipe")
    assert len(list(read(path))) == count


@posix
def test_a_pipe_of_scores_or_of_parquet_gives_every_record(fifo, tmp_path):
    scored = b"".join(
        json.dumps({**record, "sentence_scores": [0.1, 0.2], "response_score": 0.1}).encode() + b"\n"
        for record in RECORDS
    )
    assert len(list(read_scored(fifo(scored)))) == 400
    pytest.importorskip("pyarrow")
    from fractal.writers import write

    write(read(RECORDS), tmp_path / "a.parquet")
    assert len(list(read(fifo((tmp_path / "a.parquet").read_bytes(), "other")))) == 400


@posix
@pytest.mark.parametrize("place", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_standard_input_by_its_path_gives_every_record(place):
    code = f"from fractal.readers import read; print(len(list(read({place!r}))))"
    run = subprocess.run([sys.executable, "-c", code], input=LINES, capture_output=True, timeout=60, check=True)
    assert run.stdout == b"400\n"


def peak_of(code: str, *args: object) -> tuple[int, str]:
    """Run a program and return its peak memory in MB and what it printed."""
    tail = "\nprint(int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]) // 1024)"
    run = subprocess.run(
        [sys.executable, "-c", code + tail, *map(str, args)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    *said, peak = run.stdout.splitlines()
    return int(peak), "\n".join(said)


COUNT = """
import sys
from fractal.readers import READERS, Row
print(sum(isinstance(row, Row) for row in READERS.build("parquet").rows(sys.argv[1])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to see the peak of memory")
@pytest.mark.parametrize("encoding", ["dictionary", "delta", "plain"])
def test_a_small_parquet_file_of_long_rows_needs_little_memory(tmp_path, encoding):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    column = pyarrow.array(["x" * 1_000_000] * 100)
    if encoding == "dictionary":
        column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 400, "int32"), ["x" * 5_000_000])
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"response": column})
    options = {
        "dictionary": {"dictionary_pagesize_limit": 100_000_000},
        "delta": {"use_dictionary": False, "column_encoding": {"response": "DELTA_BYTE_ARRAY"}},
        "plain": {"use_dictionary": False},
    }[encoding]
    parquet.write_table(table, path, compression="zstd", **options)
    assert path.stat().st_size < 200_000
    peak, said = peak_of(COUNT, path)
    assert said == str(len(column))
    assert peak < 600


def test_a_row_that_is_longer_than_a_line_may_be_is_refused_alone(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    rows = [{"response": "One."}, {"response": "x" * 11_000_000}, {"response": "Two."}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    report = ReadReport()
    assert [one.id for one in read(path, on_error="reject", report=report)] == ["a.parquet:1", "a.parquet:3"]
    with pytest.raises(BadData, match=r"line 2: the row is about 11,0"):
        list(read(path))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_columns_that_are_compressed_once_more_are_refused(tmp_path, name):
    pytest.importorskip("pyarrow")
    path = tmp_path / f"{name}.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(b"PAR1" * 100)
    with pytest.raises(BadData, match="gunzip"):
        list(read(path))
