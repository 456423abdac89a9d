"""The charts of a page: of which runs, in which sections, each as a figure with its words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import g, url_for

from arwx import charts
from arwx.charts import Chart, Curve, Reading
from arwx.models import Project
from arwx.patterns import Fault, Pattern
from arwx.points import SYSTEM
from arwx.runs import RunView
from arwx.svg import line, palette, ticks
from arwx.ui import is_fragment, listing
from arwx.ui.listing import MOST_IN_MEANS, Group, Listing
from arwx.ui.view import OF_CHART, OF_RUNS, View

# What a page draws by itself, so that it says something without script; the rest comes as it is scrolled to.
_SERIES_IN_PAGE = 60
_FIGURES_IN_PAGE = 6
_NAMED_AT_MOST = 6
_HEIGHTS = {"s": 112, "m": 176, "l": 296}
_TITLES = {"": "", "pinned": "Pinned", "system": "System"}
# Parts of one name that belong beside each other: `train/loss` and `val/loss`.
_TWINS = ("train", "training", "val", "valid", "validation", "eval", "test", "dev")


@dataclass(frozen=True)
class Figure:
    """One drawn chart with the words around it."""

    key: str
    chart: Chart
    drawing: line.Drawing
    summary: str
    nonfinite: int


@dataclass(frozen=True)
class Slot:
    """The place of a chart in a page: `figure` is there when the page draws it at once."""

    key: str
    source: str
    figure: Figure | None
    is_pinned: bool = False

    def other(self, endpoint: str) -> str:
        """The same chart in another form: `values`, `chart.csv`, `chart.svg`."""
        return self.source.replace("/chart?", f"/{endpoint}?", 1)


@dataclass(frozen=True)
class Section:
    """Charts whose metrics share the part before the first `/`."""

    name: str
    title: str
    slots: list[Slot]
    is_open: bool


@dataclass(frozen=True)
class Shown:
    """Which runs a page draws, and how. `run` is set on the page of a single one, `chosen` where runs were named."""

    project: str
    runs: list[RunView]
    looks: Mapping[str, str]
    view: View
    run: str | None = None
    chosen: tuple[str, ...] = ()
    groups: Mapping[str, str] | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def address(self, key: str) -> str:
        """Where the chart of this metric comes from. Runs that the database cannot find alone are named."""
        wanted = OF_CHART if self.run or self.chosen else (*OF_CHART, *OF_RUNS)
        args: dict[str, Any] = {n: v for n, v in self.over(key).args.items() if n in wanted}
        if self.chosen:
            args |= {n: v for n, v in self.view.args.items() if n in {"hide", "only"}}
        chosen = ",".join(self.chosen) or None
        return url_for("ui.chart", name=self.project, key=key, run=self.run, runs=chosen, **args)

    @property
    def is_cut(self) -> bool:
        """Whether the means of groups leave out runs: only the newest ones are read."""
        return self.groups is not None and len(self.runs) < len(self.groups)

    def over(self, key: str) -> View:
        """The view as it holds for one metric: `system/*` has steps of its own, which mean nothing to anybody."""
        return self.view.but(x="relative") if key.startswith(SYSTEM) and self.view.x == "step" else self.view


def shown_of(project: Project, choice: View, listed: Listing) -> Shown:
    """What the charts beside a table draw: its runs but the hidden ones, or one mean for each of its groups."""
    choice = choice.within(listed.ids)
    if listed.groups is not None:
        return _shown_groups(project, choice, listed.groups)
    is_plain = listing.wanted(choice).is_plain if listed.fault is None else True
    return Shown(
        project=project.name,
        runs=[run for run in listed.runs if choice.shows(run.id)],
        looks=palette.looks(run.id for run in listed.runs),
        view=choice,
        chosen=() if is_plain else tuple(run.id for run in listed.runs),
        names={run.id: run.name for run in listed.runs},
    )


def shown_runs(project: Project, choice: View, found: list[RunView], run: str | None = None) -> Shown:
    """What charts of named runs draw: one run, or some that are compared."""
    return Shown(
        project=project.name,
        runs=[one for one in found if choice.shows(one.id)],
        looks=palette.looks(one.id for one in found),
        view=choice,
        run=run,
        chosen=() if run else tuple(one.id for one in found),
        names={one.id: one.name for one in found},
    )


def sections(shown: Shown, objective: str | None) -> tuple[list[Section], str]:
    """The charts of a page in their sections, and what is wrong with the search for metrics, if anything.

    Pinned ones come first, then the objective and metrics without a prefix, then prefixes by name, System last.
    """
    try:
        pattern = Pattern(shown.view.metrics)
    except Fault as fault:
        return [], str(fault)
    grouped: dict[str, list[str]] = {}
    keys = [key for key in charts.keys(shown.runs, objective) if pattern.search(key)]
    prefixes = Counter(key.partition("/")[0] for key in keys if "/" in key and key != objective)
    for key in keys:
        name = "pinned" if key in shown.view.pins else _section(key, objective, prefixes)
        grouped.setdefault(name, []).append(key)
    order = sorted(grouped, key=lambda name: (name != "pinned", name != "", name == "system", name))
    at_once = 0 if is_fragment() else max(1, min(_FIGURES_IN_PAGE, _SERIES_IN_PAGE // max(1, len(shown.runs))))
    found = []
    for name in order:
        is_closed = name == "system" and len(order) > 1
        is_open = name in shown.view.opened if is_closed else name not in shown.view.closed
        if name == "pinned":
            grouped[name].sort(key=shown.view.pins.index)
        elif "·" in name:
            grouped[name].sort(key=_beside_its_twin)
        slots = []
        for key in grouped[name]:
            is_drawn = (at_once > 0 and is_open) or (shown.view.is_complete and not is_fragment())
            at_once -= is_drawn
            slots.append(slot_of(shown, key, is_drawn=is_drawn))
        found.append(Section(name or "main", _TITLES.get(name, name), slots, is_open))
    return found, ""


def first_slots(shown: Shown, objective: str | None, most: int) -> list[Slot]:
    """The charts that say most, for a page that is not about charts: the objective first, drawn when they come in sight."""
    keys = charts.keys(shown.runs, objective, with_system=False)
    return [slot_of(shown, key, is_drawn=key == objective and not is_fragment()) for key in keys[:most]]


def slot_of(shown: Shown, key: str, *, is_drawn: bool) -> Slot:
    """The place of one metric."""
    size = line.Size(height=_HEIGHTS[shown.view.size])
    figure = figure_of(shown, key, size) if is_drawn else None
    return Slot(key, shown.address(key), figure, key in shown.view.pins)


def figure_of(shown: Shown, key: str, size: line.Size) -> Figure:
    """The chart of one metric, drawn."""
    found = chart_of(shown, key)
    choice = shown.over(key)
    axes = line.Axes(
        is_log=choice.is_log,
        is_log_x=choice.xs == "log" and found.x != "time",
        window=choice.zoom,
        low=choice.y_low,
        high=choice.y_high,
        is_clipped=choice.is_clipped,
    )
    holes = [(hole.run_id, hole.x, hole.until, _hole_words(hole, shown)) for hole in found.holes]
    drawing = line.draw(found, size, axes, holes)
    nonfinite = sum(run.latest[key].nonfinite for run in shown.runs if key in run.latest)
    return Figure(key, found, drawing, _summary(found, shown), nonfinite)


def chart_of(shown: Shown, key: str) -> Chart:
    """The data of one metric, as the view asks for it."""
    choice = shown.over(key)
    reading = Reading(choice.x_kind, choice.x_metric, choice.zoom, choice.smooth)
    return charts.chart(g.scope, shown.runs, key, reading, shown.groups)


def _shown_groups(project: Project, choice: View, groups: list[Group]) -> Shown:
    drawn = [group for group in groups if choice.shows(group.id)]
    of = {run.id: group.id for group in drawn for run in group.runs}
    newest = sorted((run for group in drawn for run in group.runs), key=lambda run: run.created_at, reverse=True)
    return Shown(
        project=project.name,
        runs=newest[:MOST_IN_MEANS],
        looks=palette.looks(group.id for group in groups),
        view=choice,
        groups=of,
        names={group.id: group.name for group in groups},
    )


def _hole_words(hole: charts.Hole, shown: Shown) -> str:
    """Which values were lost to the drawing. Of what kind each was is not stored."""
    at = f"step {hole.first_step:,}"
    if hole.first_step < hole.last_step:
        at = f"between steps {hole.first_step:,} and {hole.last_step:,}"
    return f"{shown.names[hole.run_id]}: {_plural(hole.count, 'value')} NaN or infinite, {at}"


def _section(key: str, objective: str | None, prefixes: Mapping[str, int]) -> str:
    """The part before the first `/`; but twins are together, and what is alone with its prefix needs no section."""
    if key == objective:
        return ""
    prefix, slash, _ = key.partition("/")
    twins = [twin for twin in _TWINS if twin in prefixes]
    if prefix in twins and len(twins) > 1:
        return " · ".join(twins)
    return prefix if slash and (prefixes[prefix] > 1 or prefix == "system") else ""


def _beside_its_twin(key: str) -> tuple[str, int]:
    prefix, _, rest = key.partition("/")
    return rest, _TWINS.index(prefix)


def _summary(found: Chart, shown: Shown) -> str:
    """The chart in words, for those who do not see it."""
    over = {"step": "step", "time": "time", "relative": "time since the start"}
    axis = over.get(found.x) or shown.over(found.key).x_metric
    noun = "run" if shown.groups is None else "group"
    said = [f"{found.key} over {axis}, {_plural(len(found.series), noun)}."]
    said += [_in_words(curve, shown) for curve in found.series[:_NAMED_AT_MOST] if len(curve.values)]
    if len(found.series) > _NAMED_AT_MOST:
        said.append(f"And {len(found.series) - _NAMED_AT_MOST} more.")
    said += [f"{_hole_words(hole, shown)}." for hole in found.holes[:_NAMED_AT_MOST]]
    return " ".join(said)


def _in_words(curve: Curve, shown: Shown) -> str:
    ends = (curve.values[-1], curve.lows.min(), curve.highs.max())
    last, low, high = (ticks.significant(float(value)) for value in ends)
    counted = _plural(curve.count, "point" if shown.groups is None else "run")
    return f"{shown.names[curve.run_id]}: last {last}, lowest {low}, highest {high}, {counted}."


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
