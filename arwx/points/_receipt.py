"""The receipt: what the ledger acknowledged against what the store holds, counted by decoding it."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from arwx import clock
from arwx.errors import NotFound
from arwx.points import _batch, _chunk, _hash, _ranges, _stream
from arwx.points._codec import Corrupt
from arwx.points._ranges import Range
from arwx.points._tables import chunks, ledger, streams, writers
from arwx.points._types import Receipt, RunKey, WriterReceipt

_TOLD = 20


@dataclass
class _Stored:
    """What decoding the store came to."""

    points: int = 0
    checksum: int = 0
    by_writer: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass
class _Committed:
    """What the ledger says of one writer."""

    points: int = 0
    ranges: list[Range] = field(default_factory=list)


def receipt(db: Session, key: RunKey) -> Receipt:
    """Compare the ledger with the store. Every point is decoded; memory is bounded. Raises `NotFound`."""
    found = select(streams.c.run_id).where(streams.c.org_id == key.org_id, streams.c.run_id == key.run_id)
    if db.scalar(found) is None:
        raise NotFound("No such run.")
    stored = _Stored()
    _count_chunks(db, key, stored)
    committed, checksum, skipped = _count_ledger(db, key, stored)
    receipts, duplicates, conflicts, problems = _writers(db, key, committed, stored)

    points = sum(of_writer.points for of_writer in committed.values())
    lost = points - stored.points
    if lost > 0:
        problems.append(f"{lost:,} acknowledged points are not in the store.")
    elif lost < 0:
        problems.append(f"The store holds {-lost:,} points more than were acknowledged.")
    is_same = _hash.text(checksum) == _hash.text(stored.checksum)
    if not is_same:
        problems.append("The checksum of the stored points is not the one kept when they were acknowledged.")
    if conflicts:
        problems.append(f"{conflicts:,} entries came with a sequence number that was taken by other content.")
    problems += stored.problems[:_TOLD]
    return Receipt(
        run_id=key.run_id,
        points_committed=points + duplicates,
        points_stored=stored.points,
        duplicates_collapsed=duplicates,
        lost=lost,
        intact=not problems,
        skipped_nonfinite=skipped,
        conflicts=conflicts,
        checksum_committed=_hash.text(checksum),
        checksum_stored=_hash.text(stored.checksum),
        writers=receipts,
        problems=problems,
        checked_at=clock.now(),
    )


def _count_chunks(db: Session, key: RunKey, stored: _Stored) -> None:
    query = select(chunks.c.key, chunks.c.count, chunks.c.checksum, chunks.c.payload).where(
        chunks.c.org_id == key.org_id, chunks.c.run_id == key.run_id
    )
    for name, count, checksum, payload in db.connection().execution_options(yield_per=64).execute(query):
        try:
            points = _chunk.decode(payload)
        except Corrupt as error:
            stored.problems.append(f"A chunk of {name} cannot be read: {error}.")
            continue
        found = points.checksum(name)
        if len(points) != count or _hash.signed(found) != checksum:
            stored.problems.append(
                f"A chunk of {name}, steps {int(points.steps[0])} to {int(points.steps[-1])}, is not as it was written."
            )
        stored.points += len(points)
        stored.checksum += found
        if points.writers[0] == points.writers[-1] and (points.writers == points.writers[0]).all():
            stored.by_writer[int(points.writers[0])] += len(points)
        else:
            stored.by_writer.update(points.writers.tolist())


def _count_ledger(db: Session, key: RunKey, stored: _Stored) -> tuple[dict[int, _Committed], int, int]:
    """What was committed, by writer, with its checksum and the number of skipped values; level 0 counts as stored."""
    committed: dict[int, _Committed] = {}
    checksum = skipped = 0
    query = (
        select(
            ledger.c.writer,
            ledger.c.first_seq,
            ledger.c.entries,
            ledger.c.points,
            ledger.c.skipped,
            ledger.c.checksum,
            ledger.c.payload,
        )
        .where(ledger.c.org_id == key.org_id, ledger.c.run_id == key.run_id)
        .order_by(ledger.c.writer, ledger.c.first_seq)
    )
    rows = db.connection().execution_options(yield_per=64).execute(query)
    for writer, first_seq, entries, points, skips, row_checksum, payload in rows:
        of_writer = committed.setdefault(writer, _Committed())
        of_writer.points += points
        of_writer.ranges.append((first_seq, first_seq + entries))
        checksum += row_checksum
        skipped += skips
        if payload is not None:
            _count_batch(payload, f"The batch at sequence number {first_seq}", writer, row_checksum, stored)
    return committed, checksum, skipped


def _count_batch(payload: bytes, what: str, writer: int, checksum: int, stored: _Stored) -> None:
    try:
        batch = _batch.decode(payload)
    except Corrupt as error:
        stored.problems.append(f"{what} cannot be read: {error}.")
        return
    places = _hash.of_places(batch.steps, batch.ts)
    found = 0
    if batch.matrix is not None:
        for name, values in zip(batch.keys, batch.matrix, strict=True):
            found += _hash.total(_hash.of_points(places, _hash.of_values(_hash.of_key(name), values)))
    elif batch.points:
        keys = np.array([_hash.of_key(name) for name in batch.keys], np.uint64)[batch.key_index]
        hashes = _hash.of_values(keys, batch.values)
        found = _hash.total(_hash.of_points(places[batch.entry_index], hashes))
    if _hash.signed(found) != checksum:
        stored.problems.append(f"{what} is not as it was acknowledged.")
    stored.points += batch.points
    stored.checksum += found
    stored.by_writer[writer] += batch.points


def _writers(
    db: Session, key: RunKey, committed: dict[int, _Committed], stored: _Stored
) -> tuple[list[WriterReceipt], int, int, list[str]]:
    query = (
        select(writers).where(writers.c.org_id == key.org_id, writers.c.run_id == key.run_id).order_by(writers.c.number)
    )
    receipts: list[WriterReceipt] = []
    problems: list[str] = []
    duplicates = conflicts = 0
    known = set()
    for row in db.connection().execute(query):
        known.add(row.number)
        of_writer = committed.get(row.number, _Committed())
        end = max([row.next_seq, *(high for _, high in _stream.unpack_ranges(row.ranges))])
        end = max([end, row.expected_next_seq or 0, *(high for _, high in of_writer.ranges)])
        gaps = _ranges.gaps(of_writer.ranges, end)
        receipts.append(
            WriterReceipt(
                writer_id=row.writer_id,
                epoch=row.epoch,
                points=of_writer.points,
                next_seq=row.next_seq,
                gaps=[(low, high - 1) for low, high in gaps],
                expected=row.expected_points,
            )
        )
        duplicates += row.duplicates
        conflicts += row.conflicts
        if gaps:
            missing = sum(high - low for low, high in gaps)
            problems.append(f"{missing:,} entries of writer {row.writer_id} never came, the first is {gaps[0][0]}.")
        if stored.by_writer[row.number] != of_writer.points:
            problems.append(
                f"Of writer {row.writer_id} {of_writer.points:,} points were acknowledged, "
                f"{stored.by_writer[row.number]:,} are in the store."
            )
        if row.expected_points is not None and of_writer.points < row.expected_points:
            problems.append(
                f"Writer {row.writer_id} logged {row.expected_points:,} points, {of_writer.points:,} were acknowledged."
            )
    for number in sorted(committed.keys() - known):
        problems.append(f"The ledger has entries of a writer that is not there (number {number}).")
    return receipts, duplicates, conflicts, problems
