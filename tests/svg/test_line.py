"""Line charts: what is drawn of series, also of strange ones, and how compact it is."""

import gzip
import math
import os
import re
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from arwx.svg import line
from arwx.svg.line import Axes, Floats, Size

SNAPSHOTS = Path(__file__).parent / "snapshots"
NAN = math.nan


@dataclass
class Series:
    run_id: str
    xs: Floats
    values: Floats
    lows: Floats
    highs: Floats
    raw: Floats | None = None


@dataclass
class Chart:
    series: list[Series] = field(default_factory=list)
    x: str = "step"


def series(
    values: list[float] | Floats, xs: list[float] | Floats | None = None, run_id: str = "run_a", spread: float = 0
) -> Series:
    found = np.array(values, dtype=float)
    places = np.arange(len(found), dtype=float) if xs is None else np.array(xs, dtype=float)
    return Series(run_id, places, found, found - spread, found + spread)


def noisy(runs: int, points: int = 500) -> Chart:
    rng = np.random.default_rng(7)
    xs = np.linspace(0, 20_000, points).round()
    return Chart(
        [
            series(3 * np.exp(-xs / 4000) + 1 + rng.normal(0, 0.05, points), xs, f"run_{n:02}", spread=0.08)
            for n in range(runs)
        ]
    )


def walk(path: str) -> list[list[tuple[int, int]]]:
    """The corners of each piece of a path, in the units of its box."""
    pieces = []
    for piece in path.split("M")[1:]:
        numbers = [int(number) for number in re.findall(r"-?\d+", piece)]
        x = y = 0
        corners = []
        for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
            x, y = x + dx, y + dy
            corners.append((x, y))
        pieces.append(corners)
    return pieces


def test_a_line_goes_through_its_points_from_edge_to_edge() -> None:
    drawing = line.draw(Chart([series([1, 3, 2])]), Size(100, 100))
    assert drawing.box == "0 0 200 1000"
    (corners,) = walk(drawing.lines[0].path)
    assert [x for x, _ in corners] == [0, 100, 200]
    assert corners[1][1] < corners[2][1] < corners[0][1]  # larger is higher
    assert all(0 <= y <= 1000 for _, y in corners)


def test_every_corner_is_within_half_a_pixel_of_its_point() -> None:
    chart = noisy(1)
    drawing = line.draw(chart, Size(640, 176))
    (corners,) = walk(drawing.lines[0].path)
    wanted = (drawing.y_high - chart.series[0].values) / (drawing.y_high - drawing.y_low) * 176
    drawn = np.array([y for _, y in corners]) / 10
    assert len(drawn) == len(wanted)  # rounding must not add up along the relative steps
    assert np.abs(drawn - wanted).max() <= 0.5


def test_the_same_chart_gives_the_same_drawing() -> None:
    assert line.draw(noisy(3)) == line.draw(noisy(3))


def test_nothing_to_draw() -> None:
    assert line.draw(Chart()).is_empty
    assert line.draw(Chart([series([])])).is_empty
    assert line.draw(Chart([series([NAN, NAN])])).is_empty


def test_a_single_point_is_a_dot_in_the_middle_with_its_value() -> None:
    drawing = line.draw(Chart([series([0.734], [900])]), Size(100, 100))
    assert drawing.lines[0].path == ""
    assert drawing.lines[0].dots == (line.Dot(50.0, 50.0),)
    assert drawing.ends == (line.End("run_a", 50.0, 50.0, "0.734"),)
    assert [tick.label for tick in drawing.x_ticks] == ["900"]


def test_a_constant_stands_in_the_middle() -> None:
    (corners,) = walk(line.draw(Chart([series([5, 5, 5])]), Size(100, 100)).lines[0].path)
    assert {y for _, y in corners} == {500}


def test_a_value_that_is_not_finite_breaks_the_line() -> None:
    values = list(np.arange(40.0))
    values[10] = NAN
    values[20], values[22] = math.inf, NAN
    drawing = line.draw(Chart([series(values)]))
    assert [len(piece) for piece in walk(drawing.lines[0].path)] == [10, 9, 17]
    assert len(drawing.lines[0].dots) == 1  # the point between two gaps
    assert (drawing.y_low < 0, drawing.y_high > 39) == (True, True)
    assert drawing.y_high < 50


def test_values_that_a_log_axis_cannot_show_are_counted() -> None:
    drawing = line.draw(Chart([series([0, -1, 1, 10, 100])]), axes=Axes(is_log=True))
    assert drawing.left_out == 2
    assert [len(piece) for piece in walk(drawing.lines[0].path)] == [3]
    tops = [tick.at for tick in drawing.y_ticks if tick.label in {"1", "10", "100"}]
    assert tops[0] - tops[1] == pytest.approx(tops[1] - tops[2], abs=0.2)
    nothing = line.draw(Chart([series([0, -1])]), axes=Axes(is_log=True))
    assert nothing.is_empty
    assert nothing.left_out == 2


