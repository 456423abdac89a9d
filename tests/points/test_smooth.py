"""Smoothing: what is drawn is the moving average over all points, not over the few that are drawn."""

import numpy as np
import numpy.typing as npt
import pytest

from arwx import points
from arwx.db import Database
from arwx.extremes import held
from arwx.points import RunKey, Smoothing, _series
from tests.points import build

Floats = npt.NDArray[np.float64]


def exactly(xs: Floats, values: Floats, weight: float, unit: float) -> Floats:
    """Point by point, as one writes it down: the mean fades with the distance, and so does what it weighs."""
    mean = mass = 0.0
    found = []
    for i, (x, value) in enumerate(zip(xs.tolist(), values.tolist(), strict=True)):
        keep = weight ** ((x - xs[i - 1]) / unit) if i else 0.0
        mean, mass = mean * keep + value, mass * keep + 1.0
        found.append(mean / mass)
    return np.array(found)


def noisy(count: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return 1.0 + 3 * np.exp(-np.arange(count) / count * 5) + rng.exponential(0.4, count)


def stored(database: Database, steps: Floats, values: Floats, *, is_compacted: bool = True) -> RunKey:
    key = build.run(database)
    entries = [
        points.Entry(step=int(step), ts=1e9 + step / 2, metrics={"loss": value})
        for step, value in zip(steps.tolist(), values.tolist(), strict=True)
    ]
    build.send(database, key, entries)
    if is_compacted:
        build.compact(database, key)
    return key


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize("weight", [0.01, 0.6, 0.9, 0.99])
def test_each_drawn_point_has_the_exact_average_of_all_points_up_to_it(
    database: Database, weight: float, is_compacted: bool
) -> None:
    values = noisy(9000)
    steps = np.cumsum(np.random.default_rng(1).integers(1, 9, 9000)).astype(float)
    key = stored(database, steps, values, is_compacted=is_compacted)
    wanted = exactly(steps, values, weight, (steps[-1] - steps[0]) / 500)
    for samples in (60, 500):
        (found,) = build.series(database, [key], "loss", samples=samples, smoothing=Smoothing(weight))
        assert len(found.xs) <= samples
        assert found.soft == pytest.approx(wanted[np.searchsorted(steps, found.steps)], rel=1e-9)
    plain = build.series(database, [key], "loss", samples=500)[0]
    assert plain.soft is None
    assert found.values.tolist() == plain.values.tolist(), "the raw line is the same with and without smoothing"


def test_a_short_series_is_smoothed_point_by_point(database: Database) -> None:
    steps, values = np.arange(0.0, 4000, 100), noisy(40)
    key = stored(database, steps, values)
    (found,) = build.series(database, [key], "loss", smoothing=Smoothing(0.8))
    assert found.soft == pytest.approx(exactly(np.arange(40.0), values, 0.8, 1.0), rel=1e-9)


def test_over_time_it_is_the_same(database: Database) -> None:
    steps, values = np.arange(6000.0), noisy(6000)
    key = stored(database, steps, values)
    (found,) = build.series(database, [key], "loss", x="relative", samples=200, smoothing=Smoothing(0.9))
    wanted = exactly(steps / 2, values, 0.9, 5999 / 2 / 500)
    assert found.soft == pytest.approx(wanted[found.steps], rel=1e-6)


def test_a_window_counts_what_was_before_it_and_shows_none_of_it(database: Database) -> None:
    steps, values = np.arange(9000.0), noisy(9000)
    key = stored(database, steps, values)
    smoothing = Smoothing(0.99, width=1000.0, since=2000)
    (found,) = build.series(database, [key], "loss", min_step=4000, max_step=5000, samples=300, smoothing=smoothing)
    assert (found.steps[0], found.steps[-1], found.count) == (4000, 5000, 1001)
    whole = exactly(steps, values, 0.99, 2.0)[found.steps]
    assert found.soft == pytest.approx(whole, rel=1e-3), "points two widths before weigh nothing that one could see"
    assert found.soft == pytest.approx(exactly(steps[2000:], values[2000:], 0.99, 2.0)[found.steps - 2000], rel=1e-9)


def test_of_too_many_points_the_ends_of_their_stretches_are_averaged(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_series, "_MOST_SMOOTHED", 10_000)
    steps, values = np.arange(60_000.0), noisy(60_000)
    key = stored(database, steps, values)
    (found,) = build.series(database, [key], "loss", samples=60, smoothing=Smoothing(0.99))
    wanted = exactly(steps, values, 0.99, 59_999 / 500)[found.steps]
    assert found.soft is not None
    # Two of 512 points are seen: the average of their noise (0.4) is small, as it is in a picture.
    assert np.abs(found.soft - wanted).max() < 0.2


@pytest.mark.parametrize("values", [[1e308, 1e308, -1e308], [5e-324, 1e-320, 0.0], [2.0, 2.0, 2.0], [7.0]])
def test_the_ends_of_the_range_of_floats_are_smoothed(database: Database, values: list[float]) -> None:
    key = stored(database, np.arange(float(len(values))), np.array(values))
    (found,) = build.series(database, [key], "loss", smoothing=Smoothing(0.5))
    assert found.soft is not None
    assert np.isfinite(found.soft).all()
    assert found.soft[0] == pytest.approx(held(values[0]))
    assert (found.soft <= max(values)).all()
