"""What Prometheus reads: requests, batches, the queue, jobs."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The counters of one server process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "fractal_requests", "Requests by route and status", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "fractal_request_seconds", "Time of a request", ("route",), buckets=SECONDS, registry=self.registry
        )
        self.batch_requests = Histogram(
            "fractal_batch_requests",
            "Requests scored at once",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "fractal_batch_seconds", "Time of a batch", buckets=SECONDS, registry=self.registry
        )
        self.tokens = Counter("fractal_scored_tokens", "Tokens scored, about", registry=self.registry)
        self.waiting = Gauge("fractal_queue_tokens", "Tokens that wait or are being scored", registry=self.registry)
        self.jobs = Gauge("fractal_jobs", "Jobs by state", ("state",), registry=self.registry)
        self.refused = Counter("fractal_refused", "Requests refused because the queue was full", registry=self.registry)

    def batch(self, requests: int, tokens: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_requests.observe(requests)
        self.batch_seconds.observe(seconds)
        self.tokens.inc(tokens)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self.registry)
