"""The progress picture: every experiment at its true number, the running best as a staircase, target and chance.

Scores in, geometry out; `templates/experiments/_picture.svg` turns it into elements. Lengths are in the units of a view
box of a fixed size. Words are set twice where they must be: for a wide place, and bigger and fewer for a small one.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any, ClassVar, Protocol

from arwx.frontier import CRASH, DROP, KEEP, Noise, Step
from arwx.svg import labels, text, ticks
from arwx.svg.labels import Board, Box, Label, Wish

WIDTH, HEIGHT = 960, 510
LEFT, RIGHT, TOP, BOTTOM = 66.0, 850.0, 108.0, 414.0
FOOT, AXIS = 429.0, 444.0
COLOURS = 7  # for sessions, the first of them the accent
UNDECIDED = "undecided"

_LABELS, _CHARACTERS, _SIZE = 12, 45, 12.5
_SMALL_LABELS, _SMALL_CHARACTERS, _SMALL_SIZE = 4, 24, 23.0
# Above so many experiments dots are small and lie on whole pixels.
_DENSE = 250
_TOLD_BYTES = 10_000
_STEPS_TOLD = 250
_LINES_APART = 12.0
_ARROWS_APART = 60.0
_FARTHEST, _LEAST = 1e300, 1e-300


class Story(Protocol):
    """What is drawn: the experiments of a project or of a session in order of arrival."""

    @property
    def project(self) -> str: ...
    @property
    def metric(self) -> str | None: ...
    @property
    def lower_is_better(self) -> bool: ...
    @property
    def target(self) -> float | None: ...
    @property
    def steps(self) -> Sequence[Step]: ...
    @property
    def noise(self) -> Noise | None: ...
    @property
    def best(self) -> Step | None: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def is_target_reached(self) -> bool: ...


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
        return self.kind in _KEPT


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
class Level:
    """A height with its number in the right margin: the running best, or the target. `edge` is -1 for a level above
    the picture, 1 for one below it, 0 within.
    """

    y: float
    number: str
    label_y: float
    small_label_y: float
    edge: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick: where on its axis, and what it says. In a small place only some are shown."""

    at: float
    label: str
    is_small: bool


@dataclass(frozen=True, slots=True)
class Key:
    """One kind of mark in the legend, and where it stands."""

    x: float
    kind: str
    label: str

    @property
    def is_kept(self) -> bool:
        return self.kind in _KEPT


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
    words: "_Words"
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
        return sorted(self.points, key=lambda point: _LAYERS.index(point.kind))

    @property
    def dots(self) -> list[tuple[str, int, str]]:
        """Kind, colour and one path for all points of both: a thousand points are a few kilobytes."""
        found: dict[tuple[int, int], dict[str, None]] = {}
        for point in self.points:
            for kind in (point.kind, "drop") if point.kind == "ring" else (point.kind,):
                group = found.setdefault((_LAYERS.index(kind), point.colour), {})
                group[shape(kind, point.x, point.y, is_dense=self.is_dense)] = None
        return [(_LAYERS[layer], colour, "".join(group)) for (layer, colour), group in sorted(found.items())]

    @property
    def told(self) -> list[Point]:
        """The kept points that say in words what they are, those with the greatest gains first: words take room."""
        room, found = _TOLD_BYTES, []
        for point in sorted(self.points, key=lambda point: -(point.step.gain or 0.0)):
            if point.kind in _KEPT:
                room -= len(escape(self.say(point)).encode()) + 70
                if room < 0:
                    break
                found.append(point)
        return sorted(found, key=lambda point: point.step.tried.index)


WORDS = {
    "best": "kept",
    "noise": "kept, gain within noise",
    "aside": "kept, not better",
    "drop": "dropped",
    "ring": "better, but dropped",
    "crash": "crashed",
    UNDECIDED: "undecided",
    "unscored": "no score",
}
_KEPT = ("best", "noise", "aside")
# What is drawn first lies below.
_LAYERS = ("drop", "unscored", "crash", UNDECIDED, "ring", "aside", "noise", "best")


