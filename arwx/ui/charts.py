"""Charts: which ones a page holds, one fragment for each, and the exact values behind a drawing."""

from dataclasses import dataclass
from typing import Any

import msgspec
from flask import Response, g, make_response, render_template, request, url_for

from arwx import charts, runs, web
from arwx.errors import NotFound
from arwx.models import Project
from arwx.runs import RunView
from arwx.svg import line, palette, ticks
from arwx.ui import bp, is_fragment, view
from arwx.ui.view import View

# What a page draws by itself, so that it says something without script; the rest comes as it is scrolled to.
_SERIES_IN_PAGE = 60
_FIGURES_IN_PAGE = 6
_NAMED_AT_MOST = 6


@dataclass(frozen=True)
class Figure:
    """One drawn chart with the words around it."""

    key: str
    chart: charts.Chart
    drawing: line.Drawing
    summary: str
    nonfinite: int


@dataclass(frozen=True)
class Slot:
    """The place of a chart in a page: `figure` is there when the page draws it at once."""

    key: str
    source: str
    values: str
    figure: Figure | None


@dataclass(frozen=True)
class Section:
    """Charts whose metrics share the part before the first `/`."""

    title: str
    slots: list[Slot]
    is_open: bool


@dataclass(frozen=True)
class Shown:
    """Which runs a page draws, and how: `run` is set on the page of a single one."""

    project: str
    runs: list[RunView]
    looks: dict[str, str]
    view: View
    run: str | None = None

    def address(self, endpoint: str, key: str) -> str:
        args: dict[str, Any] = {n: v for n, v in self.view.args.items() if n in {"x", "y", "hide", "cursor"}}
        return url_for(endpoint, name=self.project, key=key, run=self.run, **args)

    @property
    def names(self) -> dict[str, str]:
        return {run.id: run.name for run in self.runs}


@bp.get("/p/<name>/chart")
def chart(name: str) -> Response:
    """One chart as a fragment; 304 when nothing in it changed."""
    shown, key = _asked(name)
    page = render_template("charts/_chart.html", slot=slot(shown, key, is_drawn=True), shown=shown)
    return web.conditional(make_response(page))


@bp.get("/p/<name>/values")
def values(name: str) -> Response:
    """The points of one chart as JSON, for the crosshair: exact, where the drawing is rounded to pixels."""
    shown, key = _asked(name)
    found = charts.chart(g.scope, shown.runs, key, x=shown.view.x)
    series = [
        {
            "run": one.run_id,
            "name": shown.names[one.run_id],
            "look": shown.looks[one.run_id],
            "xs": one.xs.tolist(),
            "ys": one.values.tolist(),
        }
        for one in found.series
    ]
    answer = Response(msgspec.json.encode({"x": found.x, "series": series}), mimetype="application/json")
    return web.conditional(answer)


def run_of(project: Project, run_id: str) -> RunView:
    """The run of this project; one of another project is not there."""
    row = g.scope.run(run_id)
    if row.project_id != project.id:
        raise NotFound("No such run.")
    return runs.views(g.scope, project.name, [row])[0]


def sections(shown: Shown, objective: str | None) -> list[Section]:
    """The charts of a page: the objective and metrics without a prefix, prefixes by name, System last and closed."""
    wanted = shown.view.metrics.lower()
    grouped: dict[str, list[str]] = {}
    for key in charts.keys(shown.runs, objective):
        if wanted not in key.lower():
            continue
        grouped.setdefault(_title(key, objective), []).append(key)
    order = sorted(grouped, key=lambda title: (title != "", title == "System", title))
    at_once = max(1, min(_FIGURES_IN_PAGE, _SERIES_IN_PAGE // max(1, len(shown.runs))))
    if is_fragment():
        at_once = 0  # a page that asks for itself again has its charts, and they look after themselves
    found = []
    for title in order:
        is_open = title != "System" or len(order) == 1
        slots = []
        for key in grouped[title]:
            is_drawn = (at_once > 0 and is_open) or (shown.view.is_complete and not is_fragment())
            at_once -= is_drawn
            slots.append(slot(shown, key, is_drawn=is_drawn))
        found.append(Section(title, slots, is_open))
    return found


def slot(shown: Shown, key: str, *, is_drawn: bool) -> Slot:
    """The place of one chart, with its drawing when asked for."""
    figure = _figure(shown, key) if is_drawn else None
    return Slot(key, shown.address("ui.chart", key), shown.address("ui.values", key), figure)


def _asked(name: str) -> tuple[Shown, str]:
    """The runs and the metric that the address of a fragment names."""
    project = g.scope.project(name)
    choice = view.read(request.args)
    key, run_id = request.args.get("key", ""), request.args.get("run")
    found = [run_of(project, run_id)] if run_id else runs.page(g.scope, project, cursor=choice.cursor).items
    if not any(key in run.latest for run in found):
        raise NotFound("No run of this page has such a metric.")
    looks = palette.looks(run.id for run in found)
    return Shown(project.name, [run for run in found if run.id not in choice.hidden], looks, choice, run_id), key


def _figure(shown: Shown, key: str) -> Figure:
    found = charts.chart(g.scope, shown.runs, key, x=shown.view.x)
    drawing = line.draw(found, is_log=shown.view.is_log)
    nonfinite = sum(run.latest[key].nonfinite for run in shown.runs if key in run.latest)
    return Figure(key, found, drawing, _summary(found, shown.names), nonfinite)


def _title(key: str, objective: str | None) -> str:
    if key == objective:
        return ""
    prefix, slash, _ = key.partition("/")
    return "" if not slash else "System" if prefix == "system" else prefix


def _summary(found: charts.Chart, names: dict[str, str]) -> str:
    """The chart in words, for those who do not see it."""
    axis = {"step": "step", "time": "time", "relative": "time since the start"}[found.x]
    said = [f"{found.key} over {axis}, {_plural(len(found.series), 'run')}."]
    for series in found.series[:_NAMED_AT_MOST]:
        if len(series.values):
            ends = (series.values[-1], series.lows.min(), series.highs.max())
            last, low, high = (ticks.significant(float(value)) for value in ends)
            points = _plural(series.count, "point")
            said.append(f"{names[series.run_id]}: last {last}, lowest {low}, highest {high}, {points}.")
    if len(found.series) > _NAMED_AT_MOST:
        said.append(f"And {len(found.series) - _NAMED_AT_MOST} more.")
    return " ".join(said)


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
