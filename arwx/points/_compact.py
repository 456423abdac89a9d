"""From level 0 to level 1: batches become chunks of one key, small chunks become larger ones.

It runs in the caller's transaction under the lock of the run, so that it happens as a whole or not at all.

How often a point is written again is bounded. It is written once in level 0 and once in its first chunk. Chunks that
are not full are merged in tiers by a factor of 16 (below 16, 256 and 4096 points), so a point rises at most twice
more; a run that logs fast fills up its last chunk each time instead, which rewrites less than it adds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import bindparam, delete, insert, literal_column, null, select, update
from sqlalchemy.orm import Session

from arwx.points import _batch, _chunk, _hash
from arwx.points._batch import Level0
from arwx.points._chunk import Axis, Points
from arwx.points._codec import Corrupt
from arwx.points._stream import Stream
from arwx.points._tables import CHUNK_POINTS, ROW_ENTRIES, chunks, ledger
from arwx.points._types import RunKey
from arwx.prepared import Prepared, named

PENDING_BATCHES = 64
PENDING_POINTS = 32_768
_PENDING_POINTS_A_KEY = 512
_TIERS = (16, 256, CHUNK_POINTS)
_TIER_WIDTH = 16
# At the end of a run small chunks are merged sooner.
_FINAL_WIDTH = 4
# A row of the ledger grows by merging as long as that adds a fifth of it.
_LEDGER_RATIO = 4

_OF_LEDGER = (ledger.c.org_id == bindparam("o"), ledger.c.run_id == bindparam("r"))
_OF_CHUNKS = (chunks.c.org_id == bindparam("o"), chunks.c.run_id == bindparam("r"))

_PENDING = Prepared(
    select(ledger.c.writer, ledger.c.first_seq, ledger.c.payload)
    .where(*_OF_LEDGER, ledger.c.payload.is_not(None))
    .order_by(ledger.c.writer, ledger.c.first_seq)
)
_LEDGER_ROWS = (
    select(
        ledger.c.first_seq,
        ledger.c.entries,
        ledger.c.points,
        ledger.c.skipped,
        ledger.c.checksum,
        ledger.c.committed_at,
        ledger.c.digests,
        ledger.c.payload.is_not(None).label("holds"),
    )
    .where(*_OF_LEDGER, ledger.c.writer == bindparam("w"), ledger.c.first_seq >= bindparam("low"))
    .order_by(ledger.c.first_seq)
)
_DELETE_ROWS = Prepared(
    delete(ledger).where(
        *_OF_LEDGER, ledger.c.writer == bindparam("w"), ledger.c.first_seq.between(bindparam("low"), bindparam("high"))
    )
)
_EMPTY_ROW = Prepared(
    update(ledger)
    .where(*_OF_LEDGER, ledger.c.writer == bindparam("w"), ledger.c.first_seq == bindparam("s"))
    .values(payload=null())
)
_INSERT_ROWS = Prepared(insert(ledger).values(named(*ledger.c.keys())))
_PARTIAL = Prepared(
    select(chunks.c.key, chunks.c.number, chunks.c.count)
    # Written out, so that the planner knows the index of partial chunks to fit.
    .where(*_OF_CHUNKS, chunks.c.count < literal_column(str(CHUNK_POINTS)))
    .order_by(chunks.c.key, chunks.c.number)
)
_ONE_CHUNK = (*_OF_CHUNKS, chunks.c.key == bindparam("k"), chunks.c.number == bindparam("n"))
_CHUNK_PAYLOAD = Prepared(select(chunks.c.payload).where(*_ONE_CHUNK))
_DELETE_CHUNKS = Prepared(delete(chunks).where(*_ONE_CHUNK))
_INSERT_CHUNKS = Prepared(insert(chunks).values(named(*chunks.c.keys())))


@dataclass(frozen=True, slots=True)
class _Part:
    """A chunk that is not full."""

    number: int
    count: int


def is_due(stream: Stream) -> bool:
    """Whether enough is pending. Many keys wait for more, so that each of them gets a chunk worth writing."""
    enough = max(PENDING_POINTS, _PENDING_POINTS_A_KEY * len(stream.metrics))
    return stream.pending_points >= enough or stream.pending_batches >= PENDING_BATCHES


def run(db: Session, stream: Stream, *, is_final: bool = False) -> None:
    """Compact what is pending. The caller saves the stream. A batch that cannot be decoded stays where it is."""
    key = stream.key
    home = {"o": key.org_id, "r": key.run_id}
    batches: list[tuple[int, int, Level0]] = []
    broken = 0
    for writer, first_seq, payload in _PENDING.all(db, home):
        try:
            batches.append((writer, first_seq, _batch.decode(payload)))
        except Corrupt:
            broken += 1
    pending = _by_key(batches)
    if not pending and not is_final:
        return
    _write_chunks(db, stream, pending, _merges(_partial(db, key), pending, is_final=is_final))
    _merge_ledger(db, key, batches)
    stream.pending_batches, stream.pending_points = broken, 0


def place(db: Session, stream: Stream, points: dict[str, list[Points]]) -> None:
    """Write points of these keys right into chunks. The caller saves the stream."""
    _write_chunks(db, stream, points, _merges(_partial(db, stream.key), points, is_final=False))


def _by_key(batches: list[tuple[int, int, Level0]]) -> dict[str, list[Points]]:
    """The points of each key. Keys that were always logged together share the arrays of all columns but the values."""
    together: dict[tuple[str, ...], list[tuple[Points, Any]]] = {}
    found: dict[str, list[Points]] = {}
    for writer, first_seq, batch in batches:
        count = len(batch.steps)
        seqs = np.arange(first_seq, first_seq + count, dtype=np.int64)
        axis = Points(batch.steps, batch.ts, np.full(count, writer, np.int64), seqs, np.empty(0))
        if batch.matrix is not None:
            together.setdefault(tuple(batch.keys), []).append((axis, batch.matrix))
            continue
        order = np.argsort(batch.key_index, kind="stable")
        ends = np.cumsum(np.bincount(batch.key_index, minlength=len(batch.keys)))
        for name, which in zip(batch.keys, np.split(order, ends[:-1]), strict=True):
            at = batch.entry_index[which]
            points = Points(axis.steps[at], axis.ts[at], axis.writers[at], axis.seqs[at], batch.values[which])
            found.setdefault(name, []).append(points)
    for names, parts in together.items():
        steps = np.concatenate([axis.steps for axis, _ in parts])
        ts = np.concatenate([axis.ts for axis, _ in parts])
        writers = np.concatenate([axis.writers for axis, _ in parts])
        seqs = np.concatenate([axis.seqs for axis, _ in parts])
        values = np.concatenate([matrix for _, matrix in parts], axis=1)
        if not (steps[1:] > steps[:-1]).all():
            order = np.lexsort((seqs, writers, steps))
            steps, ts, writers, seqs = steps[order], ts[order], writers[order], seqs[order]
            # By `values[:, order]` the values of a key would not lie side by side, which the codec counts on.
            values = np.take(values, order, axis=1)
        for index, name in enumerate(names):
            found.setdefault(name, []).append(Points(steps, ts, writers, seqs, values[index]))
    return found


def _partial(db: Session, key: RunKey) -> dict[str, list[_Part]]:
    found: dict[str, list[_Part]] = {}
    for name, number, count in _PARTIAL.all(db, {"o": key.org_id, "r": key.run_id}):
        found.setdefault(name, []).append(_Part(number, count))
    return found


def _merges(
    partial: dict[str, list[_Part]], pending: dict[str, list[Points]], *, is_final: bool
) -> dict[str, list[_Part]]:
    """Which partial chunks of each key are merged into what comes."""
    chosen = {}
    for name, parts in partial.items():
        coming = sum(map(len, pending.get(name, ())))
        if is_final and len(parts) + (coming > 0) >= _FINAL_WIDTH:
            chosen[name] = parts
        elif coming and (picked := merged_with(parts, coming)):
            chosen[name] = picked
    return chosen


def merged_with(parts: list[_Part], coming: int) -> list[_Part]:
    """Which of the partial chunks, oldest first, are merged with so many points that come."""
    if coming >= _TIERS[1] and parts[-1].count <= coming:
        # What comes fills up the last chunk; the points of a chunk are moved on by at most as many that come.
        return parts[-1:]
    picked: list[_Part] = []
    total = coming
    for limit in _TIERS:
        tier = [part for part in parts if part.count < limit and part not in picked]
        if total >= limit:
            continue
        if len(tier) + 1 < _TIER_WIDTH:
            break
        picked += tier
        total += sum(part.count for part in tier)
    return picked


def _write_chunks(
    db: Session, stream: Stream, pending: dict[str, list[Points]], merges: dict[str, list[_Part]]
) -> None:
    key = stream.key
    home = {"o": key.org_id, "r": key.run_id}
    gone: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    packed = _Packed()
    for name in sorted(pending.keys() | merges.keys()):
        # The oldest first: mostly the points are in order then.
        parts: list[Points] = []
        for part in merges.get(name, ()):
            where = {**home, "k": name, "n": part.number}
            try:
                parts += [_chunk.decode(payload) for (payload,) in _CHUNK_PAYLOAD.all(db, where)]
            except Corrupt:
                continue  # it stays as it is, and the receipt tells of it
            gone.append(where)
        points = _chunk.join(parts + pending.get(name, [])).in_order()
        for start in range(0, len(points), CHUNK_POINTS):
            some = points[start : start + CHUNK_POINTS]
            rows.append(_row(key, stream.next_chunk, name, some, packed.axis(points, start, some)))
            stream.next_chunk += 1
    _DELETE_CHUNKS.run(db, *gone)
    _INSERT_CHUNKS.run(db, *rows)


class _Packed:
    """The packed axis of the key before, for keys that were logged together with it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Points, Axis]] = {}

    def axis(self, points: Points, start: int, some: Points) -> Axis:
        known = self._known.get(start)
        if known is not None and _is_same_axis(known[0], some):
            return known[1]
        axis = _chunk.pack_axis(some)
        self._known[start] = (some, axis)
        return axis