def test_a_spike_inside_a_bucket_is_in_the_band() -> None:
    found = series([1.0] * 300)
    found.highs[150] = 50.0
    drawing = line.draw(Chart([found]), Size(640, 100))
    assert drawing.y_high > 50
    (outline,) = walk(drawing.lines[0].band)
    assert min(y for _, y in outline) < 0.1 * 1000


def test_a_spike_of_one_among_many_runs_is_in_the_common_band() -> None:
    chart = noisy(30)
    chart.series[17].highs[250] = 50.0
    drawing = line.draw(chart)
    assert not any(one.band for one in drawing.lines)
    (outline,) = walk(drawing.band)
    top = min(y for _, y in outline)
    assert top < 0.1 * drawing.size.height * 4


def test_no_common_band_where_the_lines_leave_nothing_out() -> None:
    chart = noisy(30)
    for one in chart.series:
        one.lows, one.highs = one.values, one.values
    assert line.draw(chart).band == ""


def test_many_lines_share_the_corners_and_keep_every_spike_first_and_last() -> None:
    chart = noisy(50)
    for number, one in enumerate(chart.series):
        one.values[3 + 9 * number] = 30.0 + number
        one.values[7 + 9 * number] = -30.0 - number
        one.lows, one.highs = one.values - 0.08, one.values + 0.08
    drawing = line.draw(chart)
    corners = [walk(one.path)[0] for one in drawing.lines]
    assert sum(map(len, corners)) <= 20 * drawing.size.width + 2 * 50
    for one, drawn in zip(chart.series, corners, strict=True):
        wanted = np.rint((drawing.y_high - one.values) / (drawing.y_high - drawing.y_low) * 176 * 4)
        ys = [y for _, y in drawn]
        assert (drawn[0], drawn[-1]) == ((0, wanted[0]), (640, wanted[-1]))
        assert (min(ys), max(ys)) == (wanted.min(), wanted.max())
    assert line.draw(chart) == drawing


def test_a_gap_stays_a_gap_where_many_lines_share_the_corners() -> None:
    chart = noisy(50)
    chart.series[9].values[250] = NAN
    pieces = walk(line.draw(chart).lines[9].path)
    assert len(pieces) == 2
    assert pieces[0][-1][0] < 320 < pieces[1][0][0] + 5


def test_no_band_where_it_would_be_thinner_than_a_line() -> None:
    assert line.draw(Chart([series([1.0, 2.0, 3.0])])).lines[0].band == ""


def test_labels_at_the_ends_never_overlap() -> None:
    drawing = line.draw(Chart([series([0, 1.0 + n / 200], run_id=f"run_{n}") for n in range(6)]))
    places = sorted(end.y for end in drawing.ends)
    assert 1 <= len(places) < 6
    assert all(b - a >= 14 for a, b in pairwise(places))


def test_where_two_labels_would_overlap_the_first_run_has_its_own() -> None:
    near, other = series([0, 1.01], run_id="run_b"), series([0, 1.0], run_id="run_a")
    assert [end.run_id for end in line.draw(Chart([near, other])).ends] == ["run_b"]
    assert [end.run_id for end in line.draw(Chart([other, near])).ends] == ["run_a"]


def test_a_line_that_ends_early_has_no_label_at_the_edge() -> None:
    short = series([1.0, 2.0], [0, 10], "run_short")
    long = series([1.0, 9.0], [0, 100], "run_long")
    assert [end.run_id for end in line.draw(Chart([short, long])).ends] == ["run_long"]


def test_few_points_are_marked_each() -> None:
    assert len(line.draw(Chart([series([1, 2, 3])])).lines[0].dots) == 3
    assert line.draw(noisy(1)).lines[0].dots == ()


@pytest.mark.parametrize("values", [[1e308, -1e308], [5e-324, 1e-300], [1e300, 1e300], [-1e-12, 1e-12]])
def test_the_ends_of_the_range_of_floats_are_drawn(values: list[float]) -> None:
    drawing = line.draw(Chart([series(values)]))
    assert len(walk(drawing.lines[0].path)[0]) == 2
    assert all(math.isfinite(tick.at) for tick in drawing.y_ticks)


def test_fifty_runs_are_compact_and_quick() -> None:
    chart = noisy(50)
    line.draw(chart)
    spent = []
    for _ in range(10):
        started = time.process_time()
        drawing = line.draw(chart)
        spent.append(time.process_time() - started)
    text = drawing.band + "".join(one.path + one.band for one in drawing.lines)
    assert len(gzip.compress(text.encode())) < 30_000
    # 10 ms on a quiet core. What the processor spent, not what passed: others may be at work on the same machine.
    assert min(spent) < 0.1


