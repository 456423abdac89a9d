"""Labels beside points, set so that none overlaps another, a line or a mark."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from arwx.svg import text

_CELL = 3
# How many rows away from its point a label may stand, on the better and on the worse side.
_ROWS = (12, 4)
_CROWD = 1.0


class Box(NamedTuple):
    """A rectangle in the units of the picture."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Wish:
    """A point that wants a label. The first wishes are served first."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, slots=True)
class Label:
    """Where the words stand, and the end of a thin line that leads to them from their point; None beside it."""

    x: float
    y: float
    is_before: bool
    words: str
    leader: tuple[float, float, float] | None = None


class Board:
    """What is taken of the picture so far, on a grid of small cells."""

    def __init__(self, area: Box) -> None:
        self.area = area
        across, down = int((area.right - area.left) / _CELL) + 2, int((area.bottom - area.top) / _CELL) + 2
        self._taken = np.zeros((down, across), np.int32)
        self._noted = np.zeros((4, 0))

    def take(self, boxes: Iterable[Box]) -> None:
        """Nothing else may stand here."""
        for box in boxes:
            self._taken[self._cells(box)] = 1

    def note(self, boxes: Iterable[Box]) -> None:
        """Here are things that a label should rather not cover."""
        self._noted = np.array(list(boxes)).reshape(-1, 4).T

    def is_free(self, box: Box) -> bool:
        """Whether the box is all inside the area, and nothing in it is taken."""
        area = self.area
        is_inside = box.left >= area.left and box.right <= area.right and box.top >= area.top
        return is_inside and box.bottom <= area.bottom and not self._taken[self._cells(box)].any()

    def crowd(self, box: Box) -> float:
        """How much a label there would cover, in cells."""
        left, top, right, bottom = self._noted
        across = np.minimum(right, box.right) - np.maximum(left, box.left)
        down = np.minimum(bottom, box.bottom) - np.maximum(top, box.top)
        return float(across.clip(0) @ down.clip(0)) / _CELL**2

    def _cells(self, box: Box) -> tuple[slice, slice]:
        x, y = self.area.left, self.area.top
        left, right = int((box.left - x) / _CELL), int((box.right - x) / _CELL) + 1
        top, bottom = int((box.top - y) / _CELL), int((box.bottom - y) / _CELL) + 1
        # Below zero a slice would count from the other end.
        return slice(top if top > 0 else 0, bottom if bottom > 0 else 0), slice(
            left if left > 0 else 0, right if right > 0 else 0
        )


def place(board: Board, wishes: Sequence[Wish], *, size: float, radius: float, better: int, most: int) -> list[Label]:
    """Labels for as many of the wishes as find room, at most `most`.

    The side on which scores are better (`better` is 1 when that is below, else -1) is empty before each step of a
    running best, so that is where a label goes first: before its point, or further out at the end of a thin line.
    """
    placed: list[Label] = []
    for wish in wishes:
        if len(placed) == most:
            break
        found = _best(board, _places(wish, text.width(wish.words, size), size, radius, better, board.area))
        if found is not None:
            board.take([_grown(found.box, 2), *([_grown(found.line, 1)] if found.line else [])])
            placed.append(found.label)
    return placed


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a label could stand, with its box and that of its line, and how far it is from the best place."""

    label: Label
    box: Box
    line: Box | None
    cost: float


def _best(board: Board, places: Iterable[_Place]) -> _Place | None:
    """The free place that is nearest and covers least."""
    best, least = None, float("inf")
    for place in sorted(places, key=lambda place: place.cost):
        if place.cost >= least:
            break
        if board.is_free(place.box) and (place.line is None or board.is_free(place.line)):
            cost = place.cost + _CROWD * board.crowd(place.box)
            if cost < least:
                best, least = place, cost
    return best


def _places(wish: Wish, length: float, size: float, radius: float, better: int, area: Box) -> Iterable[_Place]:
    step = size * 1.25
    rows = [(side, row) for side, count in zip((better, -better), _ROWS, strict=True) for row in range(count)]
    for side, row in rows:
        middle = wish.y + side * (row * step + (0.35 * size if row == 0 else radius))
        for is_before in (True, False):
            gap = radius + 4 if row == 0 else 5
            start = wish.x - gap - length if is_before else wish.x + gap
            box = Box(start, middle - 0.56 * size, start + length, middle + 0.5 * size)
            if start < area.left or box.right > area.right or box.top < area.top or box.bottom > area.bottom:
                continue
            line = None
            if row:
                # From clear of the point's own mark on.
                ends = sorted((wish.y + side * (radius + _CELL + 1), middle + side * 0.35 * size))
                line = Box(wish.x, ends[0], wish.x, ends[1])
            x = wish.x - gap if is_before else wish.x + gap
            label = Label(
                round(x, 1),
                round(middle + 0.35 * size, 1),
                is_before,
                wish.words,
                (round(wish.x, 1), round(line.top, 1), round(line.bottom, 1)) if line else None,
            )
            yield _Place(label, box, line, row * 2.0 + (0 if is_before else 3) + (0 if side == better else 5))


def _grown(box: Box, by: float) -> Box:
    return Box(box.left - by, box.top - by, box.right + by, box.bottom + by)
