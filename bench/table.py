"""One row of the table, and the median that it holds."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure, the limit that was measured beside it, and the target."""

    what: str
    got: str
    limit: str
    target: str

    def line(self) -> str:
        return f"{self.what:<58} {self.got:>22}   limit {self.limit:<34} target {self.target}"

    def markdown(self) -> str:
        return f"| {self.what} | {self.got} | {self.limit} | {self.target} |"


def median_s(work: Callable[[], object], rounds: int = 5) -> float:
    """The median of the seconds that `work` takes, after one round to warm up."""
    work()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def rate(per_s: float) -> str:
    return f"{per_s / 1e6:.2f} M points/s" if per_s >= 1e6 else f"{per_s / 1e3:,.0f} k points/s"


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
