"""Downsampling, a pure rule: which points are drawn, and how far the others reach around them.

The x-axis is cut into buckets of equal width. Of each, the last point is drawn, and the smallest and largest value of
the bucket go with it. The first, last, smallest and largest point of the series are drawn in any case, as long as
four samples are allowed. So the same points always give the same picture, and no spike is lost.

A long series is given in blocks, each of which stands for a stretch of points; then buckets begin and end with blocks.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from arwx.points._types import Floats, Ints


class Drawing(NamedTuple):
    """The drawn points, and of each the smallest and largest value of its bucket."""

    steps: Ints
    xs: Floats
    values: Floats
    lows: Floats
    highs: Floats


def points(steps: Ints, xs: Floats, values: Floats, samples: int) -> Drawing:
    """At most `samples` of these points, which are ordered by `xs`; all of them when they are no more."""
    return placed(steps, xs, values, samples)[0]


def placed(steps: Ints, xs: Floats, values: Floats, samples: int) -> tuple[Drawing, Ints]:
    """The same, and where among all points the drawn ones are."""
    if len(steps) <= samples:
        return Drawing(steps, xs, values, values, values), np.arange(len(steps))
    starts, ends, extras = _cut(xs, samples)
    lows, highs = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    always = [0, int(values.argmin()), int(values.argmax())][:extras]
    is_chosen = np.zeros(len(xs), bool)
    is_chosen[ends] = is_chosen[always] = True
    chosen = np.flatnonzero(is_chosen)
    bucket = np.searchsorted(starts, chosen, side="right") - 1
    return Drawing(steps[chosen], xs[chosen], values[chosen], lows[bucket], highs[bucket]), chosen


def blocks(parts: npt.NDArray[Any], samples: int, *, by_time: bool, origin: float = 0.0) -> Drawing:
    """At most `samples` points of these blocks (more of them than samples), which are ordered by x."""
    axis = "ts" if by_time else "step"
    last_x = parts[f"last_{axis}"].astype(np.float64)
    starts, ends, extras = _cut(last_x, samples)
    lows, highs = np.minimum.reduceat(parts["low"], starts), np.maximum.reduceat(parts["high"], starts)
    lowest, highest = int(parts["low"].argmin()), int(parts["high"].argmax())
    always = [("first", 0), ("low", lowest), ("high", highest)][:extras]
    at = np.concatenate((ends, np.array([block for _, block in always], ends.dtype)))
    kinds = [("last", ends), *((kind, np.array([block])) for kind, block in always)]
    steps = np.concatenate([parts[f"{kind}_step"][which] for kind, which in kinds])
    ts = np.concatenate([parts[f"{kind}_ts"][which] for kind, which in kinds])
    values = np.concatenate([parts[kind][which] for kind, which in kinds])
    bucket = np.searchsorted(starts, at, side="right") - 1
    # A step is drawn once, so it tells the extra points apart from those that are drawn anyway.
    _, once = np.unique(steps, return_index=True)
    order = once[np.lexsort((steps[once], ts[once]))] if by_time else once
    xs = ts[order] - origin if by_time else steps[order].astype(np.float64)
    return Drawing(steps[order], xs, values[order], lows[bucket[order]], highs[bucket[order]])


def _cut(xs: Floats, samples: int) -> tuple[Ints, Ints, int]:
    """First and last item of each bucket, and how many extra points there is room for."""
    extras = 3 if samples >= 4 else 1
    count = samples - extras
    edges = xs[0] + (xs[-1] - xs[0]) * (np.arange(1, count) / count)
    # In order already: what stands twice, or behind the last item, begins no bucket.
    starts = np.concatenate(([0], np.searchsorted(xs, edges)))
    starts = starts[(np.diff(starts, prepend=-1) > 0) & (starts < len(xs))]
    return starts, np.append(starts[1:], len(xs)) - 1, extras
