"""A sparkline: a staircase as small as a word."""

from collections.abc import Sequence
from dataclasses import dataclass

_AIR = 4


@dataclass(frozen=True, slots=True)
class Spark:
    """The path of a staircase, and the dot at its end."""

    path: str
    x: float
    y: float
    width: int
    height: int


def draw(steps: Sequence[tuple[float, float]], end: float, width: int = 120, height: int = 28) -> Spark | None:
    """The steps (x, value) as a staircase that goes on to `end`; nothing for fewer than two steps.

    Greater values stand higher: a goal to be minimized leads down.
    """
    if len(steps) < 2:
        return None
    left, right = steps[0][0], max(end, steps[-1][0])
    low, high = min(value for _, value in steps), max(value for _, value in steps)

    def place(x: float, value: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 1.0
        up = (value - low) / (high - low) if high > low else 0.5
        return round(_AIR + across * (width - 2 * _AIR), 1), round(height - _AIR - up * (height - 2 * _AIR), 1)

    corners = [place(x, value) for x, value in steps]
    first = corners[0]
    path = f"M{first[0]} {first[1]}" + "".join(f"H{x}V{y}" for x, y in corners[1:])
    last = place(right, steps[-1][1])
    return Spark(f"{path}H{last[0]}", *last, width, height)
