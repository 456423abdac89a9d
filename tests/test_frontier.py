"""The rules of the running best, by themselves."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwx.frontier import Tried, Verdict, frontier, is_reached, noise, staircase

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def tried(*verdicts: tuple[str, float | None], metric: str = "m", lower: bool = True, keys: str = "") -> list[Tried]:
    return [
        Tried(
            index=number,
            experiment_id=f"e{number}",
            session_id="s",
            note=None,
            commit=None,
            repro_key=keys[number - 1] if keys else f"k{number}",
            verdict=None if status == "undecided" else Verdict(status, score, metric, lower, NOW, "key:1"),
        )
        for number, (status, score) in enumerate(verdicts, 1)
    ]


def best(*verdicts: tuple[str, float | None], **more: object) -> list[float | None]:
    return [step.best for step in staircase(tried(*verdicts, **more), "m", None)]  # type: ignore[arg-type]


def test_only_strictly_better_kept_ones_move_the_best() -> None:
    story = [
        ("keep", 3.0),
        ("drop", 1.0),
        ("keep", 3.0),
        ("keep", 4.0),
        ("crash", None),
        ("undecided", None),
        ("keep", 2.0),
    ]
    assert best(*story) == [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 2.0]
    steps = staircase(tried(*story), "m", None)
    assert [step.tried.index for step in frontier(steps)] == [1, 7]
    assert [step.gain for step in frontier(steps)] == [None, 1.0]


def test_maximizing_is_the_mirror() -> None:
    assert best(("keep", 1.0), ("keep", 3.0), ("keep", 2.0), lower=False) == [1.0, 3.0, 3.0]


def test_another_metric_does_not_move_the_best() -> None:
    assert best(("keep", 1.0), metric="other") == [None]


def test_the_best_stays_unknown_until_something_is_kept() -> None:
    assert best(("drop", 1.0), ("crash", None), ("undecided", None)) == [None, None, None]
    assert staircase([], "m", None) == []


def test_a_target_is_reached_at_equality() -> None:
    assert is_reached(2.0, 2.0, lower_is_better=True)
    assert not is_reached(2.1, 2.0, lower_is_better=True)
    assert is_reached(2.1, 2.0, lower_is_better=False)
    assert not is_reached(None, 2.0, lower_is_better=True)
    assert not is_reached(2.0, None, lower_is_better=True)


def test_repeats_tell_the_noise_and_gains_within_it_are_marked() -> None:
    # Scores 1.00, 1.02 of one key and 0.90, 0.94 of another: squares 0.0002 + 0.0008 over 2 degrees of freedom.
    story = tried(("keep", 1.0), ("drop", 1.02), ("keep", 0.94), ("keep", 0.90), ("keep", 0.5), keys="aabbc")
    found = noise(story, "m")
    assert found is not None
    assert found.deviation == pytest.approx(math.sqrt(0.0005))
    assert found.repeats == 4
    assert [(step.tried.index, step.is_within_noise) for step in frontier(staircase(story, "m", found))] == [
        (1, False), (3, True), (4, True), (5, False),
    ]  # fmt: skip
    assert noise(tried(("keep", 1.0), ("keep", 2.0)), "m") is None


scores = st.floats(allow_nan=False, allow_infinity=False)
stories = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), scores),
        st.tuples(st.just("drop"), st.one_of(st.none(), scores)),
        st.just(("crash", None)),
        st.just(("undecided", None)),
    ),
    max_size=30,
)


@given(stories, st.booleans())
def test_the_best_is_the_best_of_the_kept_so_far(story: list[tuple[str, float | None]], lower: bool) -> None:
    choose = min if lower else max
    kept: list[float] = []
    for (status, score), step in zip(story, staircase(tried(*story, lower=lower), "m", None), strict=True):
        if status == "keep" and score is not None:
            kept.append(score)
        assert step.best == (choose(kept) if kept else None)
