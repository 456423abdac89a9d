"""Invitations: a signed link that lets one person in, with a role, once, for a while."""

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from arwx import audit, clock, ids, links, members, people
from arwx.access import ROLE_LEVELS, Origin, Scope
from arwx.db import enter
from arwx.errors import Conflict, Forbidden, NotFound, invalid
from arwx.models import Invitation, Membership, Organization, User

LASTS = timedelta(days=7)
_PURPOSE = "invitation"
_MOST_SHOWN = 200


def make(scope: Scope, email: str, role: str) -> Invitation:
    """A new invitation; without an e-mail it is for whoever has the link."""
    if role not in ROLE_LEVELS:
        raise invalid("role", f"must be one of {', '.join(ROLE_LEVELS)}")
    invitation = Invitation(
        org_id=scope.admin.org_id,
        id=ids.new("inv"),
        email=people.email_of(email) if email.strip() else None,
        role=role,
        created_by=scope.actor,
        created_at=clock.now(),
        expires_at=clock.now() + LASTS,
    )
    scope.db.add(invitation)
    audit.record(scope, "invitation.made", invitation.email or "whoever has the link", role=role)
    return invitation


def token(secret_key: str, invitation: Invitation) -> str:
    """What stands in the link."""
    return links.sign(secret_key, _PURPOSE, [invitation.org_id, invitation.id])


def open_ones(scope: Scope) -> list[Invitation]:
    """The invitations that can still be used, newest first. For owners."""
    query = scope.admin.invitations().where(
        Invitation.used_at.is_(None), Invitation.revoked_at.is_(None), Invitation.expires_at > clock.now()
    )
    return list(scope.db.scalars(query.order_by(Invitation.created_at.desc(), Invitation.id.desc()).limit(_MOST_SHOWN)))


def revoke(scope: Scope, invitation_id: str) -> None:
    """Make the link useless."""
    invitation = scope.admin.invitation(invitation_id)
    if invitation.used_at is not None:
        raise Conflict("This invitation has been used. Remove the member instead.")
    if invitation.revoked_at is None:
        invitation.revoked_at = clock.now()
        audit.record(scope, "invitation.revoked", invitation.email or "whoever has the link", role=invitation.role)


def read(db: Session, secret_key: str, token: str) -> tuple[Invitation, Organization]:
    """What the link invites to; `NotFound` when it is not ours, was used, revoked, or is too old."""
    said = links.read(secret_key, _PURPOSE, token, int(LASTS.total_seconds()))
    row = None
    if said:
        enter(db, said[0])
        row = db.scalar(select(Invitation).where(Invitation.org_id == said[0], Invitation.id == said[1]))
    if row is None or row.used_at is not None or row.revoked_at is not None or row.expires_at < clock.now():
        raise _void()
    org = db.get(Organization, row.org_id)
    if org is None or org.deleted_at is not None:
        raise _void()
    return row, org


def accept(db: Session, secret_key: str, token: str, user: User, origin: Origin) -> Membership:
    """Make the person a member by the link, which is used up: of many at once, one gets in."""
    invitation, org = read(db, secret_key, token)
    if invitation.email not in {None, user.email}:
        raise Forbidden(f"This invitation is for {invitation.email}.")
    if db.get(Membership, (user.id, org.id)) is not None:
        raise Conflict(f"You are a member of {org.name} already. The invitation stays good for somebody else.")
    used = (
        update(Invitation)
        .where(
            Invitation.org_id == invitation.org_id,
            Invitation.id == invitation.id,
            Invitation.used_at.is_(None),
            Invitation.revoked_at.is_(None),
        )
        .values(used_at=clock.now(), used_by=f"user:{user.id}")
    )
    if db.scalar(used.returning(Invitation.id)) is None:
        raise _void()
    membership = members.join(db, user, org, invitation.role)
    scope = Scope(db, org.id, ROLE_LEVELS[invitation.role], f"user:{user.id}", origin)
    audit.record(scope, "member.joined", user.email, role=invitation.role)
    return membership


def sign_up(db: Session, secret_key: str, token: str, email: str, password: str, origin: Origin) -> str:
    """Make an account by the link and sign it in. Answers the token for the cookie."""
    invitation, _ = read(db, secret_key, token)
    db.rollback()  # the password is hashed with no transaction open
    user = people.add_user(db, invitation.email or email, password)
    membership = accept(db, secret_key, token, user, origin)
    return people.welcome(db, user, membership, origin)


def _void() -> NotFound:
    return NotFound(
        "This invitation was used or revoked, or is older than a week. Ask for a new one.", code="link_over"
    )
