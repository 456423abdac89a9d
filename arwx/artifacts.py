"""Artifacts: named outputs of a project, with numbered versions and movable refs.

A version is a tree of blobs, for ever; the same tree is the same version. Refs point at versions and can be moved, each
move is kept. Who made and who used a version is in `arwx.lineage`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Select, func, select

from arwx import blobs, clock, db, ids, lineage, pages, trees
from arwx.access import Scope
from arwx.errors import Conflict, NotFound, invalid
from arwx.frontier import Verdict
from arwx.lineage import CONSUMER, PRODUCER, Lineage, Link
from arwx.models import Artifact, ArtifactMove, ArtifactRef, ArtifactVersion, Project
from arwx.trees import Entry

LATEST = "latest"
MAX_METADATA_BYTES = 2**20
# What names a version by itself, and what is an address under an artifact.
_NUMBER = re.compile(r"v?([0-9]+)\Z", re.IGNORECASE)
_RESERVED = {LATEST, "lineage", "refs"}


@dataclass(frozen=True)
class VersionView:
    """A version as people and programs see it."""

    version: ArtifactVersion
    refs: list[str]
    producers: list[Link] = field(default_factory=list)
    consumers: list[Link] = field(default_factory=list)
    verdict: Verdict | None = None

    @property
    def links(self) -> list[Link]:
        """The runs and experiments that made or used it."""
        return [*self.producers, *self.consumers]


@dataclass(frozen=True)
class ArtifactView:
    """An artifact with its refs (`latest` included) and its newest version."""

    artifact: Artifact
    project: str
    refs: dict[str, int]
    newest: ArtifactVersion


@dataclass(frozen=True)
class Shelf:
    """An artifact with its newest versions."""

    view: ArtifactView
    versions: list[VersionView]


def log(
    scope: Scope, project: Project, name: str, entries: Sequence[Entry], fields: dict[str, Any]
) -> tuple[Artifact, ArtifactVersion, bool]:
    """The next version of the artifact, or the known one with the same tree; and whether it is new.

    `Conflict` with `missing` when blobs of it are not uploaded yet. `produced_by` is added to the lineage either way.
    """
    tree = trees.check(entries)
    if not tree:
        raise invalid("entries", "must have at least one item")
    metadata = fields.get("metadata") or {}
    if len(msgspec.json.encode(metadata)) > MAX_METADATA_BYTES:
        raise invalid("metadata", "must have at most 1 MiB as JSON")
    blobs.require(scope, tree)
    producer = lineage.maker(scope, fields["produced_by"], "produced_by") if fields.get("produced_by") else None
    # Everybody who logs this artifact waits here for the others, so that numbers have no gaps.
    artifact = _locked(scope, project, name, fields.get("type"))
    digest = trees.digest(tree)
    version = scope.db.scalar(_versions(artifact).where(ArtifactVersion.digest == digest))
    is_new = version is None
    if version is None:
        artifact.version_count += 1
        version = ArtifactVersion(
            org_id=scope.org_id,
            artifact_id=artifact.id,
            number=artifact.version_count,
            digest=digest,
            file_count=len(tree),
            size=sum(entry.size for entry in tree),
            details=metadata,
            entries=[msgspec.to_builtins(entry) for entry in tree],
            created_by=scope.actor,
            created_at=clock.now(),
        )
        scope.db.add(version)
        scope.db.flush()
    if producer is not None:
        lineage.tie(scope, version, PRODUCER, producer)
    return artifact, version, is_new


def resolve(scope: Scope, artifact: Artifact, ref: str | int) -> ArtifactVersion:
    """The version that `latest`, `v3`, `3` or a ref names; `NotFound` when there is none."""
    number = artifact.version_count if ref == LATEST else number_of(ref)
    if number is None:
        number = scope.db.scalar(
            select(ArtifactRef.version).where(
                ArtifactRef.org_id == artifact.org_id,
                ArtifactRef.artifact_id == artifact.id,
                ArtifactRef.name == str(ref),
            )
        )
        if number is None:
            raise NotFound("No such ref.")
    version = scope.db.scalar(_versions(artifact).where(ArtifactVersion.number == number))
    if version is None:
        raise NotFound("No such version.")
    return version


def number_of(label: str | int) -> int | None:
    """The number that 3, "3" or "v3" says; None for what is no number. One that cannot be is -1."""
    found = _NUMBER.match(str(label))
    if found is None or not found[1].isascii():
        return -1 if isinstance(label, int) else None
    return int(found[1]) if len(found[1]) < 16 else -1


def promote(scope: Scope, artifact: Artifact, ref: str, label: str | int) -> ArtifactVersion:
    """Point the ref at a version, and note who moved it. To move it where it is already changes nothing."""
    ids.check_name(ref, "ref")
    if ref.casefold() in _RESERVED or number_of(ref) is not None:
        raise Conflict(f"The ref {ref} is reserved: it means a version by itself.", code="ref_taken")
    number = number_of(label)
    if number is None:
        raise invalid("version", 'must be a version such as 3, "3" or "v3"')
    version = resolve(scope, artifact, number)
    # Two who move refs of one artifact at once wait for each other, so that the history is a true one.
    scope.db.refresh(artifact, with_for_update=True)
    known = scope.db.get(ArtifactRef, (scope.org_id, artifact.id, ref), populate_existing=True)
    if known is not None and known.version == version.number:
        return version
    previous = known.version if known else None
    if known is None:
        known = ArtifactRef(org_id=scope.org_id, artifact_id=artifact.id, name=ref, version=version.number)
        scope.db.add(known)
    known.version = version.number
    scope.db.add(
        ArtifactMove(
            org_id=scope.org_id,
            id=ids.new("mov"),
            artifact_id=artifact.id,
            ref=ref,
            version=version.number,
            previous=previous,
            created_by=scope.actor,
            created_at=clock.now(),
        )
    )
    scope.db.flush()
    return version


def page(
    scope: Scope, limit: int, cursor: str | None, *, project: str | None = None, kind: str | None = None
) -> pages.Page[ArtifactView]:
    """The artifacts of the organization or of a project, the one that was made last first."""
    query = scope.artifacts()
    if project:
        query = query.where(Artifact.project_id == scope.project(project).id)
    if kind:
        query = query.where(Artifact.type == kind)
    found = pages.newest(scope.db, query, Artifact, limit, cursor)
    return pages.Page(_views(scope, found.items), found.next)


def find(scope: Scope, words: str, limit: int = 20) -> list[ArtifactView]:
    """The artifacts of all projects whose name holds the words, newest first."""
    named = scope.artifacts().where(Artifact.name.icontains(words, autoescape=True))
    newest = named.order_by(Artifact.created_at.desc(), Artifact.id.desc()).limit(limit)
    return _views(scope, scope.db.scalars(newest).all())


def count(scope: Scope, project: Project) -> int:
    """How many artifacts the project has."""
    counted = scope.artifacts().where(Artifact.project_id == project.id).with_only_columns(func.count())
    return scope.db.execute(counted).scalar_one()


def view(scope: Scope, artifact: Artifact) -> ArtifactView:
    return _views(scope, [artifact])[0]


def shelves(scope: Scope, project: Project, limit: int, cursor: str | None, each: int) -> pages.Page[Shelf]:
    """The artifacts of the project, newest first, with `each` of their newest versions: as many queries for one as for
    fifty.
    """
    found = page(scope, limit, cursor, project=project.name)
    newest = (
        select(ArtifactVersion)
        .join(Artifact, Artifact.id == ArtifactVersion.artifact_id)
        .where(
            ArtifactVersion.org_id == scope.org_id,
            Artifact.org_id == scope.org_id,
            ArtifactVersion.number > Artifact.version_count - each,
            Artifact.id.in_([view.artifact.id for view in found.items]),
        )
        .order_by(ArtifactVersion.number.desc())
    )
    views = _version_views(scope, [view.artifact for view in found.items], scope.db.scalars(newest).all())
    return pages.Page([Shelf(view, views[view.artifact.id]) for view in found.items], found.next)


def versions(scope: Scope, artifact: Artifact, limit: int, before: int | None = None) -> list[VersionView]:
    """At most `limit` versions, newest first, those below `before` when it is given."""
    query = _versions(artifact).order_by(ArtifactVersion.number.desc()).limit(limit)
    if before is not None:
        query = query.where(ArtifactVersion.number < before)
    return version_views(scope, artifact, scope.db.scalars(query).all())


def version_views(scope: Scope, artifact: Artifact, found: Sequence[ArtifactVersion]) -> list[VersionView]:
    """The versions with their refs, lineage and score: as many queries for one as for fifty."""
    return _version_views(scope, [artifact], found)[artifact.id]


def _version_views(
    scope: Scope, artifacts: Sequence[Artifact], found: Sequence[ArtifactVersion]
) -> dict[str, list[VersionView]]:
    links = lineage.links(scope, found)
    verdicts = lineage.scores(scope, links)
    refs = {id_: _by_version(refs) for id_, refs in _refs(scope, artifacts).items()}
    shown: dict[str, list[VersionView]] = {artifact.id: [] for artifact in artifacts}
    for version in found:
        which = (version.artifact_id, version.number)
        own = [link for link in links if (link.artifact_id, link.version) == which]
        shown[version.artifact_id].append(
            VersionView(
                version,
                refs[version.artifact_id].get(version.number, []),
                [Link(link.kind, link.target_id) for link in own if link.role == PRODUCER],
                [Link(link.kind, link.target_id) for link in own if link.role == CONSUMER],
                verdicts.get(which),
            )
        )
    return shown


def moves(scope: Scope, artifact: Artifact, limit: int) -> list[ArtifactMove]:
    """The last moves of its refs, newest first."""
    return list(
        scope.db.scalars(
            select(ArtifactMove)
            .where(ArtifactMove.org_id == scope.org_id, ArtifactMove.artifact_id == artifact.id)
            .order_by(ArtifactMove.created_at.desc(), ArtifactMove.id.desc())
            .limit(limit)
        )
    )


def graph(scope: Scope, artifact: Artifact, limit: int) -> Lineage:
    """What made and what used the newest `limit` versions."""
    found = scope.db.scalars(_versions(artifact).order_by(ArtifactVersion.number.desc()).limit(limit)).all()
    refs = _by_version(_refs(scope, [artifact]).get(artifact.id, {}))
    return lineage.graph(scope, list(reversed(found)), refs)


def tree(version: ArtifactVersion) -> list[Entry]:
    """The files of the version."""
    return msgspec.convert(version.entries, list[Entry])


def _locked(scope: Scope, project: Project, name: str, kind: str | None) -> Artifact:
    """The artifact of this name, made when it is not there, its row locked until the transaction ends."""
    ids.check_name(name)
    if kind is not None:
        ids.check_name(kind, "type")
    scope.db.execute(
        db.insert(scope.db, Artifact)
        .values(
            org_id=scope.org_id,
            id=ids.new("art"),
            project_id=project.id,
            name=name,
            type=kind,
            version_count=0,
            created_by=scope.actor,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["org_id", "project_id", "name"])
    )
    query = scope.artifacts().where(Artifact.project_id == project.id, Artifact.name == name)
    artifact = scope.db.scalars(query.with_for_update(), execution_options={"populate_existing": True}).one()
    if kind is not None and artifact.type not in {None, kind}:
        raise Conflict(f"This artifact is of the type {artifact.type}.")
    artifact.type = artifact.type or kind
    return artifact


def _versions(artifact: Artifact) -> Select[ArtifactVersion]:
    return select(ArtifactVersion).where(
        ArtifactVersion.org_id == artifact.org_id, ArtifactVersion.artifact_id == artifact.id
    )


def _views(scope: Scope, artifacts: Sequence[Artifact]) -> list[ArtifactView]:
    names = scope.project_names({artifact.project_id for artifact in artifacts})
    refs = _refs(scope, artifacts)
    newest = select(ArtifactVersion).where(
        ArtifactVersion.org_id == scope.org_id,
        Artifact.org_id == scope.org_id,
        ArtifactVersion.artifact_id == Artifact.id,
        ArtifactVersion.number == Artifact.version_count,
        Artifact.id.in_([artifact.id for artifact in artifacts]),
    )
    versions = {version.artifact_id: version for version in scope.db.scalars(newest)}
    return [
        ArtifactView(artifact, names[artifact.project_id], refs[artifact.id], versions[artifact.id])
        for artifact in artifacts
    ]


def _refs(scope: Scope, artifacts: Sequence[Artifact]) -> dict[str, dict[str, int]]:
    """By artifact id: each ref and its version, `latest` first."""
    refs = {artifact.id: {LATEST: artifact.version_count} for artifact in artifacts}
    query = select(ArtifactRef).where(ArtifactRef.org_id == scope.org_id, ArtifactRef.artifact_id.in_(refs))
    for ref in scope.db.scalars(query.order_by(ArtifactRef.name)):
        refs[ref.artifact_id][ref.name] = ref.version
    return refs


def _by_version(refs: dict[str, int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, version in refs.items():
        found.setdefault(version, []).append(name)
    return found
