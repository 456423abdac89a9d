"""Points on their way in, through the shipped gunicorn: key, dedup, fsync and compaction included, beside the bare path."""

import sqlite3
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench import data, host, limits, load, wire
from bench.scale import Scale
from bench.session import Session
from bench.table import Row, Skipped, timed
from bench.units import MILLISECONDS, PER_POINT, RATE, SHARE

POINTS = data.ENTRIES * len(data.KEYS)
"""A batch holds so many."""

_STORED = b'"stored":%d' % POINTS


def measure(session: Session) -> Iterator[Row | Skipped]:
    """JSON batches by 1 and 4 clients, an NDJSON stream, the floors of both, and what a point takes on disk."""
    scale = session.scale
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with host.arwx(folder / "arwx") as server, host.bare(folder) as bare_port:
            yield from _json(server, bare_port, folder, scale)
            yield from _stream(server, scale)
            yield from _bytes_a_point(scale)


def _json(server: host.Arwx, bare_port: int, folder: Path, scale: Scale) -> Iterator[Row]:
    decode = limits.decode_json()
    yield Row("limit: decoding JSON batches alone, one core", decode, RATE)
    yield Row("limit: compressing the values of a batch alone, one core", limits.compress(), RATE)
    yield Row("limit: fsync alone", limits.fsync(folder), MILLISECONDS)
    # The first requests of a process pay for what later ones find warm.
    bare(bare_port, -1, 4, 40)
    json_batches(server, "warm", 4, 40)
    for clients in (1, 4):
        batches = scale.count(200, at_least=8) // clients
        ours, bares, cpu, finished = [], [], [], []
        for turn in range(scale.passes(5)):
            bares.append(clients * batches * POINTS / bare(bare_port, turn, clients, batches).seconds)
            run_id = f"json-{clients}-{turn}"
            done = json_batches(server, run_id, clients, batches)
            ours.append(clients * batches * POINTS / done.seconds)
            cpu.append(done.client_cpu_s / done.seconds)
            end = timed(lambda run_id=run_id: server.finish(run_id))  # type: ignore[misc]
            finished.append(clients * batches * POINTS / (done.seconds + end))
        name = f"{clients} client{'s' * (clients > 1)}"
        yield Row(
            f"ingest, JSON batches of 500 entries × 5 keys, {name}",
            ours,
            RATE,
            f"bare path {RATE.text(statistics.median(bares))}, decoding alone {RATE.text(statistics.median(decode))}",
            at_least=600_000,
        )
        ratios = [mine / floor for mine, floor in zip(ours, bares, strict=True)]
        yield Row(f"– as a share of the bare path, {name}", ratios, SHARE, "the bare path", at_least=0.35)
        yield Row(f"– with the finish of the run and its receipt, {name}", finished, RATE)
        yield Row(f"– what the clients themselves took of a core, {name}", cpu, SHARE)


def json_batches(server: host.Arwx, run_id: str, clients: int, batches: int, entries: int = data.ENTRIES) -> load.Load:
    """One pass into a fresh run; the bodies are made before the clock starts."""
    server.make_run("bench", run_id)
    work = [
        [
            server.request(
                "POST", "/v1/ingest", data.batch(run_id, f"w{client}", i * entries, client * 10_000 + i, entries)
            )
            for i in range(batches)
        ]
        for client in range(clients)
    ]
    return load.run(server.port, work, b'"stored":%d' % (entries * len(data.KEYS)))


def bare(port: int, turn: int, clients: int, batches: int) -> load.Load:
    """The same pass into the bare path."""
    run_id = f"bare-{clients}-{turn}"
    work = [
        [
            wire.request(
                "POST", "/v1/ingest", {}, data.batch(run_id, f"w{client}", i * data.ENTRIES, client * 10_000 + i)
            )
            for i in range(batches)
        ]
        for client in range(clients)
    ]
    return load.run(port, work, _STORED)


def _stream(server: host.Arwx, scale: Scale) -> Iterator[Row]:
    entries = scale.count(100_000)
    ours, decode = [], []
    for turn in range(scale.passes(5)):
        run_id = f"stream-{turn}"
        ours.append(entries * len(data.KEYS) / stream(server, run_id, entries))
        decode.append(statistics.median(limits.decode_lines(3)))
        server.finish(run_id)
    yield Row(
        "ingest, NDJSON stream, one core",
        ours,
        RATE,
        f"decoding alone {RATE.text(statistics.median(decode))}",
        at_least=1_200_000,
    )
    shares = [mine / floor for mine, floor in zip(ours, decode, strict=True)]
    yield Row("– as a share of decoding alone", shares, SHARE, "decoding alone", at_least=0.40)


def stream(server: host.Arwx, run_id: str, entries: int) -> float:
    """The seconds of one stream into a fresh run."""
    server.make_run("bench", run_id)
    whole = server.request("POST", "/v1/ingest/stream", data.stream(run_id, "w", 0, entries, 7), "application/x-ndjson")
    return load.run(server.port, [[whole]], b'"stored":%d' % (entries * len(data.KEYS))).seconds


def _bytes_a_point(scale: Scale) -> Iterator[Row]:
    """All files of a database of some runs, after they are finished and the log is written back."""
    runs, clients, batches = 4, 4, scale.count(100, at_least=4)
    with tempfile.TemporaryDirectory() as name:
        with host.arwx(Path(name)) as server:
            for turn in range(runs):
                json_batches(server, f"disk-{turn}", clients, batches)
                server.finish(f"disk-{turn}")
        with closing(sqlite3.connect(Path(name) / "arwx.db")) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            free = (
                database.execute("PRAGMA freelist_count").fetchone()[0]
                * database.execute("PRAGMA page_size").fetchone()[0]
            )
        size = sum(file.stat().st_size for file in Path(name).glob("arwx.db*"))
    points = runs * clients * batches * POINTS
    yield Row(
        f"on disk, all included, {points / 1e6:.0f} M points, 5 noisy keys an entry",
        [size / points],
        PER_POINT,
        f"the noise alone, compressed {PER_POINT.text(limits.bytes_of_noise())}; free pages, filled next: "
        f"{PER_POINT.text(free / points)}",
        at_most=9,
    )
