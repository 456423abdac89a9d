"""The front page with all projects of the organization, and what a project is after."""

import math

from flask import Response, g, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from arwx import projects
from arwx.errors import invalid
from arwx.ui import bp, needs, page_or_part


@bp.get("/")
def home() -> Response:
    """The projects as cards, or how to begin when there is none."""
    page = projects.page(g.scope, 60, request.args.get("cursor"))
    return page_or_part("projects/page.html", "projects/_list.html", cards=page.items, next=page.next)


@bp.post("/p/<name>/goal")
@needs("write")
def project_goal(name: str) -> BaseResponse:
    """Change what the project is after."""
    project = g.scope.writable.project(name)
    metric, target = request.form.get("metric", "").strip(), request.form.get("target", "").strip()
    projects.change(
        project,
        {
            "objective_metric": metric or None,
            "lower_is_better": request.form.get("lower") != "no",
            "target": _number(target) if target else None,
            "description": request.form.get("description", "").strip() or None,
        },
    )
    return redirect(url_for("ui.project", name=name))


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise invalid("target", "must be a number")
    return found
