"""Embeds: addresses under which anybody sees one picture of one project, until they are revoked.

A README cannot send a key, so the address itself is the secret: the number of the organization (finding it needs no
global index) and 144 random bits. We keep a hash of it, and show it once.
"""

import hashlib
import re
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from arwx import audit, clock, ids, pages
from arwx.access import Scope
from arwx.errors import NotFound, invalid
from arwx.models import Embed, Organization, Project

KINDS = ("progress", "frontier", "badge")
MOST = 100
_TOKEN = re.compile(r"([0-9a-f]{1,15})_[A-Za-z0-9_-]{24}\Z", re.ASCII)


def make(scope: Scope, project: Project, kind: str) -> tuple[Embed, str]:
    """A new address for a picture of the project, and its token, which nobody can read again."""
    if kind not in KINDS:
        raise invalid("kind", f"must be one of {', '.join(KINDS)}")
    if len(listed(scope, project)) >= MOST:
        raise invalid("kind", f"cannot be added: the project has {MOST} embeds, revoke some first")
    token = f"{scope.org_id:x}_{secrets.token_urlsafe(18)}"
    embed = Embed(
        org_id=scope.org_id,
        id=ids.new("emb"),
        project_id=project.id,
        kind=kind,
        hash=_hash(token),
        created_by=scope.actor,
        created_at=clock.now(),
    )
    scope.db.add(embed)
    scope.db.flush()
    audit.record(scope, "embed.made", project.name, id=embed.id, kind=kind)
    return embed, token


def listed(scope: Scope, project: Project) -> list[Embed]:
    """The addresses of the project that work today, newest first."""
    query = scope.embeds().where(Embed.project_id == project.id)
    return list(scope.db.scalars(query.order_by(Embed.created_at.desc(), Embed.id.desc())))


def page(scope: Scope, project: Project, limit: int, cursor: str | None) -> pages.Page[Embed]:
    """The same, a page of them."""
    return pages.newest(scope.db, scope.embeds().where(Embed.project_id == project.id), Embed, limit, cursor)


def revoke(scope: Scope, embed: Embed) -> None:
    """Make the address useless from now on."""
    audit.record(scope, "embed.revoked", scope.project_of(embed).name, id=embed.id, kind=embed.kind)
    scope.db.delete(embed)
    scope.db.flush()


def find(session: Session, token: str, kind: str) -> tuple[Scope, Project]:
    """The project that the token shows in this kind of picture, and a scope that reads it; `NotFound` for all else."""
    named = _TOKEN.match(token)
    org_id = int(named[1], 16) if named else 0
    if not named or org_id >= 2**63 or kind not in KINDS:
        raise NotFound("No such picture.")
    scope = Scope(session, org_id, "read", "embed")
    embed = session.scalar(scope.embeds().where(Embed.hash == _hash(token), Embed.kind == kind))
    alive = select(Organization.id).where(Organization.id == org_id, Organization.deleted_at.is_(None))
    if embed is None or session.scalar(alive) is None:
        raise NotFound("No such picture.")
    return scope, scope.project_of(embed)


def _hash(token: str) -> bytes:
    # A plain SHA-256 is enough: nobody can try out 144 random bits.
    return hashlib.sha256(token.encode()).digest()
