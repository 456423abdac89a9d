"""Numbers near the largest float: sums, differences and means of them are no finite numbers.

A diverged run logs such numbers. They are stored as they are; where pictures calculate with them they are held at the
farthest number with which everything that pictures do still comes out finite.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

FARTHEST = 1e300


def held(number: float) -> float:
    """The number, or the farthest one on its side of 0."""
    return max(-FARTHEST, min(number, FARTHEST))


def all_held(numbers: Floats) -> Floats:
    """As `held`, for an array of any shape."""
    return np.clip(numbers, -FARTHEST, FARTHEST)
