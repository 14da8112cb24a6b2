"""Operating it: TLS of its own, spans for a collector, and a project of preferences alone."""

from __future__ import annotations

import http.server
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fractal import make_responses
from support.servers import Served, free_port
from support.studios import Opened, copied


@pytest.mark.slow
def test_it_speaks_tls_by_itself(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate, and it is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    about = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-keyout", str(key), "-out", str(certificate), *about]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    options = ("--tls-certificate", str(certificate), "--tls-key", str(key), "--workers", "0")
    with Served(tmp_path / "studio", *options) as one:
        trusted = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(verify=trusted) as client:
            assert client.get(f"https://127.0.0.1:{one.port}/healthz").status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://127.0.0.1:{one.port}/healthz")  # nobody else vouches for it
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{one.port}/healthz")


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.arrived = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.received.append((self.path, body))
                collector.arrived.set()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", free_port()), Handler)


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    thread = threading.Thread(target=one.serve_forever, daemon=True)
    thread.start()
    yield one
    one.shutdown()
    one.server_close()


def test_a_collector_gets_a_span_for_every_request(
    trained: Path, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="spans need the extra: pip install 'fractal-scores[otel]'")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    with copied(trained, tmp_path / "studio") as one:
        answer = one.post("/v1/score", {"responses": [{"text": "One sentence."}]}, **{"x-request-id": "seen-again"})
        assert answer.status_code == 200, answer.text
    assert collector.arrived.wait(10)
    spans = [
        span
        for _, body in collector.received
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    (mine,) = [span for span in spans if "seen-again" in str(span)]
    assert mine.name == "POST /v1/score"
    values = {item.key: item.value for item in mine.attributes}
    assert values["http.response.status_code"].int_value == 200
    assert {path for path, _ in collector.received} == {"/v1/traces"}


def test_preferences_alone_are_learned_and_shown_relative(studio: Opened) -> None:
    rows = make_responses(60, task="summaries", seed=3)
    good, bad = [r for r in rows if r.label and r.label > 0.5], [r for r in rows if not (r.label and r.label > 0.5)]
    pairs = [
        {"id": f"pair-{place}", "prompt": "Summarise.", "chosen": better.text, "rejected": worse.text}
        for place, (better, worse) in enumerate(zip(good, bad, strict=False))
    ]
    assert len(pairs) > 15
    imported = studio.bring("\n".join(map(json.dumps, pairs)), "pairs.jsonl")
    assert imported["state"] == "done", imported["error"]
    assert imported["result"]["preferences"] == len(pairs)
    job = studio.train(rule="auto")
    assert job["state"] == "done", job["error"]
    page = studio.browser()
    look = page.get("/p/ratings/look").text
    assert "better than most" in look
    assert "sentences flagged" not in look
    scored = studio.post("/v1/score", {"responses": [{"query": "Summarise.", "text": pairs[0]["chosen"]}]})
    assert scored.status_code == 200, scored.text
