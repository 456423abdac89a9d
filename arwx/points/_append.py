"""The way in: what of a batch is new, what came before, and what says something else than before."""

from datetime import datetime
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from sqlalchemy import bindparam, insert, select
from sqlalchemy.orm import Session

from arwx.errors import Conflict, TooManyGaps, invalid
from arwx.points import _batch, _compact, _hash, _ranges, _stream, _summary
from arwx.points._batch import Columns
from arwx.points._ranges import Range
from arwx.points._stream import Stream, Writer
from arwx.points._tables import ROW_ENTRIES, ledger, tokens
from arwx.points._types import LAST_STEP, Appended, Batch, Expected, RunKey
from arwx.prepared import Prepared, named

_LEDGER_ROWS = Prepared(
    select(ledger.c.first_seq, ledger.c.digests).where(
        ledger.c.org_id == bindparam("o"),
        ledger.c.run_id == bindparam("r"),
        ledger.c.writer == bindparam("w"),
        ledger.c.first_seq > bindparam("low"),
        ledger.c.first_seq < bindparam("high"),
    )
)
_TOKEN = Prepared(
    select(tokens.c.content).where(
        tokens.c.org_id == bindparam("o"), tokens.c.run_id == bindparam("r"), tokens.c.token == bindparam("t")
    )
)
_NOTE_TOKEN = Prepared(insert(tokens).values(named(*tokens.c.keys())))
_INSERT_ROWS = Prepared(insert(ledger).values(named(*ledger.c.keys())))

_Flags = npt.NDArray[np.bool_]


def append(db: Session, key: RunKey, batch: Batch, now: datetime) -> Appended:
    """Store what is new in the batch; the caller commits. A batch without entries is a sign of life.

    Entries whose sequence numbers are known with other content are counted, named in the answer and not stored; the
    rest of the batch is. Raises `NotFound` without the run, `Invalid` for what cannot be, `Conflict` when a token
    comes again with other content, and `TooManyGaps` when the writer left out too much that never came.
    """
    if (batch.epoch is None) != (batch.first_seq is None):
        raise invalid("first_seq", "and epoch belong together: send both or neither")
    if batch.epoch == "":
        raise invalid("epoch", "must be 1 to 255 printable characters")
    if batch.first_seq is not None and not 0 <= batch.first_seq <= LAST_STEP - len(batch.entries):
        raise invalid("first_seq", "must be from 0 to 9007199254740991")
    # All that can be done without the lock is done before it is taken.
    columns = _batch.columns(batch.entries, now.timestamp()) if batch.entries else None
    whole = [(0, len(batch.entries))]
    rows = _rows(columns, whole) if columns is not None else []

    stream = _stream.lock(db, key)
    stream.last_seen_at = max(stream.last_seen_at, now)
    writer = _stream.writer(db, stream, batch.writer_id, batch.epoch or "")
    if columns is None:
        stream.next_writer -= writer.is_new  # nothing came of it yet
        stream.save(db)
        return Appended(0, 0, 0, 0, writer.next_seq, [])
    if batch.first_seq is None:
        first_seq, is_known = writer.next_seq, _is_known(db, key, batch, columns)
        new = [] if is_known else whole
        conflicting = np.zeros(len(batch.entries), np.bool_)
    else:
        first_seq = batch.first_seq
        end = first_seq + len(batch.entries)
        missing = _ranges.missing(writer.next_seq, writer.above, first_seq, end)
        new = [(low - first_seq, high - first_seq) for low, high in missing]
        conflicting = _conflicting(db, key, writer, first_seq, columns, new)

    if new != whole:
        rows = _rows(columns, new)
    done = _count(columns, new, conflicting)
    conflicts = [(first_seq + low, first_seq + high - 1) for low, high in _stretches(conflicting)]
    _write(db, key, stream, writer, first_seq, columns, new, rows, now)
    writer.duplicates += done.duplicates
    writer.conflicts += int(conflicting.sum())
    writer.save(db, key)
    if _compact.is_due(stream):
        _compact.run(db, stream)
    stream.save(db)
    return Appended(done.accepted, done.stored, done.duplicates, done.skipped, writer.next_seq, conflicts)


def finish(db: Session, key: RunKey, expected: list[Expected]) -> None:
    """Keep the writers' own counts, for the receipt, and compact. Safe to repeat; points may still come later."""
    stream = _stream.lock(db, key)
    for claim in expected:
        writer = _stream.writer(db, stream, claim.writer_id, claim.epoch)
        writer.save(db, key)
        writer.expect(db, key, claim.points, claim.next_seq)
    _compact.run(db, stream, is_final=True)
    stream.save(db)


