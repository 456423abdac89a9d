"""The one door from a caller and an id to a row.

A caller (an API key, a signed-in visitor) becomes a `Scope`. Every row is reached through it, so that a stranger's run
and a missing run are the same answer: they are the same query.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from arwx import db, points
from arwx.errors import Conflict, Forbidden, NotFound
from arwx.models import (
    ApiKey,
    Artifact,
    AuditEntry,
    Blob,
    Decision,
    Embed,
    Experiment,
    File,
    Invitation,
    Organization,
    Project,
    ResearchSession,
    Run,
)

LEVELS = ("read", "write", "admin")
ROLE_LEVELS = {"viewer": "read", "member": "write", "owner": "admin"}
OfProject = TypeVar("OfProject", ResearchSession, Experiment, Decision, Embed, File, Artifact)


@dataclass(frozen=True)
class Origin:
    """Where a request comes from: the address, and what the program there calls itself."""

    ip: str = ""
    agent: str = ""


@dataclass(frozen=True)
class Scope:
    """What one caller may reach: the rows of one organization, up to a level. `actor` names the caller in records."""

    db: Session
    org_id: int
    level: str
    actor: str
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        db.enter(self.db, self.org_id)

    @property
    def writable(self) -> "Scope":
        """This scope, or `Forbidden` for a caller who may only read."""
        return self.at_least("write")

    @property
    def admin(self) -> "Scope":
        """This scope, or `Forbidden` for a caller who may not manage keys or delete."""
        return self.at_least("admin")

    def allows(self, level: str) -> bool:
        return LEVELS.index(self.level) >= LEVELS.index(level)

    def at_least(self, level: str) -> "Scope":
        if not self.allows(level):
            raise Forbidden(f"This needs the scope {level}; yours is {self.level}.")
        return self

    @property
    def org(self) -> Organization:
        return self.db.get_one(Organization, self.org_id)

    def projects(self) -> Select[Project]:
        return select(Project).where(Project.org_id == self.org_id, Project.deleted_at.is_(None))

    def project(self, name: str) -> Project:
        project = self.db.scalar(self.projects().where(Project.name == _storable(name)))
        if project is None:
            raise NotFound("No such project.")
        return project

    def project_names(self, project_ids: Collection[str]) -> dict[str, str]:
        """The names of these projects by id, in one query."""
        named = self.projects().where(Project.id.in_(project_ids)).with_only_columns(Project.id, Project.name)
        return {row.id: row.name for row in self.db.execute(named)}

    def runs(self) -> Select[Run]:
        return select(Run).where(Run.org_id == self.org_id, Run.deleted_at.is_(None))

    def run(self, run_id: str) -> Run:
        run = self.db.scalar(self.runs().where(Run.id == _storable(run_id)))
        if run is None:
            raise NotFound("No such run.")
        return run

    def stream(self, run_id: str) -> points.RunKey:
        """The address of a run in the metric store. It asks no table: the store itself knows only its own runs."""
        return points.RunKey(self.org_id, _storable(run_id))

    def project_of(self, row: Run | ResearchSession | Experiment | Embed | File | Artifact) -> Project:
        """The project to which a row of this scope belongs."""
        return self.db.get_one(Project, (self.org_id, row.project_id))

    def sessions(self) -> Select[ResearchSession]:
        return self._of_living_project(ResearchSession)

    def session(self, session_id: str, of: Project | None = None) -> ResearchSession:
        """The session; with a project, one of that project."""
        session = self.db.scalar(self.sessions().where(ResearchSession.id == _storable(session_id)))
        if session is None or (of is not None and session.project_id != of.id):
            raise NotFound("No such session.")
        return session

    def experiments(self) -> Select[Experiment]:
        return self._of_living_project(Experiment)

    def experiment(self, experiment_id: str) -> Experiment:
        experiment = self.db.scalar(self.experiments().where(Experiment.id == _storable(experiment_id)))
        if experiment is None:
            raise NotFound("No such experiment.")
        return experiment

    def decisions(self) -> Select[Decision]:
        return self._of_living_project(Decision)

    def embeds(self) -> Select[Embed]:
        return self._of_living_project(Embed)

    def embed(self, embed_id: str) -> Embed:
        embed = self.db.scalar(self.embeds().where(Embed.id == _storable(embed_id)))
        if embed is None:
            raise NotFound("No such embed.")
        return embed

    def blobs(self) -> Select[Blob]:
        return select(Blob).where(Blob.org_id == self.org_id)

    def blob(self, sha: str) -> Blob:
        blob = self.db.scalar(self.blobs().where(Blob.sha == _storable(sha)))
        if blob is None:
            raise NotFound("No such blob.")
        return blob

    def files(self) -> Select[File]:
        return self._of_living_project(File)

    def file(self, file_id: str) -> File:
        file = self.db.scalar(self.files().where(File.id == _storable(file_id)))
        if file is None:
            raise NotFound("No such file.")
        return file

    def artifacts(self) -> Select[Artifact]:
        return self._of_living_project(Artifact)

    def artifact(self, name: str, project: str | None) -> Artifact:
        """The artifact of this name in the project, or without one, in the only project that has it."""
        query = self.artifacts().where(Artifact.name == _storable(name))
        if project is not None:
            query = query.where(Artifact.project_id == self.project(project).id)
        found = self.db.scalars(query.limit(101)).all()
        if not found:
            raise NotFound("No such artifact.")
        if len(found) > 1:
            names = sorted(self.project_names({row.project_id for row in found}).values())
            raise Conflict("Several projects have an artifact of this name: say which project.", projects=names)
        return found[0]

    def _of_living_project(self, model: type[OfProject]) -> Select[OfProject]:
        """The rows of this model, without those of projects that were deleted and await the sweep."""
        deleted = select(Project.id).where(Project.org_id == self.org_id, Project.deleted_at.is_not(None))
        return select(model).where(model.org_id == self.org_id, model.project_id.not_in(deleted))

    def invitations(self) -> Select[Invitation]:
        return select(Invitation).where(Invitation.org_id == self.org_id)

    def invitation(self, invitation_id: str) -> Invitation:
        invitation = self.db.scalar(self.invitations().where(Invitation.id == _storable(invitation_id)))
        if invitation is None:
            raise NotFound("No such invitation.")
        return invitation

    def audit(self) -> Select[AuditEntry]:
        return select(AuditEntry).where(AuditEntry.org_id == self.org_id)

    def keys(self) -> Select[ApiKey]:
        return select(ApiKey).where(ApiKey.org_id == self.org_id, ApiKey.revoked_at.is_(None))

    def key(self, key_id: str) -> ApiKey:
        key = self.db.scalar(self.keys().where(ApiKey.id == _storable(key_id)))
        if key is None:
            raise NotFound("No such key.")
        return key


def _storable(text: str) -> str:
    """The text itself, or `NotFound`: nothing has a NUL in its name, and PostgreSQL refuses even to look for one."""
    if "\x00" in text:
        raise NotFound("No such thing.")
    return text
