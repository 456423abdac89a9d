"""The row of a run and its writers, held under the lock of the run for the length of a transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from arwx import db as _db
from arwx.errors import NotFound, invalid
from arwx.points import _summary
from arwx.points._ranges import Range
from arwx.points._tables import streams, writers
from arwx.points._types import Live, MetricSummary, RunKey
from arwx.prepared import Prepared, named

_ranges_decoder = msgspec.msgpack.Decoder(list[tuple[int, int]])
_ranges_encoder = msgspec.msgpack.Encoder()

_OF_STREAM = (streams.c.org_id == bindparam("o"), streams.c.run_id == bindparam("r"))
_OF_WRITERS = (writers.c.org_id == bindparam("o"), writers.c.run_id == bindparam("r"))

_LOCK = Prepared(
    select(
        streams.c.last_seen_at,
        streams.c.first_ts,
        streams.c.next_writer,
        streams.c.next_chunk,
        streams.c.pending_batches,
        streams.c.pending_points,
        streams.c.summary,
    )
    .where(*_OF_STREAM)
    .with_for_update()
)
_WRITER = Prepared(
    select(writers.c.number, writers.c.next_seq, writers.c.ranges, writers.c.duplicates, writers.c.conflicts).where(
        *_OF_WRITERS, writers.c.writer_id == bindparam("w"), writers.c.epoch == bindparam("e")
    )
)


_SAVE = Prepared(
    update(streams)
    .where(*_OF_STREAM)
    .values(
        named("last_seen_at", "first_ts", "next_writer", "next_chunk", "pending_batches", "pending_points", "summary")
    )
)
_ADD_WRITER = Prepared(
    insert(writers).values(
        named("org_id", "run_id", "number", "writer_id", "epoch", "next_seq", "ranges", "duplicates", "conflicts")
    )
)
_OF_WRITER = (*_OF_WRITERS, writers.c.number == bindparam("n"))
_SAVE_WRITER = Prepared(
    update(writers).where(*_OF_WRITER).values(named("next_seq", "ranges", "duplicates", "conflicts"))
)
_EXPECT = Prepared(update(writers).where(*_OF_WRITER).values(named("expected_points", "expected_next_seq")))


@dataclass
class Stream:
    """The row of a run. Whoever has it holds the run's lock until the transaction ends."""

    key: RunKey
    last_seen_at: datetime
    first_ts: float | None
    next_writer: int
    next_chunk: int
    pending_batches: int
    pending_points: int
    metrics: dict[str, MetricSummary]

    def save(self, db: Session) -> None:
        _SAVE.run(
            db,
            {
                "o": self.key.org_id,
                "r": self.key.run_id,
                "last_seen_at": self.last_seen_at,
                "first_ts": self.first_ts,
                "next_writer": self.next_writer,
                "next_chunk": self.next_chunk,
                "pending_batches": self.pending_batches,
                "pending_points": self.pending_points,
                "summary": _summary.pack(self.metrics),
            },
        )


@dataclass
class Writer:
    """One epoch of a writer: what came of it. `above` are the ranges past the watermark `next_seq`."""

    number: int
    writer_id: str
    epoch: str
    next_seq: int = 0
    above: list[Range] = field(default_factory=list)
    duplicates: int = 0
    conflicts: int = 0
    is_new: bool = True

    def save(self, db: Session, key: RunKey) -> None:
        values: dict[str, Any] = {
            "next_seq": self.next_seq,
            "ranges": _ranges_encoder.encode(self.above),
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
        }
        if self.is_new:
            names = {"number": self.number, "writer_id": self.writer_id, "epoch": self.epoch}
            _ADD_WRITER.run(db, {"org_id": key.org_id, "run_id": key.run_id, **names, **values})
            self.is_new = False
        else:
            _SAVE_WRITER.run(db, {"o": key.org_id, "r": key.run_id, "n": self.number, **values})

    def expect(self, db: Session, key: RunKey, points: int, next_seq: int) -> None:
        """Keep what the writer itself has counted."""
        counts = {"expected_points": points, "expected_next_seq": next_seq}
        _EXPECT.run(db, {"o": key.org_id, "r": key.run_id, "n": self.number, **counts})


