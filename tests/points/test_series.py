"""Charts: the same points always give the same picture, and no spike is lost."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arwx import points
from arwx.db import Database
from arwx.points import _compact, _pick
from tests.points import build
from tests.points.build import entry, losses


def logged(steps: np.ndarray, values: np.ndarray, ts: np.ndarray | None = None) -> list[points.Entry]:
    ts = steps * 0.5 + 1e9 if ts is None else ts
    return [
        points.Entry(step=step, ts=moment, metrics={"loss": value})
        for step, moment, value in zip(steps.tolist(), ts.tolist(), values.tolist(), strict=True)
    ]


def spiky(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count)
    values[rng.integers(0, count, 3)] = [1e6, -1e6, 5e5]
    return values


def check(found: points.Series, steps: np.ndarray, values: np.ndarray, samples: int) -> None:
    """What is drawn are points of the series, the four that must be are there, and the bands hold everything."""
    by_step = dict(zip(steps.tolist(), values.tolist(), strict=True))
    assert found.count == len(by_step)
    assert len(found.steps) <= samples
    assert (np.diff(found.xs) >= 0).all()
    assert [by_step[step] for step in found.steps.tolist()] == found.values.tolist()
    assert found.steps[0] == min(by_step)
    assert found.steps[-1] == max(by_step)
    if samples >= 4 or len(by_step) <= samples:
        assert found.values.min() == min(by_step.values())
        assert found.values.max() == max(by_step.values())
    assert found.lows.min() == min(by_step.values())
    assert found.highs.max() == max(by_step.values())
    assert ((found.lows <= found.values) & (found.values <= found.highs)).all()


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize("samples", [2, 3, 4, 100, 5000])
def test_the_first_last_smallest_and_largest_point_are_drawn(
    database: Database, is_compacted: bool, samples: int
) -> None:
    key = build.run(database)
    steps, values = np.arange(0, 15_000, 3), spiky(5000)
    build.send(database, key, logged(steps, values))
    if is_compacted:
        build.compact(database, key)
    (found,) = build.series(database, [key], "loss", samples=samples)
    check(found, steps, values, samples)
    (again,) = build.series(database, [key], "loss", samples=samples)
    for column in ("steps", "xs", "values", "lows", "highs"):
        assert np.array_equal(getattr(found, column), getattr(again, column))


@pytest.mark.parametrize("count", [1, 2, 499, 500])
def test_few_points_are_exact(database: Database, count: int) -> None:
    key = build.run(database)
    values = spiky(count) if count > 3 else np.ones(count)
    build.send(database, key, logged(np.arange(count), values))
    (found,) = build.series(database, [key], "loss")
    assert np.array_equal(found.values, values)
    assert np.array_equal(found.lows, values)
    assert np.array_equal(found.steps, np.arange(count))


@pytest.mark.parametrize("x", ["step", "time", "relative"])
@pytest.mark.parametrize("samples", [5, 20, 60, 500])
def test_a_long_series_is_drawn_from_blocks_as_well_as_from_points(database: Database, x: str, samples: int) -> None:
    """150,000 points in 37 chunks: by chunk, by block, and decoded, with some still in level 0."""
    key = build.run(database)
    count = 150_000
    steps, values = np.arange(count), spiky(count)
    log = logged(steps, values)
    for start in range(0, count - 1000, 29_800):
        build.send(database, key, log[start : min(start + 29_800, count - 1000)], first_seq=start)
    build.compact(database, key)
    build.send(database, key, log[-1000:], first_seq=count - 1000)
    (found,) = build.series(database, [key], "loss", samples=samples, x=x)
    check(found, steps, values, samples)
    if x == "relative":
        assert found.xs[0] == 0
        assert found.xs[-1] == steps[-1] * 0.5
    if x == "time":
        assert found.xs[0] == 1e9
    (part,) = build.series(database, [key], "loss", samples=samples, x=x, min_step=1000, max_step=140_000)
    check(part, steps[1000:140_001], values[1000:140_001], samples)


def test_of_several_points_at_one_step_the_newest_is_drawn(database: Database) -> None:
    key = build.run(database)
    old, new = np.arange(0, 1000), np.arange(500, 2000)
    build.send(database, key, logged(old, np.zeros(1000)), epoch="first life")
    for is_compacted in (False, True, True):
        if is_compacted:
            build.compact(database, key)
        else:
            build.send(database, key, logged(new, np.ones(1500)), epoch="second life")
        (found,) = build.series(database, [key], "loss", samples=5000)
        assert found.count == 2000
        assert found.values.tolist() == [0.0] * 500 + [1.0] * 1500
    assert build.receipt(database, key).points_stored == 2500


@pytest.mark.parametrize("samples", [8, 30, 5000])
def test_overlapping_chunks_are_read_right(database: Database, samples: int) -> None:
    """Three writers whose stretches overlap, compacted at different times."""
    key = build.run(database)
    drawn: dict[int, float] = {}
    for number, (start, stop) in enumerate([(0, 30_000), (20_000, 60_000), (10_000, 25_000)]):
        steps = np.arange(start, stop)
        values = spiky(len(steps), number)
        build.send(database, key, logged(steps, values), writer=f"w{number}")
        drawn.update(zip(steps.tolist(), values.tolist(), strict=True))
        if number < 2:
            build.compact(database, key)
    steps = np.array(sorted(drawn))
    (found,) = build.series(database, [key], "loss", samples=samples)
    check(found, steps, np.array([drawn[step] for step in steps.tolist()]), samples)


def test_by_time_a_resumed_run_goes_on_to_the_right(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, logged(np.arange(100), np.zeros(100), 1000.0 + np.arange(100)), epoch="a")
    build.compact(database, key)
    build.send(database, key, logged(np.arange(50, 80), np.ones(30), 5000.0 + np.arange(30)), epoch="b")
    (found,) = build.series(database, [key], "loss", x="relative")
    assert (np.diff(found.xs) > 0).all()
    assert found.xs[-1] == 5029 - 1000
    assert found.values.tolist() == [0.0] * 70 + [1.0] * 30


def test_since_step_gives_what_came_after(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, losses(100))
    assert build.series(database, [key], "loss", since_step=96)[0].steps.tolist() == [97, 98, 99]
    assert build.series(database, [key], "loss", since_step=99) == []
    assert build.series(database, [key], "loss", since_step=-1)[0].count == 100
    assert build.series(database, [key], "loss", since_step=10, max_step=12)[0].steps.tolist() == [11, 12]


def test_runs_come_in_the_order_asked_for_and_only_with_points(database: Database) -> None:
    runs = [build.run(database) for _ in range(4)]
    for number, key in enumerate(runs[:3]):
        build.send(database, key, [entry(0, loss=float(number), **({"lr": 0.1} if number else {}))])
    with database.reading() as db:
        found = points.series(db, [runs[2], runs[3], runs[0], runs[1]], ["loss", "lr", "none"])
    assert [line.run_id for line in found["loss"]] == [runs[2].run_id, runs[0].run_id, runs[1].run_id]
    assert [line.run_id for line in found["lr"]] == [runs[2].run_id, runs[1].run_id]
    assert found["none"] == []


def test_a_stranger_s_points_are_not_drawn(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, losses(3))
    assert build.series(database, [points.RunKey(2, key.run_id)], "loss") == []


values = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**53 - 1), values), min_size=1, max_size=80), st.integers(2, 40))
def test_picking_keeps_its_promises(found: list[tuple[int, float]], samples: int) -> None:
    by_step = dict(found)
    steps = np.array(sorted(by_step))
    numbers = np.array([by_step[step] for step in steps.tolist()])
    drawing = _pick.points(steps, steps.astype(float), numbers, samples)
    check(points.Series("r", len(steps), *drawing), steps, numbers, samples)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=40), st.integers(4, 12))
def test_any_mixture_of_lives_and_compactions_is_drawn_right(
    database: Database, parts: list[tuple[int, bool]], samples: int
) -> None:
    """Small chunks and blocks, so that few points make many of them."""
    key = build.run(database)
    drawn: dict[int, float] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compact, "CHUNK_POINTS", 8)
        patch.setattr("arwx.points._chunk.blocks.__defaults__", (2,))
        patch.setattr("arwx.points._series.BLOCK_POINTS", 2)
        for number, (start, is_compacted) in enumerate(parts):
            steps = np.arange(start, start + 20)
            numbers = np.arange(20.0) * number
            build.send(database, key, logged(steps, numbers), epoch=f"e{number:03}")
            drawn.update(zip(steps.tolist(), numbers.tolist(), strict=True))
            if is_compacted:
                build.compact(database, key)
        wanted = np.array(sorted(drawn))
        (found,) = build.series(database, [key], "loss", samples=samples)
        check(found, wanted, np.array([drawn[step] for step in wanted.tolist()]), samples)
