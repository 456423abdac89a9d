"""All that the store knows of a run as records, to be carried to another store: out of one snapshot, in piece by piece.

The records say what the store promises, not how it keeps it: which writers there were, which of their entries were
acknowledged (with the 16 bits that tell a repeat from a conflict), and the points. So a spool that is synced after the
move meets the same ledger as before.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from arwx import ids
from arwx.errors import Damaged, Invalid, NotFound
from arwx.points import _compact, _hash, _history, _ranges, _read, _stream, _summary
from arwx.points._chunk import Axis, Points
from arwx.points._ranges import Range
from arwx.points._stream import Stream, Writer
from arwx.points._tables import ROW_ENTRIES, ledger, streams, tokens, writers
from arwx.points._types import LAST_STEP, RunKey

# Points that are decoded, or wait to be written, at one time; about.
_AT_ONCE = 100_000

_Number = Annotated[int, Meta(ge=0, le=LAST_STEP)]
_WriterNumber = Annotated[int, Meta(ge=0, lt=2**31)]
_Moment = Annotated[datetime, Meta(tz=True)]
_Bits64 = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
_Bits128 = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class RunRecord(Struct, tag_field="record", tag="run", forbid_unknown_fields=True):
    """The first record of a run: its last sign of life, and the moment of its first point in Unix seconds."""

    last_seen_at: _Moment
    first_ts: float | None


class WriterRecord(Struct, tag_field="record", tag="writer", forbid_unknown_fields=True):
    """One epoch of a writer. Other records name it by the number `writer`."""

    writer: _WriterNumber
    writer_id: str
    epoch: str
    duplicates: _Number
    conflicts: _Number
    expected_points: _Number | None
    expected_next_seq: _Number | None


class TokenRecord(Struct, tag_field="record", tag="token", forbid_unknown_fields=True):
    """A batch that came without sequence numbers: what it is known by, and a hash of what was in it."""

    token: _Bits128
    content: _Bits128


class SkippedRecord(Struct, tag_field="record", tag="skipped", forbid_unknown_fields=True):
    """Values of a metric that were no finite numbers: how many, and their first and last step."""

    key: str
    count: _Number
    first_step: _Number
    last_step: _Number


class BatchRecord(Struct, tag_field="record", tag="batch", forbid_unknown_fields=True):
    """Entries of one writer that were acknowledged: their sequence numbers begin with `first_seq`.

    `checksum` is the sum of the hashes of their points, `digests` has four hexadecimal digits for each entry.
    """

    writer: _WriterNumber
    first_seq: _Number
    entries: Annotated[int, Meta(ge=1, le=ROW_ENTRIES)]
    points: _Number
    skipped: _Number
    checksum: _Bits64
    committed_at: _Moment
    digests: str


class EntryRecord(Struct, tag_field="record", tag="entry", forbid_unknown_fields=True, gc=False):
    """One `log()` call as it was stored, `seq` being its sequence number."""

    step: _Number
    ts: float
    writer: _WriterNumber
    seq: _Number
    metrics: dict[str, float]


Record = RunRecord | WriterRecord | TokenRecord | SkippedRecord | BatchRecord | EntryRecord
_ORDER = (RunRecord, WriterRecord, TokenRecord, SkippedRecord, BatchRecord, EntryRecord)


def unload(db: Session, key: RunKey) -> Iterator[Record]:
    """The records of a run in their order, entries in that of the history. One session is one snapshot.

    Raises `NotFound`, and `Damaged` in the end when the points are not those that were acknowledged.
    """
    row = db.execute(select(streams).where(*_of(streams, key))).one_or_none()
    if row is None:
        raise NotFound("No such run.")
    yield RunRecord(row.last_seen_at, row.first_ts)
    for row in db.execute(select(writers).where(*_of(writers, key)).order_by(writers.c.number)):
        counts = (row.duplicates, row.conflicts, row.expected_points, row.expected_next_seq)
        yield WriterRecord(row.number, row.writer_id, row.epoch, *counts)
    for row in db.execute(select(tokens).where(*_of(tokens, key)).order_by(tokens.c.token)):
        yield TokenRecord(row.token.hex(), row.content.hex())
    for name, known in sorted(_stream.live(db, key.org_id, [key.run_id])[key.run_id].metrics.items()):
        if known.nonfinite:
            yield SkippedRecord(name, known.nonfinite, known.nonfinite_first or 0, known.nonfinite_last or 0)
    committed = stored = checksum = 0
    for batch in _batches(db, key):
        committed += batch.points
        checksum += int(batch.checksum, 16)
        yield batch
    for by_key in _windows(db, key):
        stored += sum(map(len, by_key.values()))
        checksum -= sum(points.checksum(name) for name, points in by_key.items())
        yield from _entries(by_key)
    if stored != committed or _hash.signed(checksum):
        raise Damaged(f"The points of run {key.run_id} are not those that were acknowledged. Run: arwx fsck")


def _of(table: Any, key: RunKey) -> tuple[Any, Any]:
    return table.c.org_id == key.org_id, table.c.run_id == key.run_id


def _batches(db: Session, key: RunKey) -> Iterator[BatchRecord]:
    kept = (ledger.c.writer, ledger.c.first_seq, ledger.c.entries, ledger.c.points, ledger.c.skipped)
    query = (
        select(*kept, ledger.c.checksum, ledger.c.committed_at, ledger.c.digests)
        .where(*_of(ledger, key))
        .order_by(ledger.c.writer, ledger.c.first_seq)
    )
    for row in db.execute(query.execution_options(yield_per=100)):
        yield BatchRecord(
            row.writer,
            row.first_seq,
            row.entries,
            row.points,
            row.skipped,
            _hash.text(row.checksum),
            row.committed_at,
            row.digests.hex(),
        )


def _windows(db: Session, key: RunKey) -> Iterator[dict[str, Points]]:
    """All points by key, stretch by stretch in the order of their steps."""
    pending = {
        name: points for (_, name), points in _read.pending(db, key.org_id, [key.run_id], lambda _: True).items()
    }
    stored = _history._chunks(db, key, lambda _: True, None, 0, LAST_STEP)
    reach, start = max(_AT_ONCE // (len({chunk.key for chunk in stored}) or 1), 1), (0, -1, -1)
    while True:
        window = _history._window(db, key, stored, pending, start, LAST_STEP, reach)
        yield window.by_key
        if window.is_last:
            return
        start = (window.end + 1, -1, -1)


def _entries(by_key: dict[str, Points]) -> Iterator[EntryRecord]:
    """The entries that these points come from, by (step, writer, seq)."""
    found: dict[tuple[int, int, int], EntryRecord] = {}
    for name, points in by_key.items():
        columns = (points.steps, points.writers, points.seqs, points.ts, points.values)
        for step, writer, seq, ts, value in zip(*(column.tolist() for column in columns), strict=True):
            entry = found.get((step, writer, seq))
            if entry is None:
                entry = found[step, writer, seq] = EntryRecord(step, ts, writer, seq, {})
            entry.metrics[name] = value
    for place in sorted(found):
        yield found[place]


@dataclass
class _Committed:
    """What the batches say of one writer."""

    record: WriterRecord
    next_seq: int = 0
    above: list[Range] = field(default_factory=list)
    points: int = 0

    def add(self, batch: BatchRecord) -> None:
        start, end = batch.first_seq, batch.first_seq + batch.entries
        if _ranges.missing(self.next_seq, self.above, start, end) != [(start, end)]:
            raise Invalid(f"two batches of writer {batch.writer} have the same sequence number")
        self.next_seq, self.above = _ranges.add(self.next_seq, self.above, start, end)
        if end > LAST_STEP or len(self.above) > _ranges.MOST:
            raise Invalid(f"writer {batch.writer} has sequence numbers that cannot be")
        self.points += batch.points


class Outline(Struct, frozen=True):
    """What two stores must agree on to hold the same run."""

    writers: dict[tuple[str, str], tuple[int, list[Range], int, int | None, int | None]]
    tokens: dict[str, str]
    skipped: dict[str, int]
    checksum: int


def outline(records: Iterable[Record]) -> Outline:
    """What the records of a run say before the first entry. Raises `Invalid` for what cannot be."""
    tally = _Tally()
    for record in records:
        if isinstance(record, EntryRecord):
            break
        tally.add(record)
    told = {
        (one.record.writer_id, one.record.epoch): (
            one.next_seq,
            one.above,
            one.points,
            one.record.expected_points,
            one.record.expected_next_seq,
        )
        for one in tally.writers.values()
    }
    return Outline(told, tally.tokens, {key: one.count for key, one in tally.skipped.items()}, tally.checksum)


class _Tally:
    """The records of a run so far. Raises `Invalid` for a record that cannot follow."""

    def __init__(self) -> None:
        self.run: RunRecord | None = None
        self.writers: dict[int, _Committed] = {}
        self.tokens: dict[str, str] = {}
        self.skipped: dict[str, SkippedRecord] = {}
        self.checksum = 0
        self._at = -1
        self._place = (-1, -1, -1)

    def add(self, record: Record) -> None:
        at = _ORDER.index(type(record))
        if at < self._at or (at == 0) != (self._at == -1):
            raise Invalid(f"a record of the kind {type(record).__struct_config__.tag} stands in the wrong place")
        self._at = at
        if isinstance(record, RunRecord):
            self.run = record
        elif isinstance(record, WriterRecord):
            self._add_writer(record)
        elif isinstance(record, TokenRecord):
            if record.token in self.tokens:
                raise Invalid("a token comes twice")
            self.tokens[record.token] = record.content
        elif isinstance(record, SkippedRecord):
            _check_key(record.key)
            self.skipped[record.key] = record
        elif isinstance(record, BatchRecord):
            self._add_batch(record)
        else:
            self._add_entry(record)

    def _add_writer(self, record: WriterRecord) -> None:
        same = (record.writer_id, record.epoch)
        if record.writer in self.writers or any(
            (one.record.writer_id, one.record.epoch) == same for one in self.writers.values()
        ):
            raise Invalid(f"writer {record.writer} comes twice")
        _stream.check_name(record.writer_id, "writer_id")
        _stream.check_name(record.epoch, "epoch", may_be_empty=True)
        self.writers[record.writer] = _Committed(record)

    def _add_batch(self, record: BatchRecord) -> None:
        self._writer(record.writer).add(record)
        self.checksum = _hash.signed(self.checksum + int(record.checksum, 16))
        if len(record.digests) != 4 * record.entries:
            raise Invalid("a batch has not four digits of digests for each entry")

    def _add_entry(self, record: EntryRecord) -> None:
        place = (record.step, record.writer, record.seq)
        if place <= self._place:
            raise Invalid(f"the entry at step {record.step} does not follow the one before")
        self._place = place
        writer = self._writer(record.writer)
        if record.seq >= writer.next_seq and _ranges.missing(writer.next_seq, writer.above, record.seq, record.seq + 1):
            raise Invalid(f"the entry with the sequence number {record.seq} is in no batch")
        if not record.metrics or not 0 <= record.ts < float("inf"):
            raise Invalid(f"the entry at step {record.step} has no metrics, or a ts that cannot be")
        for key in record.metrics:
            _check_key(key)

    def _writer(self, number: int) -> _Committed:
        known = self.writers.get(number)
        if known is None:
            raise Invalid(f"there is no writer {number}")
        return known


class Loading:
    """A run on its way in. Nothing may be read of it before `close`; the caller commits whenever it likes.

    Raises `Invalid` for records that contradict each other. The place of the run must be empty.
    """

    def __init__(self, key: RunKey) -> None:
        self._key = key
        self._tally = _Tally()
        self._stored: dict[int, int] = {}
        self._checksum = 0

    def take(self, db: Session, records: Sequence[Record]) -> None:
        """Store the next records."""
        rows: dict[Any, list[dict[str, Any]]] = {ledger: [], tokens: []}
        entries: list[EntryRecord] = []
        home = {"org_id": self._key.org_id, "run_id": self._key.run_id}
        for record in records:
            self._tally.add(record)
            if isinstance(record, RunRecord):
                _stream.create(db, self._key, record.last_seen_at)
            elif isinstance(record, WriterRecord):
                self._save(db, self._tally.writers[record.writer], is_new=True)
            elif isinstance(record, TokenRecord):
                known = {"token": bytes.fromhex(record.token), "content": bytes.fromhex(record.content)}
                rows[tokens].append({**home, **known})
            elif isinstance(record, BatchRecord):
                rows[ledger].append({**home, **_row(record)})
            elif isinstance(record, EntryRecord):
                entries.append(record)
        for table, some in rows.items():
            if some:
                db.execute(insert(table), some)
        if entries:
            stream = _stream.lock(db, self._key)
            self._place(db, stream, entries)
            stream.save(db)

    def close(self, db: Session) -> None:
        """See that all is there, and make the run readable."""
        tally = self._tally
        if tally.run is None:
            raise Invalid("there are no records of the run")
        if any(one.points != self._stored.get(number, 0) for number, one in tally.writers.items()):
            raise Invalid("the batches have not as many points as the entries")
        if tally.checksum != _hash.signed(self._checksum):
            raise Invalid("the points of the entries are not those of the batches")
        stream = _stream.lock(db, self._key)
        for one in tally.writers.values():
            self._save(db, one, is_new=False)
        for key, skipped in tally.skipped.items():
            _summary.add_skips(stream.metrics, key, skipped.count, skipped.first_step, skipped.last_step)
        stream.next_writer = max(tally.writers, default=-1) + 1
        stream.first_ts = tally.run.first_ts
        _compact.run(db, stream, is_final=True)
        stream.save(db)

    def _save(self, db: Session, committed: _Committed, *, is_new: bool) -> None:
        record = committed.record
        writer = Writer(
            record.writer,
            record.writer_id,
            record.epoch,
            committed.next_seq,
            committed.above,
            record.duplicates,
            record.conflicts,
            is_new,
        )
        writer.save(db, self._key)
        if record.expected_points is not None and record.expected_next_seq is not None:
            writer.expect(db, self._key, record.expected_points, record.expected_next_seq)

    def _place(self, db: Session, stream: Stream, entries: list[EntryRecord]) -> None:
        found: dict[str, list[tuple[int, float, int, int, float]]] = {}
        for entry in entries:
            self._stored[entry.writer] = self._stored.get(entry.writer, 0) + len(entry.metrics)
            for name, value in entry.metrics.items():
                found.setdefault(name, []).append((entry.step, entry.ts, entry.writer, entry.seq, value))
        by_key: dict[str, list[Points]] = {}
        for name, rows in found.items():
            steps, ts, numbers, seqs, values = zip(*rows, strict=True)
            axis = Axis(
                np.array(steps, np.int64),
                np.array(ts, np.float64),
                np.array(numbers, np.int64),
                np.array(seqs, np.int64),
            )
            points = Points(axis, np.array(values, np.float64))
            if not np.isfinite(points.values).all():
                raise Invalid(f"{name} has a value that is no finite number")
            self._checksum += points.checksum(name)
            _summary.add_points(stream.metrics, name, points)
            by_key[name] = [points]
        _compact.place(db, stream, by_key)


def _row(record: BatchRecord) -> dict[str, Any]:
    try:
        digests = bytes.fromhex(record.digests)
    except ValueError:
        raise Invalid("the digests of a batch are no hexadecimal digits") from None
    return {
        "writer": record.writer,
        "first_seq": record.first_seq,
        "entries": record.entries,
        "points": record.points,
        "skipped": record.skipped,
        "checksum": _hash.signed(int(record.checksum, 16)),
        "committed_at": record.committed_at,
        "digests": digests,
        "payload": None,
    }


def _check_key(key: str) -> None:
    if not ids.is_metric_key(key):
        raise Invalid("the key of a metric is not 1 to 255 characters without control characters")
