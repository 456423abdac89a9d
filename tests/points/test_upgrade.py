"""What an older version stored is read by this one, just as it lies there, and goes on growing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from arwx import points, schema
from arwx.db import Database
from tests.conftest import KIND
from tests.points import build
from tests.points.build import losses

ROOT = Path(__file__).parents[2]
STORE = {
    "streams": "last_seen_at, first_ts, next_writer, next_chunk, pending_batches, pending_points, summary",
    "writers": "number, writer_id, epoch, next_seq, ranges, duplicates, conflicts, expected_points, expected_next_seq",
    "ledger": "writer, first_seq, entries, points, skipped, checksum, committed_at, digests, payload",
    "chunks": "key, number, count, first_step, last_step, checksum, brief, blocks, payload",
}


@pytest.fixture
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of the version before keys had axes in common."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    if KIND == "postgres":
        url = request.getfixturevalue("postgres").create("old_store")
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["database"] = database
    command.upgrade(config, "0008")
    yield database
    database.engine.dispose()


def test_the_points_of_before_there_were_axes_stay_as_they_are(database: Database, old: Database) -> None:
    key = build.run(database)
    log = losses(5000, lr=0.5)
    build.send(database, key, log[:4500])
    build.compact(database, key)
    build.send(database, key, log[4500:4600], first_seq=4500)
    build.give_chunks_axes_of_their_own(database, key)
    copy(database, old, key)
    before = payloads(old, key)

    schema.upgrade(old)
    assert payloads(old, key) == before
    assert build.receipt(old, key).intact
    assert [(e.step, e.metrics) for e in build.history(old, key)] == [(e.step, e.metrics) for e in log[:4600]]
    assert build.series(old, [key], "loss")[0].count == 4600

    build.send(old, key, log[4600:], first_seq=4600)
    build.compact(old, key)
    assert list(build.axes(old, key).values()) == [{"loss", "lr"}]
    assert build.receipt(old, key).intact
    assert [(e.step, e.metrics) for e in build.history(old, key)] == [(e.step, e.metrics) for e in log]


def copy(source: Database, target: Database, key: points.RunKey) -> None:
    for table, columns in STORE.items():
        names = ["org_id", "run_id", *columns.split(", ")]
        rows = build.tables(source, f"SELECT {', '.join(names)} FROM {table} WHERE run_id = :r", r=key.run_id)
        with target.writing() as db:
            insert = text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(':' + n for n in names)})")
            db.connection().execute(insert, [dict(zip(names, row, strict=True)) for row in rows])


def payloads(database: Database, key: points.RunKey) -> list[bytes]:
    rows = build.tables(database, "SELECT payload FROM chunks WHERE run_id = :r ORDER BY key, number", r=key.run_id)
    return [bytes(payload) for (payload,) in rows]
