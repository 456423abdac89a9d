"""The data behind the charts of a project."""

from flask import Response, g

from arwx import charts, runs, web
from arwx.api import answers, bp, query, shapes
from arwx.api.operation import operation
from arwx.errors import invalid
from arwx.models import Project

_MOST_RUNS = 500


@bp.get("/projects/<name>/charts")
@operation("read", gives=answers.Charts, query="keys runs samples since_step max_step x")
def get_charts(name: str) -> Response:
    """Downsampled series of every metric for the runs asked for (the newest 50 unless named), and latest values.

    An answer holds at most 400,000 points. Without `keys`, those that do not fit are named in `left_out`.
    """
    project = g.scope.project(name)
    chosen = query.words("runs", _MOST_RUNS)
    shown = runs.some(g.scope, project, chosen) if chosen else runs.page(g.scope, project).items
    state = [(run.id, run.name, run.status, run.latest) for run in shown]
    return web.if_changed([project.name, project.objective_metric, state], lambda: _answer(project, shown))


def _answer(project: Project, shown: list[runs.RunView]) -> Response:
    x = query.text("x") or "step"
    samples = query.whole("samples", charts.MIN_SAMPLES, charts.MAX_SAMPLES) or charts.DEFAULT_SAMPLES
    named = query.words("keys")
    wanted = named or charts.keys(shown, project.objective_metric, with_system=False)
    keys = charts.fitting(shown, wanted, samples)
    if named and len(keys) < len(wanted):
        raise invalid("keys", f"ask for more than {charts.MOST_POINTS:,} points: name fewer keys, runs or samples")
    found = charts.series(
        g.scope,
        shown,
        keys,
        x=x,
        samples=samples,
        since_step=query.whole("since_step"),
        max_step=query.whole("max_step"),
    )
    answer = {
        "project": project.name,
        "samples": samples,
        "x": x,
        "runs": [{"id": run.id, "name": run.name, "status": run.status, "latest": shapes.latest(run)} for run in shown],
        "series": {key: shapes.series(lines, x) for key, lines in found.items()},
        "left_out": wanted[len(keys) :],
    }
    return shapes.answer(answer)
