"""The audit log: what was done that the owners of an organization may want to know. Rows are only ever added."""

from dataclasses import replace
from typing import Any

from arwx import actors, clock, ids, pages
from arwx.access import Scope
from arwx.db import Database
from arwx.models import AuditEntry

# Everything that is recorded. Nothing of it names a secret.
ACTIONS = frozenset(
    (
        "login.ok login.failed logout session.ended password.changed password.reset "
        "key.made key.revoked member.added member.joined member.role member.removed invitation.made invitation.revoked "
        "embed.made embed.revoked organization.made organization.renamed organization.deleted project.deleted "
        "project.imported project.restored organization.restored "
        "run.deleted export denied"
    ).split()
)
_LONGEST = 300


def record(scope: Scope, action: str, subject: str = "", **details: Any) -> None:
    """Add one row in the caller's transaction: it is there when what it tells of is, and only then."""
    if action not in ACTIONS:
        raise ValueError(action)
    scope.db.add(
        AuditEntry(
            org_id=scope.org_id,
            id=ids.new("aud"),
            created_at=clock.now(),
            action=action,
            actor=scope.actor,
            # In words that stay true when the account or the key is gone.
            actor_name=actors.names(scope, [scope.actor])[scope.actor],
            # PostgreSQL keeps no NUL, and a refused address may hold one.
            subject=subject[:_LONGEST].replace("\x00", "\N{REPLACEMENT CHARACTER}"),
            details=details,
            ip=scope.origin.ip,
        )
    )
    scope.db.flush()


def record_apart(database: Database, scope: Scope, action: str, subject: str = "", **details: Any) -> None:
    """The same in a transaction of its own, for what changes nothing: a read, or something refused."""
    with database.writing() as session:
        record(replace(scope, db=session), action, subject, **details)


def page(scope: Scope, limit: int, cursor: str | None, action: str | None = None) -> pages.Page[AuditEntry]:
    """What was recorded, newest first. For owners."""
    query = scope.admin.audit()
    if action:
        # A kind, such as `key`, or one action of it, such as `key.made`.
        query = query.where((AuditEntry.action == action) | AuditEntry.action.startswith(f"{action}.", autoescape=True))
    return pages.newest(scope.db, query, AuditEntry, limit, cursor)