@pytest.mark.parametrize(
    ("name", "chart", "is_log"),
    [
        ("one-run", noisy(1, 40), False),
        ("three-runs-log", noisy(3, 30), True),
        ("twelve-runs", noisy(12, 20), False),
        ("gaps", Chart([series([1, 2, NAN, 4, NAN, 6, 7])]), False),
        ("relative-time", Chart([series([3, 2, 1], [0, 400, 900])], x="relative"), False),
        ("moments", Chart([series([3, 2, 1], [1_764_158_400, 1_764_160_000, 1_764_162_000])], x="time"), False),
    ],
)
def test_pictures_stay_as_they_were_looked_at(name: str, chart: Chart, is_log: bool) -> None:
    """With ARWX_ACCEPT=1 the pictures are written anew: look at the difference before it is kept."""
    drawing = line.draw(chart, Size(400, 120), Axes(is_log=is_log))
    said = [f"box {drawing.box}", f"y {drawing.y_low:.6g} … {drawing.y_high:.6g}", f"band {drawing.band}"]
    said += [f"x tick {tick.at} {tick.label}" for tick in drawing.x_ticks]
    said += [f"y tick {tick.at} {tick.label}" for tick in drawing.y_ticks]
    said += [f"end {end.run_id} {end.x} {end.y} {end.label}" for end in drawing.ends]
    for one in drawing.lines:
        said += [f"{one.run_id} path {one.path}", f"{one.run_id} band {one.band}", f"{one.run_id} dots {one.dots}"]
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("ARWX_ACCEPT"):
        path.write_text("\n".join(said) + "\n")
    assert path.read_text() == "\n".join(said) + "\n"


def test_a_window_fixes_the_axis_whatever_is_in_it() -> None:
    drawing = line.draw(Chart([series([1, 2, 3, 4], [0, 10, 20, 30])]), axes=Axes(window=(5, 25)))
    assert (drawing.x_low, drawing.x_high) == (5, 25)
    ((first, last),) = [(piece[0][0], piece[-1][0]) for piece in walk(drawing.lines[0].path)]
    assert (first, last) == (320, 960), "the points at 10 and 20 of a box that is 1280 wide"
    assert line.draw(Chart([series([1], [99])]), axes=Axes(window=(5, 25))).is_empty


def test_the_ends_of_y_may_be_asked_for_one_by_one() -> None:
    chart = Chart([series([1, 2, 3])])
    assert (line.draw(chart, axes=Axes(low=0, high=10)).y_low, line.draw(chart, axes=Axes(low=0, high=10)).y_high) == (
        0,
        10,
    )
    only_low = line.draw(chart, axes=Axes(low=0))
    assert only_low.y_low == 0
    assert only_low.y_high > 3
    beyond = line.draw(chart, axes=Axes(low=50))
    assert beyond.y_low == 50 < beyond.y_high
    assert beyond.outside == 3
    assert line.draw(chart, axes=Axes(low=-1, is_log=True)).y_low > 0, "a logarithm has no place for it"


def test_clipping_leaves_the_extremes_outside_and_counts_them() -> None:
    values = [1.0, 2.0] * 50 + [1e9]
    drawing = line.draw(Chart([series(values)]), axes=Axes(is_clipped=True))
    assert drawing.y_high < 3
    assert drawing.outside == 1
    assert line.draw(Chart([series(values)])).outside == 0


def test_a_logarithmic_x_begins_at_the_first_positive_place() -> None:
    drawing = line.draw(Chart([series([1, 2, 3, 4], [0, 1, 10, 100])]), Size(100, 100), Axes(is_log_x=True))
    assert (drawing.x_low, drawing.x_high, drawing.left_out) == (1, 100, 1)
    assert [x for x, _ in walk(drawing.lines[0].path)[0]] == [0, 100, 200]
    assert [tick.label for tick in drawing.x_ticks] == ["1", "2", "5", "10", "20", "50", "100"]


def test_what_was_smoothed_stays_in_the_picture_for_few_lines() -> None:
    few, many = noisy(2, 30), noisy(12, 30)
    for chart in (few, many):
        for one in chart.series:
            one.raw = one.values
    assert all(found.raw for found in line.draw(few).lines)
    assert not any(found.raw for found in line.draw(many).lines)


def test_a_smoothed_line_beyond_its_points_is_in_sight() -> None:
    found = series([5.0, 4.0, 3.5], spread=0.1)
    found.raw, found.highs, found.lows = found.values - 3, found.highs - 3, found.lows - 3
    drawing = line.draw(Chart([found]))
    assert drawing.y_low < 0.5
    assert drawing.y_high > 5
    assert drawing.outside == 0


def test_holes_are_marked_where_they_are_in_the_window() -> None:
    chart = Chart([series([1, 2, 3])])
    (hole,) = line.draw(chart, holes=[("run_a", 1.0, 1.0, "one")]).holes
    assert (hole.marks, hole.reach, hole.words) == ((50.0,), (50.0, 50.0), "one")
    (cut,) = line.draw(chart, axes=Axes(window=(0, 2)), holes=[("run_a", 1.0, 9.0, "far")]).holes
    assert (cut.marks, cut.reach) == ((50.0,), (50.0, 100.0))
    assert line.draw(chart, axes=Axes(window=(0, 2)), holes=[("run_a", 5.0, 9.0, "gone")]).holes == ()


def test_a_run_that_ends_in_nan_is_drawn_to_its_end() -> None:
    drawing = line.draw(Chart([series([1, 2, 3])]), holes=[("run_a", 3.0, 4.0, "lost")])
    assert (drawing.x_low, drawing.x_high) == (0, 4)
    assert drawing.holes[0].marks == (75.0, 100.0)
