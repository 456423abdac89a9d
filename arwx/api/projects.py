"""Projects and their goals."""

from flask import Response, g

from arwx import deletion, projects, web
from arwx.api import answers, bodies, body, bp, query, shapes
from arwx.api.operation import operation


@bp.post("/projects")
@operation("write", takes=bodies.NewProject, gives=answers.Project, makes=True)
def make_project() -> Response:
    """Make a project, or change the goal of one: only what is given is set."""
    fields = body.given(body.json_as(bodies.NewProject))
    project, is_new = projects.ensure(g.scope.writable, fields.pop("name"), "name")
    projects.change(project, fields)
    return shapes.answer(shapes.project(projects.card(g.scope, project)), 201 if is_new else 200)


@bp.get("/projects")
@operation("read", gives=answers.List[answers.Project], query="limit cursor")
def list_projects() -> Response:
    """The projects of the organization, newest first."""
    return shapes.page(projects.page(g.scope, query.limit(), query.text("cursor")), shapes.project)


@bp.get("/projects/<name>")
@operation("read", gives=answers.Project)
def get_project(name: str) -> Response:
    """One project: its goal and counts."""
    card = projects.card(g.scope, g.scope.project(name))
    return web.conditional(shapes.answer(shapes.project(card)))


@bp.delete("/projects/<name>")
@operation("admin")
def delete_project(name: str) -> Response:
    """Take the project and all of it out of every list. Its bytes go with the next `arwx gc`."""
    deletion.delete_project(g.scope, name)
    return Response(status=204)
