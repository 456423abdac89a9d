"""The running best of a project or of a session, as data."""

from flask import Response, g

from arwx import experiments, results, web
from arwx.api import answers, bp, query, shapes
from arwx.api.operation import TSV, operation
from arwx.experiments import Progress


@bp.get("/projects/<name>/progress")
@operation("read", gives=answers.Progress, query="session_id")
def project_progress(name: str) -> Response:
    """Every experiment in order of arrival, with the running best."""
    found = _of_project(name)
    return web.conditional(shapes.answer(shapes.progress(found, found.steps)))


@bp.get("/projects/<name>/frontier")
@operation("read", gives=answers.Progress, query="session_id")
def project_frontier(name: str) -> Response:
    """The steps that moved the running best, alone."""
    found = _of_project(name)
    return web.conditional(shapes.answer(shapes.progress(found, found.frontier)))


@bp.get("/sessions/<session_id>/progress")
@operation("read", gives=answers.Progress)
def session_progress(session_id: str) -> Response:
    """Every experiment of a session, with the best within it."""
    found = _of_session(session_id)
    return web.conditional(shapes.answer(shapes.progress(found, found.steps)))


@bp.get("/sessions/<session_id>/frontier")
@operation("read", gives=answers.Progress)
def session_frontier(session_id: str) -> Response:
    """The steps of a session that moved the best within it."""
    found = _of_session(session_id)
    return web.conditional(shapes.answer(shapes.progress(found, found.frontier)))


def _of_project(name: str) -> Progress:
    project, chosen = g.scope.project(name), query.text("session_id")
    session = g.scope.session(chosen, project) if chosen else None
    return experiments.progress(g.scope, project, session)


def _of_session(session_id: str) -> Progress:
    session = g.scope.session(session_id)
    return experiments.progress(g.scope, g.scope.project_of(session), session)


@bp.get("/projects/<name>/results.tsv")
@operation("read", gives=TSV)
def project_results(name: str) -> Response:
    """What was tried and judged as the results.tsv of karpathy/autoresearch: commit, val_bpb, memory_gb, status,
    description.
    """
    return web.conditional(Response("".join(results.write(g.scope, g.scope.project(name))), mimetype=TSV))
