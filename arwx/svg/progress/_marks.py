"""What stands in the picture for experiments and sessions: dots, arrows at the edges, beginnings, the legend."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from arwx.frontier import Step
from arwx.svg import text
from arwx.svg.progress._scales import BOTTOM, FOOT, LEFT, RIGHT, TOP, WIDTH, Across, Up, length
from arwx.svg.progress._story import KEPT, LAYERS, UNDECIDED, WORDS, Story, kind_of, score_of
from arwx.svg.progress._words import Words

COLOURS = 7  # for sessions, the first of them the accent

_LINES_APART = 12.0
_ARROWS_APART = 60.0


@dataclass(frozen=True, slots=True)
class Point:
    """An experiment in the picture. `kind` is one of `WORDS`; `colour` is that of its session, for kept ones."""

    x: float
    y: float
    kind: str
    colour: int
    step: Step

    @property
    def is_kept(self) -> bool:
        return self.kind in KEPT


@dataclass(frozen=True, slots=True)
class Arrow:
    """Points beyond the edge of the picture, as many as are near each other there."""

    x: float
    y: float
    is_up: bool
    is_kept: bool
    label: str
    is_before: bool


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a session begins. Without a label where there is no room for one."""

    x: float
    colour: int
    label: str
    has_line: bool


@dataclass(frozen=True, slots=True)
class Key:
    """One kind of mark in the legend, and where it stands."""

    x: float
    kind: str
    label: str

    @property
    def is_kept(self) -> bool:
        return self.kind in KEPT


def side_of(step: Step, up: Up, story: Story) -> int:
    score = score_of(step, story.metric)
    return 0 if score is None else up.side(score)


def point_of(step: Step, across: Across, up: Up | None, order: Mapping[str, int], metric: str | None) -> Point:
    """The mark of one experiment. Those without a score stand below all that have one, at their number."""
    score, kind = score_of(step, metric), kind_of(step, metric)
    y = FOOT if score is None or up is None else up(score)
    colour = order[step.tried.session_id] % COLOURS if kind in KEPT else 0
    return Point(round(across(step.tried.index), 1), round(y, 1), kind, colour, step)


def arrows_of(beyond: Iterable[Step], across: Across, up: Up, story: Story, words: Words) -> list[Arrow]:
    """What lies beyond the edges, neighbours together."""
    groups: dict[int, list[list[Step]]] = {-1: [], 1: []}
    for step in beyond:
        found = groups[side_of(step, up, story)]
        x = across(step.tried.index)
        if found and x - across(found[-1][0].tried.index) < _ARROWS_APART:
            found[-1].append(step)
        else:
            found.append([step])
    return [
        _arrow(side, group, across, words.number(score_of(group[0], story.metric) or 0.0))
        for side, found in groups.items()
        for group in found
    ]


def _arrow(side: int, group: Sequence[Step], across: Across, number: str) -> Arrow:
    x = round(sum(across(step.tried.index) for step in group) / len(group), 1)
    return Arrow(
        x,
        TOP + 2 if side < 0 else BOTTOM - 2,
        is_up=side < 0,
        is_kept=any(step.is_best for step in group),
        label=number if len(group) == 1 else f"{len(group)} ×",
        is_before=x > RIGHT - 70,
    )


def beginnings_of(
    steps: Sequence[Step], across: Across, order: Mapping[str, int], sessions: Mapping[str, str | None]
) -> list[Beginning]:
    """Where the sessions begin, when there are several."""
    if len(order) < 2:
        return []
    firsts: dict[str, int] = {}
    for step in steps:
        firsts.setdefault(step.tried.session_id, step.tried.index)
    found: list[Beginning] = []
    line = end = -math.inf
    for session, index in firsts.items():
        x = across(index) - across.slot / 2
        has_line = order[session] > 0 and x - line >= _LINES_APART
        name = text.cut(sessions.get(session) or f"session {order[session] + 1}", 20)
        label = name if x >= end + 10 and x + text.width(name, 12) < WIDTH - 16 else ""
        if label:
            end = x + text.width(name, 12)
        if has_line:
            line = x
        if label or has_line:
            found.append(Beginning(round(x, 1), order[session] % COLOURS, label, has_line))
    return found


def legend_of(points: Sequence[Point], *, is_frontier: bool) -> list[Key]:
    """The kinds of marks that occur, in one row."""
    seen = {point.kind for point in points}
    keys, x = [], LEFT
    for kind in () if is_frontier and seen <= {"best"} else reversed(LAYERS):
        if kind in seen:
            keys.append(Key(round(x, 1), kind, WORDS[kind]))
            x += 30 + text.width(WORDS[kind], 12)
    return keys


def shape(kind: str, x: float, y: float, *, is_dense: bool = False) -> str:
    """The path of one mark. A dot is a line of no length with round ends."""
    at = f"M{length(x, is_dense=is_dense)} {length(y, is_dense=is_dense)}"
    if kind == "crash":
        return f"{at}m-3.5-3.5l7 7m0-7l-7 7"
    if kind == UNDECIDED:
        return f"{at}m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0"
    if kind == "ring":
        return f"{at}m-6.5 0a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0-13 0"
    return f"{at}h0"
