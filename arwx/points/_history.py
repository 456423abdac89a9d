"""The full history of a run in the order (step, writer, seq), page by page, in bounded memory."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from arwx.db import Database
from arwx.errors import invalid
from arwx.points import _chunk, _read, _stream
from arwx.points._chunk import Axes, Axis, Points
from arwx.points._tables import axes, chunks, with_axes, writers
from arwx.points._types import LAST_STEP, HistoryEntry, HistoryPage, RunKey

_EXPORT_ENTRIES = 20_000
# The most points that a page is made of, about: a page of a run with very many keys has fewer entries.
_PAGE_POINTS = 500_000
_FEW_KEYS = 200
_CURSOR = re.compile(r"(\d{1,16})\.(\d{1,10})\.(\d{1,16})\Z", re.ASCII)

_STORED = (
    select(chunks.c.payload, axes.c.payload)
    .select_from(with_axes(axes.c.org_id == bindparam("o"), axes.c.run_id == bindparam("r")))
    .where(
        chunks.c.org_id == bindparam("o"),
        chunks.c.run_id == bindparam("r"),
        chunks.c.key == bindparam("k"),
        chunks.c.number == bindparam("n"),
    )
)

_Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Chunk:
    key: str
    number: int
    count: int
    first_step: int
    last_step: int


@dataclass(frozen=True, slots=True)
class _Window:
    """The points of some keys from after `start`, a place, to `end`, a step. `is_last`: there are none behind it."""

    start: _Place
    end: int
    by_key: dict[str, Points]
    is_last: bool


def history(
    db: Session,
    key: RunKey,
    *,
    keys: list[str] | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
    limit: int,
    after: str | None = None,
) -> HistoryPage:
    """A page of at most `limit` entries that have any of the keys, in step order; `after` is the cursor of a page.

    `keys` are names and prefixes such as `system/*`; without them, all but `system/*`. Bounds are inclusive. Entries at
    one step come in the order of their writers and sequence numbers. Raises `Invalid` for a cursor that is none.
    """
    start = (max(min_step or 0, 0), -1, -1)
    if after is not None:
        start = max(start, _place(after))
    high = LAST_STEP if max_step is None else min(max_step, LAST_STEP)
    entries, following = _page(db, key, _read.chooser(keys), keys, start, high, limit)
    return HistoryPage(entries, None if following is None else ".".join(map(str, following)))


def export(
    database: Database,
    key: RunKey,
    *,
    keys: list[str] | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Iterator[list[HistoryEntry]]:
    """All of the history, in lists of a bounded length.

    Each list is a read of its own, so that a slow reader holds no transaction open. What was stored when the export
    began is in it, once; of what is stored meanwhile, that which lies ahead.
    """
    after = None
    while True:
        with database.reading(key.org_id) as db:
            page = history(db, key, keys=keys, min_step=min_step, max_step=max_step, limit=_EXPORT_ENTRIES, after=after)
        if page.entries:
            yield page.entries
        if page.next is None:
            return
        after = page.next


def columns(database: Database, key: RunKey, keys: list[str] | None = None) -> list[str]:
    """The keys of the run that are meant by `keys` and have points, by name."""
    is_meant = _read.chooser(keys)
    with database.reading(key.org_id) as db:
        live = _stream.live(db, key.org_id, [key.run_id])
    metrics = live[key.run_id].metrics if live else {}
    return sorted(name for name, metric in metrics.items() if metric.count and is_meant(name))


def _place(cursor: str) -> _Place:
    found = _CURSOR.match(cursor)
    if not found:
        raise invalid("cursor", "is none of this history")
    step, writer, seq = map(int, found.groups())
    return step, writer, seq


def _page(
    db: Session,
    key: RunKey,
    is_meant: Callable[[str], bool],
    keys: list[str] | None,
    start: _Place,
    high: int,
    limit: int,
) -> tuple[list[HistoryEntry], _Place | None]:
    if start[0] > high:
        return [], None
    names = _names(db, key)
    pending = {
        name: points
        for (_, name), points in _read.pending(db, key.org_id, [key.run_id], is_meant).items()
        if len(points)
    }
    stored = _chunks(db, key, is_meant, keys, start[0], high)
    reach = limit
    while True:
        window = _window(db, key, stored, pending, start, high, reach)
        entries, last, has_more = _entries(window.by_key, names, limit)
        if window.is_last and not has_more:
            return entries, None
        if entries:
            return entries, last
        # Nothing in this stretch: look further, with a longer stride.
        start, reach = (window.end + 1, -1, -1), reach * 2


def _names(db: Session, key: RunKey) -> dict[int, str]:
    query = select(writers.c.number, writers.c.writer_id).where(
        writers.c.org_id == key.org_id, writers.c.run_id == key.run_id
    )
    return {row.number: row.writer_id for row in db.execute(query)}


def _chunks(
    db: Session, key: RunKey, is_meant: Callable[[str], bool], keys: list[str] | None, low: int, high: int
) -> list[_Chunk]:
    query = (
        select(chunks.c.key, chunks.c.number, chunks.c.count, chunks.c.first_step, chunks.c.last_step)
        .where(
            chunks.c.org_id == key.org_id,
            chunks.c.run_id == key.run_id,
            chunks.c.last_step >= low,
            chunks.c.first_step <= high,
        )
        .order_by(chunks.c.first_step, chunks.c.key, chunks.c.number)
    )
    if keys is not None and len(keys) <= _FEW_KEYS and not any(name.endswith("/*") for name in keys):
        query = query.where(chunks.c.key.in_(keys))
    return [_Chunk(*row) for row in db.connection().execute(query) if is_meant(row.key)]


def _window(
    db: Session, key: RunKey, stored: list[_Chunk], pending: dict[str, Points], start: _Place, high: int, limit: int
) -> _Window:
    """A stretch from `start` on that has more than `limit` entries, or all that there is, or as much as is bearable."""
    end, points = high, sum(len(some) for some in pending.values())
    counts: dict[str, int] = {}
    taken: list[_Chunk] = []
    for chunk in stored:
        if chunk.last_step < start[0]:
            continue
        # Every point of one key is an entry of its own, so the fullest key says how many entries are there at least.
        if counts and max(counts.values()) > limit and chunk.first_step > start[0]:
            end = chunk.first_step - 1
            break
        taken.append(chunk)
        points += chunk.count
        if chunk.first_step > start[0]:
            counts[chunk.key] = counts.get(chunk.key, 0) + chunk.count
    if points > _PAGE_POINTS and taken:
        last = min(end, max(chunk.last_step for chunk in taken))
        end = min(end, start[0] + (last - start[0]) * _PAGE_POINTS // points)
    parts: dict[str, list[Points]] = {}
    known = Axes()
    for chunk in taken:
        if chunk.first_step > end:
            continue
        where = {"o": key.org_id, "r": key.run_id, "k": chunk.key, "n": chunk.number}
        payload, shared = db.connection().execute(_STORED, where).one()
        for some in _read.decoded([(payload, shared)], known):
            parts.setdefault(chunk.key, []).append(_between(some, start, end))
    for name, of_key in pending.items():
        parts.setdefault(name, []).append(_between(of_key, start, end))
    by_key = {name: _chunk.join(found).in_order() for name, found in sorted(parts.items())}
    return _Window(start, end, {name: found for name, found in by_key.items() if len(found)}, end >= high)


def _between(points: Points, start: _Place, end: int) -> Points:
    """The points after the place `start` and up to the step `end`."""
    low, high = np.searchsorted(points.steps, (start[0], end + 1))
    some = points[low:high]
    same = int(np.searchsorted(some.steps, start[0] + 1))
    if same == 0 or start[1] < 0:
        return some
    keep = np.ones(len(some), np.bool_)
    keep[:same] = (some.writers[:same] > start[1]) | ((some.writers[:same] == start[1]) & (some.seqs[:same] > start[2]))
    return some[keep]


def _entries(by_key: dict[str, Points], names: dict[int, str], limit: int) -> tuple[list[HistoryEntry], _Place, bool]:
    """The first entries of these points; and the place of the last one, and whether there are more."""
    groups = _groups(by_key)
    if not groups:
        return [], (0, -1, -1), False
    of_groups = [axis for axis, _ in groups]
    axis = _chunk.join_axes(of_groups)
    if len(groups) > 1:
        order = np.lexsort((axis.seqs, axis.writers, axis.steps))
        axis = axis[order]
        is_new = np.ones(len(axis), np.bool_)
        is_new[1:] = (
            (axis.steps[1:] != axis.steps[:-1])
            | (axis.writers[1:] != axis.writers[:-1])
            | (axis.seqs[1:] != axis.seqs[:-1])
        )
        position = np.empty(len(order), np.int64)
        position[order] = np.cumsum(is_new) - 1
        axis = axis[is_new]
        positions = np.split(position, np.cumsum([len(part) for part in of_groups])[:-1])
    else:
        positions = [np.arange(len(axis))]
    count = min(limit, len(axis))
    metrics: list[dict[str, float]] = [{} for _ in range(count)]
    for (_, keys), at in zip(groups, positions, strict=True):
        inside = int(np.searchsorted(at, count))
        rows = np.stack([by_key[name].values[:inside] for name in keys], axis=1).tolist()
        for place, row in zip(at[:inside].tolist(), rows, strict=True):
            metrics[place].update(zip(keys, row, strict=True))
    entries = [
        HistoryEntry(step, ts, names.get(writer, ""), values)
        for step, ts, writer, values in zip(
            axis.steps[:count].tolist(),
            axis.ts[:count].tolist(),
            axis.writers[:count].tolist(),
            metrics,
            strict=True,
        )
    ]
    last = (int(axis.steps[count - 1]), int(axis.writers[count - 1]), int(axis.seqs[count - 1]))
    return entries, last, len(axis) > count


def _groups(by_key: dict[str, Points]) -> list[tuple[Axis, list[str]]]:
    """The keys that have the very same entries, together."""
    groups: list[tuple[Axis, list[str]]] = []
    for name, points in by_key.items():
        for axis, keys in groups[-4:]:
            if np.array_equal(axis.seqs, points.seqs) and np.array_equal(axis.writers, points.writers):
                keys.append(name)
                break
        else:
            groups.append((points.axis, [name]))
    return groups