def compact(db: Session, key: RunKey) -> None:
    """Move what is in level 0 to level 1, and merge small chunks."""
    stream = _stream.lock(db, key)
    _compact.run(db, stream, is_final=True)
    stream.save(db)


def _is_known(db: Session, key: RunKey, batch: Batch, columns: Columns) -> bool:
    """Whether a batch without sequence numbers came before; if not, it is noted now."""
    content = blake2b(b"\0".join([batch.writer_id.encode(), columns.content]), digest_size=16).digest()
    identity = b"content:" + content if batch.token is None else b"token:" + batch.token.encode()
    token = blake2b(identity, digest_size=16).digest()
    known = _TOKEN.one(db, {"o": key.org_id, "r": key.run_id, "t": token})
    if known is None:
        _NOTE_TOKEN.run(db, {"org_id": key.org_id, "run_id": key.run_id, "token": token, "content": content})
        return False
    if known[0] != content:
        raise Conflict("This Idempotency-Key came before with another batch.", code="idempotency_conflict")
    return True


def _conflicting(
    db: Session, key: RunKey, writer: Writer, first_seq: int, columns: Columns, new: list[Range]
) -> _Flags:
    """Of each entry whether its number is known with another digest."""
    count = len(columns.steps)
    conflicting = np.zeros(count, np.bool_)
    if sum(high - low for low, high in new) == count:
        return conflicting
    # A row begins at most one row's length before the first entry that it covers.
    where = {"w": writer.number, "low": first_seq - ROW_ENTRIES, "high": first_seq + count}
    for row_seq, stored in _LEDGER_ROWS.all(db, {"o": key.org_id, "r": key.run_id, **where}):
        known = np.frombuffer(stored, "<u2")
        low, high = max(row_seq - first_seq, 0), min(row_seq + len(known) - first_seq, count)
        if low < high:
            conflicting[low:high] = (
                columns.digests[low:high] != known[low + first_seq - row_seq : high + first_seq - row_seq]
            )
    return conflicting


def _rows(columns: Columns, new: list[Range]) -> list[dict[str, object]]:
    """The rows of the ledger for these entries; `at` is the position of the first."""
    rows: list[dict[str, object]] = []
    for start, end in new:
        for low in range(start, end, ROW_ENTRIES):
            high = min(low + ROW_ENTRIES, end)
            points = columns.points(low, high)
            rows.append(
                {
                    "at": low,
                    "entries": high - low,
                    "points": points,
                    "skipped": int(columns.skipped[low:high].sum()),
                    "checksum": _hash.signed(_hash.total(columns.checksums[low:high])),
                    "digests": columns.digests[low:high].tobytes(),
                    "payload": columns.payload(low, high) if points else None,
                }
            )
    return rows


def _write(
    db: Session,
    key: RunKey,
    stream: Stream,
    writer: Writer,
    first_seq: int,
    columns: Columns,
    new: list[Range],
    rows: list[dict[str, object]],
    now: datetime,
) -> None:
    """Write the new entries and what follows from them for the writer and the run."""
    if not new:
        return
    home = {"org_id": key.org_id, "run_id": key.run_id, "writer": writer.number, "committed_at": now}
    for row in rows:
        row["first_seq"] = first_seq + row.pop("at")  # type: ignore[operator]
        stream.pending_batches += row["payload"] is not None
        stream.pending_points += row["points"]  # type: ignore[operator]
    _INSERT_ROWS.run(db, *[{**home, **row} for row in rows])
    for low, high in new:
        writer.next_seq, writer.above = _ranges.add(writer.next_seq, writer.above, first_seq + low, first_seq + high)
        if columns.points(low, high):
            earliest = float(columns.ts[low:high].min())
            stream.first_ts = earliest if stream.first_ts is None else min(stream.first_ts, earliest)
    if len(writer.above) > _ranges.MOST:
        raise TooManyGaps(
            f"This writer has more than {_ranges.MOST:,} gaps in its sequence numbers: send from {writer.next_seq:,} on.",
            next_seq=writer.next_seq,
        )
    _summary.add(stream.metrics, columns, writer.number, first_seq, new)


def _count(columns: Columns, new: list[Range], conflicting: _Flags) -> Appended:
    by_entry = np.diff(columns.offsets)
    stored = sum(columns.points(low, high) for low, high in new)
    accepted = int(by_entry[~conflicting].sum())
    return Appended(accepted, stored, accepted - stored, int(columns.skipped[~conflicting].sum()), 0, [])


def _stretches(flags: _Flags) -> list[Range]:
    """The half-open stretches of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(low), int(high)) for low, high in edges.reshape(-1, 2)]