def create(db: Session, key: RunKey, now: datetime) -> None:
    """Make the place for a run's points. Making it twice changes nothing."""
    db.connection().execute(
        _db.insert(db, streams)
        .values(
            org_id=key.org_id,
            run_id=key.run_id,
            last_seen_at=now,
            next_writer=0,
            next_chunk=0,
            pending_batches=0,
            pending_points=0,
            summary=_summary.EMPTY,
        )
        .on_conflict_do_nothing(index_elements=["org_id", "run_id"])
    )


def lock(db: Session, key: RunKey) -> Stream:
    """The run's row, locked. Raises `NotFound`.

    It is read by itself: PostgreSQL reads a row again that it waited for, but not rows joined to it.
    """
    row = _LOCK.one(db, {"o": key.org_id, "r": key.run_id})
    if row is None:
        raise NotFound("No such run.")
    last_seen_at, first_ts, next_writer, next_chunk, pending_batches, pending_points, summary = row
    metrics = _summary.unpack(summary)
    return Stream(key, last_seen_at, first_ts, next_writer, next_chunk, pending_batches, pending_points, metrics)


def writer(db: Session, stream: Stream, writer_id: str, epoch: str) -> Writer:
    """What came of this epoch of the writer; a new one gets the next number."""
    check_name(writer_id, "writer_id")
    check_name(epoch, "epoch", may_be_empty=True)
    org_id, run_id = stream.key
    row = _WRITER.one(db, {"o": org_id, "r": run_id, "w": writer_id, "e": epoch})
    if row is None:
        stream.next_writer += 1
        return Writer(stream.next_writer - 1, writer_id, epoch)
    number, next_seq, ranges, duplicates, conflicts = row
    return Writer(number, writer_id, epoch, next_seq, unpack_ranges(ranges), duplicates, conflicts, is_new=False)


def unpack_ranges(stored: bytes) -> list[Range]:
    return _ranges_decoder.decode(stored)


def live(db: Session, org_id: int, run_ids: Sequence[str]) -> dict[str, Live]:
    """Of each of these runs the last sign of life and the summary of its metrics. One statement, no points touched."""
    query = select(streams.c.run_id, streams.c.last_seen_at, streams.c.summary).where(
        streams.c.org_id == org_id, streams.c.run_id.in_(run_ids)
    )
    if not run_ids:
        return {}
    return {run_id: Live(seen_at, _summary.unpack(summary)) for run_id, seen_at, summary in db.execute(query)}


def last_seen(db: Session, org_id: int, run_ids: Sequence[str]) -> dict[str, datetime]:
    """Of each of these runs the last sign of life alone."""
    if not run_ids:
        return {}
    query = select(streams.c.run_id, streams.c.last_seen_at).where(
        streams.c.org_id == org_id, streams.c.run_id.in_(run_ids)
    )
    return {row.run_id: row.last_seen_at for row in db.execute(query)}


def pending(db: Session, org_id: int, run_ids: Sequence[str]) -> list[RunKey]:
    """Which of these runs have batches that no compaction has moved yet."""
    if not run_ids:
        return []
    query = select(streams.c.run_id).where(
        streams.c.org_id == org_id, streams.c.run_id.in_(run_ids), streams.c.pending_batches > 0
    )
    return [RunKey(org_id, run_id) for run_id in db.scalars(query)]


def erase(db: Session, key: RunKey) -> None:
    """Forget the run: its points, its ledger, everything. Safe to repeat."""
    db.connection().execute(delete(streams).where(*_OF_STREAM), {"o": key.org_id, "r": key.run_id})


def check_name(name: str, field_name: str, *, may_be_empty: bool = False) -> None:
    """Raise `Invalid` unless this may name a writer or an epoch."""
    if len(name) > 255 or not name.isprintable() or not (name or may_be_empty):
        raise invalid(field_name, "must be 1 to 255 printable characters")
