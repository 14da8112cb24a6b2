"""What must be refused: strangers, wrong roles, other sites, replayed keys, paths in names, too much of anything."""

from __future__ import annotations

import gzip
import io
import json
import logging
import time
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import text

from fractal.errors import BadSpec, FractalError
from fractal.server.database import Database, migrate
from fractal.server.security import Attempts, OneTimeLinks, hash_password, verify_password
from fractal.server.settings import Limits, Settings
from fractal.server.store import Store
from fractal.server.studio import Studio
from fractal.server.tables import ApiKey, Job, LoginSession, User
from support.scored_samples import HOSTILE
from support.studios import Opened, opened

HTML = {"accept": "text/html"}


def test_nobody_comes_in_without_a_key_or_a_session(studio: Opened) -> None:
    for path in ("/v1/responses", "/v1/scorers", "/v1/jobs", "/v1/audit", "/v1/exports/jsonl"):
        assert studio.http.get(path).status_code == 401, path
        assert studio.http.get(path, headers={"authorization": "Bearer fr_0_no"}).status_code == 401
    assert studio.http.post("/v1/score", json={"responses": [{"text": "a"}]}).status_code == 401
    answer = studio.http.get("/p/ratings/look", headers=HTML, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_a_link_lets_one_browser_in_once(studio: Opened) -> None:
    path = studio.studio.link().partition("8765")[2]
    first = studio.http.get(path, headers=HTML, follow_redirects=False)
    assert first.status_code == 303
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    studio.http.cookies.clear()
    again = studio.http.get(path, headers=HTML, follow_redirects=False)
    assert again.status_code == 200
    assert "set-cookie" not in again.headers
    links = OneTimeLinks()
    assert not links.use("guessed")


def test_roles(learned: Opened) -> None:
    row = learned.get("/v1/responses").json()[0]["response"]
    said = {"corrections": [{"response": row, "place": 0, "verdict": "good"}]}
    for path, body in (
        ("/v1/corrections", said),
        ("/v1/labels", {"response": row, "label": 1}),
        ("/v1/train", {}),
        ("/v1/feedback", {"response": "Fine.", "thumb": "up"}),
    ):
        assert learned.post(path, body, "reader").status_code == 403, path
    assert learned.post("/v1/corrections", said, "annotator").status_code == 200
    assert learned.get("/v1/audit", "annotator").status_code == 403
    assert learned.get("/v1/audit", "admin").status_code == 200
    assert learned.post("/v1/keys", {"name": "x"}, "annotator").status_code == 403


def test_a_revoked_key_and_a_locked_person_are_out_at_once(studio: Opened) -> None:
    assert studio.get("/v1/scorers", "reader").status_code == 200
    browser = studio.browser()
    token = csrf(browser)
    with studio.studio.database.read() as session:
        number = next(key.id for key in session.query(ApiKey) if key.role == "reader")
    assert browser.post(f"/people/keys/{number}/revoke", data={"csrf": token}).status_code == 200
    assert studio.get("/v1/scorers", "reader").status_code == 401
    studio.studio.add_user("ann", "a long password", "annotator")
    with studio.studio.database.read() as session:
        user = session.query(User).filter_by(name="ann").one()
    browser.post(f"/people/users/{user.id}/lock", data={"csrf": token})
    answer = browser.post("/login", data={"name": "ann", "password": "a long password"}, headers=HTML)
    assert answer.status_code == 401


def csrf(browser: object) -> str:
    page = browser.get("/p/ratings/import", headers=HTML).text
    return page.partition('name="csrf" content="')[2].partition('"')[0]


def test_requests_of_other_sites_are_refused(learned: Opened) -> None:
    browser = learned.browser()
    token = csrf(browser)
    row = learned.get("/v1/responses").json()[0]["response"]
    said = {"corrections": [{"response": row, "place": 0, "verdict": "good"}]}
    right = {"x-csrf-token": token, "origin": "http://127.0.0.1:8765"}
    assert browser.post("/v1/corrections", json=said, headers=right).status_code == 200
    for headers in (
        {},
        {"x-csrf-token": "guessed"},
        {"x-csrf-token": "é".encode("latin-1")},
        {**right, "origin": "https://evil.example"},
        {**right, "origin": "null"},
        {**right, "sec-fetch-site": "cross-site"},
    ):
        assert browser.post("/v1/corrections", json=said, headers=headers).status_code == 403, headers
    assert browser.post("/p/ratings/train", data={"rule": "product"}, headers=HTML).status_code == 403
    login = {"name": "owner", "password": "x"}
    assert browser.post("/login", data=login, headers={**HTML, "sec-fetch-site": "cross-site"}).status_code == 403


def test_a_name_bound_to_this_machine_is_refused(studio: Opened) -> None:
    assert studio.http.get("/healthz", headers={"host": "evil.example:8765"}).status_code == 421
    assert studio.http.get("/healthz", headers={"host": "localhost:8765"}).status_code == 200


def test_a_replayed_key(learned: Opened) -> None:
    row = learned.get("/v1/responses").json()[0]["response"]
    body = {"response": row, "label": 0.0, "note": "first"}
    first = learned.post("/v1/labels", body, **{"Idempotency-Key": "k1"})
    again = learned.post("/v1/labels", body, **{"Idempotency-Key": "k1"})
    assert again.json() == first.json()
    assert again.headers["idempotent-replay"] == "true"
    other = learned.post("/v1/labels", {**body, "label": 1.0}, **{"Idempotency-Key": "k1"})
    assert other.status_code == 409
    assert learned.get(f"/v1/responses/{row}").json()["label"] == 0.0
    assert learned.post("/v1/labels", body, "annotator", **{"Idempotency-Key": "k1"}).json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\..\\boot.ini", "/etc/shadow", "a\0b.csv", "x" * 900, "\u202egnp"]
)
def test_a_path_in_a_file_name_stays_a_name(studio: Opened, name: str) -> None:
    told = studio.upload("response,label\nFine.,1\n", name)
    shown = studio.get(f"/v1/uploads/{told['upload']}").json()
    assert not {"/", "\\", "\0"} & set(shown["file_name"])
    assert len(shown["file_name"]) <= 200
    files = [path for path in studio.studio.settings.data.rglob("*") if path.is_file() and "uploads" in path.parts]
    assert all(len(path.name) == 64 for path in files)


