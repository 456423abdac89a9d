"""What the picture tells: experiments in order of arrival, and what became of each."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from arwx.frontier import CRASH, KEEP, Noise, Step

UNDECIDED = "undecided"
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
KEPT = ("best", "noise", "aside")
# What is drawn first lies below.
LAYERS = ("drop", "unscored", "crash", UNDECIDED, "ring", "aside", "noise", "best")


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


def score_of(step: Step, metric: str | None) -> float | None:
    verdict = step.tried.verdict
    return verdict.score if verdict is not None and verdict.metric == metric else None


def kind_of(step: Step, metric: str | None) -> str:
    verdict, score = step.tried.verdict, score_of(step, metric)
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
