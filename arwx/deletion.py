"""The end of projects and organizations: they are gone from every list at once, and for a day they can be taken back.

What nobody took back, `arwx.sweep` erases.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from arwx import audit, clock, logins
from arwx.access import Scope
from arwx.errors import Conflict, NotFound, invalid
from arwx.models import ApiKey, Organization, Project, Run

# How long a project or an organization can be taken back.
UNDO = timedelta(hours=24)
# No name and no slug may hold a slash: nobody can ask for one of these, and another may take the old one.
_DELETED = "deleted/"


@dataclass(frozen=True)
class Deleted:
    """A project that can still be taken back."""

    id: str
    name: str
    deleted_at: datetime


def delete_project(scope: Scope, name: str, typed: str | None = None) -> None:
    """Take the project and all that hangs off it out of every list; its name is free again. `typed` must repeat it."""
    project = scope.admin.project(name)
    if typed is not None and typed != project.name:
        raise invalid("typed", "is not the name of the project")
    audit.record(scope, "project.deleted", project.name)
    now = clock.now()
    project.name, project.deleted_at = f"{_DELETED}{project.id}/{project.name}", now
    mine = (Run.org_id == scope.org_id, Run.project_id == project.id, Run.deleted_at.is_(None))
    scope.db.execute(update(Run).where(*mine).values(deleted_at=now))


def delete_organization(scope: Scope, typed: str | None = None) -> None:
    """End the organization: nobody is in it any more, no key works, and nothing of it is shown. `typed` is its name."""
    org = scope.admin.org
    if typed is not None and typed != org.name:
        raise invalid("typed", "is not the name of the organization")
    audit.record(scope, "organization.deleted", org.name)
    now = clock.now()
    working = (ApiKey.org_id == org.id, ApiKey.revoked_at.is_(None))
    scope.db.execute(update(ApiKey).where(*working).values(revoked_at=now))
    logins.end_in(scope.db, org.id)
    org.deleted_at, org.slug = now, f"{_DELETED}{org.id}/{org.slug}"


def deleted_projects(scope: Scope) -> list[Deleted]:
    """The projects that can still be taken back, the last one first."""
    rows = scope.admin.db.scalars(_restorable(scope).order_by(Project.deleted_at.desc(), Project.id))
    return [Deleted(row.id, _former(row), row.deleted_at) for row in rows if row.deleted_at]


def restore_project(scope: Scope, project_id: str) -> Project:
    """Take the deletion back: the project is as it was, but for runs that had been deleted before it."""
    project = scope.admin.db.scalar(_restorable(scope).where(Project.id == project_id).with_for_update())
    if project is None:
        raise NotFound("No such project was deleted within a day.")
    name, then = _former(project), project.deleted_at
    if scope.db.scalar(scope.projects().where(Project.name == name)) is not None:
        raise Conflict(f"There is another project {name} by now. Delete that one first.")
    project.name, project.deleted_at = name, None
    mine = (Run.org_id == scope.org_id, Run.project_id == project.id, Run.deleted_at == then)
    scope.db.execute(update(Run).where(*mine).values(deleted_at=None))
    audit.record(scope, "project.restored", name)
    return project


def restore_organization(db: Session, slug: str) -> Organization:
    """Take the deletion back: its members are in it again, and the keys work that worked then."""
    is_meant = Organization.slug.startswith(_DELETED) & Organization.slug.endswith(f"/{slug}", autoescape=True)
    found = list(db.scalars(select(Organization).where(is_meant, Organization.deleted_at > clock.now() - UNDO)))
    if len(found) != 1:
        raise NotFound(f"{'Several' if found else 'No'} organizations with the slug {slug} were deleted within a day.")
    org, then = found[0], found[0].deleted_at
    if db.scalar(select(Organization.id).where(Organization.slug == slug)) is not None:
        raise Conflict(f"There is another organization with the slug {slug} by now.")
    org.slug, org.deleted_at = slug, None
    scope = Scope(db, org.id, "admin", "cli")
    worked = (ApiKey.org_id == org.id, ApiKey.revoked_at == then)
    db.execute(update(ApiKey).where(*worked).values(revoked_at=None))
    audit.record(scope, "organization.restored", org.name)
    return org


def _restorable(scope: Scope) -> Select[Project]:
    return select(Project).where(
        Project.org_id == scope.org_id,
        Project.deleted_at > clock.now() - UNDO,
        # Other hidden projects are on their way in; and the first versions did not keep the name.
        Project.name.like(f"{_DELETED}%/%"),
    )


def _former(project: Project) -> str:
    return project.name.removeprefix(f"{_DELETED}{project.id}/")