def test_the_store_takes_hashes_alone(tmp_path: Path) -> None:
    for name in ("../x", "A" * 64, "", "0" * 63, "/etc/passwd"):
        with pytest.raises(FractalError):
            Store(tmp_path).scorer(name)


def test_hostile_texts_stay_texts(learned: Opened) -> None:
    for number, hostile in enumerate(HOSTILE):
        body = {"response": f"{hostile} Fine.", "query": hostile, "context": [hostile], "id": f"{hostile}{number}"}
        content = json.dumps({**body, "fields": {"model": hostile}})
        headers = learned.headers("annotator", **{"content-type": "application/json"})
        answer = learned.http.post("/v1/feedback", content=content, headers=headers)
        assert answer.status_code in (201, 422), answer.text
    page = learned.browser().get("/p/ratings/look?order=id&search=", headers=HTML).text
    assert "<script>alert" not in page.lower()
    assert "<img" not in page.lower()
    assert " onerror=" not in page.replace("&#34;", '"').lower() or "&lt;img" in page.lower()


def test_every_answer_binds_the_browser(studio: Opened) -> None:
    for path in ("/login", "/v1/scorers", "/nothing", "/static/icon.svg"):
        headers = studio.http.get(path, headers=HTML).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"]


def test_pages_hold_no_inline_script_or_style(learned: Opened) -> None:
    browser = learned.browser()
    for name in ("import", "train", "look", "correct", "try"):
        page = browser.get(f"/p/ratings/{name}", headers=HTML).text
        assert "<script>" not in page
        assert " style=" not in page
        assert " onclick=" not in page
        assert "http://" not in page.replace("http://www.w3.org", "")


def test_bodies_beyond_their_limit_are_refused(tmp_path: Path) -> None:
    limits = Limits(body_bytes=10_000, upload_bytes=20_000, sentences=5, characters=500)
    with opened(tmp_path / "s", limits=limits) as one:
        assert one.post("/v1/score", {"responses": [{"text": "a" * 20_000}]}).status_code == 413
        chunks = (b" " * 1000 for _ in range(50))
        headers = one.headers(**{"content-type": "application/json"})
        assert one.http.post("/v1/score", content=chunks, headers=headers).status_code == 413
        big = one.http.post("/v1/uploads", files={"file": ("a.csv", b"x" * 30_000)}, headers=one.headers())
        assert big.status_code in (413, 422)
        assert not list((tmp_path / "s" / "tmp").iterdir())


def bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 400_000_000)
    return packed.getvalue()


def test_compressed_files_open_up_only_so_far(tmp_path: Path) -> None:
    limits = Limits(expanded_bytes=5_000_000, upload_rows=100)
    with opened(tmp_path / "s", limits=limits) as one:
        for content in (gzip.compress(b"a" * 50_000_000), bomb()):
            told = one.upload(content)
            job = one.job(told["job"])
            assert job["state"] == "failed"
            assert "parts" in job["error"]
        many = "response,label\n" + "Fine.,1\n" * 500
        assert "at most" in one.bring(many)["error"] or "more than 100 rows" in one.bring(many)["error"]
        assert not list((tmp_path / "s" / "work").glob("*/fractal-upload-*"))


