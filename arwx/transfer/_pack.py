"""A project, written into a file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.orm import undefer

from arwx import actors, audit, blobs, clock, points
from arwx.access import Scope
from arwx.blobstore import Store
from arwx.db import Database
from arwx.errors import Damaged
from arwx.models import (
    Artifact,
    ArtifactLink,
    ArtifactMove,
    ArtifactRef,
    ArtifactVersion,
    Blob,
    Decision,
    Experiment,
    File,
    Project,
    ResearchSession,
    Run,
)
from arwx.transfer._archive import Writing
from arwx.transfer._form import (
    BLOBS,
    FORMAT,
    PARTS,
    README,
    TOLD,
    VERSION,
    BlobLine,
    Line,
    Manifest,
    Part,
    points_part,
)

_AT_ONCE = 200
# Rows that hold the files of a whole tree.
_BIG_AT_ONCE = 10


@dataclass(frozen=True)
class Packed:
    """What is in the file."""

    runs: int
    points: int
    blobs: int


def pack(database: Database, store: Store, org_id: int, name: str, path: Path) -> Packed:
    """Write the project into a file, as it is at this moment. The file is there when it is whole, and not before.

    Raises `NotFound`, and `Damaged` when something of it is not what was stored.
    """
    writing = Writing(path)
    try:
        writing.text(README, TOLD)
        # One snapshot for all rows and points. What they say of blobs holds while those are copied: a blob that was
        # named a moment ago is not taken away before a day is over.
        with database.reading(org_id) as session:
            scope = Scope(session, org_id, "admin", "cli")
            project = scope.project(name)
            needed: set[str] = set()
            for part in PARTS:
                with writing.lines(part.name) as lines:
                    for line in rows(scope, project, part):
                        lines.write(line)
                        needed |= _shas(line)
            run_ids = scope.db.scalars(_runs(scope, project).with_only_columns(Run.id)).all()
            count = sum(_points(scope, writing, run_id) for run_id in run_ids)
            wanted = needed | _patches(scope, project)
            found = _blobs(scope, writing, wanted)
        if absent := needed - {blob.sha for blob in found}:
            raise Damaged(f"Blob {min(absent)} of the project is not there. Run: arwx fsck")
        for blob in found:
            writing.blob(blob.sha, blobs.stream(store, blob))
        told = Manifest(FORMAT, VERSION, project.name, clock.now(), len(run_ids), count, len(found), [])
        audit.record_apart(database, scope, "export", project.name)
        writing.close(told)
    finally:
        writing.abandon()
    return Packed(len(run_ids), count, len(found))


def rows(scope: Scope, project: Project, part: Part) -> Iterator[Line]:
    """The lines of a part."""
    for some in scope.db.scalars(_query(scope, project, part)).partitions():
        names = actors.names(scope, [row.created_by for row in some]) if "created_by" in part.fields else {}
        for row in some:
            fields = {name: getattr(row, name) for name in part.fields}
            if names:
                fields["created_by"] = names[row.created_by]
            # Trees become what they are made of; everything else is what it is.
            yield msgspec.convert(fields, part.line, from_attributes=True)


def _query(scope: Scope, project: Project, part: Part) -> Select[Any]:
    queries: dict[Any, Select[Any]] = {
        Project: scope.projects().where(Project.id == project.id),
        Run: _runs(scope, project),
        ResearchSession: scope.sessions().where(ResearchSession.project_id == project.id).order_by(ResearchSession.id),
        Experiment: scope.experiments()
        .where(Experiment.project_id == project.id)
        .options(undefer(Experiment.diff), undefer(Experiment.tree))
        .order_by(Experiment.index),
        Decision: scope.decisions()
        .where(Decision.project_id == project.id)
        .order_by(Decision.experiment_id, Decision.number),
        File: scope.files().where(File.project_id == project.id).order_by(File.id),
        Artifact: scope.artifacts().where(Artifact.project_id == project.id).order_by(Artifact.id),
    }
    query = queries.get(part.model)
    if query is None:
        query = _of_artifacts(scope, project, part.model)
    return query.execution_options(yield_per=_BIG_AT_ONCE if part.model in {Experiment, ArtifactVersion} else _AT_ONCE)


def _runs(scope: Scope, project: Project) -> Select[Run]:
    return scope.runs().where(Run.project_id == project.id).order_by(Run.id)


def _of_artifacts(scope: Scope, project: Project, model: Any) -> Select[Any]:
    mine = select(Artifact.id).where(Artifact.org_id == scope.org_id, Artifact.project_id == project.id)
    orders: dict[Any, Sequence[Any]] = {
        ArtifactVersion: (ArtifactVersion.number,),
        ArtifactRef: (ArtifactRef.name,),
        ArtifactMove: (ArtifactMove.created_at, ArtifactMove.id),
        ArtifactLink: (ArtifactLink.version, ArtifactLink.role, ArtifactLink.kind, ArtifactLink.target_id),
    }
    query = select(model).where(model.org_id == scope.org_id, model.artifact_id.in_(mine))
    if model is ArtifactVersion:
        query = query.options(undefer(ArtifactVersion.entries))
    return query.order_by(model.artifact_id, *orders[model])


def _points(scope: Scope, writing: Writing, run_id: str) -> int:
    """Write what the run logged; answers how many points."""
    count = 0
    with writing.lines(points_part(run_id)) as lines:
        for record in points.unload(scope.db, scope.stream(run_id)):
            lines.write(record)
            if isinstance(record, points.BatchRecord):
                count += record.points
    return count


def _shas(line: Line) -> set[str]:
    """The blobs without which the line would promise what is not there."""
    entries = getattr(line, "tree", None) or getattr(line, "entries", None) or []
    found = {entry.sha for entry in entries}
    if getattr(line, "uri", "") is None and (sha := getattr(line, "sha", None)):
        found.add(sha)
    return found


def _patches(scope: Scope, project: Project) -> set[str]:
    """The hashes of uncommitted changes; whether they were uploaded is another matter."""
    found: set[str] = set()
    for query, column in ((scope.runs(), Run.diff_sha), (scope.experiments(), Experiment.diff_sha)):
        mine = query.where(column.class_.project_id == project.id, column.is_not(None))
        found.update(scope.db.scalars(mine.with_only_columns(column)))
    return found


def _blobs(scope: Scope, writing: Writing, wanted: set[str]) -> list[Blob]:
    """The blobs of these hashes that are there, noted in the file."""
    shas, found = sorted(wanted), []
    with writing.lines(BLOBS) as lines:
        for start in range(0, len(shas), _AT_ONCE):
            some = scope.blobs().where(Blob.sha.in_(shas[start : start + _AT_ONCE])).order_by(Blob.sha)
            for blob in scope.db.scalars(some):
                lines.write(BlobLine(blob.sha, blob.size))
                found.append(blob)
    return found
