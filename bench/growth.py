"""What grows with what: a run from 0.1 to 10 million points, a project from 10 to 1,000 runs and to 100 metrics."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import data, host, visitor, wire
from bench.filled import MANY_METRICS
from bench.reading import server_times
from bench.session import Session
from bench.table import Row
from bench.units import COUNT, MILLISECONDS, NANOSECONDS, PER_POINT, TIMES

_SIZES = (100_000, 1_000_000, 10_000_000)
_BATCH = data.ENTRIES * len(data.KEYS)
_FLAT = 2.0
"""A curve counts as flat when a hundred times more costs at most so many times as much."""


def measure(session: Session) -> Iterator[Row]:
    """Ingest, chart, receipt and bytes of a growing run; list, charts and page of a growing project."""
    with tempfile.TemporaryDirectory() as name, host.arwx(Path(name)) as server:
        yield from _run(server, session)
    yield from _project(session)
    yield from _many_metrics(session)


def _run(server: host.Arwx, session: Session) -> Iterator[Row]:
    server.make_run("growth", "long")
    cost, chart = {}, {}
    sent = 0
    for full in _SIZES:
        size = session.scale.count(full, at_least=10 * _BATCH)
        cost[full] = _grow(server, sent, size)
        sent = size
        server.finish("long")
        name = f"run of {full / 1e6:g} M points"
        yield Row(f"{name}: ingest of its last tenth, a point", cost[full], NANOSECONDS)
        chart[full] = server_times(server, "/v1/projects/growth/charts?keys=loss&samples=500", 9)
        yield Row(f"{name}: chart of one of 5 metrics, server time", chart[full], MILLISECONDS)
        yield Row(f"{name}: receipt, server time", server_times(server, "/v1/runs/long/integrity", 3), MILLISECONDS)
        disk = sum(file.stat().st_size for file in server.folder.glob("arwx.db*"))
        yield Row(f"{name}: on disk, with the write-ahead log", [disk / size], PER_POINT)
    first, last = _SIZES[0], _SIZES[-1]
    yield _ratio("run of 10 M over 0.1 M points: ingest cost a point", cost[last], cost[first])
    yield _ratio("run of 10 M over 0.1 M points: chart", chart[last], chart[first])


def _grow(server: host.Arwx, sent: int, size: int) -> list[float]:
    """Send batches until the run has `size` points; the seconds a point, over each fifth of the last tenth."""
    taken = []
    with wire.Connection(server.port) as connection:
        for first in range(sent, size, _BATCH):
            body = data.batch("long", "w", first // len(data.KEYS), first)
            whole = server.request("POST", "/v1/ingest", body)
            started = time.perf_counter()
            answer = connection.send(whole)
            taken.append(time.perf_counter() - started)
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {answer.body[:300]!r}")
    last = taken[-max(5, size // _BATCH // 10) :]
    part = max(1, len(last) // 5)
    return [statistics.fmean(last[i : i + part]) / _BATCH for i in range(0, part * 5, part)]


def _project(session: Session) -> Iterator[Row]:
    server = session.filled.server
    cookie = visitor.sign_in(server)
    names = {full: session.filled.runs(session.scale.count(full, at_least=2)) for full in (10, 100, 1000)}
    curves: dict[str, Callable[[str], list[float]]] = {
        "runs list": lambda name: server_times(server, f"/v1/projects/{name}/runs", 3),
        "charts of one metric": lambda name: server_times(
            server, f"/v1/projects/{name}/charts?keys=train/metric_00&samples=500", 3
        ),
        "page, first byte": lambda name: [
            answer.first_byte_s for answer in visitor.pages(server, cookie, f"/p/{name}", 3)
        ],
    }
    taken: dict[str, dict[int, list[float]]] = {what: {full: [] for full in names} for what in curves}
    for _ in range(session.scale.passes(3)):  # in turns, so that the sizes compare
        for full, name in names.items():
            for what, measured in curves.items():
                taken[what][full] += measured(name)
    for full in names:
        for what, curve in taken.items():
            yield Row(f"project of {full:,} runs × 50 metrics: {what}", curve[full], MILLISECONDS)
    # A page of the list holds fifty runs, so that the one of the smallest project is shorter.
    runs, page = taken["runs list"], taken["page, first byte"]
    yield _ratio("project of 1,000 over 100 runs: runs list", runs[1000], runs[100])
    yield _ratio("project of 1,000 over 10 runs: page, first byte", page[1000], page[10])


def _many_metrics(session: Session) -> Iterator[Row]:
    """A project of 1,000 runs × 100 metrics: all its charts as one bounded answer, and the page with a chart at a time."""
    server = session.filled.server
    cookie = visitor.sign_in(server)
    project = session.filled.runs(session.scale.count(1000, at_least=2), MANY_METRICS)
    name = "project of 1,000 runs × 100 metrics"
    path = f"/v1/projects/{project}/charts"
    whole = server.request("GET", path)
    with wire.Connection(server.port) as connection:
        answers = [connection.send(whole) for _ in range(session.scale.passes(3) + 1)][1:]
        unchanged = server.request("GET", path, **{"If-None-Match": answers[0].headers["etag"]})
        again = [connection.send(unchanged) for _ in range(9)]
    if {answer.status for answer in again} != {304}:
        raise RuntimeError(f"{path} changed: {again[0].status}")
    found = answers[0].json()
    points = sum(len(line["steps"]) for lines in found["series"].values() for line in lines)
    left = (
        f"{len(found['series'])} metrics × {len(found['runs'])} runs; {len(found['left_out'])} metrics left out by name"
    )
    yield Row(f"{name}: all charts as JSON, points in the answer", [points], COUNT, left, at_most=400_000)
    yield Row("– server time", [answer.server_s for answer in answers], MILLISECONDS)
    yield Row("– asked for again, 304", [answer.server_s for answer in again], MILLISECONDS)
    pages = visitor.pages(server, cookie, f"/p/{project}", 9)
    yield Row(f"{name}: page, first byte", [page.first_byte_s for page in pages], MILLISECONDS)
    chart = f"/p/{project}/chart?key={MANY_METRICS[-1]}"
    parts = visitor.pages(server, cookie, chart, 9, **{"HX-Request": "true"})
    yield Row("– one of its charts, when it comes into view", [part.server_s for part in parts], MILLISECONDS)


def _ratio(what: str, big: list[float], small: list[float]) -> Row:
    return Row(what, [statistics.median(big) / statistics.median(small)], TIMES, at_most=_FLAT)
