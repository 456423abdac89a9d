"""Artifacts: logged, listed, promoted, resolved; their lineage."""

from flask import Response, g

from arwx import artifacts, lineage, projects, web
from arwx.api import answers, bodies, body, bp, query, shapes
from arwx.api.operation import operation

_MOVES_SHOWN = 100


@bp.post("/artifacts/log")
@operation("write", takes=bodies.NewVersion, gives=answers.LoggedVersion, makes=True, fails=[409])
def log_artifact() -> Response:
    """Log a version. The same tree again is the version that is known, with one more producer."""
    fields = body.given(body.json_as(bodies.NewVersion))
    project, _ = projects.ensure(g.scope.writable, fields.pop("project"))
    name, entries = fields.pop("name"), fields.pop("entries")
    artifact, version, is_new = artifacts.log(g.scope, project, name, entries, fields)
    view = artifacts.version_views(g.scope, artifact, [version])[0]
    answer = {**shapes.version(view, artifact, project.name), "deduped": not is_new}
    return shapes.answer(answer, 201 if is_new else 200)


@bp.get("/artifacts")
@operation("read", gives=answers.List[answers.Artifact], query="project type limit cursor", fails=[404])
def list_artifacts() -> Response:
    """The artifacts of the organization or of a project, newest first."""
    found = artifacts.page(
        g.scope, query.limit(), query.text("cursor"), project=query.text("project"), kind=query.text("type")
    )
    return shapes.page(found, shapes.artifact)


@bp.get("/artifacts/<name>")
@operation("read", gives=answers.FullArtifact, query="project limit cursor", fails=[409])
def get_artifact(name: str) -> Response:
    """One artifact: its refs and their last moves, and a page of its versions, newest first."""
    artifact = g.scope.artifact(name, query.text("project"))
    limit = query.limit()
    found = artifacts.versions(g.scope, artifact, limit + 1, query.whole("cursor", 1))
    view = artifacts.view(g.scope, artifact)
    answer = {
        **shapes.artifact(view),
        "versions": [shapes.version(one, artifact, view.project) for one in found[:limit]],
        "next": str(found[limit - 1].version.number) if len(found) > limit else None,
        "moves": [shapes.move(move) for move in artifacts.moves(g.scope, artifact, _MOVES_SHOWN)],
    }
    return web.conditional(shapes.answer(answer))


@bp.get("/artifacts/<name>/lineage")
@operation("read", gives=answers.Lineage, query="project limit", fails=[409])
def get_lineage(name: str) -> Response:
    """What made and what used its versions, as nodes and edges."""
    artifact = g.scope.artifact(name, query.text("project"))
    found = artifacts.graph(g.scope, artifact, query.whole("limit", 1, lineage.MOST) or lineage.MOST)
    return web.conditional(shapes.answer(shapes.lineage(found, artifact, g.scope.project_of(artifact).name)))


@bp.put("/artifacts/<name>/refs/<ref>")
@operation("write", takes=bodies.Promotion, gives=answers.PromotedVersion, query="project", fails=[409])
def promote(name: str, ref: str) -> Response:
    """Point a ref at a version."""
    wanted = body.json_as(bodies.Promotion)
    artifact = g.scope.writable.artifact(name, query.text("project") or wanted.project)
    version = artifacts.promote(g.scope, artifact, ref, wanted.version)
    view = artifacts.version_views(g.scope, artifact, [version])[0]
    return shapes.answer({**shapes.version(view, artifact, g.scope.project_of(artifact).name), "ref": ref})


@bp.get("/artifacts/<name>/<ref>")
@operation("read", gives=answers.FullVersion, query="project", fails=[409])
def get_version(name: str, ref: str) -> Response:
    """The version that a ref, `latest` or a number names, with all its files."""
    artifact = g.scope.artifact(name, query.text("project"))
    version = artifacts.resolve(g.scope, artifact, ref)
    view = artifacts.version_views(g.scope, artifact, [version])[0]
    answer = {**shapes.version(view, artifact, g.scope.project_of(artifact).name), "entries": version.entries}
    return web.conditional(shapes.answer(answer))


@bp.post("/artifacts/<name>/<ref>/used_by")
@operation("write", takes=bodies.Use, gives=answers.Version, query="project", makes=True, fails=[409])
def use_version(name: str, ref: str) -> Response:
    """Note that a run or an experiment used the version."""
    user = body.json_as(bodies.Use)
    artifact = g.scope.writable.artifact(name, query.text("project") or user.project)
    version = artifacts.resolve(g.scope, artifact, ref)
    is_new = lineage.use(g.scope, version, user.run_id, user.experiment_id)
    view = artifacts.version_views(g.scope, artifact, [version])[0]
    return shapes.answer(shapes.version(view, artifact, g.scope.project_of(artifact).name), 201 if is_new else 200)
