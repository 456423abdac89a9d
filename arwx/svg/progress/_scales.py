"""The frame of the picture in units of its view box, and the scales from numbers to places in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from arwx.extremes import held
from arwx.frontier import Step
from arwx.svg import ticks
from arwx.svg.progress._story import Story, score_of

WIDTH, HEIGHT = 960, 510
LEFT, RIGHT, TOP, BOTTOM = 66.0, 850.0, 108.0, 414.0
FOOT, AXIS = 429.0, 444.0
# Above so many experiments dots are small and lie on whole pixels.
DENSE = 250

_LEAST = 1e-300


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick: where on its axis, and what it says. In a small place only some are shown."""

    at: float
    label: str
    is_small: bool


class Across:
    """From the true number of an experiment to x: each has a slot, and the numbers stay what they are."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.slot = (RIGHT - LEFT) / (last - first + 1)

    def __call__(self, index: int) -> float:
        return LEFT + (index - self.first + 0.5) * self.slot

    def ticks(self) -> list[Mark]:
        if self.last == self.first:
            return [Mark(self(self.first), str(self.first), is_small=True)]
        found = [tick for tick in ticks.whole(self.first, self.last, 8) if self.first <= tick.value <= self.last]
        every = math.ceil(len(found) / 4)
        return [
            Mark(round(self(round(tick.value)), 1), tick.label, is_small=number % every == 0)
            for number, tick in enumerate(found)
        ]


class Up:
    """From a score to y: greater ones stand higher, and what is out of bounds is held at the edge."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, score: float) -> float:
        # Each part for itself: the span of very great scores is no finite number.
        share = (min(max(score, self.low), self.high) / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return BOTTOM - share * (BOTTOM - TOP)

    def side(self, score: float) -> int:
        """-1 for a score above the picture, 1 for one below it, 0 within."""
        return -1 if score > self.high else 1 if score < self.low else 0

    def ticks(self) -> list[Mark]:
        found = ticks.linear(self.low, self.high, 5)
        every = math.ceil(len(found) / 3)
        return [
            Mark(round(self(tick.value), 1), tick.label, is_small=number % every == 0)
            for number, tick in enumerate(found)
        ]


def bounds(scored: Sequence[Step], story: Story) -> tuple[float, float]:
    """Which scores the picture spans: the middle half and the staircase, with whatever is not far from them.

    One score that is far out must not press all others into a line; it becomes an arrow at the edge.
    """
    scores = sorted(held(score_of(step, story.metric) or 0.0) for step in scored)
    # The quartiles: a quarter of all may be nonsense, and they stay where they are.
    spare = len(scores) // 4
    low, high = scores[spare], scores[-1 - spare]
    bests = [held(step.best) for step in scored if step.is_best and step.best is not None]
    if bests:
        # The staircase is all shown, unless its first steps are so far away that the others would be one line.
        reach = max(high - low, abs(bests[len(bests) // 4] - bests[-1])) * 2 if len(bests) > 3 else math.inf
        seen = [best for best in bests if abs(best - bests[-1]) <= reach] or bests[-1:]
        low, high = min(low, *seen), max(high, *seen)
    # Of few scores none is far out so soon.
    reach = (high - low) * (0.5 if len(scores) >= 40 else 1.5)
    near = [score for score in scores if low - reach <= score <= high + reach]
    low, high = min(low, *near), max(high, *near)
    reach = (high - low) * 0.65
    if story.target is not None and (not reach or low - reach <= story.target <= high + reach):
        low, high = min(low, story.target), max(high, story.target)
    size = max(abs(low), abs(high))
    span = high - low if high - low > max(size * 1e-9, _LEAST) else max(size * 0.02, _LEAST) if size else 1.0
    # More air on the side where it gets better: that is where labels go.
    below, above = (0.22, 0.08) if story.lower_is_better else (0.08, 0.22)
    return low - span * below, high + span * above


def length(value: float, *, is_dense: bool = False) -> str:
    """A length as short as it goes."""
    return f"{value:.0f}" if is_dense else f"{value:.1f}".removesuffix(".0")
