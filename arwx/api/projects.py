"""Projects and their goals."""

from flask import Response, g

from arwx import deletion, projects, web
from arwx.api import body, bp, query, shapes


@bp.post("/projects")
def make_project() -> Response:
    """Make a project, or change the goal of one: only what is given is set."""
    fields = body.given(body.json_as(body.Project))
    project, is_new = projects.ensure(g.scope.writable, fields.pop("name"))
    projects.change(project, fields)
    return shapes.answer(shapes.project(projects.card(g.scope, project)), 201 if is_new else 200)


@bp.get("/projects")
def list_projects() -> Response:
    """The projects of the organization, newest first."""
    query.only("limit", "cursor")
    return shapes.page(projects.page(g.scope, query.limit(), query.text("cursor")), shapes.project)


@bp.get("/projects/<name>")
def get_project(name: str) -> Response:
    """One project: its goal and counts."""
    card = projects.card(g.scope, g.scope.project(name))
    return web.conditional(shapes.answer(shapes.project(card)))


@bp.delete("/projects/<name>")
def delete_project(name: str) -> Response:
    """Take the project and all of it out of every list. Its bytes go with the next `arwx gc`."""
    query.only()
    deletion.delete_project(g.scope, name)
    return Response(status=204)
