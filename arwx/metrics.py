"""What the server counts about itself, for Prometheus: requests, how long they take, and points.

Labels are templates of addresses, methods and statuses, never what users wrote, so their number stays as it is. With
several processes each counts in files of its own (PROMETHEUS_MULTIPROC_DIR), and whoever asks gets the sum.
"""

import os
import secrets

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess

from arwx.points import Appended

_requests = Counter("arwx_requests", "Requests answered.", ["route", "method", "status"])
_seconds = Histogram(
    "arwx_request_seconds",
    "How long an answer took to make.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
_points = Counter("arwx_points", "Points that came in, by what became of them.", ["outcome"])


def count(route: str | None, method: str, status: int, seconds: float) -> None:
    """One request. What led to no address of ours is counted under one name."""
    route = route or "(none)"
    # Methods are counted by name where they are known: anybody can make up others.
    _requests.labels(route, method if route != "(none)" else "-", str(status)).inc()
    _seconds.labels(route).observe(seconds)


def count_points(done: Appended) -> None:
    """One batch."""
    _points.labels("stored").inc(done.stored)
    _points.labels("duplicate").inc(done.duplicates)
    _points.labels("skipped").inc(done.skipped)
    _points.labels("conflict").inc(len(done.conflicts))


def text() -> bytes:
    """All of it, over all processes."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def is_token(given: str, token: str) -> bool:
    """Whether somebody may read them."""
    return secrets.compare_digest(given.encode(errors="replace"), token.encode())
