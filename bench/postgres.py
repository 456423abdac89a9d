"""Ingest on a real PostgreSQL with its durable defaults."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import data, host
from bench.ingest import POINTS, json_batches, stream
from bench.session import Session
from bench.table import Row, Skipped
from bench.units import RATE
from tests.postgres import Postgres


def measure(session: Session) -> Iterator[Row | Skipped]:
    """JSON batches by 1 and 4 clients, and an NDJSON stream, as on SQLite."""
    try:
        cluster = Postgres(durable=True)
    except RuntimeError as error:
        yield Skipped("ingest on PostgreSQL", str(error).strip().splitlines()[-1])
        return
    try:
        with tempfile.TemporaryDirectory() as name, host.arwx(Path(name), cluster.create("bench")) as server:
            yield from _rows(server, session)
    finally:
        cluster.stop()


def _rows(server: host.Arwx, session: Session) -> Iterator[Row]:
    scale = session.scale
    json_batches(server, "warm", 4, 40)
    for clients in (1, 4):
        batches = scale.count(200, at_least=8) // clients
        found = []
        for turn in range(scale.passes(3)):
            run_id = f"json-{clients}-{turn}"
            found.append(clients * batches * POINTS / json_batches(server, run_id, clients, batches).seconds)
            server.finish(run_id)
        yield Row(f"ingest, JSON batches of 500 entries × 5 keys, {clients} client{'s' * (clients > 1)}", found, RATE)
    entries = scale.count(100_000)
    found = [entries * len(data.KEYS) / stream(server, f"stream-{turn}", entries) for turn in range(scale.passes(3))]
    yield Row("ingest, NDJSON stream", found, RATE, "plain rows by COPY on such a machine 0.31–0.79 M points/s")
