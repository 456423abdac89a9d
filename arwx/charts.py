"""Charts: which series of which runs, downsampled, with the goal's metric first."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from arwx import points
from arwx.access import Scope
from arwx.errors import invalid
from arwx.extremes import all_held
from arwx.points import SYSTEM
from arwx.runs import RunView

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

AXES = ("step", "time", "relative")
MIN_SAMPLES, DEFAULT_SAMPLES, MAX_SAMPLES = 2, 500, 5000
# The most points of one answer: some tens of megabytes as JSON.
MOST_POINTS = 400_000
_FINE, _OF_MANY = 2000, 160


@dataclass(frozen=True)
class Curve:
    """One line of a chart: a run, or the mean of a group. Arrays are equally long; `raw` is what was smoothed."""

    run_id: str
    count: int
    steps: Ints
    xs: Floats
    values: Floats
    lows: Floats
    highs: Floats
    raw: Floats | None = None


@dataclass(frozen=True)
class Hole:
    """Where a run logged values that are not finite: the places of the first and the last of them, and their steps."""

    run_id: str
    x: float
    until: float
    first_step: int
    last_step: int
    count: int


@dataclass(frozen=True)
class Chart:
    """One metric of some runs, ready to draw: `x` names the axis, a line holds at most about `samples` points."""

    key: str
    x: str
    series: list[Curve]
    is_live: bool
    holes: tuple[Hole, ...] = ()


@dataclass(frozen=True)
class Reading:
    """How a chart is read: over which x (`x_metric` when x is another metric), in which window of it, how smooth.

    Smoothing sees every point that is shown or up to two widths before. Over another metric it sees the points that
    are drawn: at most two thousand of a run.
    """

    x: str = "step"
    x_metric: str | None = None
    window: tuple[float, float] | None = None
    smooth: float = 0.0

    @property
    def width(self) -> float | None:
        return self.window[1] - self.window[0] if self.window else None

    @property
    def before(self) -> float:
        """The place from which on points count in a smoothed window."""
        return self.window[0] - 2 * (self.window[1] - self.window[0]) if self.window else 0.0

    def smoothing(self, since: int | None = None) -> points.Smoothing | None:
        return points.Smoothing(self.smooth, self.width, since) if self.smooth else None


def keys(runs: Iterable[RunView], objective: str | None = None, *, with_system: bool = True) -> list[str]:
    """The metrics of these runs: the objective first, then by name, `system/*` last."""
    found = {key for run in runs for key in run.latest if with_system or not key.startswith(SYSTEM)}
    return sorted(found, key=lambda key: (key != objective, key.startswith(SYSTEM), key))


def fitting(runs: Sequence[RunView], keys: Sequence[str], samples: int) -> list[str]:
    """As many of the keys, in their order, as an answer holds when each series has at most so many samples."""
    left = MOST_POINTS
    for at, key in enumerate(keys):
        left -= sum(min(samples, run.latest[key].count) for run in runs if key in run.latest)
        if left < 0:
            return list(keys[:at])
    return list(keys)


def chart(
    scope: Scope,
    runs: Sequence[RunView],
    key: str,
    reading: Reading | None = None,
    groups: Mapping[str, str] | None = None,
) -> Chart:
    """One chart over these runs. The first, last, smallest and largest point of every series are in it.

    With `groups` (group by run id) it holds one line for each group: the mean, between the lowest and the highest.
    """
    reading = reading or Reading()
    # A mean of many runs needs fewer points of each.
    samples = DEFAULT_SAMPLES if groups is None or len(runs) <= 20 else _OF_MANY
    curves = _curves(scope, runs, key, reading, samples)
    if groups is not None:
        return Chart(key, reading.x, means(curves, groups), any(run.is_live for run in runs))
    return Chart(key, reading.x, curves, any(run.is_live for run in runs), _holes(runs, key, reading.x, curves))


def moments(scope: Scope, runs: Sequence[RunView], key: str, curves: Sequence[Curve]) -> dict[str, list[int]]:
    """When the points of curves over steps were logged, in Unix seconds by run; between known ones in a straight line."""
    known = {one.run_id: one for one in series(scope, runs, [key], x="time")[key]}
    found = {}
    for curve in curves:
        if (one := known.get(curve.run_id)) is not None:
            order = np.argsort(one.steps, kind="stable")
            times = np.interp(curve.steps, one.steps[order], one.xs[order])
            found[curve.run_id] = np.rint(times).astype(np.int64).tolist()
    return found


def means(curves: Sequence[Curve], groups: Mapping[str, str]) -> list[Curve]:
    """One curve for each group: the mean of its runs where they have values, `count` of them, within their bounds."""
    found = []
    for group in dict.fromkeys(groups.values()):
        members = [_held(curve) for curve in curves if groups.get(curve.run_id) == group and len(curve.xs)]
        if not members:
            continue
        xs = np.unique(np.concatenate([curve.xs for curve in members]))
        if len(xs) > DEFAULT_SAMPLES:
            xs = np.linspace(xs[0], xs[-1], DEFAULT_SAMPLES)
        total, raw, number = np.zeros(len(xs)), np.zeros(len(xs)), np.zeros(len(xs))
        lows, highs = np.full(len(xs), np.inf), np.full(len(xs), -np.inf)
        for curve in members:
            inside = (xs >= curve.xs[0]) & (xs <= curve.xs[-1])
            places = xs[inside]
            total[inside] += np.interp(places, curve.xs, curve.values)
            if curve.raw is not None:
                raw[inside] += np.interp(places, curve.xs, curve.raw)
            number[inside] += 1
            lows[inside] = np.minimum(lows[inside], np.interp(places, curve.xs, curve.lows))
            highs[inside] = np.maximum(highs[inside], np.interp(places, curve.xs, curve.highs))
        some = number > 0
        mean = Curve(
            group,
            len(members),
            np.clip(xs[some], 0, points.LAST_STEP).astype(np.int64),  # the steps, over steps
            xs[some],
            total[some] / number[some],
            lows[some],
            highs[some],
        )
        found.append(replace(mean, raw=raw[some] / number[some]) if members[0].raw is not None else mean)
    return found


def _curves(scope: Scope, runs: Sequence[RunView], key: str, reading: Reading, samples: int) -> list[Curve]:
    """The lines over the wanted x; within a window, read again so closely that they are as fine as the whole was."""
    if reading.x == "metric" and reading.x_metric:
        curves = _soft(_against(scope, runs, key, reading.x_metric, _FINE), reading)
        return [_cut(curve, reading.window) for curve in curves] if reading.window else curves
    if reading.window is None:
        found = series(scope, runs, [key], x=reading.x, samples=samples, smoothing=reading.smoothing())[key]
        return [_curve(one) for one in found]
    low, high = reading.window
    if reading.x == "step":
        first, last = _step(math.ceil(low)), _step(math.floor(high))
        smoothing = reading.smoothing(_step(math.ceil(reading.before)))
        found = series(scope, runs, [key], samples=samples, min_step=first, max_step=last, smoothing=smoothing)[key]
        return [_curve(one) for one in found]
    # The store cuts by step: a coarse reading tells which steps fall into the window.
    coarse = [one for one in series(scope, runs, [key], x=reading.x)[key] if one.xs[-1] >= low and one.xs[0] <= high]
    if not coarse:
        return []
    starts = [max(0, int(np.searchsorted(one.xs, low)) - 1) for one in coarse]
    stops = [min(int(np.searchsorted(one.xs, high, "right")), len(one.xs) - 1) for one in coarse]
    first = min(int(one.steps[at]) for one, at in zip(coarse, starts, strict=True))
    last = max(int(one.steps[at]) for one, at in zip(coarse, stops, strict=True))
    since = min(int(one.steps[max(0, int(np.searchsorted(one.xs, reading.before)) - 1)]) for one in coarse)
    inside = {one.run_id for one in coarse}
    samples = _FINE if len(inside) <= 10 else samples
    fine = series(
        scope,
        [run for run in runs if run.id in inside],
        [key],
        x=reading.x,
        samples=samples,
        min_step=min(first, last),
        max_step=max(first, last),
        smoothing=reading.smoothing(min(since, first, last)),
    )[key]
    return [_cut(_curve(one), reading.window) for one in fine]


def _step(number: int) -> int:
    """The step that is nearest to a number."""
    return max(0, min(number, points.LAST_STEP))


def _against(scope: Scope, runs: Sequence[RunView], key: str, x_metric: str, samples: int) -> list[Curve]:
    """One metric over another: where both have a point at a step, and between points of the other in a straight line."""
    found = series(scope, runs, [key, x_metric], samples=samples)
    others = {one.run_id: one for one in found[x_metric]}
    curves = []
    for one in found[key] if key != x_metric else found[x_metric]:
        other = others.get(one.run_id)
        if other is None:
            continue
        inside = (one.steps >= other.steps[0]) & (one.steps <= other.steps[-1])
        xs = np.interp(one.steps[inside], other.steps, all_held(other.values))
        order = np.argsort(xs, kind="stable")
        steps, values = one.steps[inside][order], one.values[inside][order]
        lows, highs = one.lows[inside][order], one.highs[inside][order]
        if len(values):
            curves.append(Curve(one.run_id, one.count, steps, xs[order], values, lows, highs))
    return curves


def _soft(curves: list[Curve], reading: Reading) -> list[Curve]:
    if not reading.smooth or not curves:
        return curves
    width = reading.width or max(one.xs[-1] for one in curves) - min(one.xs[0] for one in curves)
    return [
        replace(one, values=points.smoothed(one.xs, one.values, reading.smooth, width), raw=one.values)
        for one in curves
    ]


def _curve(one: points.Series) -> Curve:
    if one.soft is None:
        return Curve(one.run_id, one.count, one.steps, one.xs, one.values, one.lows, one.highs)
    return Curve(one.run_id, one.count, one.steps, one.xs, one.soft, one.lows, one.highs, one.values)


def _held(curve: Curve) -> Curve:
    """A curve that can be added to others, however far its run diverged."""
    return replace(
        curve,
        values=all_held(curve.values),
        raw=None if curve.raw is None else all_held(curve.raw),
        lows=all_held(curve.lows),
        highs=all_held(curve.highs),
    )


def _cut(curve: Curve, window: tuple[float, float]) -> Curve:
    inside = (curve.xs >= window[0]) & (curve.xs <= window[1])
    return replace(
        curve,
        steps=curve.steps[inside],
        xs=curve.xs[inside],
        values=curve.values[inside],
        raw=None if curve.raw is None else curve.raw[inside],
        lows=curve.lows[inside],
        highs=curve.highs[inside],
    )


def _holes(runs: Sequence[RunView], key: str, x: str, curves: Sequence[Curve]) -> tuple[Hole, ...]:
    """From the first to the last value of each run that is not finite. Only their steps are known.

    Over another x they stand where the points around them do; what came after the last point, at that.
    """
    by_run = {curve.run_id: curve for curve in curves if len(curve.xs)}
    found = []
    for run in runs:
        metric = run.latest.get(key)
        if metric is None or metric.nonfinite_first is None or metric.nonfinite_last is None:
            continue
        ends = metric.nonfinite_first, metric.nonfinite_last
        if x == "step":
            places = float(ends[0]), float(ends[1])
        elif (curve := by_run.get(run.id)) is not None:
            order = np.argsort(curve.steps, kind="stable")
            at = np.interp(ends, curve.steps[order], curve.xs[order])
            places = float(at.min()), float(at.max())
        else:
            continue
        found.append(Hole(run.id, *places, *ends, metric.nonfinite))
    return tuple(found)


def series(
    scope: Scope,
    runs: Sequence[RunView],
    metrics: Sequence[str],
    *,
    x: str = "step",
    samples: int = DEFAULT_SAMPLES,
    since_step: int | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
    smoothing: points.Smoothing | None = None,
) -> dict[str, list[points.Series]]:
    """The series of these metrics by key, one for each run that has the metric, in the order of the runs."""
    if x not in AXES:
        raise invalid("x", f"must be one of {', '.join(AXES)}")
    if not MIN_SAMPLES <= samples <= MAX_SAMPLES:
        raise invalid("samples", f"must be from {MIN_SAMPLES} to {MAX_SAMPLES}")
    return points.series(
        scope.db,
        [points.RunKey(scope.org_id, run.id) for run in runs],
        list(metrics),
        x=x,
        samples=samples,
        since_step=since_step,
        min_step=min_step,
        max_step=max_step,
        smoothing=smoothing,
    )
