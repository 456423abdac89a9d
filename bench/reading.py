"""Points on their way out: charts and receipts, in the process of the server, without HTTP."""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from arwx import clock, points, schema
from arwx.db import Database
from arwx.points import Batch, Entry, RunKey
from bench.table import Row, median_s, ms

_BATCH = 4000


def measure(scale: float) -> Iterator[Row]:
    """A chart of a million points, one of 50 runs × 20,000, and the receipt of a million."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'arwx.db'}")
        schema.upgrade(database)
        long = RunKey(1, "long")
        _fill(database, long, int(1_000_000 * scale))
        many = [RunKey(1, f"run{i}") for i in range(50)]
        for key in many:
            _fill(database, key, int(20_000 * scale))

        def chart(keys: list[RunKey]) -> None:
            with database.reading() as session:
                found = points.series(session, keys, ["loss"], samples=500)
                assert len(found["loss"]) == len(keys)

        def receipt() -> None:
            with database.reading() as session:
                found = points.receipt(session, long)
                assert found.intact

        yield Row("chart: 500 samples of 1 M points", ms(median_s(lambda: chart([long]), 15)), "", "≤ 10 ms")
        yield Row("chart: 50 runs × 20,000 points", ms(median_s(lambda: chart(many), 15)), "", "≤ 30 ms")
        yield Row("receipt of 1 M points", ms(median_s(receipt, 5)), "", "≤ 100 ms")


def _fill(database: Database, key: RunKey, count: int) -> None:
    noise = random.Random(key.run_id)
    with database.writing() as session:
        points.create(session, key, clock.now())
    for first in range(0, count, _BATCH):
        entries = [
            Entry(step=step, ts=1_764_000_000 + step * 0.05 + noise.random() * 0.001, metrics={"loss": noise.random()})
            for step in range(first, min(first + _BATCH, count))
        ]
        with database.writing() as session:
            points.append(session, key, Batch("w", "e", first, entries), clock.now())
    with database.writing() as session:
        points.finish(session, key, [])
