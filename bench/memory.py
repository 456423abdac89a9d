"""What long streams take of the server's memory: a gigabyte on its way in, ten million points on their way out."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench import data, host, wire
from bench.processes import Peak, watched
from bench.session import Session
from bench.table import Row
from bench.units import BANDWIDTH, MEGABYTES, RATE

_PART = 20_000
_NDJSON, _CSV = "application/x-ndjson", "text/csv"
_GIGABYTE = 10**9
_MOST = 64 * 2**20
_encoder = msgspec.json.Encoder()


def measure(session: Session) -> Iterator[Row]:
    """How far the memory of all processes of the server goes up, each time over that of a server just started."""
    with tempfile.TemporaryDirectory() as name, host.arwx(Path(name)) as server:
        yield from _stream(server, session.scale.count(_GIGABYTE))
        yield from _exports(server, session.scale.count(2_000_000))


def _stream(server: host.Arwx, size: int) -> Iterator[Row]:
    entries = size // len(_encoder.encode_lines(data.entries(10**6, 1, 0)))
    with _watched(server) as peak:
        started = time.perf_counter()
        sent = _send(server, "gigabyte", entries)
        seconds = time.perf_counter() - started
    what = f"NDJSON stream of {sent / 1e9:.2f} GB, {entries * len(data.KEYS) / 1e6:.0f} M points: growth of memory"
    yield Row(what, [peak.growth], MEGABYTES, _at_rest(peak), at_most=_MOST)
    yield Row("– bytes a second, with the making of them", [sent / seconds], BANDWIDTH)


def _exports(server: host.Arwx, entries: int) -> Iterator[Row]:
    _send(server, "long", entries)
    server.finish("long")
    for kind in (_NDJSON, _CSV):
        with _watched(server) as peak:
            started = time.perf_counter()
            with wire.Connection(server.port) as connection:
                lines = connection.lines(server.request("GET", "/v1/runs/long/metrics", Accept=kind))
            seconds = time.perf_counter() - started
        if lines < entries:
            raise RuntimeError(f"{lines:,} lines of {entries:,} entries")
        what = f"history of {entries * len(data.KEYS) / 1e6:g} M points, 5 keys, as {kind}: growth of memory"
        yield Row(what, [peak.growth], MEGABYTES, _at_rest(peak))
        yield Row("– points a second", [entries * len(data.KEYS) / seconds], RATE)


@contextmanager
def _watched(server: host.Arwx) -> Iterator[Peak]:
    server.stop()
    with watched(server.start_all()) as peak:
        yield peak


def _send(server: host.Arwx, run_id: str, entries: int) -> int:
    """Stream so many entries into a fresh run; the bytes that it took."""
    server.make_run("memory", run_id)
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        for part in _parts(run_id, entries):
            sent += len(part)
            yield part

    head = wire.request("POST", "/v1/ingest/stream", {**server.headers, "Transfer-Encoding": "chunked"}, b"", _NDJSON)
    with wire.Connection(server.port) as connection:
        answer = connection.upload(head.replace(b"Content-Length: 0\r\n", b""), parts())
    if answer.status != 200 or answer.json()["stored"] != entries * len(data.KEYS):
        raise RuntimeError(f"{answer.status} {answer.body[:300]!r}")
    return sent


def _parts(run_id: str, entries: int) -> Iterator[bytes]:
    """The body of a stream, made while it is sent."""
    yield _encoder.encode_lines([{"run_id": run_id, "writer_id": "w", "epoch": "e", "first_seq": 0}])
    for first in range(0, entries, _PART):
        yield _encoder.encode_lines(data.entries(first, min(_PART, entries - first), first))
    yield _encoder.encode_lines([{"end": entries}])


def _at_rest(peak: Peak) -> str:
    return f"master and 2 workers at rest {MEGABYTES.text(peak.before)}"
