"""How figures are written: each with three digits, in the unit that its size asks for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A unit and its bigger or smaller names: `steps` are (from this size on, what one of them is, its name)."""

    steps: tuple[tuple[float, float, str], ...]

    def text(self, value: float) -> str:
        _, _, name = self._step(value)
        return f"{self.number(value)} {name}".rstrip()

    def number(self, value: float) -> str:
        """The figure alone, with the name of its unit only where that is not the last one of the ladder."""
        _, one, _ = self._step(value)
        scaled = value / one
        size = abs(scaled)
        digits = 0 if size >= 100 else 1 if size >= 10 else 2
        return f"{scaled:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{scaled:,.0f}"

    def _step(self, value: float) -> tuple[float, float, str]:
        return next((step for step in self.steps if abs(value) >= step[0]), self.steps[-1])


def _plain(name: str) -> Unit:
    return Unit(((0.0, 1.0, name),))


RATE = Unit(((1e6, 1e6, "M points/s"), (0.0, 1e3, "k points/s")))
BANDWIDTH = Unit(((0.0, 1e6, "MB/s"),))
SECONDS = Unit(((0.0, 1.0, "s"),))
MILLISECONDS = Unit(((0.0, 1e-3, "ms"),))
MICROSECONDS = Unit(((0.0, 1e-6, "µs"),))
NANOSECONDS = Unit(((0.0, 1e-9, "ns"),))
MEGABYTES = Unit(((0.0, 2.0**20, "MiB"),))
KILOBYTES = Unit(((0.0, 1e3, "kB"),))
PER_POINT = _plain("bytes/point")
COUNT = _plain("")
TIMES = _plain("×")
SHARE = Unit(((0.0, 1e-2, "%"),))
