"""Line charts: series in, paths and labels out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arwx.extremes import held
from arwx.svg import ticks

Floats: TypeAlias = NDArray[np.float64]
Whole: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

_MANY = 10  # above so many runs, one band around all of them says more than one for each
_BAND_POINTS = 160
# Corners of all lines together, for a pixel of width: more than so many cannot be told apart, and must be sent.
_CORNERS_A_PIXEL = 20
_FEWEST_CORNERS = 96
_LABEL_GAP_PX = 14
_LABELS_AT_MOST = 8
_DOTS_AT_MOST = 24
_LEAST = math.ulp(0.0)  # the smallest float that has a logarithm
# From one tick to the next, about, in the units of `Size`: times are longer words than numbers.
_Y_TICK_PX, _X_TICK_PX, _TIME_TICK_PX = 40, 128, 160
_FEWEST_TICKS, _MOST_X_TICKS, _MOST_Y_TICKS = 3, 8, 6

# Numbers of paths as text, each with its separator: index i ≥ 0 is " i", index −i (from the end, as Python
# counts) is "-i". Formatting 50 series number by number would cost more than all the rest.
_REACH = 8192
_TEXT = [f" {i}" for i in range(_REACH + 1)] + [str(i) for i in range(-_REACH, 0)]


class Series(Protocol):
    """What is drawn of one run. All arrays are equally long; lows and highs bound each value's bucket.

    `raw` is what was smoothed into `values`; it stays in the picture, faint.
    """

    @property
    def run_id(self) -> str: ...
    @property
    def xs(self) -> Floats: ...
    @property
    def values(self) -> Floats: ...
    @property
    def lows(self) -> Floats: ...
    @property
    def highs(self) -> Floats: ...
    @property
    def raw(self) -> Floats | None: ...


class Chart(Protocol):
    """One metric of some runs over one kind of x: step, Unix seconds or seconds since each run's start."""

    @property
    def x(self) -> str: ...
    @property
    def series(self) -> Sequence[Series]: ...


@dataclass(frozen=True, slots=True)
class Size:
    """The plotting area without its labels in CSS pixels, each side at most 8192.

    The width is nominal: pictures stretch to their place.
    """

    width: int = 640
    height: int = 176


DEFAULT_SIZE = Size()


@dataclass(frozen=True, slots=True)
class Axes:
    """How data is laid on the paper: `window` fixes x, `low` and `high` an end of y; None follows the data.

    `is_clipped` leaves the extremes outside: y then spans the middle nine tenths of the values.
    """

    is_log: bool = False
    is_log_x: bool = False
    window: tuple[float, float] | None = None
    low: float | None = None
    high: float | None = None
    is_clipped: bool = False


DEFAULT_AXES = Axes()


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick: `at` is pixels from the top for y and percent of the width for x."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A point without neighbours: x in percent of the width, y in pixels from the top."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    """One run: its path and min–max band in the units of `Drawing.box`, and the points that no line joins."""

    run_id: str
    path: str
    band: str
    dots: tuple[Dot, ...]
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Hole:
    """Where a run logged values that are not finite: the first and the last of them, in percent of the width.

    `marks` are those of the two that are in sight; all others are in `reach`, from and to.
    """

    run_id: str
    marks: tuple[float, ...]
    reach: tuple[float, float]
    words: str


@dataclass(frozen=True, slots=True)
class End:
    """The last value of a run, beside the end of its line: x in percent of the width, y in pixels from the top."""

    run_id: str
    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that a template needs. Bounds are of the drawn data: `x_low` and `x_high` span the width.

    `band` goes around all lines together, where they are too many for a band each.
    """

    size: Size
    box: str
    band: str
    lines: tuple[Line, ...]
    ends: tuple[End, ...]
    x_ticks: tuple[Mark, ...]
    y_ticks: tuple[Mark, ...]
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    left_out: int
    outside: int = 0
    holes: tuple[Hole, ...] = ()
    is_log_x: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to see: no series, or none with a drawable value."""
        return not self.lines


@dataclass(frozen=True, slots=True)
class _Scale:
    """From data to the whole numbers of a path: 0 … `length`."""

    low: float
    high: float
    length: int
    is_flipped: bool = False
    is_log: bool = False

    def __call__(self, values: Floats) -> Floats:
        low, high = self.low, self.high
        values = np.clip(values, low, high)
        if self.is_log:
            values, low, high = np.log10(values), math.log10(low), math.log10(high)
        share = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        return (1.0 - share if self.is_flipped else share) * self.length

    def share(self, value: float) -> float:
        """Where a value falls, 0 … 1."""
        return float(self(np.array([value]))[0]) / self.length


