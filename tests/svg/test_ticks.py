"""Ticks: round values, and labels that tell them apart."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwx.svg import ticks


def labels(found: list[ticks.Tick]) -> list[str]:
    return [tick.label for tick in found]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0, 20_000, ["0", "5k", "10k", "15k", "20k"]),
        (0, 3_000_000, ["0", "500k", "1M", "1.5M", "2M", "2.5M", "3M"]),
        (0.9, 4.3, ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]),
        (2.31, 2.46, ["2.32", "2.34", "2.36", "2.38", "2.40", "2.42", "2.44", "2.46"]),
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-2, 2, ["−2", "−1", "0", "1", "2"]),
        (0, 8.5e-4, ["0", "2e-4", "4e-4", "6e-4", "8e-4"]),
        (0, 1.6e-3, ["0", "5e-4", "1e-3", "1.5e-3"]),
        (0.0101, 0.0106, ["0.0101", "0.0102", "0.0103", "0.0104", "0.0105", "0.0106"]),
        (1e-6, 4.2e-5, ["1e-5", "2e-5", "3e-5", "4e-5"]),
        (1400, 1600, ["1.4k", "1.45k", "1.5k", "1.55k", "1.6k"]),
        (5, 5, ["5"]),
    ],
)
def test_linear_ticks_are_round(low: float, high: float, said: list[str]) -> None:
    assert labels(ticks.linear(low, high)) == said


@given(
    st.floats(-1e9, 1e9, allow_nan=False),
    st.floats(1e-6, 1e9, allow_nan=False),
)
def test_linear_ticks_lie_within_and_tell_their_values_apart(low: float, width: float) -> None:
    high = low + width
    if not width > max(abs(low), abs(high)) * 1e-6:
        return  # closer together than labels of a few characters can say
    found = ticks.linear(low, high)
    assert 2 <= len(found) <= 8
    assert all(low - width * 1e-6 <= tick.value <= high + width * 1e-6 for tick in found)
    assert len(set(labels(found))) == len(found)


def test_there_is_no_half_step() -> None:
    assert labels(ticks.whole(0, 3)) == ["0", "1", "2", "3"]
    assert labels(ticks.whole(7, 7)) == ["7"]
    assert labels(ticks.whole(0, 12_000)) == ["0", "2k", "4k", "6k", "8k", "10k", "12k"]


@given(st.floats(1e-9, 1e9), st.sampled_from([3, 4, 5, 8]))
def test_about_as_many_ticks_as_wanted(width: float, count: int) -> None:
    """The step is the nearest round one: spaces are at most by half wider or narrower than wanted."""
    for found in (ticks.linear(0, width, count), ticks.relative(0, width, count) if width < 3e7 else []):
        spaces = [b.value - a.value for a, b in itertools.pairwise(found)]
        assert all(width / count / 2 < space < width / count * 2 for space in spaces)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1e-5, 1, ["1e-5", "1e-4", "0.001", "0.01", "0.1", "1"]),
        (1, 30, ["1", "2", "5", "10", "20"]),
        (0.9, 1.1, ["0.90", "0.95", "1.00", "1.05", "1.10"]),
        (1e-12, 1e12, ["1e-10", "1e-5", "1", "100k", "10G"]),
        (3, 3, ["3"]),
    ],
)
def test_log_ticks_are_powers_of_ten(low: float, high: float, said: list[str]) -> None:
    assert labels(ticks.log(low, high)) == said


@pytest.mark.parametrize(
    ("high", "said"),
    [
        (40, ["0s", "10s", "20s", "30s", "40s"]),
        (1500, ["0s", "5m", "10m", "15m", "20m", "25m"]),
        (20_000, ["0s", "1h", "2h", "3h", "4h", "5h"]),
        (400_000, ["0s", "1d", "2d", "3d", "4d"]),
        (2.0, ["0s", "0.5s", "1s", "1.5s", "2s"]),
    ],
)
def test_relative_ticks_are_whole_units_of_time(high: float, said: list[str]) -> None:
    assert labels(ticks.relative(0, high)) == said


def test_moments_are_times_of_day_or_dates() -> None:
    noon = 1_764_158_400.0  # 26 November 2025, 12:00 UTC
    assert labels(ticks.moments(noon, noon + 3600)) == ["12:00", "12:15", "12:30", "12:45", "13:00"]
    assert labels(ticks.moments(noon, noon + 40)) == ["12:00:00", "12:00:10", "12:00:20", "12:00:30", "12:00:40"]
    assert labels(ticks.moments(noon, noon + 4 * 86_400)) == ["27 Nov", "28 Nov", "29 Nov", "30 Nov"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (2.41342, "2.413"),
        (-0.5, "−0.5"),
        (1234.0, "1234"),
        (0.00031, "3.1e-4"),
        (123456789.0, "1.235e8"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_values_keep_four_significant_digits(value: float, said: str) -> None:
    assert ticks.significant(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (43_251.0, "43.25k"),
        (9_999.0, "9999"),
        (1.2e6, "1.2M"),
        (4.6263e-11, "4.63e-11"),
        (-3e-4, "−3e-4"),
        (-1e300, "−1e300"),
    ],
)
def test_labels_at_line_ends_are_short(value: float, said: str) -> None:
    assert ticks.compact(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (90, "1m 30s"), (5400, "1h 30m"), (90_000, "1d 1h"), (-5, "−5s")],
)
def test_spans_are_in_the_two_largest_units(seconds: float, said: str) -> None:
    assert ticks.span(seconds) == said
