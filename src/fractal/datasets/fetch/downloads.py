"""One file over HTTP, whole or not at all: it goes on where it was broken off, and appears when it is complete."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from fractal.errors import FractalError
from fractal.files import exclusive, put_in_place

CHUNK = 1 << 16
MOST = 20_000_000_000  # bytes of one file
LONGEST = 6 * 3600.0  # seconds of one try
LFS = b"version https://git-lfs"
PAGE = (b"<!doctype html", b"<html")
LONGEST_PAUSE = 60.0  # seconds, whatever a server asks for
AGAIN = {408, 425, 429, 500, 502, 503, 504}
Progress = Callable[[int, int], None]


class FetchFailed(FractalError, OSError):
    """A file could not be fetched, or is not what it should be; says what was met and what would work."""


class _TransientFailure(Exception):
    """The connection or the server failed in a way that may pass."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def download(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    attempts: int = 5,
    pause: float = 1.0,
    timeout: float = 30.0,
    report: Progress | None = None,
    most: int = MOST,
    longest: float = LONGEST,
) -> Path:
    """Fetch one file; what arrived stays beside it as `.name.part` until it is complete and checked.

    At most so many bytes are taken, and a try takes at most so many seconds, whatever a server sends.
    """
    _refuse_odd_address(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(target):
        return _downloaded(url, target, sha256, attempts, pause, _Limits(timeout, most, longest), report)


@dataclasses.dataclass(frozen=True)
class _Limits:
    timeout: float  # seconds without a byte
    most: int  # bytes of a file
    longest: float  # seconds of one try


def _refuse_odd_address(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine or not url.isascii() or any(sign <= " " or sign == "\x7f" for sign in url):
        raise FetchFailed(
            f"{url!r} is no web address: it begins with https:// or http://, and has no blanks or controls."
        )


class _SameSchemes(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to another web address, and to nothing else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _refuse_odd_address(newurl)
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise FetchFailed(f"{req.full_url} leads to {newurl}, which is not encrypted: get the file by hand.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _downloaded(
    url: str, target: Path, sha256: str, attempts: int, pause: float, limits: _Limits, report: Progress | None
) -> Path:
    part = target.with_name(f".{target.name}.part")
    for attempt in range(1, attempts + 1):
        try:
            _receive(url, part, bool(sha256), limits, report)
            break
        except _TransientFailure as failure:
            if attempt == attempts:
                arrived = part.stat().st_size if part.exists() else 0
                raise FetchFailed(
                    f"{url}: {failure}, {attempts} times. {arrived:,} bytes are kept: run it again to go on from there."
                ) from failure
            time.sleep(min(pause * 2 ** (attempt - 1) if failure.wait is None else failure.wait, LONGEST_PAUSE))
    try:
        check_content(part, sha256, url)
    except FetchFailed:
        _forget(part)
        raise
    target.with_name(f"{target.name}.sha256").write_text(f"{checksum(part)}  {target.name}\n")
    put_in_place(part, target)
    _forget(part)
    return target


def check_content(path: Path, sha256: str, name: object = "") -> None:
    """Refuse web pages, pointers of Git LFS, and content with another checksum than the published one."""
    with path.open("rb") as file:
        start = file.read(200)
    name = name or path
    if start.startswith(LFS):
        raise FetchFailed(
            f"{name} is a pointer of Git LFS, not the file: install git-lfs, run `git lfs pull` in a clone of its "
            "repository, and give that folder with --from."
        )
    if start.lstrip().lower().startswith(PAGE):
        raise FetchFailed(
            f"{name} is a web page, not data: the file probably stands behind a form. Get it with a browser and "
            "give its folder with --from."
        )
    if sha256 and (actual := checksum(path)) != sha256:
        raise FetchFailed(
            f"{name} has the checksum {actual[:16]}…, but {sha256[:16]}… is published: nothing of it was kept. The "
            "file has changed or was altered on its way; try again, or get it by hand."
        )


def check_present(path: Path, sha256: str) -> None:
    """Check a file that is there already against the published checksum, else that of its first fetch."""
    beside = path.with_name(f"{path.name}.sha256")
    expected = sha256 or (beside.read_text().partition(" ")[0] if beside.is_file() else "")
    actual = checksum(path)
    if expected and actual != expected:
        raise FetchFailed(
            f"{path} has the checksum {actual[:16]}…, not {expected[:16]}… as expected: delete it to fetch it anew."
        )
    if not expected:
        beside.write_text(f"{actual}  {path.name}\n")


def checksum(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _receive(url: str, part: Path, checked: bool, limits: _Limits, report: Progress | None) -> None:
    """Receive what is still missing of a file; every byte that arrived is on disk when the connection breaks.

    What is missing is asked for where the server can tell that the file is the same, or the checksum will.
    """
    have = part.stat().st_size if part.exists() else 0
    mark = _mark(part)
    request = urllib.request.Request(url, headers={"User-Agent": "fractal-scores", "Accept-Encoding": "identity"})
    if have and (checked or mark.is_file()):
        request.add_header("Range", f"bytes={have}-")
        if mark.is_file():
            request.add_header("If-Range", mark.read_text())
    try:
        opener = urllib.request.build_opener(_SameSchemes)
        with opener.open(request, timeout=limits.timeout) as answer:
            _write(answer, part, have, limits, report)
    except urllib.error.HTTPError as error:
        if error.code != 416 or error.headers.get("Content-Range", "") != f"bytes */{have}":  # all is here
            _refused(error, url, part)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise _TransientFailure(f"the connection failed ({reason or type(error).__name__})") from error


def _write(answer: Any, part: Path, have: int, limits: _Limits, report: Progress | None) -> None:
    going_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if answer.status == 206 and not going_on:
        _forget(part)
        raise _TransientFailure("the server sent another part than the one that is missing")
    have = have if going_on else 0
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length and length.isdecimal() else 0
    name = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    mark = _mark(part)
    if going_on and name and mark.is_file() and mark.read_text() != name:
        _forget(part)
        raise _TransientFailure("the server sent a part of another version of the file")
    if name and not name.startswith("W/"):  # a weak name does not promise the same bytes
        mark.write_text(name)
    elif not going_on:
        mark.unlink(missing_ok=True)
    with part.open("ab" if going_on else "wb") as file:
        _copy(answer, file, have, total, limits, report)


def _copy(answer: Any, file: IO[bytes], have: int, total: int, limits: _Limits, report: Progress | None) -> None:
    started = time.monotonic()
    while chunk := answer.read1(CHUNK):
        if have + len(chunk) > limits.most:
            raise FetchFailed(f"the server sends more than {limits.most:,} bytes: get the file by hand, with --from.")
        if time.monotonic() - started > limits.longest:
            raise _TransientFailure(f"the server took more than {limits.longest:,.0f} seconds")
        file.write(chunk)
        file.flush()
        have += len(chunk)
        if report:
            report(have, total)
    os.fsync(file.fileno())
    if not have:
        raise _TransientFailure("the server sent an empty file")
    if total and have < total:
        raise _TransientFailure(f"the connection broke off after {have:,} of {total:,} bytes")


def _refused(error: urllib.error.HTTPError, url: str, part: Path) -> None:
    error.close()
    if error.code == 416:  # what is here is no beginning of what is there
        _forget(part)
        raise _TransientFailure("the file there is shorter than what is here") from error
    if error.code in AGAIN:
        asked = error.headers.get("Retry-After", "")
        raise _TransientFailure(
            f"the server answers {error.code}", float(asked) if asked.isdecimal() else None
        ) from error
    if error.code in (401, 403):
        raise FetchFailed(
            f"{url}: the server answers {error.code}, it wants to know who asks. Get the file with a browser and give "
            "its folder with --from."
        ) from error
    raise FetchFailed(
        f"{url}: the server answers {error.code}. The file has moved: look for it there, and give its address with "
        "--base-url, or its folder with --from."
    ) from error


def _mark(part: Path) -> Path:
    """Where the name that the server gives this version of the file is kept: a part goes on only if it is the same."""
    return part.with_name(f"{part.name}.etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _mark(part).unlink(missing_ok=True)
