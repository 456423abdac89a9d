"""The columns of the run table: what of a run each of them shows, and what there is to choose from."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from markupsafe import Markup

from arwx import charts, clock, criteria
from arwx.criteria import Read
from arwx.extremes import held
from arwx.models import Project
from arwx.runs import RunView
from arwx.ui.filters import ago, duration, number, plain
from arwx.ui.listing import Group
from arwx.ui.view import View

_METRICS = 3
_CONFIGS = 5
_GROUPABLE = ("group", "job_type", "status", "tags", "commit", "host.hostname")
_FIELDS = {"ran": "Ran", "started": "Started", "seen": "Last seen", "group": "Group", "job_type": "Job type",
           "notes": "Notes", "commit": "Commit", "id": "Id"}  # fmt: skip
_METRIC_KINDS = ("latest", "min", "max")
_TIMES = ("started", "seen")
_WORDS = ("A", "Z")


@dataclass(frozen=True)
class Column:
    """A column. `name` is the field as filters and orders call it; `best` marks the best value of the objective."""

    name: str
    label: str
    title: str
    kind: str
    read: Read
    is_numeric: bool = True
    best: float | None = None
    is_greatest_first: bool = True
    place: int | None = None  # among the pinned ones


@dataclass(frozen=True)
class Cell:
    """What stands in a column for a run, and what more its title says."""

    text: str | Markup
    title: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class Choice:
    """Something that may become a column."""

    name: str
    label: str
    is_on: bool


def of(listed: Sequence[RunView], project: Project, view: View) -> list[Column]:
    """The pinned columns, then the chosen ones; else the objective with a few metrics, config that differs, and times."""
    pinned = [name for name in view.pinned_columns if _is_known(name)]
    others = [name for name in _unpinned(listed, project, view) if name not in pinned]
    places: list[int | None] = [*range(len(pinned)), *[None] * len(others)]
    shown = zip([*pinned, *others], places, strict=True)
    return [replace(_column(name, listed, project), place=place) for name, place in shown]


def _unpinned(listed: Sequence[RunView], project: Project, view: View) -> list[str]:
    if view.shown_columns:
        return [name for name in view.shown_columns if _is_known(name)]
    objective = project.objective_metric
    metrics = charts.keys(listed, objective, with_system=False)
    # What most runs have, and metrics without a prefix, are what people look at first.
    seen = Counter(key for run in listed for key in run.latest)
    metrics = sorted(metrics, key=lambda key: (key != objective, 2 * seen[key] < len(listed), "/" in key))[:_METRICS]
    names = [f"latest.{key}" for key in metrics]
    names += [f"config.{key}" for key in differing(listed)[:_CONFIGS]]
    return [*names, "started", "ran"]


def cells(columns: Sequence[Column], run: RunView) -> list[Cell]:
    """What the run shows in these columns."""
    now = clock.now()
    return [_cell(column, column.read(run, now)) for column in columns]


def group_cells(columns: Sequence[Column], group: Group) -> list[Cell]:
    """What a group shows: the mean of numbers, with their bounds in the title; the value that all runs share."""
    now = clock.now()
    found = []
    for column in columns:
        values = [value for run in group.runs if (value := column.read(run, now)) is not None]
        numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if column.kind in {"metric", "duration"} and numbers:
            mean, ends = math.fsum(map(held, numbers)) / len(numbers), (min(numbers), max(numbers))
            said = [duration(n) if column.kind == "duration" else number(n) for n in (mean, *ends)]
            found.append(Cell(said[0], f"mean of {len(numbers)}, from {said[1]} to {said[2]}"))
        elif values and isinstance(values[0], datetime):
            found.append(Cell(ago(max(values)), "the newest of them"))
        elif values and all(value == values[0] for value in values):
            found.append(_cell(column, values[0]))
        else:
            found.append(Cell(f"{len({repr(v) for v in values})} values" if values else "–"))
    return found


def differing(listed: Sequence[RunView]) -> list[str]:
    """The config entries in which the runs differ; all of them when there is only one run."""
    configs = [flat(run.config) for run in listed]
    names = dict.fromkeys(name for config in configs for name in config)
    if len(listed) == 1:
        return list(names)
    return [name for name in names if len({repr(config.get(name)) for config in configs}) > 1]


def groupable(listed: Sequence[RunView], view: View) -> list[str]:
    """The fields by which runs may be grouped."""
    found = [f"config.{name}" for name in differing(listed)] + list(_GROUPABLE)
    return found if not view.by or view.by in found else [view.by, *found]


def orders(columns: Sequence[Column], chosen: str) -> list[tuple[str, str]]:
    """The orders in which runs may stand, with their words: newest first, then by each column, either way."""
    found = {"": "newest first"}
    for column in columns:
        up, down = (
            ("oldest", "newest") if column.name in _TIMES else ("lowest", "highest") if column.is_numeric else _WORDS
        )
        ways = [(column.name, up), (f"-{column.name}", down)]
        for name, way in reversed(ways) if column.is_greatest_first else ways:
            found[name] = f"{column.label}, {way} first"
    # An order that no column stands for, such as one of a link, is said as it is.
    return list(found.items()) if chosen in found else [*found.items(), (chosen, chosen)]


def choices(listed: Sequence[RunView], columns: Sequence[Column]) -> list[tuple[str, list[list[Choice]]]]:
    """Everything that may become a column, by kind: a metric as a row of its last, smallest and greatest value."""
    on = {column.name for column in columns}

    def row(names: Iterable[tuple[str, str]]) -> list[Choice]:
        return [Choice(name, label, name in on) for name, label in names]

    metrics = charts.keys(listed)
    configs = dict.fromkeys(name for run in listed for name in flat(run.config))
    summaries = dict.fromkeys(name for run in listed for name in flat(run.summary))
    found = [
        ("Metrics", [row((f"{kind}.{key}", key) for kind in _METRIC_KINDS) for key in metrics]),
        ("Config", [row([(f"config.{name}", name)]) for name in configs]),
        ("Summary", [row([(f"summary.{name}", name)]) for name in summaries]),
        ("About the run", [row([item]) for item in _FIELDS.items()]),
    ]
    return [(title, rows) for title, rows in found if rows]


def flat(tree: dict[str, Any], stem: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted names: `{"opt": {"lr": 1}}` is `{"opt.lr": 1}`."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{stem}{name}.")
        else:
            found[f"{stem}{name}"] = value
    return found


def _is_known(name: str) -> bool:
    space, _, key = name.partition(".")
    return name in criteria.FIELDS or (space in criteria.SPACES and bool(key))


def _column(name: str, listed: Sequence[RunView], project: Project) -> Column:
    space, _, key = name.partition(".")
    read = criteria.reader(name)
    if space in _METRIC_KINDS and key:
        words = {"latest": "Last value of", "min": "Smallest value of", "max": "Greatest value of"}[space]
        is_objective = key == project.objective_metric
        best = _best(listed, read, project) if is_objective else None
        first = not (is_objective and project.lower_is_better)
        label = key if space == "latest" else f"{space} {key}"
        return Column(name, label, f"{words} {key}", "metric", read, best=best, is_greatest_first=first)
    if not key:
        kind = "duration" if name in {"ran", "age"} else "text"
        return Column(name, _FIELDS.get(name, name), _FIELDS.get(name, name), kind, read, kind == "duration")
    now = clock.now()
    values = [read(run, now) for run in listed]
    is_numeric = all(value is None or isinstance(value, int | float) for value in values)
    return Column(name, key, f"{space.capitalize()}: {key}", space, read, is_numeric)


def _best(listed: Sequence[RunView], read: Read, project: Project) -> float | None:
    """The best value of the objective, to be marked where there are several to choose from."""
    now = clock.now()
    values: list[float] = [v for run in listed if (v := read(run, now)) is not None and math.isfinite(v)]
    if len(values) < 2:
        return None
    return min(values) if project.lower_is_better else max(values)


def _cell(column: Column, value: Any) -> Cell:
    if value is None or value == []:
        return Cell("–")
    if column.kind == "metric":
        return Cell(number(value), str(value), value == column.best)
    if column.kind == "duration":
        return Cell(duration(value))
    if isinstance(value, datetime):
        return Cell(ago(value))
    text = ", ".join(map(str, value)) if isinstance(value, list) and column.kind == "text" else plain(value)
    return Cell(text, text if len(text) > 18 else "")
