"""The sessions of browsers: they live here, so that they can be listed and ended; a cookie only names one."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from arwx import audit, clock
from arwx.access import ROLE_LEVELS, Origin, Scope
from arwx.db import Database
from arwx.errors import NotFound
from arwx.models import Login, Membership, Organization, User

LIFETIME = timedelta(days=14)
IDLE = timedelta(hours=12)
_SEEN_EVERY = timedelta(hours=1)
# A page asks for many things at once: when one of its requests gets a new token, the others still bring the old one.
_REPLACED_LASTS = timedelta(seconds=30)
_LONGEST_AGENT = 300


@dataclass(frozen=True)
class Visitor:
    """A signed-in person in one of their organizations, in the shape that flask-login asks for."""

    user: User
    org: Organization
    role: str
    login: Login
    token: str
    is_authenticated = True
    is_active = True
    is_anonymous = False

    def get_id(self) -> str:
        return self.token

    @property
    def is_stale(self) -> bool:
        """Whether the role is another than when the token was made, so that a new token is due."""
        return self.login.role != self.role and self.login.ends_at is None

    def scope(self, db: Session, origin: Origin | None = None) -> Scope:
        """What this person may reach."""
        return Scope(db, self.org.id, ROLE_LEVELS[self.role], f"user:{self.user.id}", origin or Origin())


@dataclass(frozen=True)
class Place:
    """A session as its person sees it in the list."""

    id: str
    org_name: str
    ip: str
    agent: str
    created_at: datetime
    seen_at: datetime
    is_this: bool


def start(db: Session, user: User, membership: Membership, origin: Origin, since: datetime | None = None) -> str:
    """A new session in the organization of the membership. Answers the token for the cookie."""
    token = secrets.token_urlsafe(32)
    now = clock.now()
    db.execute(delete(Login).where(Login.user_id == user.id, _ended(now)))
    login = Login(
        token_hash=_hash(token),
        user_id=user.id,
        org_id=membership.org_id,
        created_at=since or now,
        seen_at=now,
        role=membership.role,
        ip=origin.ip,
        agent=origin.agent[:_LONGEST_AGENT].replace("\x00", ""),
        ends_at=None,
    )
    db.add(login)
    db.flush()
    return token


def visitor(db: Session, token: str) -> Visitor | None:
    """Who holds this token, None when the session is over or the person is no member any more."""
    row = db.execute(
        select(Login, User, Organization, Membership.role)
        .join(User, User.id == Login.user_id)
        .join(Organization, Organization.id == Login.org_id)
        .join(Membership, (Membership.user_id == Login.user_id) & (Membership.org_id == Login.org_id))
        .where(Login.token_hash == _hash(token), Organization.deleted_at.is_(None))
    ).one_or_none()
    if row is None:
        return None
    login, user, org, role = row
    return None if _is_over(login) else Visitor(user, org, role, login, token)


def note_visit(database: Database, visitor: Visitor) -> None:
    """Remember that the session is in use, at most once an hour, in a transaction of its own, as far as that can be."""
    now = clock.now()
    if now - visitor.login.seen_at > _SEEN_EVERY:
        with database.noting() as session:
            session.execute(update(Login).where(Login.token_hash == visitor.login.token_hash).values(seen_at=now))


def renew(database: Database, visitor: Visitor, origin: Origin) -> str | None:
    """Another token for the same session, in a transaction of its own; None when another request got it first."""
    with database.writing() as session:
        membership = session.get(Membership, (visitor.user.id, visitor.org.id))
        if membership is None or not _replace(session, visitor, clock.now() + _REPLACED_LASTS):
            return None
        return start(session, visitor.user, membership, origin, since=visitor.login.created_at)


def switch(db: Session, visitor: Visitor, slug: str, origin: Origin) -> str:
    """Go on in another organization of the same person. Answers the new token; the old one is over."""
    if "\x00" in slug:
        raise NotFound("You belong to no such organization.")
    membership = db.scalar(
        select(Membership)
        .join(Organization, Organization.id == Membership.org_id)
        .where(Membership.user_id == visitor.user.id, Organization.slug == slug, Organization.deleted_at.is_(None))
    )
    if membership is None:
        raise NotFound("You belong to no such organization.")
    end(db, visitor.token)
    return start(db, visitor.user, membership, origin, since=visitor.login.created_at)


def places(db: Session, visitor: Visitor) -> list[Place]:
    """Where the person is signed in, this session first, then the one used last."""
    rows = db.execute(
        select(Login, Organization.name)
        .join(Organization, Organization.id == Login.org_id)
        .where(Login.user_id == visitor.user.id)
        .order_by(Login.seen_at.desc())
    )
    found = [
        Place(
            _id(login),
            name,
            login.ip,
            login.agent,
            login.created_at,
            login.seen_at,
            login.token_hash == _hash(visitor.token),
        )
        for login, name in rows
        if not _is_over(login) and login.ends_at is None
    ]
    return sorted(found, key=lambda place: not place.is_this)


def end(db: Session, token: str) -> None:
    """End the session: its cookie opens nothing any more, wherever it was copied."""
    db.execute(delete(Login).where(Login.token_hash == _hash(token)))


def log_out(scope: Scope, visitor: Visitor) -> None:
    """End the session of the visitor."""
    end(scope.db, visitor.token)
    audit.record(scope, "logout")


def end_place(scope: Scope, visitor: Visitor, place_id: str) -> None:
    """End one of the person's sessions, by the id in the list."""
    for login in scope.db.scalars(select(Login).where(Login.user_id == visitor.user.id)):
        if _id(login) == place_id:
            scope.db.delete(login)
            audit.record(scope, "session.ended", count=1)
            return
    raise NotFound("This session is over already.")


def end_elsewhere(scope: Scope, visitor: Visitor) -> None:
    """End all sessions of the person but this one."""
    audit.record(scope, "session.ended", count=end_others(scope.db, visitor.user, but=visitor.token))


def end_others(db: Session, user: User, but: str | None = None) -> int:
    """End all sessions of the person, but for the one with this token; answers how many."""
    query = delete(Login).where(Login.user_id == user.id)
    if but is not None:
        query = query.where(Login.token_hash != _hash(but))
    return len(db.scalars(query.returning(Login.token_hash)).all())


def end_in(db: Session, org_id: int, user_id: int | None = None) -> None:
    """End the sessions that are in this organization: those of one person, or all."""
    query = delete(Login).where(Login.org_id == org_id)
    db.execute(query if user_id is None else query.where(Login.user_id == user_id))


def sweep(db: Session) -> None:
    """Forget the sessions that are over."""
    now = clock.now()
    db.execute(delete(Login).where(_ended(now)))


def _ended(now: datetime) -> ColumnElement[bool]:
    return or_(Login.created_at < now - LIFETIME, Login.seen_at < now - IDLE, Login.ends_at < now)


def _is_over(login: Login) -> bool:
    now = clock.now()
    is_replaced = login.ends_at is not None and login.ends_at < now
    return is_replaced or now - login.created_at > LIFETIME or now - login.seen_at > IDLE


def _replace(db: Session, visitor: Visitor, ends_at: datetime) -> bool:
    """Let the old token end soon. Of several requests at once only one does it."""
    query = update(Login).where(Login.token_hash == visitor.login.token_hash, Login.ends_at.is_(None))
    return db.scalar(query.values(ends_at=ends_at).returning(Login.user_id)) is not None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _id(login: Login) -> str:
    # What is shown in a page must not be what the database finds a session by.
    return hashlib.sha256(login.token_hash).hexdigest()[:16]
