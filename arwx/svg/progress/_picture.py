"""The picture as a whole: every part at its place, and labels where none covers another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any, ClassVar

from arwx.svg import labels, text
from arwx.svg.labels import Board, Box, Label, Wish
from arwx.svg.progress import _lines, _marks
from arwx.svg.progress._lines import Level
from arwx.svg.progress._marks import Arrow, Beginning, Key, Point, shape
from arwx.svg.progress._scales import (
    AXIS,
    BOTTOM,
    DENSE,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Across,
    Mark,
    Up,
    bounds,
)
from arwx.svg.progress._story import KEPT, LAYERS, WORDS, Story, score_of
from arwx.svg.progress._words import Words

_LABELS, _CHARACTERS, _SIZE = 12, 45, 12.5
_SMALL_LABELS, _SMALL_CHARACTERS, _SMALL_SIZE = 4, 24, 23.0
_TOLD_BYTES = 10_000
# What labels never cover.
_STRONG = {*KEPT, "ring"}


@dataclass(frozen=True)
class Picture:
    """All that a template needs. `message` says why there is nothing to see."""

    title: str
    subtitle: str
    small_title: str
    small_subtitle: str
    axis: str
    description: str
    # The same for programs, as JSON.
    facts: str
    words: Words
    message: str = ""
    is_dense: bool = False
    x_ticks: list[Mark] = field(default_factory=list)
    y_ticks: list[Mark] = field(default_factory=list)
    staircase: str = ""
    band: str = ""
    target: Level | None = None
    best: Level | None = None
    points: list[Point] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    beginnings: list[Beginning] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    small_labels: list[Label] = field(default_factory=list)
    legend: list[Key] = field(default_factory=list)

    width: ClassVar[int] = WIDTH
    height: ClassVar[int] = HEIGHT
    left: ClassVar[float] = LEFT
    right: ClassVar[float] = RIGHT
    top: ClassVar[float] = TOP
    bottom: ClassVar[float] = BOTTOM
    foot: ClassVar[float] = AXIS

    def mark(self, point: Point, kind: str = "") -> str:
        """The path of one point, or of another mark at its place."""
        return shape(kind or point.kind, point.x, point.y)

    def say(self, point: Point) -> str:
        """All about one experiment in a line."""
        return self.words.of(point.step, WORDS[point.kind])

    def swatch(self, key: Key, kind: str = "") -> str:
        """The path of the mark in the legend, or of another at its place."""
        return shape(kind or key.kind, key.x + 4, HEIGHT - 16)

    @property
    def layered(self) -> list[Point]:
        """The points, those that matter most above the others."""
        return sorted(self.points, key=lambda point: LAYERS.index(point.kind))

    @property
    def dots(self) -> list[tuple[str, int, str]]:
        """Kind, colour and one path for all points of both: a thousand points are a few kilobytes."""
        found: dict[tuple[int, int], dict[str, None]] = {}
        for point in self.points:
            for kind in (point.kind, "drop") if point.kind == "ring" else (point.kind,):
                group = found.setdefault((LAYERS.index(kind), point.colour), {})
                group[shape(kind, point.x, point.y, is_dense=self.is_dense)] = None
        return [(LAYERS[layer], colour, "".join(group)) for (layer, colour), group in sorted(found.items())]

    @property
    def told(self) -> list[Point]:
        """The kept points that say in words what they are, those with the greatest gains first: words take room."""
        room, found = _TOLD_BYTES, []
        for point in sorted(self.points, key=lambda point: -(point.step.gain or 0.0)):
            if point.kind in KEPT:
                room -= len(escape(self.say(point)).encode()) + 70
                if room < 0:
                    break
                found.append(point)
        return sorted(found, key=lambda point: point.step.tried.index)


def draw(story: Story, sessions: Mapping[str, str | None], *, is_frontier: bool = False) -> Picture:
    """The picture of a story; `sessions` are their tags by id. With `is_frontier` only what moved the running best."""
    steps = [step for step in story.steps if step.is_best or not is_frontier]
    words = Words(story, steps, is_frontier=is_frontier)
    if not steps:
        nothing = "Nothing is kept" if story.steps else "No experiment"
        return _picture(words, message=f"{nothing} yet: the first one will stand here.")
    across = Across(steps[0].tried.index, steps[-1].tried.index)
    order = {session: number for number, session in enumerate(dict.fromkeys(step.tried.session_id for step in steps))}
    beginnings = _marks.beginnings_of(steps, across, order, sessions)
    scored = [step for step in steps if score_of(step, story.metric) is not None]
    up = Up(*bounds(scored, story)) if scored else None
    points = [
        _marks.point_of(step, across, up, order, story.metric)
        for step in steps
        if up is None or not _marks.side_of(step, up, story)
    ]
    common = {
        "is_dense": len(steps) > DENSE,
        "x_ticks": across.ticks(),
        "points": points,
        "beginnings": beginnings,
        "legend": _marks.legend_of(points, is_frontier=is_frontier),
    }
    if up is None:
        return _picture(words, message="No experiment has reached a score yet.", **common)
    corners = _lines.corners(steps, across)
    best, target = _lines.levels(story, up, words)
    arrows = _marks.arrows_of([step for step in steps if _marks.side_of(step, up, story)], across, up, story, words)
    stairs = list(pairwise(_lines.stairs(corners, up)))
    better = 1 if story.lower_is_better else -1
    wishes = _wishes(points, story)

    def placed(radius: float, size: float, characters: int, most: int, marks: Iterable[Box]) -> list[Label]:
        board = _board(points, arrows, stairs, target, radius)
        board.take(marks)
        named = [Wish(point.x, point.y, text.cut(words.label(point.step), characters)) for point in wishes]
        return labels.place(board, named, size=size, radius=radius, better=better, most=most)

    y_ticks = up.ticks()
    return _picture(
        words,
        y_ticks=y_ticks,
        staircase=_lines.path(_lines.stairs(corners, up), is_dense=common["is_dense"] is True),
        band=_lines.band(corners, up, story),
        target=target,
        best=best,
        arrows=arrows,
        labels=placed(5, _SIZE, _CHARACTERS, _LABELS, (Box(0, t.at - 9, LEFT - 6, t.at + 7) for t in y_ticks)),
        # In a small place the numbers of the axis stand upon their lines.
        small_labels=placed(
            *(10, _SMALL_SIZE, _SMALL_CHARACTERS, _SMALL_LABELS),
            (Box(0, t.at - 28, 20 + text.width(t.label, 22), t.at) for t in y_ticks if t.is_small),
        ),
        **common,
    )


def _picture(words: Words, **parts: Any) -> Picture:
    return Picture(
        title=words.title(is_small=False),
        subtitle=words.subtitle(is_small=False),
        small_title=words.title(is_small=True),
        small_subtitle=words.subtitle(is_small=True),
        axis=words.axis,
        description=words.description,
        facts=words.facts,
        words=words,
        **parts,
    )


def _wishes(points: Sequence[Point], story: Story) -> list[Point]:
    """The points that should have a label: the best, then what gained most, what was better but dropped, the rest."""
    best = story.best.tried.experiment_id if story.best else None
    order = ("best", "ring", "aside", "noise")

    def weight(point: Point) -> tuple[bool, int, float, int]:
        step = point.step
        return step.tried.experiment_id != best, order.index(point.kind), -(step.gain or 0.0), step.tried.index

    return sorted((point for point in points if point.kind in order), key=weight)[: 2 * _LABELS]


def _board(
    points: Sequence[Point],
    arrows: Sequence[Arrow],
    stairs: Iterable[tuple[tuple[float, float], tuple[float, float]]],
    target: Level | None,
    radius: float,
) -> Board:
    """What labels must keep clear of."""
    board = Board(Box(14, TOP + 6, RIGHT + 4, BOTTOM + 4))
    for (x, y), (next_x, next_y) in stairs:
        board.take([Box(x - 2, min(y, next_y) - 2, next_x + 2, max(y, next_y) + 2)])
    strong: list[Box] = []
    weak: list[Box] = []
    for point in points:
        box = Box(point.x - radius, point.y - radius, point.x + radius, point.y + radius)
        (strong if point.kind in _STRONG else weak).append(box)
    board.take(strong)
    # Left of the axis are its numbers: a label stands there when it has no other place.
    board.note([*weak, Box(0, TOP, LEFT - 8, BOTTOM)])
    for arrow in arrows:
        room = 8 + text.width(arrow.label, 2.2 * radius)
        left = arrow.x - room if arrow.is_before else arrow.x - 8
        board.take([Box(left, arrow.y - 14, left + room + 8, arrow.y + 14)])
    if target is not None:
        board.take([Box(LEFT, target.y - 1, RIGHT, target.y + 1)])
    return board
