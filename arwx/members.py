"""Members of an organization and their roles. There is always an owner."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from arwx import audit, clock, keys, logins
from arwx.access import ROLE_LEVELS, Scope
from arwx.db import insert
from arwx.errors import Conflict, NotFound, invalid
from arwx.models import Membership, Organization, User


@dataclass(frozen=True)
class Member:
    """A person of the organization, as the list shows them."""

    id: int
    email: str
    role: str
    joined_at: datetime
    is_you: bool


def listed(scope: Scope) -> list[Member]:
    """The members, owners first, then in the order in which they came."""
    rows = scope.db.execute(
        select(User.id, User.email, Membership.role, Membership.created_at)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.org_id == scope.org_id)
        .order_by(Membership.created_at, User.id)
    )
    found = [Member(*row, is_you=scope.actor == f"user:{row.id}") for row in rows]
    order = list(reversed(ROLE_LEVELS))
    return sorted(found, key=lambda member: order.index(member.role))


def join(db: Session, user: User, org: Organization, role: str) -> Membership:
    """Make the person a member with this role, or `Conflict` when they are one."""
    if role not in ROLE_LEVELS:
        raise invalid("role", f"must be one of {', '.join(ROLE_LEVELS)}")
    made = (
        insert(db, Membership)
        .values(user_id=user.id, org_id=org.id, role=role, created_at=clock.now())
        .on_conflict_do_nothing(index_elements=["user_id", "org_id"])
        .returning(Membership.user_id)
    )
    if db.scalar(made) is None:
        raise Conflict(f"{user.email} is a member of {org.name} already.")
    return db.get_one(Membership, (user.id, org.id))


def change_role(scope: Scope, user_id: int, role: str) -> None:
    """Give the member another role. Keys of theirs that may do more than the new role stop working."""
    if role not in ROLE_LEVELS:
        raise invalid("role", f"must be one of {', '.join(ROLE_LEVELS)}")
    membership = _locked(scope.admin, user_id)
    if membership.role == role:
        return
    _keep_an_owner(scope, membership)
    before, membership.role = membership.role, role
    scope.db.flush()
    revoked = keys.revoke_made_by(scope, f"user:{user_id}", above=ROLE_LEVELS[role])
    audit.record(scope, "member.role", _email(scope, user_id), before=before, after=role, keys_revoked=revoked)


def remove(scope: Scope, user_id: int) -> None:
    """Take the member out: their sessions here end, and keys that they made stop. Everybody may take out themselves."""
    membership = _locked(scope if scope.actor == f"user:{user_id}" else scope.admin, user_id)
    _keep_an_owner(scope, membership)
    revoked = keys.revoke_made_by(scope, f"user:{user_id}")
    # Recorded first: a person who leaves is still somebody here.
    audit.record(scope, "member.removed", _email(scope, user_id), role=membership.role, keys_revoked=revoked)
    logins.end_in(scope.db, scope.org_id, user_id)
    scope.db.execute(delete(Membership).where(Membership.user_id == user_id, Membership.org_id == scope.org_id))


def _locked(scope: Scope, user_id: int) -> Membership:
    """The membership, while nobody else changes any of the organization: else two owners could remove each other."""
    one_at_a_time = select(Organization.id).where(Organization.id == scope.org_id).with_for_update(key_share=True)
    scope.db.execute(one_at_a_time)
    query = select(Membership).where(Membership.org_id == scope.org_id, Membership.user_id == user_id)
    membership = scope.db.scalar(query.execution_options(populate_existing=True))
    if membership is None:
        raise NotFound("No such member.")
    return membership


def _keep_an_owner(scope: Scope, membership: Membership) -> None:
    if membership.role != "owner":
        return
    owners = select(func.count()).where(Membership.org_id == scope.org_id, Membership.role == "owner")
    if (scope.db.scalar(owners) or 0) < 2:
        raise Conflict("An organization keeps at least one owner. Make somebody else an owner first.")


def _email(scope: Scope, user_id: int) -> str:
    return scope.db.get_one(User, user_id).email
