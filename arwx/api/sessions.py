"""Sessions: lines of inquiry."""

from flask import Response, g

from arwx import experiments, projects, web
from arwx.api import body, bp, query, shapes


@bp.post("/sessions")
def make_session() -> Response:
    """Open a session, or find the one with this id. The project is made on first use."""
    fields = body.given(body.json_as(body.NewSession))
    project, _ = projects.ensure(g.scope.writable, fields.pop("project"))
    session, is_new = experiments.open_session(g.scope, project, fields)
    return shapes.answer(shapes.session(session, project.name), 201 if is_new else 200)


@bp.get("/sessions/<session_id>")
def get_session(session_id: str) -> Response:
    """One session."""
    session = g.scope.session(session_id)
    return web.conditional(shapes.answer(shapes.session(session, g.scope.project_of(session).name)))


@bp.get("/projects/<name>/sessions")
def list_sessions(name: str) -> Response:
    """The sessions of a project, newest first."""
    query.only("limit", "cursor")
    project = g.scope.project(name)
    found = experiments.sessions(g.scope, project, query.limit(), query.text("cursor"))
    return shapes.page(found, lambda session: shapes.session(session, project.name))
