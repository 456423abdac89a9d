"""Sessions: lines of inquiry."""

from flask import Response, g

from arwx import experiments, projects, web
from arwx.api import answers, bodies, body, bp, query, shapes
from arwx.api.operation import operation


@bp.post("/sessions")
@operation("write", takes=bodies.NewSession, gives=answers.Session, makes=True, fails=[409])
def make_session() -> Response:
    """Open a session, or find the one with this id. The project is made on first use."""
    fields = body.given(body.json_as(bodies.NewSession))
    project, _ = projects.ensure(g.scope.writable, fields.pop("project"))
    session, is_new = experiments.open_session(g.scope, project, fields)
    return shapes.answer(shapes.session(session, project.name), 201 if is_new else 200)


@bp.get("/sessions/<session_id>")
@operation("read", gives=answers.Session)
def get_session(session_id: str) -> Response:
    """One session."""
    session = g.scope.session(session_id)
    return web.conditional(shapes.answer(shapes.session(session, g.scope.project_of(session).name)))


@bp.get("/projects/<name>/sessions")
@operation("read", gives=answers.List[answers.Session], query="limit cursor")
def list_sessions(name: str) -> Response:
    """The sessions of a project, newest first."""
    project = g.scope.project(name)
    found = experiments.sessions(g.scope, project, query.limit(), query.text("cursor"))
    return shapes.page(found, lambda session: shapes.session(session, project.name))