def test_secrets_are_kept_as_hashes(studio: Opened, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    studio.studio.add_user("ann", "correct horse battery")
    link = studio.studio.link()
    studio.http.get(link.partition("8765")[2], headers=HTML)
    studio.get("/v1/scorers")
    with studio.studio.database.read() as session:
        rows = [*(key.hash for key in session.query(ApiKey)), *(one.hash for one in session.query(LoginSession))]
        user = session.query(User).filter_by(name="ann").one()
    assert user.password_hash.startswith("$argon2id$")
    secrets = [*studio.keys.values(), link.partition("token=")[2], studio.http.cookies["fractal_session"]]
    data = b"".join(path.read_bytes() for path in studio.studio.settings.data.glob("studio.db*"))
    for secret in (*secrets, "correct horse battery"):
        assert not [one for one in caplog.records if secret in one.getMessage() and not one.name.startswith("http")]
        assert secret.encode() not in data
        assert secret not in rows


def test_passwords(studio: Opened) -> None:
    hashed = hash_password("correct horse")
    assert verify_password(hashed, "correct horse")
    assert not verify_password(hashed, "wrong horse")
    assert not verify_password("", "anything")
    with pytest.raises(FractalError, match="at least 10"):
        hash_password("short")
    attempts = Attempts()
    for _ in range(6):
        attempts.note("ann", right=False)
    assert attempts.wait("ann") > 0
    assert attempts.wait("bob") == 0
    for _ in range(7):
        studio.http.post("/login", data={"name": "eve", "password": "guess"}, headers=HTML)
    answer = studio.http.post("/login", data={"name": "eve", "password": "guess"}, headers=HTML)
    assert "Too many attempts" in answer.text


@pytest.mark.parametrize(
    "options", [{"host": "0.0.0.0"}, {"host": "192.0.2.7", "tls_certificate": "c", "tls_key": "k"}]
)
def test_other_addresses_need_people_and_tls(tmp_path: Path, options: dict) -> None:
    studio = Studio.open(Settings(tmp_path, **options))
    with pytest.raises(BadSpec, match="can be reached by others"):
        studio.refuse_unsafe()
    studio.add_user("ann", "a long password")
    if "tls_key" in options:
        studio.refuse_unsafe()
    else:
        with pytest.raises(BadSpec, match="behind-proxy"):
            studio.refuse_unsafe()
    studio.close()


def test_what_was_said_cannot_be_altered(learned: Opened) -> None:
    row = learned.get("/v1/responses").json()[0]["response"]
    learned.post("/v1/corrections", {"corrections": [{"response": row, "place": 0, "verdict": "good"}]})
    for statement in ("UPDATE corrections SET verdict = 'bad'", "DELETE FROM label_changes", "DELETE FROM audit"):
        with pytest.raises(Exception, match="never altered"), learned.studio.database.write() as session:
            session.execute(text(statement))


def test_an_old_database_is_upgraded_with_all_it_holds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    database = Database(url)
    migrate(database, "0001")
    with database.write() as session:
        session.execute(text("INSERT INTO projects (slug, name, settings, created_at) VALUES ('p', 'P', '{}', 0)"))
        session.execute(
            text("INSERT INTO audit (created_at, actor, action, target, detail) VALUES (0, 'ann', 'log in', '', '{}')")
        )
    database.close()
    studio = Studio.open(Settings(tmp_path, url))
    with studio.database.read() as session:
        assert session.execute(text("SELECT actor, request_id FROM audit")).all() == [("ann", "")]
        assert session.scalar(text("SELECT count(*) FROM projects")) == 1
    with pytest.raises(Exception, match="never altered"), studio.database.write() as session:
        session.execute(text("DELETE FROM audit"))
    studio.close()


def test_a_key_sees_its_project_alone(learned: Opened) -> None:
    browser = learned.browser()
    browser.post("/projects", data={"csrf": csrf(browser), "name": "Other"})
    row = learned.get("/v1/responses").json()[0]["response"]
    assert learned.get("/v1/responses", params={"project": "other"}).status_code == 404
    answer = browser.post(
        "/people/keys", data={"csrf": csrf(browser), "name": "o", "project": "other", "role": "admin"}
    )
    key = answer.text.partition('id="new-key">')[2].partition("<")[0]
    headers = {"authorization": f"Bearer {key}"}
    assert learned.http.get("/v1/responses", headers=headers).json() == []
    assert learned.http.get(f"/v1/responses/{row}", headers=headers).status_code == 404
    said = {"corrections": [{"response": row, "place": 0, "verdict": "good"}]}
    assert learned.http.post("/v1/corrections", json=said, headers=headers).status_code == 422
    assert learned.http.post("/v1/labels", json={"response": row, "label": 1}, headers=headers).status_code == 422


def test_an_expired_session_is_none(studio: Opened) -> None:
    browser = studio.browser()
    with studio.studio.database.write() as session:
        session.query(LoginSession).update({"expires_at": time.time() - 1})
    assert browser.get("/v1/scorers").status_code == 401
    with studio.studio.database.read() as session:
        assert session.query(Job).count() == 0
