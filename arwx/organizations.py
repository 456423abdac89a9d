"""Organizations: made, named, found by their name; and those to which a person belongs."""

import re
import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from arwx import audit, clock, ids, members
from arwx.access import ROLE_LEVELS, Origin, Scope
from arwx.db import insert
from arwx.errors import Forbidden, NotFound
from arwx.logins import Visitor
from arwx.models import Membership, Organization, User


@dataclass(frozen=True)
class Belonging:
    """An organization of a person, and what they are there."""

    name: str
    slug: str
    role: str
    is_here: bool


def of(db: Session, visitor: Visitor) -> list[Belonging]:
    """The organizations of the person, by name."""
    rows = db.execute(
        select(Organization, Membership.role)
        .join(Membership, Membership.org_id == Organization.id)
        .where(Membership.user_id == visitor.user.id, Organization.deleted_at.is_(None))
        .order_by(Organization.name, Organization.id)
    )
    return [Belonging(org.name, org.slug, role, org.id == visitor.org.id) for org, role in rows]


def add(db: Session, name: str) -> Organization:
    """A new organization with a free slug made of its name."""
    ids.check_name(name, "organization")
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48] or "org"
    slug = stem
    while True:
        made = insert(db, Organization).values(name=name, slug=slug, created_at=clock.now())
        org_id = db.scalar(made.on_conflict_do_nothing(index_elements=["slug"]).returning(Organization.id))
        if org_id is not None:
            return db.get_one(Organization, org_id)
        slug = f"{stem}-{secrets.token_hex(2)}"


def make(db: Session, policy: str, user: User, name: str, origin: Origin) -> Organization:
    """A new organization that this person owns."""
    if policy == "closed":
        raise Forbidden("Only the operator of this server makes organizations.")
    org = add(db, name)
    members.join(db, user, org, "owner")
    audit.record(Scope(db, org.id, ROLE_LEVELS["owner"], f"user:{user.id}", origin), "organization.made", name)
    return org


def rename(scope: Scope, name: str) -> None:
    """Give the organization another name. Its slug stays."""
    org = scope.admin.org
    org.name = ids.check_name(name, "organization")
    audit.record(scope, "organization.renamed", name)


def named(db: Session, name_or_slug: str) -> Organization:
    """The organization with this slug, or with this name when only one has it."""
    is_meant = (Organization.slug == name_or_slug) | (Organization.name == name_or_slug)
    found = list(db.scalars(select(Organization).where(is_meant, Organization.deleted_at.is_(None))))
    exact = [org for org in found if org.slug == name_or_slug] or found
    if len(exact) != 1:
        raise NotFound(
            f"No organization {name_or_slug!r}." if not exact else f"Several are named {name_or_slug!r}: use a slug."
        )
    return exact[0]


def all_ids(db: Session) -> list[int]:
    """The numbers of all organizations."""
    return list(db.scalars(select(Organization.id).where(Organization.deleted_at.is_(None)).order_by(Organization.id)))
