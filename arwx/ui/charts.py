"""One chart: as a fragment, large, as points for the crosshair, as CSV, and as a picture."""

import csv
import io
from collections.abc import Iterator

import msgspec
import numpy as np
from flask import Response, g, make_response, render_template, request

from arwx import audit, charts, db, downloads, points, runs, turns, web
from arwx.errors import NotFound
from arwx.models import Project
from arwx.runs import RunView
from arwx.svg import line, palette
from arwx.ui import bp, figures, frame, is_fragment, listing, view
from arwx.ui.figures import Shown, Slot

_MOST_CHOSEN = 100
# The crosshair tells the time of a step too, as long as that does not double too much.
_TIMED_AT_MOST = 10
_LARGE = line.Size(1280, 420)


@bp.get("/p/<name>/chart")
def chart(name: str) -> Response:
    """One chart as a fragment (304 when nothing in it changed), or large on a page of its own."""
    project, shown, key = _asked(name)
    is_page = not is_fragment()
    if is_page or request.headers.get("HX-Target") == "live":
        figure = figures.figure_of(shown, key, _LARGE)
        slot = Slot(key, shown.address(key), figure)
        needs = {"head": frame.head(project), "slot": slot, "figure": figure, "shown": shown, "view": shown.view}
        template = "charts/page.html" if is_page else "charts/_large.html"
        answer = make_response(render_template(template, metrics=charts.keys(shown.runs), **needs))
    else:
        slot = figures.slot_of(shown, key, is_drawn=True)
        answer = make_response(render_template("charts/_chart.html", slot=slot, shown=shown))
    answer.vary.update(("HX-Request", "HX-Target"))
    return answer if is_page else web.conditional(answer)


@bp.get("/p/<name>/values")
def values(name: str) -> Response:
    """The points of one chart as JSON, for the crosshair: exact, where the drawing is rounded to pixels.

    Of many runs seven digits are given, as many as the crosshair shows: they halve what is sent.
    """
    _, shown, key = _asked(name)
    found = figures.chart_of(shown, key)
    has_times = found.x == "step" and shown.groups is None and len(found.series) <= _TIMED_AT_MOST
    told = _seven_digits if len(found.series) > _TIMED_AT_MOST else _exactly
    times = charts.moments(g.scope, shown.runs, key, found.series) if has_times else {}
    series = [
        {
            "run": one.run_id,
            "name": shown.names[one.run_id],
            "look": shown.looks[one.run_id],
            "xs": one.xs.tolist(),
            "ys": told(one.values if one.raw is None else one.raw),
            **({} if one.raw is None else {"smooth": told(one.values)}),
            **({"ts": times[one.run_id]} if one.run_id in times else {}),
            **({"n": one.count} if shown.groups is not None else {}),
            **({"steps": one.steps.tolist()} if found.x != "step" and shown.groups is None else {}),
        }
        for one in found.series
    ]
    of = {"x": found.x, "metric": shown.over(key).x_metric, "series": series}
    return web.conditional(Response(msgspec.json.encode(of), mimetype="application/json"))


@bp.get("/p/<name>/chart.csv")
def chart_csv(name: str) -> Response:
    """Every stored point of one metric of the runs of a chart, one a line."""
    project, shown, key = _asked(name)
    audit.record_apart(
        db.current(), g.scope, "export", f"{key} of {project.name}", runs=len(shown.runs), format="text/csv"
    )
    lines = _lines(db.current(), g.scope.org_id, shown.runs, key)
    answer = Response(turns.giving_way(lines), mimetype="text/csv")
    answer.headers["Content-Disposition"] = f'attachment; filename="{_filename(key)}.csv"'
    return answer


@bp.get("/p/<name>/chart.svg")
def chart_svg(name: str) -> Response:
    """The chart as a picture that stands alone, with its legend."""
    _, shown, key = _asked(name)
    figure = figures.figure_of(shown, key, line.Size(640, 260))
    text = render_template("charts/copy.svg", figure=figure, shown=shown, hues=palette.LIGHT)
    answer = Response(text, mimetype="image/svg+xml")
    answer.headers["Content-Disposition"] = f'inline; filename="{_filename(key)}.svg"'
    return web.conditional(answer)


def _asked(name: str) -> tuple[Project, Shown, str]:
    """The runs and the metric that the address of a fragment names."""
    project = g.scope.project(name)
    choice = view.read(request.args, carry=("key", "run", "runs"))
    key, run_id, named = request.args.get("key", ""), request.args.get("run"), request.args.get("runs")
    if run_id:
        shown = figures.shown_runs(project, choice, [listing.one(project, run_id)], run_id)
    elif named:
        shown = figures.shown_runs(project, choice, runs.some(g.scope, project, named.split(",")[:_MOST_CHOSEN]))
    else:
        shown = figures.shown_of(project, choice, listing.of(project, choice))
    if shown.runs and not any(key in run.latest for run in shown.runs):
        raise NotFound("No run of this page has such a metric.")
    return project, shown, key


def _exactly(values: charts.Floats) -> list[float]:
    found: list[float] = values.tolist()
    return found


def _seven_digits(values: charts.Floats) -> list[float]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = 10.0 ** (6 - np.floor(np.log10(np.abs(values))))
        short = np.rint(values * scale) / scale
    found: list[float] = np.where(np.isfinite(short), short, values).tolist()
    return found


def _lines(database: db.Database, org_id: int, listed: list[RunView], key: str) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["run_id", "run", "step", "ts", "writer_id", "value"])
    for run in listed:
        name = downloads.harmless(run.name)
        for part in points.export(database, points.RunKey(org_id, run.id), keys=[key]):
            writer.writerows(
                [run.id, name, one.step, repr(one.ts), one.writer_id, repr(one.metrics[key])] for one in part
            )
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def _filename(key: str) -> str:
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "-" for sign in key)[:80]