def draw(story: Story, sessions: Mapping[str, str | None], *, is_frontier: bool = False) -> Picture:
    """The picture of a story; `sessions` are their tags by id. With `is_frontier` only what moved the running best."""
    steps = [step for step in story.steps if step.is_best or not is_frontier]
    words = _Words(story, steps, is_frontier=is_frontier)
    if not steps:
        return _picture(words, message="No experiment yet: the first one will stand here.")
    across = _Across(steps[0].tried.index, steps[-1].tried.index)
    order = {session: number for number, session in enumerate(dict.fromkeys(step.tried.session_id for step in steps))}
    beginnings = _beginnings(steps, across, order, sessions)
    scored = [step for step in steps if _score(step, story.metric) is not None]
    up = _Up(*_bounds(scored, story)) if scored else None
    points = [
        _point(step, across, up, order, story.metric) for step in steps if up is None or not _side(step, up, story)
    ]
    common = {
        "is_dense": len(steps) > _DENSE,
        "x_ticks": across.ticks(),
        "points": points,
        "beginnings": beginnings,
        "legend": _legend(points, is_frontier=is_frontier),
    }
    if up is None:
        return _picture(words, message="No experiment has reached a score yet.", **common)
    corners = _corners(steps, across)
    best, target = _levels(story, up, words)
    arrows = _arrows([step for step in steps if _side(step, up, story)], across, up, story, words)
    stairs = list(pairwise(_stairs(corners, up)))
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
        staircase=_path(_stairs(corners, up), is_dense=common["is_dense"] is True),
        band=_band(corners, up, story),
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


def shape(kind: str, x: float, y: float, *, is_dense: bool = False) -> str:
    """The path of one mark. A dot is a line of no length with round ends."""
    at = f"M{_number(x, is_dense=is_dense)} {_number(y, is_dense=is_dense)}"
    if kind == "crash":
        return f"{at}m-3.5-3.5l7 7m0-7l-7 7"
    if kind == UNDECIDED:
        return f"{at}m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0"
    if kind == "ring":
        return f"{at}m-6.5 0a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0-13 0"
    return f"{at}h0"


# Scales ---------------------------------------------------------------------------------------------------------------


class _Across:
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


class _Up:
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


def _bounds(scored: Sequence[Step], story: Story) -> tuple[float, float]:
    """Which scores the picture spans: the middle half and the staircase, with whatever is not far from them.

    One score that is far out must not press all others into a line; it becomes an arrow at the edge.
    """
    scores = sorted(max(-_FARTHEST, min(_score(step, story.metric) or 0.0, _FARTHEST)) for step in scored)
    # The quartiles: a quarter of all may be nonsense, and they stay where they are.
    spare = len(scores) // 4
    low, high = scores[spare], scores[-1 - spare]
    bests = [step.best for step in scored if step.is_best and step.best is not None]
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


# Marks ----------------------------------------------------------------------------------------------------------------


def _score(step: Step, metric: str | None) -> float | None:
    verdict = step.tried.verdict
    return verdict.score if verdict is not None and verdict.metric == metric else None


def _kind(step: Step, metric: str | None) -> str:
    verdict, score = step.tried.verdict, _score(step, metric)
    if verdict is None:
        return UNDECIDED
    if verdict.status == CRASH:
        return "crash"
    if score is None:
        return "unscored"
    if verdict.status == KEEP:
        return "noise" if step.is_within_noise else "best" if step.is_best else "aside"
    is_better = step.best is not None and (score < step.best if verdict.lower_is_better else score > step.best)
    return "ring" if is_better else "drop"


def _side(step: Step, up: _Up, story: Story) -> int:
    score = _score(step, story.metric)
    return 0 if score is None else up.side(score)


def _point(step: Step, across: _Across, up: _Up | None, order: Mapping[str, int], metric: str | None) -> Point:
    """The mark of one experiment. Those without a score stand below all that have one, at their number."""
    score, kind = _score(step, metric), _kind(step, metric)
    y = FOOT if score is None or up is None else up(score)
    colour = order[step.tried.session_id] % COLOURS if kind in _KEPT else 0
    return Point(round(across(step.tried.index), 1), round(y, 1), kind, colour, step)


def _arrows(beyond: Iterable[Step], across: _Across, up: _Up, story: Story, words: "_Words") -> list[Arrow]:
    """What lies beyond the edges, neighbours together."""
    groups: dict[int, list[list[Step]]] = {-1: [], 1: []}
    for step in beyond:
        found = groups[_side(step, up, story)]
        x = across(step.tried.index)
        if found and x - across(found[-1][0].tried.index) < _ARROWS_APART:
            found[-1].append(step)
        else:
            found.append([step])
    return [
        _arrow(side, group, across, words.number(_score(group[0], story.metric) or 0.0))
        for side, found in groups.items()
        for group in found
    ]


def _arrow(side: int, group: Sequence[Step], across: _Across, number: str) -> Arrow:
    x = round(sum(across(step.tried.index) for step in group) / len(group), 1)
    return Arrow(
        x,
        TOP + 2 if side < 0 else BOTTOM - 2,
        is_up=side < 0,
        is_kept=any(step.is_best for step in group),
        label=number if len(group) == 1 else f"{len(group)} ×",
        is_before=x > RIGHT - 70,
    )


