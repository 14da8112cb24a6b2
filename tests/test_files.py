"""Files and folders are whole or absent, whatever ends the process that writes them."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fractal import files
from fractal.errors import BadData
from fractal.files import open_target, put_in_place, whole_file, whole_folder

linux = pytest.mark.skipif(sys.platform != "linux", reason="names are exchanged in one step on Linux")

KILLED_AT_EVENT = """
    import os, signal, sys
    from pathlib import Path
    from fractal import files
    path, last = Path(sys.argv[1]), int(sys.argv[2])
    count = 0
    def end(event, arguments):
        global count
        if event.startswith(("open", "os.", "shutil.")):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(end)
"""
WRITE_FILE = """
    with files.whole_file(path) as beside:
        beside.write_text("new")
"""
WRITE_FOLDER = """
    with files.whole_folder(path) as beside:
        (beside / "a").write_text("new")
        (beside / "b").write_text("new")
"""


def names(folder: Path) -> list[str]:
    """Return what a folder holds."""
    return sorted(path.name for path in folder.iterdir())


def killed_at(event: int, program: str, path: Path) -> bool:
    """Run the program until its n-th operation on files; whether it came to that."""
    code = textwrap.dedent(KILLED_AT_EVENT + program)
    ended = subprocess.run([sys.executable, "-c", code, str(path), str(event)], check=False)
    assert ended.returncode in (0, -signal.SIGKILL)
    return ended.returncode != 0


@linux
def test_a_killed_process_leaves_the_earlier_file_or_the_new_one(tmp_path: Path) -> None:
    target, event = tmp_path / "a", 0
    target.write_text("old")
    while killed_at(event := event + 1, WRITE_FILE, target):
        assert target.read_text() in ("old", "new")
    assert event > 3
    assert target.read_text() == "new"


@linux
def test_a_killed_process_leaves_the_earlier_folder_or_the_new_one(tmp_path: Path) -> None:
    target, event = tmp_path / "a", 0
    target.mkdir()
    for name in ("a", "b", "c"):
        (target / name).write_text("old")
    while killed_at(event := event + 1, WRITE_FOLDER, target):
        held = {path.name: path.read_text() for path in target.iterdir()}
        assert held in ({"a": "old", "b": "old", "c": "old"}, {"a": "new", "b": "new"})
    assert event > 8
    assert {path.name: path.read_text() for path in target.iterdir()} == {"a": "new", "b": "new"}


def test_without_an_exchange_the_earlier_folder_comes_back_where_the_new_one_cannot_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    target = tmp_path / "a"
    for content in ("old", "new"):
        with whole_folder(target) as beside:
            (beside / "a").write_text(content)
    assert (target / "a").read_text() == "new"
    rename = Path.rename

    def fails(path: Path, other: Path) -> Path:
        if (path / "a").read_text() == "newer":
            raise OSError("no room")
        return rename(path, other)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no room"), whole_folder(target) as beside:
        (beside / "a").write_text("newer")
    assert (target / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("earlier", [False, True])
def test_an_error_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path, earlier: bool) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    if earlier:
        file.write_text("old")
        folder.mkdir()
    with pytest.raises(FileNotFoundError), whole_file(file) as beside:
        shutil.copyfile(tmp_path / "missing", beside)
    with pytest.raises(FileNotFoundError), whole_folder(folder) as beside:
        shutil.copyfile(tmp_path / "missing", beside / "a")
    assert names(tmp_path) == (["file", "folder"] if earlier else [])
    assert not earlier or (file.read_text() == "old" and not names(folder))


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_what_is_replaced_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch(mode)
    file.chmod(mode)
    folder.mkdir()
    folder.chmod(mode | 0o700)
    with whole_file(file) as beside:
        assert beside.stat().st_mode & 0o077 & ~mode == 0  # nobody else reads it while it is written
        beside.write_text("new")
    with whole_folder(folder) as beside:
        (beside / "a").write_text("new")
    assert file.stat().st_mode & 0o777 == mode
    assert folder.stat().st_mode & 0o777 == mode | 0o700
    assert file.read_text() == (folder / "a").read_text() == "new"


def test_what_is_new_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "plain_folder").mkdir()
    with whole_file(tmp_path / "file"), whole_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "plain_folder").stat().st_mode


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    sync = os.fsync
    target = tmp_path / "a"

    def watched(handle: int) -> None:
        synced.append(("folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "file", target.exists()))
        sync(handle)

    if sys.platform != "linux":
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", watched)
    with whole_file(target) as beside:
        beside.write_text("new")
    assert synced == [("file", False), ("folder", True)]
    synced.clear()
    target.unlink()
    with whole_folder(target) as beside:
        (beside / "a").write_text("new")
    assert synced == [("file", False), ("folder", False), ("folder", True)]


def test_a_link_goes_on_pointing_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with open_target(tmp_path / "link") as stream:
        stream.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_names_may_be_as_long_as_the_system_lets_them(tmp_path: Path) -> None:
    target = tmp_path / ("🙂" * 60 + ".jsonl")  # 246 bytes of 255
    with open_target(target) as stream:
        stream.write(b"new")
    assert target.read_bytes() == b"new"


def test_an_ending_of_gz_compresses_to_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        with open_target(tmp_path / name) as stream:
            stream.write(b"new")
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"new"
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    for kind in (whole_file, whole_folder):
        with pytest.raises(BadData, match="cannot be written"), kind(tmp_path / "missing" / "a"):
            pass


def test_what_is_complete_takes_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "part").write_text("new")
    put_in_place(tmp_path / "part", tmp_path / "a")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new"}


def test_what_a_killed_process_left_is_swept_up_and_what_others_write_is_not(tmp_path):
    target = tmp_path / "scores.jsonl"
    old, fresh, other = (
        tmp_path / f".{name}.part" for name in ("scores.jsonl.0123abcd", "scores.jsonl.aaaaaaaa", "mine")
    )
    for part in (old, fresh, other):
        part.write_text("half")
    held = tmp_path / ".scores.jsonl.bbbbbbbb.part"
    held.write_text("half")
    for part in (old, other, held):
        os.utime(part, (1, 1))
    with held.open("rb") as stream:
        fcntl = pytest.importorskip("fcntl")
        fcntl.flock(stream, fcntl.LOCK_EX)
        with files.whole_file(target) as beside:
            beside.write_text("whole")
    assert target.read_text() == "whole"
    assert not old.exists()
    assert fresh.exists() and other.exists() and held.exists()  # noqa: PT018
