"""Builders for the tests of the metric store."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from arwx import points
from arwx.db import Database
from arwx.points import _chunk

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
_numbers = itertools.count(1)


def run(database: Database, org_id: int = 1) -> points.RunKey:
    """A fresh run."""
    key = points.RunKey(org_id, f"run_{next(_numbers)}")
    with database.writing() as db:
        points.create(db, key, NOW)
    return key


def entry(step: int, ts: float | None = 100.0, nonfinite: Iterable[str] = (), **metrics: Any) -> points.Entry:
    return points.Entry(step=step, ts=ts, metrics=metrics, nonfinite=list(nonfinite))


def losses(count: int, start: int = 0, **more: float) -> list[points.Entry]:
    """Entries with one loss a step; `more` adds metrics that stay as they are."""
    return [entry(step, 100.0 + step, loss=1 / (step + 1), **more) for step in range(start, start + count)]


def send(
    database: Database,
    key: points.RunKey,
    entries: list[points.Entry],
    *,
    writer: str = "w",
    epoch: str | None = "e",
    first_seq: int | None = 0,
    token: str | None = None,
    now: datetime = NOW,
) -> points.Appended:
    """Append a batch and commit."""
    with database.writing() as db:
        return points.append(db, key, points.Batch(writer, epoch, first_seq, entries, token), now)


def compact(database: Database, key: points.RunKey) -> None:
    with database.writing() as db:
        points.compact(db, key)


def finish(database: Database, key: points.RunKey, *expected: points.Expected) -> None:
    with database.writing() as db:
        points.finish(db, key, list(expected))


def receipt(database: Database, key: points.RunKey) -> points.Receipt:
    with database.reading() as db:
        return points.receipt(db, key)


def history(database: Database, key: points.RunKey, **wanted: Any) -> list[points.HistoryEntry]:
    """All of the history, read in pages."""
    found: list[points.HistoryEntry] = []
    after = None
    limit = wanted.pop("limit", 1000)
    while True:
        with database.reading() as db:
            page = points.history(db, key, limit=limit, after=after, **wanted)
        assert len(page.entries) <= limit
        found += page.entries
        if page.next is None:
            return found
        after = page.next


def series(database: Database, keys: list[points.RunKey], metric: str, **wanted: Any) -> list[points.Series]:
    with database.reading() as db:
        return points.series(db, keys, metric, **wanted)[metric]


def metrics(database: Database, key: points.RunKey) -> dict[str, points.MetricSummary]:
    with database.reading() as db:
        return points.live(db, key.org_id, [key.run_id])[key.run_id].metrics


def tables(database: Database, statement: str, **values: Any) -> list[Any]:
    """Look into the store, or tamper with it, behind its back."""
    from sqlalchemy import text

    with database.writing() as db:
        found = db.connection().execute(text(statement), values)
        return list(found) if found.returns_rows else []


def axes(database: Database, key: points.RunKey) -> dict[int, set[str]]:
    """Which keys have which axis. Every axis is named by chunks of its length, and every axis that is named is there."""
    sizes = dict(tables(database, "SELECT number, count FROM axes WHERE run_id = :r", r=key.run_id))
    found: dict[int, set[str]] = {}
    for name, count, axis in tables(database, "SELECT key, count, axis FROM chunks WHERE run_id = :r", r=key.run_id):
        if axis is not None:
            assert sizes[axis] == count
            found.setdefault(axis, set()).add(name)
    assert found.keys() == sizes.keys()
    return found


def give_chunks_axes_of_their_own(database: Database, key: points.RunKey) -> None:
    """Make the chunks what they were before keys had axes in common."""
    stored = tables(
        database,
        "SELECT c.key, c.number, c.payload, a.payload FROM chunks c JOIN axes a ON a.org_id = c.org_id "
        "AND a.run_id = c.run_id AND a.number = c.axis WHERE c.run_id = :r",
        r=key.run_id,
    )
    for name, number, payload, shared in stored:
        found = _chunk.decode(bytes(payload), bytes(shared))
        tables(
            database,
            "UPDATE chunks SET payload = :p, axis = NULL WHERE run_id = :r AND key = :k AND number = :n",
            p=_chunk.encode(found.values, _chunk.pack_axis(found.axis)),
            r=key.run_id,
            k=name,
            n=number,
        )
    tables(database, "DELETE FROM axes WHERE run_id = :r", r=key.run_id)
