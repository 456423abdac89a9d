"""The receipt: what the ledger acknowledged against what the store holds, counted by decoding it."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from arwx import clock
from arwx.errors import NotFound
from arwx.points import _batch, _chunk, _hash, _ranges, _stream
from arwx.points._chunk import Axis
from arwx.points._codec import Corrupt
from arwx.points._ranges import Range
from arwx.points._tables import axes, chunks, ledger, streams, writers
from arwx.points._types import Floats, Receipt, RunKey, WriterReceipt

_TOLD = 20
# So many axes are held at a time.
_AXES = 256
_LAST_NUMBER = 2**63 - 1


@dataclass
class _Stored:
    """What decoding the store came to."""

    points: int = 0
    checksum: int = 0
    by_writer: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Entries:
    """What the entries of an axis come to, for every key that has them."""

    steps: tuple[int, int]
    places: _hash.Hashes
    by_writer: Counter[int]


@dataclass(frozen=True, slots=True)
class _Shared:
    """An axis of several chunks. It has no entries when it cannot be decoded."""

    payload: bytes
    entries: _Entries | None


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
    """Count the chunks, along the axes: some of those at a time, and the chunks that were numbered after them."""
    numbers = select(axes.c.number).where(axes.c.org_id == key.org_id, axes.c.run_id == key.run_id)
    starts = list(db.scalars(numbers.order_by(axes.c.number)))[_AXES::_AXES]
    for start, end in zip([0, *starts], [*starts, _LAST_NUMBER], strict=True):
        known = _shared(db, key, start, end, stored)
        query = select(chunks.c.key, chunks.c.count, chunks.c.checksum, chunks.c.axis, chunks.c.payload).where(
            chunks.c.org_id == key.org_id,
            chunks.c.run_id == key.run_id,
            chunks.c.number >= start,
            chunks.c.number < end,
        )
        left = set(known)
        for name, count, checksum, axis, payload in db.connection().execution_options(yield_per=64).execute(query):
            left.discard(axis)
            try:
                entries, values = _columns(payload, known.get(axis))
            except Corrupt as error:
                stored.problems.append(f"A chunk of {name} cannot be read: {error}.")
                continue
            hashes = _hash.of_values(_hash.of_key(name), values)
            found = _hash.total(_hash.of_points(entries.places, hashes))
            if len(values) != count or _hash.signed(found) != checksum:
                low, high = entries.steps
                stored.problems.append(f"A chunk of {name}, steps {low} to {high}, is not as it was written.")
            stored.points += len(values)
            stored.checksum += found
            stored.by_writer.update(entries.by_writer)
        stored.problems += [f"Axis {number} is there, but no chunk has it." for number in sorted(left)]


def _shared(db: Session, key: RunKey, start: int, end: int, stored: _Stored) -> dict[int, _Shared]:
    query = select(axes.c.number, axes.c.count, axes.c.checksum, axes.c.payload).where(
        axes.c.org_id == key.org_id, axes.c.run_id == key.run_id, axes.c.number >= start, axes.c.number < end
    )
    found = {}
    for number, count, checksum, payload in db.connection().execute(query):
        entries = None
        try:
            packed = _chunk.split_axis(payload)
            entries = _entries(_chunk.unpack_axis(packed))
            if packed.count != count or _hash.signed(_hash.of_bytes(payload)) != checksum:
                low, high = entries.steps
                stored.problems.append(f"Axis {number}, steps {low} to {high}, is not as it was written.")
        except Corrupt as error:
            stored.problems.append(f"Axis {number} cannot be read: {error}.")
        found[number] = _Shared(payload, entries)
    return found


def _columns(payload: bytes, shared: _Shared | None) -> tuple[_Entries, Floats]:
    """What a chunk has: its entries, decoded here unless it shares them, and its values. Raises `Corrupt`."""
    packed = _chunk.split(payload, shared.payload if shared else None)
    entries = shared.entries if shared else _entries(_chunk.unpack_axis(packed.axis))
    if entries is None:
        raise Corrupt("the axis that it shares with others cannot be read")
    return entries, packed.values()


def _entries(axis: Axis) -> _Entries:
    first = axis.writers[0]
    is_one = bool(first == axis.writers[-1] and (axis.writers == first).all())
    by_writer = Counter({int(first): len(axis)}) if is_one else Counter(axis.writers.tolist())
    return _Entries((int(axis.steps[0]), int(axis.steps[-1])), _hash.of_places(axis.steps, axis.ts), by_writer)


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
