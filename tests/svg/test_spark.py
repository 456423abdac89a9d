"""The sparkline: a staircase that leads from the first step to the end."""

from arwx.svg import spark


def test_a_staircase_goes_down_to_a_smaller_value_and_on_to_the_end() -> None:
    drawn = spark.draw([(1, 3.0), (5, 2.0)], end=9, width=108, height=28)
    assert drawn is not None
    assert drawn.path == "M4.0 4.0H54.0V24.0H104.0"
    assert (drawn.x, drawn.y) == (104.0, 24.0)


def test_a_greater_value_stands_higher() -> None:
    drawn = spark.draw([(1, 1.0), (2, 2.0), (3, 4.0)], end=3)
    assert drawn is not None
    assert drawn.y == 4.0


def test_less_than_two_steps_are_no_staircase_and_equal_values_a_level_line() -> None:
    assert spark.draw([], end=3) is None
    assert spark.draw([(1, 1.0)], end=3) is None
    level = spark.draw([(1, 1.0), (2, 1.0)], end=2, height=28)
    assert level is not None
    assert level.path == "M4.0 14.0H116.0V14.0H116.0"