def _beginnings(
    steps: Sequence[Step], across: _Across, order: Mapping[str, int], sessions: Mapping[str, str | None]
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


# Lines ----------------------------------------------------------------------------------------------------------------


def _corners(steps: Sequence[Step], across: _Across) -> list[tuple[float, float]]:
    """Where the running best moved, as x and score, and the right edge: a dry spell is to be seen."""
    moved = [(across(step.tried.index), step.best) for step in steps if step.is_best and step.best is not None]
    return [*moved, (RIGHT, moved[-1][1])] if moved else []


def _stairs(corners: Sequence[tuple[float, float]], up: Callable[[float], float]) -> list[tuple[float, float]]:
    """The corners of the staircase in the picture."""
    found: list[tuple[float, float]] = []
    for number, (x, score) in enumerate(corners):
        if number:
            found.append((x, found[-1][1]))
        found.append((x, up(score)))
    return found


def _path(stairs: Sequence[tuple[float, float]], *, is_dense: bool = False) -> str:
    """A path along lines that are level or upright."""
    if not stairs:
        return ""
    rounded = [(_number(x, is_dense=is_dense), _number(y, is_dense=is_dense)) for x, y in stairs]
    parts = [f"M{rounded[0][0]} {rounded[0][1]}"]
    for (x, y), (next_x, next_y) in pairwise(rounded):
        parts += [f"H{next_x}"] if next_x != x else []
        parts += [f"V{next_y}"] if next_y != y else []
    return "".join(parts)


def _band(corners: Sequence[tuple[float, float]], up: _Up, story: Story) -> str:
    """From the running best to where a better score would tell something: what lies between may be chance."""
    if story.noise is None or story.noise.floor <= 0 or not corners or len(corners) > _DENSE:
        return ""
    way = -story.noise.floor if story.lower_is_better else story.noise.floor
    return _path([*_stairs(corners, up), *reversed(_stairs(corners, lambda score: up(score + way)))]) + "Z"


def _levels(story: Story, up: _Up, words: "_Words") -> tuple[Level | None, Level | None]:
    """The running best and the target, their numbers in the right margin apart from each other."""
    best, target = story.best, story.target
    reached = best.best if best else None

    def level(score: float, y: float, small_y: float) -> Level:
        return Level(round(up(score), 1), words.number(score), y, small_y, up.side(score))

    if reached is None or target is None:
        alone = [None if score is None else level(score, up(score), up(score)) for score in (reached, target)]
        return alone[0], alone[1]
    best_y, target_y = up(reached), up(target)
    is_above = target_y < best_y or (target_y == best_y and not story.lower_is_better)
    wide, small = _apart(best_y, target_y, 18, is_above=is_above), _apart(best_y, target_y, 29, is_above=is_above)
    return level(reached, wide[0], small[0]), level(target, wide[1], small[1])


def _apart(fixed: float, other: float, least: float, *, is_above: bool) -> tuple[float, float]:
    """Two heights, at least so far from each other; the first stays as long as the second has room."""
    sign = -1 if is_above else 1
    moved = min(max(fixed + sign * max(abs(other - fixed), least), TOP), BOTTOM)
    return round(moved - sign * max(abs(moved - fixed), least), 1), round(moved, 1)


# Words ----------------------------------------------------------------------------------------------------------------


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
    for point in points:
        box = Box(point.x - radius, point.y - radius, point.x + radius, point.y + radius)
        if point.kind in {*_KEPT, "ring"}:
            board.take([box])
        else:
            board.note([box])
    for arrow in arrows:
        room = 8 + text.width(arrow.label, 2.2 * radius)
        left = arrow.x - room if arrow.is_before else arrow.x - 8
        board.take([Box(left, arrow.y - 14, left + room + 8, arrow.y + 14)])
    if target is not None:
        board.take([Box(LEFT, target.y - 1, RIGHT, target.y + 1)])
    return board


def _legend(points: Sequence[Point], *, is_frontier: bool) -> list[Key]:
    """The kinds of marks that occur, in one row."""
    seen = {point.kind for point in points}
    keys, x = [], LEFT
    for kind in () if is_frontier and seen <= {"best"} else reversed(_LAYERS):
        if kind in seen:
            keys.append(Key(round(x, 1), kind, WORDS[kind]))
            x += 30 + text.width(WORDS[kind], 12)
    return keys


class _Words:
    """How the story is told: as many digits as its numbers need to be told apart."""

    def __init__(self, story: Story, steps: Sequence[Step], *, is_frontier: bool) -> None:
        self._story, self._steps, self._is_frontier = story, steps, is_frontier
        self._metric = text.cut(story.metric or "score", 28)
        self._firsts = [step.best for step in steps if step.is_best and step.best is not None]
        self._digits = 4
        told = {*self._firsts[:1], *self._firsts[-1:], *([] if story.target is None else [story.target])}
        while self._digits < 8 and len({self.number(score) for score in told}) < len(told):
            self._digits += 1

    def number(self, value: float) -> str:
        return ticks.compact(value) if 1e4 <= abs(value) < 1e15 else ticks.significant(value, self._digits)

    def label(self, step: Step) -> str:
        return text.clean((step.tried.note or "")[:400]) or f"#{step.tried.index}"

    def of(self, step: Step, judged: str) -> str:
        """The whole truth about one experiment in a line."""
        score = _score(step, self._story.metric)
        said = [f"#{step.tried.index} {judged}", *([] if score is None else [self.number(score)])]
        gain = [f"gain {ticks.significant(step.gain, 3)}"] if step.gain else []
        note = [text.cut(step.tried.note, 160)] if step.tried.note else []
        return " · ".join([" ".join(said), *gain, *note])

    @property
    def _many(self) -> str:
        count, noun = len(self._steps), "step" if self._is_frontier else "experiment"
        return f"{count:,} {noun}{'' if count == 1 else 's'}"

    @property
    def _gap(self) -> str:
        """How far the target is, as the end of a sentence."""
        story = self._story
        if story.target is None or story.best is None or story.best.best is None:
            return ""
        if story.is_target_reached:
            return "target reached"
        return f"{ticks.significant(abs(story.best.best - story.target), 3)} to target"

    def title(self, *, is_small: bool) -> str:
        """What happened, with the numbers."""
        if not self._firsts:
            return (
                f"{self._metric}: {self._many}, no score yet" if self._steps else f"{self._metric}: no experiment yet"
            )
        first, best = self.number(self._firsts[0]), self.number(self._firsts[-1])
        moved = f"{self._metric} {first} → {best}" if len(self._firsts) > 1 else f"{self._metric} {best}"
        if is_small:
            return f"{text.cut(self._metric, 16)} {best}" + (f", {self._gap}" if self._gap else f" in {self._many}")
        return f"{moved} in {self._many}" + (f", {self._gap}" if self._gap else "")

    def subtitle(self, *, is_small: bool) -> str:
        """Whose story it is, the counts and the share of what was kept."""
        counts = self._story.counts
        parts = [("kept", KEEP), ("dropped", DROP), ("crashed", CRASH), (UNDECIDED, UNDECIDED)]
        told = [f"{counts[status]:,} {word}" for word, status in parts if counts.get(status)]
        if is_small:
            return text.cut(" · ".join(told[:3]) or self._story.project, 44)
        judged = counts.get(KEEP, 0) + counts.get(DROP, 0)
        rate = [f"keep rate {round(100 * counts[KEEP] / judged)} %"] if judged else []
        noise = self._story.noise
        chance = [f"noise ±{ticks.significant(noise.deviation, 2)} in {noise.repeats} repeats"] if noise else []
        return " · ".join([text.cut(self._story.project, 40), ", ".join(told) or "nothing yet", *rate, *chance])

    @property
    def axis(self) -> str:
        return f"{self._metric} ({'lower' if self._story.lower_is_better else 'higher'} is better)"

    @property
    def description(self) -> str:
        """For those who do not see the picture."""
        moved = [step for step in self._steps if step.is_best and step.best is not None][-20:]
        steps = [f"#{step.tried.index} {self.number(step.best or 0.0)}" for step in moved]
        told = f" The running best: {', '.join(steps)}." if steps else ""
        return f"{self.axis}. {self.subtitle(is_small=False)}.{told}"

    @property
    def facts(self) -> str:
        """The same for programs."""
        story, best = self._story, self._story.best
        moved = [step for step in self._steps if step.is_best]
        told = {
            "project": story.project,
            "metric": story.metric,
            "lower_is_better": story.lower_is_better,
            "target": story.target,
            "target_reached": story.is_target_reached,
            "experiments": len(story.steps),
            "counts": dict(story.counts),
            "best": None if best is None else {"index": best.tried.index, "score": best.best},
            "noise": None if story.noise is None else {"deviation": story.noise.deviation, "floor": story.noise.floor},
            # The newest steps of the running best, as true number and score.
            "frontier": [[step.tried.index, step.best] for step in moved[-_STEPS_TOLD:]],
        }
        return json.dumps(told, separators=(",", ":"))


def _picture(words: _Words, **parts: Any) -> Picture:
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


def _number(value: float, *, is_dense: bool = False) -> str:
    """A length as short as it goes."""
    return f"{value:.0f}" if is_dense else f"{value:.1f}".removesuffix(".0")
