"""One row of the table: what was measured in each pass, the limit beside it, and whether the target is met."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.units import Unit


@dataclass(frozen=True)
class Row:
    """A figure with all its passes. The limit was measured in the same run; without a target it is for comparison."""

    what: str
    passes: Sequence[float]
    unit: Unit
    limit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.passes)

    @property
    def measured(self) -> str:
        """The median, and the spread of the passes when there are several."""
        if len(self.passes) == 1:
            return self.unit.text(self.median)
        return (
            f"{self.unit.text(self.median)} ({self.unit.number(min(self.passes))}–{self.unit.number(max(self.passes))})"
        )

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.unit.text(self.at_least)}"
        return f"≤ {self.unit.text(self.at_most)}" if self.at_most is not None else ""

    @property
    def verdict(self) -> str:
        """`met`, or how far the median is from the target."""
        if self.at_least is not None:
            return "met" if self.median >= self.at_least else f"**{100 * self.median / self.at_least:.0f} % of it**"
        if self.at_most is not None:
            return "met" if self.median <= self.at_most else f"**{self.median / self.at_most:.2f} × it**"
        return ""

    def cells(self) -> list[str]:
        return [self.what, self.measured, self.limit, self.target, self.verdict]


@dataclass(frozen=True)
class Skipped:
    """A row that could not be measured, by name, and why."""

    what: str
    reason: str

    def cells(self) -> list[str]:
        return [self.what, f"skipped: {self.reason}", "", "", ""]


def timed(work: Callable[[], object]) -> float:
    """The seconds that `work` takes once."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def passes(work: Callable[[], object], rounds: int) -> list[float]:
    """The seconds of each of several rounds, after one to warm up."""
    work()
    return [timed(work) for _ in range(rounds)]
