"""Files: registered, uploaded, listed, fetched."""

from dataclasses import replace

from flask import Response, g, request

from arwx import blobs, db, files, ids, projects, trees, web
from arwx.api import answers, bodies, body, bp, query, shapes
from arwx.api.blobs import received
from arwx.api.operation import ANYTHING, BINARY, operation
from arwx.downloads import attachment
from arwx.errors import NotFound, invalid


@bp.post("/files")
@operation("write", takes=bodies.NewFile, gives=answers.File, makes=True, fails=[404, 409])
def register_file() -> Response:
    """Register a file that lies elsewhere. The server stores the URI and never asks it."""
    fields = body.given(body.json_as(bodies.NewFile))
    project, _ = projects.ensure(g.scope.writable, fields.pop("project"))
    file, is_new = files.register(g.scope, project, fields)
    return shapes.answer(shapes.file(file, project.name), 201 if is_new else 200)


@bp.post("/files/upload")
@operation(
    "write",
    takes=ANYTHING,
    gives=answers.File,
    query="project name run_id experiment_id",
    makes=True,
    headers=["X-Content-SHA256"],
    fails=[404, 409, 507],
)
def upload_file() -> Response:
    """Take in the bytes of a file and note it under its name."""
    name, project_name = query.text("name"), query.text("project")
    if name is None or project_name is None:
        raise invalid("name" if name is None else "project", "is required")
    fields = {"name": name, "run_id": query.text("run_id"), "experiment_id": query.text("experiment_id")}
    fields["content_type"] = files.check_type(request.headers.get("Content-Type"))
    trees.check_path(name, "name")
    ids.check_name(project_name, "project")
    # Before the bytes flow, and in a transaction that is over by then.
    with db.current().reading() as session:
        files.owner(replace(g.scope.writable, db=session), fields["run_id"], fields["experiment_id"])
    content = received(of_any_type=True)
    project, _ = projects.ensure(g.scope, project_name)
    blob, _ = blobs.put(g.scope, content)
    file, is_new = files.keep(g.scope, project, blob, fields)
    return shapes.answer(shapes.file(file, project.name), 201 if is_new else 200)


@bp.get("/files")
@operation("read", gives=answers.List[answers.File], query="project run_id experiment_id limit cursor", fails=[404])
def list_files() -> Response:
    """The files of a run, an experiment or a project, newest first."""
    found = files.page(
        g.scope,
        query.limit(),
        query.text("cursor"),
        project=query.text("project"),
        run_id=query.text("run_id"),
        experiment_id=query.text("experiment_id"),
    )
    names = g.scope.project_names({file.project_id for file in found.items})
    return shapes.page(found, lambda file: shapes.file(file, names[file.project_id]))


@bp.get("/files/<file_id>")
@operation("read", gives=answers.File)
def get_file(file_id: str) -> Response:
    """One file."""
    file = g.scope.file(file_id)
    return web.conditional(shapes.answer(shapes.file(file, g.scope.project_of(file).name)))


@bp.get("/files/<file_id>/content")
@operation("read", gives=BINARY, in_parts=True)
def get_content(file_id: str) -> Response:
    """The bytes of an uploaded file, to be saved under its name."""
    file = g.scope.file(file_id)
    if file.sha is None or file.uri is not None:
        raise NotFound("This file lies elsewhere; its uri says where.")
    return attachment(g.scope.blob(file.sha), file.name.rpartition("/")[2])
