"""Fetching against a server on this machine that breaks off, redirects, refuses, and sends the wrong bytes."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fractal.datasets.fetch import SOURCES, FetchFailed, fetch
from fractal.datasets.fetch.downloads import check_content, download
from fractal.errors import UnknownName

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; the path says how it misbehaves."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.requests.append((self.path, self.headers.get("Range", "")))
        kind = self.path.strip("/").split("/")[0]
        seen = sum(path == self.path for path, _ in server.requests)
        getattr(self, f"serve_{kind}", self.serve_whole)(seen)

    def serve_whole(self, seen: int, content: bytes = CONTENT, stop: int | None = None, etag: str = '"one"') -> None:
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", etag) == etag:
            start = int(wanted[1])
            if start >= len(content):
                self.refuse(416, **{"Content-Range": f"bytes */{len(content)}"})
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + stop if stop else None])
        self.wfile.flush()
        if stop:
            self.close_connection = True

    def serve_empty(self, seen: int) -> None:
        self.serve_whole(seen, b"")

    def serve_ftp(self, seen: int) -> None:
        self.refuse(302, Location="ftp://example.org/file")

    def serve_other(self, seen: int) -> None:
        """Break off, then go on with a part of another version, whatever was asked."""
        if seen == 1:
            self.serve_whole(seen, stop=100_000)
        elif seen == 2:
            self.headers.replace_header("If-Range", '"two"')
            self.serve_whole(seen, CONTENT[::-1], etag='"two"')
        else:
            self.serve_whole(seen, etag='"two"')

    def serve_breaks(self, seen: int) -> None:
        self.serve_whole(seen, stop=200_000)

    def serve_changes(self, seen: int) -> None:
        content = CONTENT if seen > 1 else CONTENT[::-1]
        self.serve_whole(seen, content, stop=100_000 if seen == 1 else None, etag=f'"{seen > 1}"')

    def serve_unnamed(self, seen: int) -> None:
        self.serve_whole(seen, stop=100_000 if seen == 1 else None, etag="")

    def serve_busy(self, seen: int) -> None:
        if seen < 3:
            self.refuse(503, **{"Retry-After": "0"})
        else:
            self.serve_whole(seen)

    def serve_redirect(self, seen: int) -> None:
        server = self.server
        assert isinstance(server, Server)
        self.refuse(302, Location=f"{server.url}/breaks/file")

    def serve_file(self, seen: int) -> None:
        self.refuse(302, Location="file:///etc/hostname")

    def serve_wrong(self, seen: int) -> None:
        self.serve_whole(seen, CONTENT[:-1] + b"?")

    def serve_page(self, seen: int) -> None:
        self.serve_whole(seen, b"\n<!DOCTYPE html><html>Please sign in</html>")

    def serve_pointer(self, seen: int) -> None:
        self.serve_whole(seen, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")

    def serve_form(self, seen: int) -> None:
        self.refuse(403)

    def serve_gone(self, seen: int) -> None:
        self.refuse(404)

    def serve_slow(self, seen: int) -> None:
        if self.headers.get("Range"):
            self.serve_whole(seen)
            return
        self.send_response(200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:150_000])
        self.wfile.flush()
        time.sleep(30)

    def refuse(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no error of the server."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield made
        made.shutdown()


def get(server: Server, path: str, target: Path, **options: object) -> Path:
    return download(f"{server.url}/{path}", target, **{"pause": 0.0, **options})  # type: ignore[arg-type]


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_whole_file_comes_with_its_checksum_beside_it(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = get(server, "whole/a", tmp_path / "deep" / "a", sha256=SHA, report=lambda *now: told.append(now))
    assert path.read_bytes() == CONTENT
    assert left(path.parent) == {"a", "a.sha256"}
    assert (path.parent / "a.sha256").read_text() == f"{SHA}  a\n"
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_what_breaks_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    path = get(server, "breaks/a", tmp_path / "a", sha256=SHA)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "bytes=200000-", "bytes=400000-"]


def test_redirects_are_followed_and_resumed(server: Server, tmp_path: Path) -> None:
    assert get(server, "redirect/a", tmp_path / "a", sha256=SHA).read_bytes() == CONTENT
    with pytest.raises(FetchFailed):
        get(server, "file/a", tmp_path / "b")


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(server: Server, tmp_path: Path) -> None:
    assert get(server, "changes/a", tmp_path / "a").read_bytes() == CONTENT


def test_a_server_that_names_no_version_is_asked_for_the_whole_unless_a_checksum_will_tell(
    server: Server, tmp_path: Path
) -> None:
    assert get(server, "unnamed/a", tmp_path / "a").read_bytes() == CONTENT
    assert get(server, "unnamed/b", tmp_path / "b", sha256=SHA).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "", "", "bytes=100000-"]


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    assert get(server, "busy/a", tmp_path / "a", attempts=3).read_bytes() == CONTENT
    with pytest.raises(FetchFailed, match=r"503, 2 times\. 0 bytes are kept"):
        get(server, "busy/b", tmp_path / "b", attempts=2)


def test_pauses_grow(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(FetchFailed, match="the connection failed"):
        download("http://127.0.0.1:9/a", tmp_path / "a", attempts=4, pause=0.5)
    assert slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("path", ["wrong/a", "page/a", "pointer/a", "form/a", "gone/a"])
def test_what_is_not_the_file_leaves_nothing_and_says_what_would_work(
    server: Server, tmp_path: Path, path: str
) -> None:
    words = {
        "wrong": "nothing of it was kept",
        "page": "behind a form",
        "pointer": "Git LFS",
        "form": "answers 403.*--from",
        "gone": "answers 404.*--base-url",
    }[path.split("/")[0]]
    with pytest.raises(FetchFailed, match=words):
        get(server, path, tmp_path / "a", sha256=SHA if path.startswith("wrong") else "")
    assert left(tmp_path) == set()
    assert len(server.requests) == 1


def test_a_download_that_was_killed_goes_on(server: Server, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from fractal.datasets.fetch.downloads import download
download({server.url + "/slow/a"!r}, Path({str(tmp_path / "a")!r}), timeout=60)
"""
    child = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / ".a.part"
    until(lambda: part.exists() and part.stat().st_size == 150_000)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "a").exists()
    assert get(server, "slow/a", tmp_path / "a", sha256=SHA).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "bytes=150000-"]
    assert left(tmp_path) == {"a", "a.sha256"}


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_download_that_was_killed_just_before_its_end_is_taken_as_it_is(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_bytes(CONTENT)
    (tmp_path / ".a.part.etag").write_text('"one"')
    assert get(server, "whole/a", tmp_path / "a", sha256=SHA).read_bytes() == CONTENT
    (tmp_path / ".b.part").write_bytes(CONTENT + b"more")
    (tmp_path / ".b.part.etag").write_text('"one"')
    assert get(server, "whole/b", tmp_path / "b", sha256=SHA).read_bytes() == CONTENT


def test_only_web_addresses_are_fetched(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="no web address"):
        download("file:///etc/hostname", tmp_path / "a")


# Data sets -----------------------------------------------------------------------------------------------------------


def test_a_set_is_fetched_from_a_mirror_and_later_only_checked(server: Server, tmp_path: Path) -> None:
    paths = fetch("fira", tmp_path, base_url=f"{server.url}/mirror/")
    assert [path.name for path in paths] == ["fira-trec19-raw-judgements.tsv", "documents.tsv", "queries.tsv"]
    assert [path for path, _ in server.requests][1] == "/mirror/input/documents.tsv"
    assert fetch("fira", tmp_path, base_url=server.url) == paths
    assert len(server.requests) == 3
    paths[1].write_bytes(b"altered")
    with pytest.raises(FetchFailed, match="delete it to fetch it anew"):
        fetch("fira", tmp_path, base_url=server.url)


def test_a_published_checksum_is_held_against_what_comes(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="e9da6a73f827ffb9… is published"):
        fetch("prm800k", tmp_path, base_url=server.url)
    assert left(tmp_path) == set()


def test_one_file_alone(server: Server, tmp_path: Path) -> None:
    (path,) = fetch("qa_feedback", tmp_path, base_url=server.url, only=["dev_feedback.json"])
    assert path.name == "dev_feedback.json"
    with pytest.raises(UnknownName, match=r"dev_feedback\.json"):
        fetch("qa_feedback", tmp_path, only=["test.json"])
    with pytest.raises(UnknownName, match="fira"):
        fetch("fiera", tmp_path)


def test_files_got_by_hand(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"datashare\.ed\.ac\.uk.*--from FOLDER"):
        fetch("wikicatsum", tmp_path / "out")
    given = tmp_path / "given"
    (given / "film").mkdir(parents=True)
    (given / "film" / "train.src").write_text("a\n")
    (given / "film" / "train.tgt").write_text("b\n")
    paths = fetch("wikicatsum", tmp_path / "out", from_folder=given)
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in paths) == ["film/train.src", "film/train.tgt"]
    (given / "film" / "train.tgt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FetchFailed, match="Git LFS"):
        fetch("wikicatsum", tmp_path / "again", from_folder=given)
    with pytest.raises(FetchFailed, match=r"holds no fira-trec19-raw-judgements\.tsv"):
        fetch("fira", tmp_path / "out", from_folder=given)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_set_has_a_reader_and_a_way_to_get_it(name: str) -> None:
    from fractal.readers import READERS

    source = SOURCES[name]
    assert name in READERS
    assert source.base.startswith("https://")
    assert bool(source.files) != bool(source.by_hand)
    assert source.licence
    assert all(re.fullmatch("([0-9a-f]{64})?", file.sha256) for file in source.files)


def test_the_command_lists_and_fetches(server: Server, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from fractal.cli import app

    listed = CliRunner().invoke(app, ["fetch", "--json"])
    assert {row["name"] for row in json.loads(listed.stdout)} == set(SOURCES)
    answer = CliRunner().invoke(app, ["fetch", "multispanqa", "-o", str(tmp_path), "--base-url", server.url, "-q"])
    assert answer.stdout.split() == [str(tmp_path / "train.json"), str(tmp_path / "valid.json")]
    refused = CliRunner().invoke(app, ["fetch", "wikicatsum"])
    assert refused.exit_code == 2
    assert "behind a page" in refused.output


def test_content_is_checked_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    check_content(path, SHA)
    with pytest.raises(FetchFailed, match="is published"):
        check_content(path, "0" * 64)


ODD = [
    "http://",
    "http://[",
    "https://host:port/x",
    "http://a b/c",
    "http://host/\x00",
    "http://höst/x",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("url", ODD)
def test_odd_addresses_are_refused_in_a_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(FetchFailed, match="no web address"):
        download(url, tmp_path / "file")


def test_nothing_but_the_web_is_followed_and_nothing_empty_is_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="no web address"):
        download(f"{server.url}/ftp/file", tmp_path / "file", pause=0)
    with pytest.raises(FetchFailed, match="empty"):
        download(f"{server.url}/empty/file", tmp_path / "file", attempts=2, pause=0)
    assert not (tmp_path / "file").exists()
    assert not (tmp_path / "file.sha256").exists()


def test_a_part_of_another_version_is_not_joined(server: Server, tmp_path: Path) -> None:
    path = download(f"{server.url}/other/file", tmp_path / "file", pause=0)
    assert path.read_bytes() == CONTENT


def test_size_and_time_have_bounds(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="more than 1,000 bytes"):
        download(f"{server.url}/whole/file", tmp_path / "file", most=1_000)
    with pytest.raises(FetchFailed, match="took more than 0 seconds"):
        download(f"{server.url}/whole/file", tmp_path / "file", longest=0, attempts=1)
