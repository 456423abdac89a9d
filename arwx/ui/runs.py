"""The Runs lens of a project, the page of one run, and its receipt."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, g, make_response, render_template, request

from arwx import charts, points, runs
from arwx.models import Project
from arwx.runs import RunView
from arwx.svg import palette
from arwx.ui import bp, frame, is_fragment, view
from arwx.ui import charts as figures

_METRIC_COLUMNS = 3
_CONFIG_COLUMNS = 5


@dataclass(frozen=True)
class Column:
    """A column of the run table: the latest value of a metric, or an entry of the config."""

    key: str
    kind: str
    is_numeric: bool = True
    best: float | None = None


@bp.get("/p/<name>")
def project(name: str) -> Response:
    """The Runs lens: the table of runs, and a chart for every metric of those that are shown."""
    found = g.scope.project(name)
    choice = view.read(request.args)
    page = runs.page(g.scope, found, cursor=choice.cursor)
    shown = figures.Shown(
        project=found.name,
        runs=[run for run in page.items if run.id not in choice.hidden],
        looks=palette.looks(run.id for run in page.items),
        view=choice,
    )
    return _page(
        "runs/_lens.html" if is_fragment() else "runs/page.html",
        head=frame.head(found),
        runs=page.items,
        next=page.next,
        columns=_columns(page.items, found),
        configs={run.id: flat(run.config) for run in page.items},
        shown=shown,
        sections=figures.sections(shown, found.objective_metric),
        is_live=any(run.is_live for run in page.items),
        view=choice,
    )


@bp.get("/p/<name>/runs/<run_id>")
def run(name: str, run_id: str) -> Response:
    """One run: how it stands, its charts, its config and summary."""
    project = g.scope.project(name)
    found = figures.run_of(project, run_id)
    choice = view.read(request.args)
    shown = figures.Shown(project.name, [found], palette.looks([found.id]), choice, run=found.id)
    return _page(
        "runs/_run.html" if is_fragment() else "runs/run.html",
        head=frame.head(project),
        run=found,
        config=flat(found.config),
        summary=flat(found.summary),
        shown=shown,
        sections=figures.sections(shown, project.objective_metric),
        is_live=found.is_live,
        view=choice,
    )


@bp.get("/p/<name>/runs/<run_id>/receipt")
def receipt(name: str, run_id: str) -> Response:
    """What was acknowledged against what is stored: a line that opens into the whole receipt."""
    project = g.scope.project(name)
    found = figures.run_of(project, run_id)
    return _page(
        "runs/_receipt.html" if is_fragment() else "runs/receipt.html",
        project=project,
        run=found,
        receipt=points.receipt(g.db, g.scope.stream(run_id)),
        is_open=not is_fragment(),
    )


def flat(tree: dict[str, Any], stem: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted names: `{"opt": {"lr": 1}}` is `{"opt.lr": 1}`."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{stem}{name}.")
        else:
            found[f"{stem}{name}"] = value
    return found


def _columns(listed: Sequence[RunView], project: Project) -> list[Column]:
    """The objective and a few metrics more, then the config entries in which the runs differ."""
    objective = project.objective_metric
    metrics = charts.keys(listed, objective, with_system=False)
    # Metrics without a prefix are what people look at first.
    metrics = sorted(metrics, key=lambda key: (key != objective, "/" in key))[:_METRIC_COLUMNS]
    found = [Column(key, "metric", best=_best(listed, key, project)) for key in metrics]
    configs = [flat(run.config) for run in listed]
    names = dict.fromkeys(name for config in configs for name in config)
    for name in names:
        values = [config.get(name) for config in configs]
        if len({repr(value) for value in values}) > 1 or len(listed) == 1:
            is_numeric = all(value is None or isinstance(value, int | float) for value in values)
            found.append(Column(name, "config", is_numeric=is_numeric))
    return found[: len(metrics) + _CONFIG_COLUMNS]


def _best(listed: Sequence[RunView], key: str, project: Project) -> float | None:
    """The best latest value of the objective, to be marked where there are several to choose from."""
    latest = [run.latest[key].value for run in listed if key in run.latest and math.isfinite(run.latest[key].value)]
    if key != project.objective_metric or len(latest) < 2:
        return None
    return min(latest) if project.lower_is_better else max(latest)


def _page(template: str, **needs: Any) -> Response:
    """A page, or the part of it that htmx asked for under the same address."""
    answer = make_response(render_template(template, **needs))
    answer.vary.add("HX-Request")
    return answer
