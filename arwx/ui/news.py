"""What came to a project since a page of it was opened: asked by pages that were left alone, when somebody returns."""

from datetime import UTC, datetime

from flask import Response, g, make_response, render_template, request

from arwx import clock, projects, web
from arwx.errors import invalid
from arwx.ui import bp


@bp.get("/p/<name>/news")
def news(name: str) -> Response:
    """What is new, in a few words or none. It costs a 304 while nothing happens."""
    project = g.scope.project(name)
    fresh = projects.news(g.scope, project, _moment(request.args.get("since", "")))
    return web.conditional(make_response(render_template("projects/_news.html", news=fresh)))


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise invalid("since", "must be a time such as 2026-11-25T12:00:00Z") from None
    if found.tzinfo is None or not 1970 <= found.year < 9999:
        raise invalid("since", "must be a time with its zone, from 1970 to 9998")
    return min(found.astimezone(UTC), clock.now())
