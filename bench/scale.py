"""How much is measured: all of it, or a quick look."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """`factor` is 1 for the figures that are written down; less is for trying, and measures other sizes."""

    factor: float = 1.0

    @property
    def is_full(self) -> bool:
        return self.factor == 1.0

    def count(self, full: int, at_least: int = 1) -> int:
        return max(at_least, int(full * self.factor))

    def passes(self, full: int) -> int:
        return full if self.is_full else min(full, 3)