def draw(
    chart: Chart,
    size: Size = DEFAULT_SIZE,
    axes: Axes = DEFAULT_AXES,
    holes: Sequence[tuple[str, float, float, str]] = (),
) -> Drawing:
    """Lay out a chart. Deterministic: the same chart gives the same text.

    A value that is not finite is a gap in its line; on a logarithmic axis so are values ≤ 0, and `left_out`
    says how many; `outside` counts those beyond the ends of y. A point without neighbours is a dot. `holes`
    (run, first x, last x, words) are marked at the foot; without a window x reaches to them. Paths are whole numbers,
    relative, in a box that is stretched over the plotting area, so that one path serves every width. Where many lines
    share it, each keeps the lowest and the highest of its points in every stretch of x, its first and its last: no spike is lost.
    """
    x_unit, y_unit = (1, 4) if len(chart.series) > _MANY else (2, 10)
    x_unit, y_unit = min(x_unit, _REACH // size.width), min(y_unit, _REACH // size.height)
    drawn, left_out = _drawable(chart, axes)
    if not drawn:
        return Drawing(size, _box(size, x_unit, y_unit), "", (), (), (), (), 0.0, 0.0, 0.0, 0.0, left_out)

    x_low, x_high = _width(drawn, axes, holes)
    y_low, y_high = _heights(drawn, axes)
    x = _Scale(x_low, x_high, size.width * x_unit, is_log=axes.is_log_x)
    y = _Scale(y_low, y_high, size.height * y_unit, is_flipped=True, is_log=axes.is_log)
    is_sparse = all(np.count_nonzero(keep) <= _DOTS_AT_MOST for _, keep in drawn)
    is_many = len(drawn) > _MANY
    room = max(_FEWEST_CORNERS, size.width * _CORNERS_A_PIXEL // len(drawn))
    lines = tuple(
        _line(s, keep, x, y, y_unit, room, has_band=not is_many, has_dots=is_sparse and not is_many)
        for s, keep in drawn
    )
    heights = ticks.log if axes.is_log else ticks.linear
    y_ticks = heights(y_low, y_high, min(max(_FEWEST_TICKS, size.height / _Y_TICK_PX), _MOST_Y_TICKS))
    return Drawing(
        size=size,
        box=_box(size, x_unit, y_unit),
        band=_around(drawn, x, y, y_unit) if is_many else "",
        lines=lines,
        ends=_ends(drawn, x, y, size),
        x_ticks=tuple(Mark(round(x.share(t.value) * 100, 2), t.label) for t in _x_ticks(chart.x, x, size.width)),
        y_ticks=tuple(Mark(round(y.share(t.value) * size.height, 1), t.label) for t in y_ticks),
        x_low=x_low,
        x_high=x_high,
        y_low=y_low,
        y_high=y_high,
        left_out=left_out,
        outside=sum(int(np.count_nonzero(keep & ((s.values < y_low) | (s.values > y_high)))) for s, keep in drawn),
        holes=tuple(_hole(*hole, x) for hole in holes if hole[1] <= x_high and hole[2] >= x_low),
        is_log_x=axes.is_log_x,
    )


def _drawable(chart: Chart, axes: Axes) -> tuple[list[tuple[Series, Bools]], int]:
    """The series with something to draw and which of their points that is; how many points have no logarithm."""
    drawn: list[tuple[Series, Bools]] = []
    left_out = 0
    for series in chart.series:
        keep = np.isfinite(series.values) & np.isfinite(series.xs)
        if axes.window:
            keep &= (series.xs >= axes.window[0]) & (series.xs <= axes.window[1])
        positive = np.ones(len(keep), bool)
        if axes.is_log:
            positive &= series.values > 0
        if axes.is_log_x:
            positive &= series.xs > 0
        left_out += int(np.count_nonzero(keep & ~positive))
        keep &= positive
        if keep.any():
            drawn.append((series, keep))
    return drawn, left_out


def _width(
    drawn: list[tuple[Series, Bools]], axes: Axes, holes: Sequence[tuple[str, float, float, str]]
) -> tuple[float, float]:
    """The ends of x: those of the window, else of what is drawn and of the holes."""
    low, high = axes.window or _bounds([(s.xs[keep], s.xs[keep]) for s, keep in drawn])
    if not axes.window:
        low, high = min([low, *(hole[1] for hole in holes)]), max([high, *(hole[2] for hole in holes)])
    if axes.is_log_x and low <= 0:
        low = min(float(s.xs[keep].min()) for s, keep in drawn)
    return held(low), held(high)


def _heights(drawn: list[tuple[Series, Bools]], axes: Axes) -> tuple[float, float]:
    """The ends of y: as asked for, else with a little air around what is drawn."""
    if axes.is_clipped:
        values = np.concatenate([s.values[keep] for s, keep in drawn])
        found = float(np.quantile(values, 0.05)), float(np.quantile(values, 0.95))
    else:
        # What was smoothed may lie outside the bounds of what it was made of.
        reaches = [_reach(s, keep, is_log=axes.is_log) for s, keep in drawn]
        found = _bounds([*reaches, *((s.values[keep], s.values[keep]) for s, keep in drawn)])
    low, high = _roomy(*found, is_log=axes.is_log)
    if axes.low is not None and (axes.low > 0 or not axes.is_log):
        low = held(axes.low)
    if axes.high is not None and (axes.high > 0 or not axes.is_log):
        high = held(axes.high)
    if low < high:
        return low, high
    # One end was asked for beyond all data: the other one gives way.
    if axes.is_log:
        return (low, low * 10) if axes.high is None else (max(high / 10, _LEAST), high)
    return (low, low + (abs(low) or 1.0)) if axes.high is None else (high - (abs(high) or 1.0), high)


def _hole(run_id: str, first: float, last: float, words: str, x: _Scale) -> Hole:
    low, high = (round(x.share(min(max(end, x.low), x.high)) * 100, 2) for end in (first, last))
    marks = [place for end, place in ((first, low), (last, high)) if x.low <= end <= x.high]
    return Hole(run_id, tuple(dict.fromkeys(marks)), (low, high), words)


def _box(size: Size, x_unit: int, y_unit: int) -> str:
    return f"0 0 {size.width * x_unit} {size.height * y_unit}"


def _x_ticks(kind: str, x: _Scale, width: int) -> list[ticks.Tick]:
    low, high, count = x.low, x.high, min(max(_FEWEST_TICKS, width / _X_TICK_PX), _MOST_X_TICKS)
    if x.is_log:
        return ticks.log(low, high, count)
    if kind == "metric":
        return ticks.linear(low, high, count)
    if kind == "step":
        return ticks.whole(low, high, count)
    return (ticks.moments if kind == "time" else ticks.relative)(low, high, max(_FEWEST_TICKS, width / _TIME_TICK_PX))


def _bounds(pairs: list[tuple[Floats, Floats]]) -> tuple[float, float]:
    return min(float(lows.min()) for lows, _ in pairs), max(float(highs.max()) for _, highs in pairs)


def _reach(series: Series, keep: Bools, *, is_log: bool) -> tuple[Floats, Floats]:
    """The values between which the line and its band move, without what cannot be drawn."""
    values = series.values[keep]
    lows, highs = series.lows[keep], series.highs[keep]
    is_low = np.isfinite(lows) & (lows > 0) if is_log else np.isfinite(lows)
    return np.where(is_low, lows, values), np.where(np.isfinite(highs), highs, values)


def _roomy(low: float, high: float, *, is_log: bool) -> tuple[float, float]:
    """The bounds with a little air, so that no line runs along the frame; a constant stands in the middle."""
    low, high = held(low), held(high)
    if is_log:
        factor = 10 ** (0.04 * (math.log10(high) - math.log10(low))) if high > low else 2.0
        return max(low / factor, _LEAST), held(high * factor)
    air = (high - low) * 0.04 if high > low else abs(low) * 0.1
    # Between the smallest floats there is no room for ticks.
    air = air if air > 1e-306 else 1.0
    return held(low - air), held(high + air)


def _line(
    series: Series, keep: Bools, x: _Scale, y: _Scale, y_unit: int, room: int, *, has_band: bool, has_dots: bool
) -> Line:
    kept = np.flatnonzero(keep)
    xs, ys = x(series.xs[kept]), y(series.values[kept])
    # A line breaks where a point between its neighbours is left out.
    pieces = np.cumsum(np.diff(kept, prepend=kept[0]) > 1, dtype=np.int64)
    dots = tuple(
        _dot(xs[i] / x.length, ys[i] / y_unit)
        for start, end in _runs(pieces)
        if end - start == 1 or has_dots
        for i in range(start, end)
    )
    band = raw = ""
    if has_band:
        lows, highs = _reach(series, keep, is_log=y.is_log)
        band = _band(np.rint(xs).astype(np.int64), y(lows), y(highs), y_unit)
    if has_band and series.raw is not None:
        raw = _paths(xs, y(series.raw[kept]), pieces, room, x.length)
    return Line(series.run_id, _paths(xs, ys, pieces, room, x.length), band, dots, raw)


def _runs(pieces: Whole) -> list[tuple[int, int]]:
    """Where each piece of a line begins and ends."""
    breaks = (np.flatnonzero(np.diff(pieces)) + 1).tolist()
    return list(pairwise([0, *breaks, len(pieces)]))


def _paths(xs: Floats, ys: Floats, pieces: Whole, room: int, length: int) -> str:
    """A polyline for each piece that has two points or more, in about `room` corners."""
    if len(xs) > room:
        some = _telling(pieces * room + (xs * (room / 2 / (length + 1))).astype(np.int64), ys)
        xs, ys, pieces = xs[some], ys[some], pieces[some]
    columns, rows = np.rint(xs).astype(np.int64), np.rint(ys).astype(np.int64)
    return "".join(_path(columns[start:end], rows[start:end]) for start, end in _runs(pieces) if end - start > 1)


def _telling(stretches: Whole, ys: Floats) -> Whole:
    """Which points tell what a line does: the lowest and the highest of each stretch, the first and the last of all."""
    order = np.lexsort((ys, stretches))
    starts = np.flatnonzero(np.diff(stretches, prepend=-1))
    ends = np.append(starts[1:], len(ys)) - 1
    is_chosen = np.zeros(len(ys), bool)
    is_chosen[[0, -1]] = is_chosen[order[starts]] = is_chosen[order[ends]] = True
    return np.flatnonzero(is_chosen)


def _dot(x_share: float, y_px: float) -> Dot:
    return Dot(round(float(x_share) * 100, 2), round(float(y_px), 1))


def _path(columns: Whole, rows: Whole) -> str:
    """A polyline: absolute start, then relative whole steps. Steps that do not move are left out."""
    dx, dy = np.diff(columns), np.diff(rows)
    moves = np.column_stack((dx, dy))[(dx | dy) != 0].ravel().tolist()
    # With round caps, a step of nothing is a dot: better than a line that is not there.
    return f"M{_TEXT[columns[0]]}{_TEXT[rows[0]]}l" + ("".join(map(_TEXT.__getitem__, moves)) or "0 0")


def _band(columns: Whole, bottoms: Floats, tops: Floats, y_unit: int) -> str:
    """The outline of a min–max band, or nothing where it would be thinner than a line."""
    if len(columns) < 2 or float((bottoms - tops).max()) < 1.5 * y_unit:
        return ""
    if len(columns) > _BAND_POINTS:
        starts = np.arange(0, len(columns), math.ceil(len(columns) / _BAND_POINTS))
        tops, bottoms = np.minimum.reduceat(tops, starts), np.maximum.reduceat(bottoms, starts)
        # Merged columns stand at their first point, the last one at the very end: the band is as long as the line.
        columns = np.append(columns[starts[:-1]], columns[-1])
    # Whole pixels are enough for a shade.
    tops, bottoms = (np.rint(edge / y_unit) * y_unit for edge in (tops, bottoms))
    around = np.concatenate((tops, bottoms[::-1])).astype(np.int64)
    return _path(np.concatenate((columns, columns[::-1])), around) + "z"


def _around(drawn: list[tuple[Series, Bools]], x: _Scale, y: _Scale, y_unit: int) -> str:
    """One band around all series: between the lowest and the highest value of any of them in each stretch of x.

    Nothing where the lines themselves go through all of their points: then the band would tell nothing more.
    """
    tops, bottoms = np.full(_BAND_POINTS + 1, np.inf), np.full(_BAND_POINTS + 1, -np.inf)
    thickest = 0.0
    for series, keep in drawn:
        lows, highs = (y(edge) for edge in _reach(series, keep, is_log=y.is_log))
        places = np.rint(x(series.xs[keep]) / x.length * _BAND_POINTS).astype(np.int64)
        np.minimum.at(tops, places, highs)
        np.maximum.at(bottoms, places, lows)
        thickest = max(thickest, float((lows - highs).max()))
    if thickest < 1.5 * y_unit:
        return ""
    filled = np.flatnonzero(np.isfinite(tops))
    columns = np.rint(filled * (x.length / _BAND_POINTS)).astype(np.int64)
    return _band(columns, bottoms[filled], tops[filled], y_unit)


def _ends(drawn: list[tuple[Series, Bools]], x: _Scale, y: _Scale, size: Size) -> tuple[End, ...]:
    """Labels for the lines that reach the right edge: where two would overlap, the run that comes first has its own."""
    if len(drawn) > _LABELS_AT_MOST:
        return ()
    found = []
    for series, keep in drawn:
        last = int(np.flatnonzero(keep)[-1])
        is_single = x.low == x.high
        if is_single or x.share(float(series.xs[last])) > 0.97:
            value = float(series.values[last])
            place = round(y.share(value) * size.height, 1)
            found.append(End(series.run_id, 50.0 if is_single else 100.0, place, ticks.compact(value)))
    ends: list[End] = []
    for end in found:
        if all(abs(end.y - other.y) >= _LABEL_GAP_PX for other in ends):
            ends.append(end)
    return tuple(sorted(ends, key=lambda end: end.y))
