"""The rules of the running best, as pure functions: what moves the staircase, and which gains may be noise."""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

KEEP, DROP, CRASH = "keep", "drop", "crash"
# Two single runs whose scores have the standard deviation s differ by s·√2; below 1.96 of those, nineteen times of
# twenty, a difference tells nothing.
_TELLING = 1.96 * math.sqrt(2)


# Structs, where a picture of a thousand experiments makes a thousand: a frozen dataclass takes several times as long.
class Verdict(msgspec.Struct, frozen=True):
    """The decision that counts for an experiment. `lower_is_better` is the direction when it was given."""

    status: str
    score: float | None
    metric: str
    lower_is_better: bool
    decided_at: datetime
    decided_by: str


class Tried(msgspec.Struct, frozen=True):
    """An experiment and what became of it. `index` is its true number in the project.

    `repro_key` is None when nothing was recorded that could be repeated.
    """

    index: int
    experiment_id: str
    session_id: str
    note: str | None
    commit: str | None
    repro_key: str | None
    verdict: Verdict | None


class Step(msgspec.Struct, frozen=True):
    """An experiment on the staircase: the running best after it, and whether it moved it.

    `gain` is by how much it did, never negative. `is_within_noise`: repeats differ by as much without any change.
    """

    tried: Tried
    best: float | None
    is_best: bool
    gain: float | None = None
    is_within_noise: bool = False


@dataclass(frozen=True)
class Noise:
    """How much scores of the same code and config differ: the pooled standard deviation of the repeats.

    `floor` is the smallest difference of two scores that tells something. `repeats` counts the scores it rests on.
    """

    deviation: float
    floor: float
    repeats: int


def staircase(tried: Iterable[Tried], metric: str | None, chance: Noise | None) -> list[Step]:
    """The running best in order of arrival; `chance` is the noise of the same experiments.

    Only kept experiments with a score in `metric` can move it, and only when strictly better: a tie does not, and a
    better one that was dropped does not either.
    """
    best: float | None = None
    steps = []
    for one in tried:
        score = _score(one.verdict, metric)
        gain = _gain(one.verdict, score, best)
        if gain is None:
            steps.append(Step(one, best, is_best=False))
        elif best is None:
            steps.append(Step(one, score, is_best=True))
            best = score
        else:
            steps.append(Step(one, score, True, gain, is_within_noise=chance is not None and gain < chance.floor))
            best = score
    return steps


def frontier(steps: Iterable[Step]) -> list[Step]:
    """The steps that moved the running best."""
    return [step for step in steps if step.is_best]


def is_reached(best: float | None, target: float | None, *, lower_is_better: bool) -> bool:
    """Whether the best score has come to the target, or past it."""
    if best is None or target is None:
        return False
    return best <= target if lower_is_better else best >= target


def noise(tried: Iterable[Tried], metric: str | None) -> Noise | None:
    """What repeats (equal `repro_key`) say about chance; None when nothing was tried twice.

    The pooled standard deviation: sqrt(sum of squared distances from each group's mean / degrees of freedom).
    """
    groups: dict[str, list[float]] = {}
    for one in tried:
        score = _score(one.verdict, metric)
        if one.repro_key is not None and score is not None:
            groups.setdefault(one.repro_key, []).append(score)
    repeated = [scores for scores in groups.values() if len(scores) > 1]
    if not repeated:
        return None
    # In parts of the greatest score: the squares of a diverged loss would be no finite numbers.
    unit = max(abs(score) for scores in repeated for score in scores) or 1.0
    squares, freedom = 0.0, 0
    for scores in repeated:
        mean = math.fsum(score / unit for score in scores) / len(scores)
        squares += math.fsum((score / unit - mean) ** 2 for score in scores)
        freedom += len(scores) - 1
    deviation = min(unit * math.sqrt(squares / freedom), sys.float_info.max)
    return Noise(deviation, min(_TELLING * deviation, sys.float_info.max), sum(map(len, repeated)))


def _score(verdict: Verdict | None, metric: str | None) -> float | None:
    """The score in this metric, None when there is none."""
    return verdict.score if verdict is not None and verdict.metric == metric else None


def _gain(verdict: Verdict | None, score: float | None, best: float | None) -> float | None:
    """By how much a kept score betters the best, 0 for the first; None when it does not."""
    if verdict is None or verdict.status != KEEP or score is None:
        return None
    if best is None:
        return 0.0
    gain = best - score if verdict.lower_is_better else score - best
    return gain if gain > 0 else None
