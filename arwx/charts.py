"""Charts: which series of which runs, downsampled, with the goal's metric first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from arwx import points
from arwx.access import Scope
from arwx.errors import invalid
from arwx.runs import RunView

AXES = ("step", "time", "relative")
MIN_SAMPLES, DEFAULT_SAMPLES, MAX_SAMPLES = 2, 500, 5000
SYSTEM = "system/"


@dataclass(frozen=True)
class Chart:
    """One metric of some runs, ready to draw: `x` names the axis, a series holds at most about `samples` points."""

    key: str
    x: str
    series: list[points.Series]
    is_live: bool


def keys(runs: Iterable[RunView], objective: str | None = None, *, with_system: bool = True) -> list[str]:
    """The metrics of these runs: the objective first, then by name, `system/*` last."""
    found = {key for run in runs for key in run.latest if with_system or not key.startswith(SYSTEM)}
    return sorted(found, key=lambda key: (key != objective, key.startswith(SYSTEM), key))


def chart(
    scope: Scope,
    runs: Sequence[RunView],
    key: str,
    *,
    x: str = "step",
    samples: int = DEFAULT_SAMPLES,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Chart:
    """One chart over these runs. The first, last, smallest and largest point of every series are in it."""
    found = series(scope, runs, [key], x=x, samples=samples, min_step=min_step, max_step=max_step)
    return Chart(key, x, found.get(key, []), any(run.is_live for run in runs))


def series(
    scope: Scope,
    runs: Sequence[RunView],
    metrics: Sequence[str],
    *,
    x: str = "step",
    samples: int = DEFAULT_SAMPLES,
    since_step: int | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> dict[str, list[points.Series]]:
    """The series of these metrics by key, one for each run that has the metric, in the order of the runs."""
    if x not in AXES:
        raise invalid("x", f"must be one of {', '.join(AXES)}")
    if not MIN_SAMPLES <= samples <= MAX_SAMPLES:
        raise invalid("samples", f"must be from {MIN_SAMPLES} to {MAX_SAMPLES}")
    return points.series(
        scope.db,
        [points.RunKey(scope.org_id, run.id) for run in runs],
        list(metrics),
        x=x,
        samples=samples,
        since_step=since_step,
        min_step=min_step,
        max_step=max_step,
    )
