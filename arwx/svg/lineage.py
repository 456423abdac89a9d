"""A lineage graph: what made the versions of an artifact at the left, the versions, and what used them at the right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_WIDTH, _HEIGHT = 168, 28
_GAP_X, _GAP_Y = 96, 10
MAKERS, VERSIONS, USERS = 0, 1, 2


class Node(Protocol):
    """Something with an id; `column` is `MAKERS`, `VERSIONS` or `USERS`."""

    @property
    def id(self) -> str: ...
    @property
    def column(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Box:
    """Where a node stands: its left upper corner."""

    id: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes, all of the same size, and the paths between them."""

    boxes: list[Box]
    paths: list[str]
    width: int
    height: int
    box_width: int = _WIDTH
    box_height: int = _HEIGHT


def draw(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> Drawing:
    """Three columns of boxes in the given order, each centred, and a curve for each edge (from, to).

    Empty columns take no room. Edges from or to unknown nodes are left out.
    """
    columns = [[node for node in nodes if node.column == column] for column in (MAKERS, VERSIONS, USERS)]
    tallest = max((len(column) for column in columns), default=0)
    height = max(0, tallest * (_HEIGHT + _GAP_Y) - _GAP_Y)
    boxes: dict[str, Box] = {}
    x = 0
    for column in columns:
        if not column:
            continue
        free = height - (len(column) * (_HEIGHT + _GAP_Y) - _GAP_Y)
        for row, node in enumerate(column):
            boxes[node.id] = Box(node.id, x, free // 2 + row * (_HEIGHT + _GAP_Y))
        x += _WIDTH + _GAP_X
    paths = [_curve(boxes[a], boxes[b]) for a, b in edges if a in boxes and b in boxes]
    return Drawing(list(boxes.values()), paths, max(0, x - _GAP_X), height)


def _curve(a: Box, b: Box) -> str:
    x, y = a.x + _WIDTH, a.y + _HEIGHT // 2
    end_x, end_y = b.x, b.y + _HEIGHT // 2
    middle = (x + end_x) // 2
    return f"M{x} {y}C{middle} {y} {middle} {end_y} {end_x} {end_y}"
