"""Smoothing, a pure rule: the exponential moving average over all points, without bias towards the first.

What a point weighs fades with its distance in x, by `weight` for each unit of it. The unit is a 500th of the shown
width, or the usual gap between points where that is more: so a short series is smoothed point by point, as TensorBoard
does, and a long one as much as the eye sees, however many points there are and however few of them are drawn.
"""

import math

import numpy as np

from arwx.extremes import FARTHEST, all_held
from arwx.points._types import Floats, Ints

_UNITS_IN_WIDTH = 500


def unit(xs: Floats, width: float, count: int) -> float:
    """The distance over which a weight falls to `weight`: for `count` points from the first to the last of `xs`."""
    gap = float(xs[-1] - xs[0]) / max(1, count - 1)
    return max(width / _UNITS_IN_WIDTH, gap) or 1.0


def average(xs: Floats, values: Floats, at: Ints, weight: float, unit: float, counts: Floats | None = None) -> Floats:
    """The average at the places `at` (ascending) of points ordered by `xs`; `counts`: how many points each stands for.

    Exact to rounding: of each stretch between two places the weighted sum is taken at once, then the sums are joined.
    """
    end = int(at[-1]) + 1
    starts = np.concatenate(([0], at[:-1] + 1))
    fading = math.log(weight) / unit
    weights = np.repeat(xs[at], np.diff(starts, append=end))
    weights -= xs[:end]
    weights *= fading
    np.exp(weights, out=weights)
    if counts is not None:
        weights *= counts[:end]
    values = values[:end]
    if max(-float(values.min()), float(values.max())) > FARTHEST:
        values = all_held(values)
    sums = np.empty((2, len(at)))
    np.add.reduceat(weights, starts, out=sums[1])
    weights *= values
    np.add.reduceat(weights, starts, out=sums[0])
    keeps = np.zeros(len(at))
    np.exp(np.diff(xs[at]) * fading, out=keeps[1:])
    reach = 1
    while reach < len(at):  # each sum takes in those before it, twice as far every time
        sums[:, reach:] += keeps[reach:] * sums[:, :-reach]
        keeps[reach:] = keeps[reach:] * keeps[:-reach]
        reach *= 2
    found: Floats = sums[0] / sums[1]
    return found


def smoothed(xs: Floats, values: Floats, weight: float, width: float) -> Floats:
    """These points smoothed, each at its place."""
    if len(xs) < 2:
        return values
    return average(xs, values, np.arange(len(xs)), weight, unit(xs, width, len(xs)))
