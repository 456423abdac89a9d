"""Series for charts: chunks narrower than a pixel are never decoded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from arwx.points import _chunk, _pick, _read, _smooth
from arwx.points._chunk import BLOCK, BLOCK_POINTS, Axes, PackedAxis, Points
from arwx.points._codec import Corrupt
from arwx.points._read import Stored
from arwx.points._tables import axes, chunks, streams, with_axes
from arwx.points._types import LAST_STEP, Floats, Ints, RunKey, Series, Smoothing

_Where = tuple[str, str]

# So many points of one answer are decoded, so that smoothing sees each; of more, what is known of their blocks.
_MOST_SMOOTHED = 2_000_000


@dataclass(slots=True)
class _Chunk:
    number: int
    count: int
    first_step: int
    last_step: int
    brief: bytes


@dataclass(slots=True)
class _Line:
    """One series on its way: what there is of it, and what must be read more closely."""

    run_id: str
    key: str
    chunks: list[_Chunk] = field(default_factory=list)
    pending: Points | None = None
    # Chunks that stand for themselves: none of their points meets a point from elsewhere or lies outside the range.
    clean: list[_Chunk] = field(default_factory=list)
    level: str = "payload"
    payloads: dict[int, Stored] = field(default_factory=dict)
    blocks: dict[int, bytes] = field(default_factory=dict)


class _Steps(dict[PackedAxis, Ints]):
    """The steps of axes, each decoded once."""

    def __missing__(self, packed: PackedAxis) -> Ints:
        found = self[packed] = _chunk.unpack_steps(packed)
        return found


@dataclass(frozen=True, slots=True)
class _Known:
    """What was decoded for one series serves the next: keys that are logged together share it."""

    axes: Axes = field(default_factory=Axes)
    steps: _Steps = field(default_factory=_Steps)

    def drawing(self, stored: Stored) -> tuple[Ints, Floats]:
        """Steps and values of a chunk alone. Raises `Corrupt`."""
        packed = _chunk.split(*stored)
        steps = _chunk.unpack_steps(packed.axis) if stored[1] is None else self.steps[packed.axis]
        return steps, packed.values()


@dataclass(frozen=True, slots=True)
class _View:
    x: str
    samples: int
    low: int
    high: int
    smoothing: Smoothing | None = None

    @property
    def reach(self) -> int:
        """The first step that is read: smoothing sees more than is drawn."""
        since = self.smoothing.since if self.smoothing else None
        return self.low if since is None else min(self.low, since)

    @property
    def by_time(self) -> bool:
        return self.x != "step"


def series(
    db: Session,
    runs: Sequence[RunKey],
    metrics: str | Sequence[str],
    *,
    x: str = "step",
    samples: int = 500,
    since_step: int | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
    smoothing: Smoothing | None = None,
) -> dict[str, list[Series]]:
    """The series of each metric, one for each run that has points of it in the range, in the order of the runs.

    `x` is `step`, `time` (Unix seconds) or `relative` (seconds since the first point of the run). `since_step` is
    exclusive, `min_step` and `max_step` are inclusive. Of several points at one step the newest is drawn. The first,
    last, smallest and largest point are always there (with two or three samples: the first and last point, and the
    others in `lows` and `highs`); no more points than samples give them all. The runs are of one organization.

    With `smoothing`, `soft` is the moving average over all points. Of more than two million points in one answer it
    is that over the first and last of each stretch of 512 (4096 where those are many), within the range alone.
    """
    names = list(dict.fromkeys([metrics] if isinstance(metrics, str) else metrics))
    low = max(min_step or 0, 0 if since_step is None else since_step + 1)
    high = LAST_STEP if max_step is None else max_step
    view = _View(x, samples, low, high, smoothing if smoothing and smoothing.weight else None)
    run_ids = [key.run_id for key in runs]
    if not run_ids or not names:
        return {name: [] for name in names}
    org_id = runs[0].org_id
    lines = _lines(db, org_id, run_ids, names, view)
    if view.smoothing and sum(chunk.count for line in lines.values() for chunk in line.chunks) > _MOST_SMOOTHED:
        view = replace(view, smoothing=replace(view.smoothing, since=None))
        lines = _lines(db, org_id, run_ids, names, view)
        for line in lines.values():
            _plan(line, view)
    elif not view.smoothing:
        for line in lines.values():
            _plan(line, view)
    if view.smoothing and view.smoothing.width is None:
        view = replace(view, smoothing=replace(view.smoothing, width=_width(lines.values(), view)))
    _fetch(db, org_id, list(lines.values()))
    origins = _origins(db, org_id, run_ids) if x == "relative" else {}
    known = _Known()
    found: dict[str, list[Series]] = {name: [] for name in names}
    for name in names:
        for run_id in dict.fromkeys(run_ids):
            wanted = lines.get((run_id, name))
            drawn = _draw(wanted, view, origins.get(run_id, 0.0), known) if wanted else None
            if drawn:
                found[name].append(drawn)
    return found


def _lines(db: Session, org_id: int, run_ids: list[str], names: list[str], view: _View) -> dict[_Where, _Line]:
    query = (
        select(
            chunks.c.run_id,
            chunks.c.key,
            chunks.c.number,
            chunks.c.count,
            chunks.c.first_step,
            chunks.c.last_step,
            chunks.c.brief,
        )
        .where(
            chunks.c.org_id == org_id,
            chunks.c.run_id.in_(run_ids),
            chunks.c.key.in_(names),
            chunks.c.last_step >= view.reach,
            chunks.c.first_step <= view.high,
        )
        .order_by(chunks.c.first_step, chunks.c.number)
    )
    lines: dict[_Where, _Line] = {}
    for run_id, key, *rest in db.connection().execute(query):
        lines.setdefault((run_id, key), _Line(run_id, key)).chunks.append(_Chunk(*rest))
    wanted = set(names)
    for where, points in _read.pending(db, org_id, run_ids, wanted.__contains__).items():
        start, end = np.searchsorted(points.steps, (view.reach, view.high + 1))
        if start < end:
            lines.setdefault(where, _Line(*where)).pending = points[start:end]
    return lines


def _width(lines: Iterable[_Line], view: _View) -> float:
    """How far all series reach together, as far as their chunks and batches tell without being decoded."""
    axis = "ts" if view.by_time else "step"
    firsts, lasts = [], []
    for line in lines:
        for chunk in line.chunks:
            brief = _joined([chunk.brief])[0]
            firsts.append(float(brief[f"first_{axis}"]))
            lasts.append(float(brief[f"last_{axis}"]))
        if line.pending is not None:
            xs = line.pending.ts if view.by_time else line.pending.steps
            firsts.append(float(xs[0]))
            lasts.append(float(xs[-1]))
    return max(0.0, max(lasts, default=0.0) - min(firsts, default=0.0))


def _plan(line: _Line, view: _View) -> None:
    """Decide how closely the chunks must be looked at."""
    most = sum(-(-chunk.count // BLOCK_POINTS) for chunk in line.chunks)
    if most < view.samples:
        return
    clean = _clean(line, view)
    if len(clean) >= view.samples:
        line.clean, line.level = clean, "brief"
    elif sum(-(-chunk.count // BLOCK_POINTS) for chunk in clean) >= view.samples:
        line.clean, line.level = clean, "blocks"


def _clean(line: _Line, view: _View) -> list[_Chunk]:
    reach = -1
    clean: list[_Chunk] = []
    touched = None
    if line.pending is not None:
        touched = (int(line.pending.steps[0]), int(line.pending.steps[-1]))
    for chunk, following in zip(line.chunks, [*line.chunks[1:], None], strict=True):
        is_apart = chunk.first_step > reach and (following is None or chunk.last_step < following.first_step)
        reach = max(reach, chunk.last_step)
        is_whole = view.low <= chunk.first_step and chunk.last_step <= view.high
        is_free = touched is None or chunk.last_step < touched[0] or chunk.first_step > touched[1]
        if is_apart and is_whole and is_free:
            clean.append(chunk)
    if view.by_time and clean:
        briefs = _joined([chunk.brief for chunk in clean])
        if not briefs["is_timely"].all() or (briefs["first_ts"][1:] < briefs["last_ts"][:-1]).any():
            return []
    return clean


def _fetch(db: Session, org_id: int, lines: list[_Line]) -> None:
    """Read what the plan asks for: payloads of the chunks that are decoded, blocks of others."""
    by_run: dict[str, list[_Line]] = {}
    for line in lines:
        by_run.setdefault(line.run_id, []).append(line)
    wanted: list[tuple[list[str], list[_Line], list[int] | None]] = []
    if not lines:
        return
    if all(line.level == "payload" for line in lines):
        wanted = [(list(by_run), lines, None)]
    else:
        wanted = [([run_id], some, _to_decode(some)) for run_id, some in by_run.items()]
    by_place = {(line.run_id, line.key): line for line in lines}
    for run_ids, some, numbers in wanted:
        where = [
            chunks.c.org_id == org_id,
            chunks.c.run_id.in_(run_ids),
            chunks.c.key.in_(list({line.key for line in some})),
        ]
        if numbers is not None:
            where.append(chunks.c.number.in_(numbers))
        if numbers != []:
            of_axes = (axes.c.org_id == org_id, axes.c.run_id.in_(run_ids))
            query = (
                select(chunks.c.run_id, chunks.c.key, chunks.c.number, chunks.c.payload, chunks.c.axis, axes.c.payload)
                .select_from(with_axes(*of_axes))
                .where(*where)
            )
            # Of what chunks share, one copy is enough.
            shared: dict[tuple[str, int], bytes] = {}
            for run_id, key, number, payload, axis, of_axis in db.connection().execute(query):
                if (run_id, key) in by_place:
                    stored = payload, of_axis and shared.setdefault((run_id, axis), of_axis)
                    by_place[run_id, key].payloads[number] = stored
        coarse = [line.key for line in some if line.level == "blocks"]
        if coarse:
            query = select(chunks.c.run_id, chunks.c.key, chunks.c.number, chunks.c.blocks).where(
                *where[:2], chunks.c.key.in_(coarse)
            )
            for run_id, key, number, stored in db.connection().execute(query):
                by_place[run_id, key].blocks[number] = stored


def _to_decode(lines: list[_Line]) -> list[int]:
    """Numbers of the chunks that are not clean. They are few: clean chunks are the rule where there are many."""
    found = []
    for line in lines:
        clean = {chunk.number for chunk in line.clean}
        found += [chunk.number for chunk in line.chunks if chunk.number not in clean]
    return found


def _origins(db: Session, org_id: int, run_ids: list[str]) -> dict[str, float]:
    query = select(streams.c.run_id, streams.c.first_ts).where(
        streams.c.org_id == org_id, streams.c.run_id.in_(run_ids)
    )
    return {run_id: first_ts or 0.0 for run_id, first_ts in db.execute(query)}


def _draw(line: _Line, view: _View, origin: float, known: _Known) -> Series | None:
    if line.level == "payload":
        steps, ts, values = _points(line, view, known)
        if view.by_time and (ts[1:] < ts[:-1]).any():
            order = np.argsort(ts, kind="stable")
            steps, ts, values = steps[order], ts[order], values[order]
        xs = ts - origin if view.by_time else steps.astype(np.float64)
        inside: Ints | slice = np.flatnonzero(steps >= view.low) if view.reach < view.low else slice(None)
        count = len(steps[inside])
        if not count:
            return None
        drawing, places = _pick.placed(steps[inside], xs[inside], values[inside], view.samples)
        soft = None
        if view.smoothing:
            at = places if isinstance(inside, slice) else inside[places]
            unit = _smooth.unit(xs[inside], view.smoothing.width or 0.0, count)
            soft = _smooth.average(xs, values, at, view.smoothing.weight, unit)
        return Series(line.run_id, count, *drawing, soft)
    parts = _blocks(line, view, known)
    count = int(parts["count"].sum())
    drawing = _pick.blocks(parts, view.samples, by_time=view.by_time, origin=origin)
    soft = None
    if view.smoothing:
        axis = "ts" if view.by_time else "step"
        ends = np.column_stack((parts[f"first_{axis}"], parts[f"last_{axis}"])).ravel().astype(np.float64)
        xs = np.maximum.accumulate(ends - (origin if view.by_time else 0.0))
        values = np.column_stack((parts["first"], parts["last"])).ravel()
        # Several drawn points may stand in one block.
        at, which = np.unique(np.searchsorted(xs, drawing.xs, side="right") - 1, return_inverse=True)
        unit = _smooth.unit(xs, view.smoothing.width or 0.0, count)
        counts = np.repeat(parts["count"] / 2.0, 2)
        soft = _smooth.average(xs, values, at, view.smoothing.weight, unit, counts)[which]
    return Series(line.run_id, count, *drawing, soft)


def _points(line: _Line, view: _View, known: _Known) -> tuple[Ints, Floats, Floats]:
    """The drawn points in the range, by step. Without need the ts are not decoded and come back empty."""
    reach = -1
    is_apart = True
    for chunk in line.chunks:
        is_apart &= chunk.first_step > reach
        reach = max(reach, chunk.last_step)
    if line.pending is not None:
        is_apart &= bool(line.pending.steps[0] > reach)
    stored = [line.payloads[chunk.number] for chunk in line.chunks if chunk.number in line.payloads]
    if is_apart and not view.by_time:
        parts = []
        for one in stored:
            try:
                parts.append(known.drawing(one))
            except Corrupt:
                continue
        if line.pending is not None:
            parts.append((line.pending.steps, line.pending.values))
        if not parts:
            return np.empty(0, np.int64), np.empty(0), np.empty(0)
        steps = np.concatenate([steps for steps, _ in parts])
        values = np.concatenate([values for _, values in parts])
        ts = np.empty(0)
    else:
        found = _read.decoded(stored, known.axes) + ([line.pending] if line.pending is not None else [])
        if not found:
            return np.empty(0, np.int64), np.empty(0), np.empty(0)
        points = _chunk.join(found)
        points = points if is_apart else points.in_order()
        steps, ts, values = points.steps, points.ts, points.values
    start, end = np.searchsorted(steps, (view.reach, view.high + 1))
    steps, values, ts = steps[start:end], values[start:end], ts[start:end]
    keep = _chunk.drawn(steps)
    if not keep.all():
        steps, values, ts = steps[keep], values[keep], ts[keep] if len(ts) else ts
    return steps, ts, values


def _blocks(line: _Line, view: _View, known: _Known) -> npt.NDArray[Any]:
    """The series as blocks: those of clean chunks as they are stored, all other points one by one."""
    if line.level == "brief":
        parts = [_joined([chunk.brief for chunk in line.clean])]
    else:
        parts = [_joined([line.blocks[chunk.number] for chunk in line.clean])]
    clean = {chunk.number for chunk in line.clean}
    unclean = [chunk.number for chunk in line.chunks if chunk.number not in clean]
    rest = _read.decoded((line.payloads[number] for number in unclean if number in line.payloads), known.axes)
    if line.pending is not None:
        rest.append(line.pending)
    if rest:
        points = _chunk.join(rest).in_order()
        start, end = np.searchsorted(points.steps, (view.low, view.high + 1))
        points = points[start:end]
        parts.append(_chunk.singles(points[_chunk.drawn(points.steps)]))
    found = np.concatenate(parts)
    axis = found["last_ts"] if view.by_time else found["last_step"]
    return found if (axis[1:] >= axis[:-1]).all() else found[np.argsort(axis, kind="stable")]


def _joined(stored: list[bytes]) -> npt.NDArray[Any]:
    return np.frombuffer(b"".join(stored), BLOCK)
