"""From level 0 to level 1: batches become chunks of one key, small chunks become larger ones.

Keys that come from the same entries are moved together: their entries are joined and ordered once, and what their chunks
have in common is written once, as an axis. It goes when no chunk names it any more.

It runs in the caller's transaction under the lock of the run, so that it happens as a whole or not at all.

How often a point is written again is bounded. It is written once in level 0 and once in its first chunk. Chunks that
are not full are merged in tiers by a factor of 16 (below 16, 256 and 4096 points), so a point rises at most twice
more; a run that logs fast fills up its last chunk each time instead, which rewrites less than it adds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import bindparam, delete, insert, literal_column, null, select, update
from sqlalchemy.orm import Session

from arwx.points import _batch, _chunk, _hash
from arwx.points._batch import Level0
from arwx.points._chunk import Axes, Axis, PackedAxis, Points
from arwx.points._codec import Corrupt
from arwx.points._stream import Stream
from arwx.points._tables import CHUNK_POINTS, ROW_ENTRIES, axes, chunks, ledger, with_axes
from arwx.points._types import Floats, RunKey
from arwx.prepared import Prepared, named

PENDING_BATCHES = 64
PENDING_POINTS = 32_768
_PENDING_POINTS_A_KEY = 512
_TIERS = (16, 256, CHUNK_POINTS)
_TIER_WIDTH = 16
# At the end of a run small chunks are merged sooner.
_FINAL_WIDTH = 4
# The most values that are looked at together.
_TABLE_POINTS = 65_536
# A row of the ledger grows by merging as long as that adds a fifth of it.
_LEDGER_RATIO = 4

_OF_LEDGER = (ledger.c.org_id == bindparam("o"), ledger.c.run_id == bindparam("r"))
_OF_AXES = (axes.c.org_id == bindparam("o"), axes.c.run_id == bindparam("r"))
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
    select(chunks.c.key, chunks.c.number, chunks.c.count, chunks.c.axis)
    # Written out, so that the planner knows the index of partial chunks to fit.
    .where(*_OF_CHUNKS, chunks.c.count < literal_column(str(CHUNK_POINTS)))
    .order_by(chunks.c.key, chunks.c.number)
)
_ONE_CHUNK = (*_OF_CHUNKS, chunks.c.key == bindparam("k"), chunks.c.number == bindparam("n"))
_CHUNK_PAYLOAD = Prepared(select(chunks.c.payload, axes.c.payload).select_from(with_axes(*_OF_AXES)).where(*_ONE_CHUNK))
_DELETE_CHUNKS = Prepared(delete(chunks).where(*_ONE_CHUNK))
_DELETE_AXES = Prepared(delete(axes).where(*_OF_AXES, axes.c.number == bindparam("n")))
_INSERT_CHUNKS = Prepared(insert(chunks).values(named(*chunks.c.keys())))
_INSERT_AXES = Prepared(insert(axes).values(named(*axes.c.keys())))


@dataclass(frozen=True, slots=True)
class _Part:
    """A chunk that is not full, and the number of the axis that it shares."""

    number: int
    count: int
    axis: int | None


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
    place(db, stream, pending, is_final=is_final)
    _merge_ledger(db, key, batches)
    stream.pending_batches, stream.pending_points = broken, 0


def place(db: Session, stream: Stream, points: dict[str, list[Points]], *, is_final: bool = False) -> None:
    """Write points of these keys into chunks, and merge small ones. The caller saves the stream."""
    partial = _partial(db, stream.key)
    merges = _merges(partial, points, is_final=is_final)
    stored, gone = _take(db, stream.key, merges)
    # What is stored is older: mostly the points are in order then.
    whole = {name: [*stored.get(name, ()), *points.get(name, ())] for name in sorted(stored.keys() | points.keys())}
    # In this order what is written takes the room of what is gone.
    _remove(db, stream.key, partial, gone)
    _write(db, stream, _pieces(whole))


def _by_key(batches: list[tuple[int, int, Level0]]) -> dict[str, list[Points]]:
    """The points of each key. Keys that were always logged together share the axes of their points."""
    together: dict[tuple[str, ...], list[tuple[Axis, Floats]]] = {}
    found: dict[str, list[Points]] = {}
    for writer, first_seq, batch in batches:
        count = len(batch.steps)
        seqs = np.arange(first_seq, first_seq + count, dtype=np.int64)
        axis = Axis(batch.steps, batch.ts, np.full(count, writer, np.int64), seqs)
        if batch.matrix is not None:
            together.setdefault(tuple(batch.keys), []).append((axis, batch.matrix))
            continue
        order = np.argsort(batch.key_index, kind="stable")
        ends = np.cumsum(np.bincount(batch.key_index, minlength=len(batch.keys)))
        parts: dict[bytes, Axis] = {}
        for name, which in zip(batch.keys, np.split(order, ends[:-1]), strict=True):
            at = batch.entry_index[which]
            shared = parts.get(at.tobytes())
            if shared is None:
                shared = parts[at.tobytes()] = axis[at]
            found.setdefault(name, []).append(Points(shared, batch.values[which]))
    for names, stretches in together.items():
        axis = _chunk.join_axes([axis for axis, _ in stretches])
        matrix = np.concatenate([matrix for _, matrix in stretches], axis=1)
        for name, values in zip(names, matrix, strict=True):
            found.setdefault(name, []).append(Points(axis, values))
    return found


def _partial(db: Session, key: RunKey) -> dict[str, list[_Part]]:
    found: dict[str, list[_Part]] = {}
    for name, *part in _PARTIAL.all(db, {"o": key.org_id, "r": key.run_id}):
        found.setdefault(name, []).append(_Part(*part))
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


def _take(
    db: Session, key: RunKey, merges: dict[str, list[_Part]]
) -> tuple[dict[str, list[Points]], set[tuple[str, int]]]:
    """The points of the chunks that are merged, oldest first, and which chunks these are, by key and number."""
    found: dict[str, list[Points]] = {}
    gone = set()
    known = Axes()
    for name, parts in merges.items():
        for part in parts:
            where = {"o": key.org_id, "r": key.run_id, "k": name, "n": part.number}
            for payload, shared in _CHUNK_PAYLOAD.all(db, where):
                try:
                    packed = _chunk.split(payload, shared)
                    found.setdefault(name, []).append(Points(known[packed.axis], packed.values()))
                except Corrupt:
                    continue  # it stays as it is, and the receipt tells of it
                gone.add((name, part.number))
    return found, gone


@dataclass(frozen=True, slots=True)
class _Piece:
    """What becomes chunks with one axis: a row of values for each key."""

    axis: Axis
    values: dict[str, Floats]


def _pieces(points: dict[str, list[Points]]) -> dict[PackedAxis, _Piece]:
    """The points of each key in order and cut into chunks. Keys with the same entries are put together and cut as one."""
    together: dict[tuple[Axis, ...], list[str]] = {}
    for name, of_key in points.items():
        together.setdefault(tuple(part.axis for part in of_key), []).append(name)
    pieces: dict[PackedAxis, _Piece] = {}
    for parts, names in together.items():
        axis = _chunk.join_axes(parts)
        order = axis.order()
        axis = axis if order is None else axis[order]
        columns = {name: np.concatenate([part.values for part in points[name]]) for name in names}
        if order is not None:
            columns = {name: values[order] for name, values in columns.items()}
        for start in range(0, len(axis), CHUNK_POINTS):
            some = slice(start, start + CHUNK_POINTS)
            piece = _Piece(axis[some], {name: values[some] for name, values in columns.items()})
            # Keys may have come to the same entries by different ways.
            pieces.setdefault(_chunk.pack_axis(piece.axis), piece).values.update(piece.values)
    return pieces


def _write(db: Session, stream: Stream, pieces: dict[PackedAxis, _Piece]) -> None:
    home = {"org_id": stream.key.org_id, "run_id": stream.key.run_id}
    shared: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for packed, piece in pieces.items():
        axis = None
        if len(piece.values) > 1:
            axis, payload = stream.next_chunk, packed.payload()
            checksum = _hash.signed(_hash.of_bytes(payload))
            shared.append({**home, "number": axis, "count": packed.count, "checksum": checksum, "payload": payload})
            stream.next_chunk += 1
        for row in _rows(piece, packed):
            rows.append({**home, "number": stream.next_chunk, "axis": axis, **row})
            stream.next_chunk += 1
    _INSERT_AXES.run(db, *shared)
    _INSERT_CHUNKS.run(db, *rows)


def _rows(piece: _Piece, packed: PackedAxis) -> Iterator[dict[str, Any]]:
    """The chunks of a piece. Many keys are looked at together, as many as make a small table."""
    own = packed if len(piece.values) == 1 else None
    places = _hash.of_places(piece.axis.steps, piece.axis.ts)
    common = {
        "count": len(piece.axis),
        "first_step": int(piece.axis.steps[0]),
        "last_step": int(piece.axis.steps[-1]),
    }
    rest = iter(piece.values)
    while names := list(islice(rest, max(1, _TABLE_POINTS // len(piece.axis)))):
        table = np.stack([piece.values[name] for name in names])
        keys = np.array([[_hash.of_key(name)] for name in names], np.uint64)
        checksums = _hash.row_sums(_hash.of_points(places, _hash.of_values(keys, table)))
        blocks = _chunk.blocks(piece.axis.steps, piece.axis.ts, table)
        briefs = _chunk.brief(blocks)
        for index, name in enumerate(names):
            yield {
                **common,
                "key": name,
                "checksum": _hash.signed(int(checksums[index])),
                "brief": briefs[index].tobytes(),
                "blocks": blocks[index].tobytes(),
                "payload": _chunk.encode(table[index], own),
            }


def _remove(db: Session, key: RunKey, partial: dict[str, list[_Part]], gone: set[tuple[str, int]]) -> None:
    """Remove merged chunks, and the axes that no chunk names any more.

    The chunks of an axis are as long as it is, so all that name the axis of a chunk that is not full are in `partial`.
    """
    home = {"o": key.org_id, "r": key.run_id}
    left = {part.axis for name, parts in partial.items() for part in parts if (name, part.number) not in gone}
    freed = {part.axis for name, parts in partial.items() for part in parts if (name, part.number) in gone}
    _DELETE_CHUNKS.run(db, *({**home, "k": name, "n": number} for name, number in sorted(gone)))
    _DELETE_AXES.run(db, *({**home, "n": axis} for axis in freed - left if axis is not None))


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
