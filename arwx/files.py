"""Files of a project, a run or an experiment: blobs under a name, or URIs that are stored and never fetched."""

import re
from typing import Any
from urllib.parse import urlsplit

from arwx import clock, ids, pages, trees
from arwx.access import Scope
from arwx.errors import Conflict, invalid
from arwx.models import Blob, Experiment, File, Project, Run

MAX_URI = 2048
_SCHEMES = ("http", "https", "s3", "gs")
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}(;[ -~]{0,200})?\Z"
)
_PLAIN = re.compile(r"[!-~]+\Z")


def register(scope: Scope, project: Project, fields: dict[str, Any]) -> tuple[File, bool]:
    """Note a file that lies elsewhere; and whether this is new: the same again is the same record."""
    sha, size = fields.get("sha"), fields.get("size")
    if sha is not None and not trees.is_sha(sha):
        raise invalid("sha", "must be a SHA-256: 64 digits of lower-case hexadecimal")
    if size is not None and not 0 <= size < 2**53:
        raise invalid("size", "must be a number of bytes")
    described = {"uri": check_uri(fields["uri"]), "sha": sha, "size": size}
    return _record(scope, project, fields, described)


def keep(scope: Scope, project: Project, blob: Blob, fields: dict[str, Any]) -> tuple[File, bool]:
    """Give a blob a name in the project; and whether this is new: the same again is the same record."""
    return _record(scope, project, fields, {"uri": None, "sha": blob.sha, "size": blob.size})


def page(
    scope: Scope,
    limit: int,
    cursor: str | None,
    *,
    project: str | None = None,
    run_id: str | None = None,
    experiment_id: str | None = None,
) -> pages.Page[File]:
    """The files, newest first."""
    query = scope.files()
    if project:
        query = query.where(File.project_id == scope.project(project).id)
    if run_id:
        query = query.where(File.run_id == scope.run(run_id).id)
    if experiment_id:
        query = query.where(File.experiment_id == scope.experiment(experiment_id).id)
    return pages.newest(scope.db, query, File, limit, cursor)


def owner(scope: Scope, run_id: str | None, experiment_id: str | None) -> Run | Experiment | None:
    """The run or the experiment to which a file is to belong; `NotFound` when there is none of this id."""
    if run_id and experiment_id:
        raise invalid("experiment_id", "and run_id cannot both be given: a file belongs to one of them")
    if run_id:
        return scope.run(run_id)
    return scope.experiment(experiment_id) if experiment_id else None


def check_uri(uri: str) -> str:
    """The URI itself, or `Invalid`: http, https, s3 or gs, with a host and without a password in it."""
    if len(uri) > MAX_URI or not _PLAIN.match(uri) or "\\" in uri:
        raise invalid("uri", f"must have 1 to {MAX_URI:,} characters of ASCII, without blanks and \\")
    try:
        parts = urlsplit(uri)
        is_named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise invalid("uri", "is not a URI") from None
    if parts.scheme not in _SCHEMES or not is_named:
        raise invalid("uri", f"must begin with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)} and a host")
    if "@" in parts.netloc:
        raise invalid("uri", "must not hold a user name or a password")
    return uri


def check_type(content_type: str | None) -> str | None:
    """The media type itself, or `Invalid`."""
    if content_type is not None and not _MEDIA_TYPE.match(content_type):
        raise invalid("content_type", "must be a media type such as image/png")
    return content_type


def _record(scope: Scope, project: Project, fields: dict[str, Any], described: dict[str, Any]) -> tuple[File, bool]:
    of = owner(scope, fields.get("run_id"), fields.get("experiment_id"))
    if of is not None and of.project_id != project.id:
        raise Conflict("That run or experiment belongs to another project.")
    identity = {
        "project_id": project.id,
        "name": trees.check_path(fields["name"], "name"),
        "run_id": of.id if isinstance(of, Run) else None,
        "experiment_id": of.id if isinstance(of, Experiment) else None,
        "content_type": check_type(fields.get("content_type")),
        **described,
    }
    known = scope.files().filter_by(**identity).order_by(File.created_at).limit(1)
    if (file := scope.db.scalar(known)) is not None:
        return file, False
    file = File(org_id=scope.org_id, id=ids.new("fil"), created_by=scope.actor, created_at=clock.now(), **identity)
    scope.db.add(file)
    scope.db.flush()
    return file, True
