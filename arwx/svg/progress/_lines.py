"""The lines of the picture: the staircase of the running best, the band of chance, the levels of best and target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from arwx.frontier import Step
from arwx.svg.progress._scales import BOTTOM, DENSE, RIGHT, TOP, Across, Up, length
from arwx.svg.progress._story import Story
from arwx.svg.progress._words import Words


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


def corners(steps: Sequence[Step], across: Across) -> list[tuple[float, float]]:
    """Where the running best moved, as x and score, and the right edge: a dry spell is to be seen."""
    moved = [(across(step.tried.index), step.best) for step in steps if step.is_best and step.best is not None]
    return [*moved, (RIGHT, moved[-1][1])] if moved else []


def stairs(corners: Sequence[tuple[float, float]], up: Callable[[float], float]) -> list[tuple[float, float]]:
    """The corners of the staircase in the picture."""
    found: list[tuple[float, float]] = []
    for number, (x, score) in enumerate(corners):
        if number:
            found.append((x, found[-1][1]))
        found.append((x, up(score)))
    return found


def path(stairs: Sequence[tuple[float, float]], *, is_dense: bool = False) -> str:
    """A path along lines that are level or upright."""
    if not stairs:
        return ""
    rounded = [(length(x, is_dense=is_dense), length(y, is_dense=is_dense)) for x, y in stairs]
    parts = [f"M{rounded[0][0]} {rounded[0][1]}"]
    for (x, y), (next_x, next_y) in pairwise(rounded):
        parts += [f"H{next_x}"] if next_x != x else []
        parts += [f"V{next_y}"] if next_y != y else []
    return "".join(parts)


def band(corners: Sequence[tuple[float, float]], up: Up, story: Story) -> str:
    """From the running best to where a better score would tell something: what lies between may be chance."""
    if story.noise is None or story.noise.floor <= 0 or not corners or len(corners) > DENSE:
        return ""
    way = -story.noise.floor if story.lower_is_better else story.noise.floor
    return path([*stairs(corners, up), *reversed(stairs(corners, lambda score: up(score + way)))]) + "Z"


def levels(story: Story, up: Up, words: Words) -> tuple[Level | None, Level | None]:
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