def _is_same_axis(left: Points, right: Points) -> bool:
    return (
        np.array_equal(left.steps, right.steps)
        and np.array_equal(left.seqs, right.seqs)
        and np.array_equal(left.ts.view(np.int64), right.ts.view(np.int64))
        and np.array_equal(left.writers, right.writers)
    )


def _row(key: RunKey, number: int, name: str, points: Points, axis: Axis) -> dict[str, Any]:
    blocks = _chunk.blocks(points.steps, points.ts, points.values)
    return {
        "org_id": key.org_id,
        "run_id": key.run_id,
        "key": name,
        "number": number,
        "count": len(points),
        "first_step": int(points.steps[0]),
        "last_step": int(points.steps[-1]),
        "checksum": _hash.signed(points.checksum(name)),
        "brief": _chunk.brief(blocks).tobytes(),
        "blocks": blocks.tobytes(),
        "payload": _chunk.encode(axis, points.values),
    }


def _merge_ledger(db: Session, key: RunKey, batches: list[tuple[int, int, Level0]]) -> None:
    """Drop the payloads of the batches, and make few rows of their ranges that lie side by side."""
    home = {"o": key.org_id, "r": key.run_id}
    gone: list[dict[str, Any]] = []
    emptied: list[dict[str, Any]] = []
    merged: list[dict[str, Any]] = []
    by_writer: dict[int, set[int]] = {}
    for writer, first_seq, _ in batches:
        by_writer.setdefault(writer, set()).add(first_seq)
    for writer, moved in by_writer.items():
        low = min(moved) - ROW_ENTRIES
        for group in _groups(db.connection().execute(_LEDGER_ROWS, {**home, "w": writer, "low": low}), moved):
            first, last = group[0].first_seq, group[-1].first_seq
            if len(group) == 1:
                emptied.append({**home, "w": writer, "s": first})
                continue
            gone.append({**home, "w": writer, "low": first, "high": last})
            merged.append(
                {
                    "org_id": key.org_id,
                    "run_id": key.run_id,
                    "writer": writer,
                    "first_seq": first,
                    "entries": sum(row.entries for row in group),
                    "points": sum(row.points for row in group),
                    "skipped": sum(row.skipped for row in group),
                    "checksum": _hash.signed(sum(row.checksum for row in group)),
                    "committed_at": max(row.committed_at for row in group),
                    "digests": b"".join(row.digests for row in group),
                    "payload": None,
                }
            )
    _EMPTY_ROW.run(db, *emptied)
    _DELETE_ROWS.run(db, *gone)
    _INSERT_ROWS.run(db, *merged)


def _groups(rows: Iterable[Any], moved: set[int]) -> list[list[Any]]:
    """Neighbouring rows of one writer that become one. A row whose payload could not be moved stands for itself."""
    groups: list[list[Any]] = []
    for row in rows:
        if row.holds and row.first_seq not in moved:
            groups.append([])
        elif groups and groups[-1] and _fits(groups[-1], row):
            groups[-1].append(row)
        else:
            groups.append([row])
    found = []
    for group in groups:
        while len(group) > 1 and group[0].first_seq not in moved and _outweighs(group):
            del group[0]
        if any(row.first_seq in moved for row in group):
            found.append(group)
    return found


def _fits(group: list[Any], row: Any) -> bool:
    entries: int = sum(member.entries for member in group) + row.entries
    return entries <= ROW_ENTRIES and bool(group[-1].first_seq + group[-1].entries == row.first_seq)


def _outweighs(group: list[Any]) -> bool:
    others: int = sum(row.entries for row in group[1:])
    return int(group[0].entries) > _LEDGER_RATIO * others
