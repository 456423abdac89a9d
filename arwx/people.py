"""People: sign-up, login, and the server-side sessions of their browsers."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from arwx import clock, ids
from arwx.access import ROLE_LEVELS, Scope
from arwx.db import Database
from arwx.errors import Forbidden, NotFound, Unauthorized, invalid
from arwx.models import Login, Membership, Organization, User

SESSION_LIFETIME = timedelta(days=14)
SESSION_IDLE = timedelta(hours=12)
_SEEN_EVERY = timedelta(hours=1)
_EMAIL = re.compile(r"[^@\s<>\"'\x00-\x1f]{1,64}@[^@\s<>\"'\x00-\x1f]{1,190}\Z")
_COMMON = frozenset(
    ("12345678 123456789 1234567890 password password1 qwertyuiop qwerty123 iloveyou 11111111 letmein123").split()
)

# argon2id as OWASP's password storage sheet has it at the least: 19 MiB, two passes, one lane.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
# Checked when nobody has the e-mail, so that the answer takes the same work either way.
_NOBODY = _hasher.hash(secrets.token_hex(16))


@dataclass(frozen=True)
class Visitor:
    """A signed-in person in one of their organizations, in the shape that flask-login asks for."""

    user: User
    org: Organization
    role: str
    token: str
    seen_at: datetime
    is_authenticated = True
    is_active = True
    is_anonymous = False

    def get_id(self) -> str:
        return self.token

    def scope(self, db: Session) -> Scope:
        """What this person may reach."""
        return Scope(db, self.org.id, ROLE_LEVELS[self.role], f"user:{self.user.id}")


def may_sign_up(db: Session, policy: str) -> bool:
    """Whether a stranger may make an account: the first one always unless closed, later ones when sign-up is open."""
    return policy == "open" or (policy == "first" and db.scalar(select(User.id).limit(1)) is None)


def sign_up(db: Session, policy: str, email: str, password: str, org_name: str) -> str:
    """Make an account that owns a new organization, and sign it in. Answers the token for the cookie."""
    if not may_sign_up(db, policy):
        raise Forbidden("Sign-up is closed. Ask an owner for an account.")
    user = add_user(db, email, password)
    org = add_organization(db, org_name)
    join(db, user, org, "owner")
    return _open_session(db, user, org)


def add_user(db: Session, email: str, password: str) -> User:
    """A new account, or `Invalid` with what is wrong with which field."""
    email = email.strip().lower()
    if not _EMAIL.match(email):
        raise invalid("email", "must be an e-mail address")
    if not 8 <= len(password) <= 256:
        raise invalid("password", "must have 8 to 256 characters")
    if password.lower() in _COMMON or password.lower() == email:
        raise invalid("password", "is one of the first that others would try")
    if db.scalar(select(User.id).where(User.email == email)) is not None:
        raise invalid("email", "has an account already")
    user = User(email=email, password_hash=_hasher.hash(password), created_at=clock.now())
    db.add(user)
    db.flush()
    return user


def add_organization(db: Session, name: str) -> Organization:
    """A new organization with a free slug made of its name."""
    ids.check_name(name, "organization")
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "org"
    slug = stem
    while db.scalar(select(Organization.id).where(Organization.slug == slug)) is not None:
        slug = f"{stem}-{secrets.token_hex(2)}"
    org = Organization(name=name, slug=slug, created_at=clock.now())
    db.add(org)
    db.flush()
    return org


def organization(db: Session, name_or_slug: str) -> Organization:
    """The organization with this slug, or with this name when only one has it."""
    found = list(
        db.scalars(
            select(Organization).where((Organization.slug == name_or_slug) | (Organization.name == name_or_slug))
        )
    )
    exact = [org for org in found if org.slug == name_or_slug] or found
    if len(exact) != 1:
        raise NotFound(
            f"No organization {name_or_slug!r}." if not exact else f"Several are named {name_or_slug!r}: use a slug."
        )
    return exact[0]


def join(db: Session, user: User, org: Organization, role: str) -> Membership:
    """Make the person a member with this role."""
    if role not in ROLE_LEVELS:
        raise invalid("role", f"must be one of {', '.join(ROLE_LEVELS)}")
    membership = Membership(user_id=user.id, org_id=org.id, role=role, created_at=clock.now())
    db.add(membership)
    db.flush()
    return membership


def log_in(db: Session, email: str, password: str) -> str:
    """The token of a new session, or `Unauthorized`: the same for an unknown e-mail and a wrong password."""
    email = email.strip().lower()
    user = db.scalar(select(User).where(User.email == email)) if _EMAIL.match(email) else None
    try:
        _hasher.verify(user.password_hash if user else _NOBODY, password)
    except (VerificationError, InvalidHashError):
        user = None
    if user is None:
        raise Unauthorized("E-mail or password is wrong.")
    if _hasher.check_needs_rehash(user.password_hash):
        user.password_hash = _hasher.hash(password)
    org = db.scalar(
        select(Organization)
        .join(Membership, Membership.org_id == Organization.id)
        .where(Membership.user_id == user.id)
        .order_by(Membership.created_at)
        .limit(1)
    )
    if org is None:
        raise Unauthorized("This account belongs to no organization any more.")
    return _open_session(db, user, org)


def visitor(db: Session, token: str) -> Visitor | None:
    """Who holds this token, None when the session is over or the person is no member any more."""
    row = db.execute(
        select(Login, User, Organization, Membership.role)
        .join(User, User.id == Login.user_id)
        .join(Organization, Organization.id == Login.org_id)
        .join(Membership, (Membership.user_id == Login.user_id) & (Membership.org_id == Login.org_id))
        .where(Login.token_hash == _hash(token))
    ).one_or_none()
    if row is None:
        return None
    login, user, org, role = row
    now = clock.now()
    if now - login.created_at > SESSION_LIFETIME or now - login.seen_at > SESSION_IDLE:
        return None
    return Visitor(user, org, role, token, login.seen_at)


def note_visit(database: Database, visitor: Visitor) -> None:
    """Remember that the session is in use, at most once an hour, in a transaction of its own."""
    now = clock.now()
    if now - visitor.seen_at > _SEEN_EVERY:
        with database.writing() as session:
            session.execute(update(Login).where(Login.token_hash == _hash(visitor.token)).values(seen_at=now))


def log_out(db: Session, token: str) -> None:
    """End the session: its cookie opens nothing any more, wherever it was copied."""
    db.execute(delete(Login).where(Login.token_hash == _hash(token)))


def count(db: Session) -> int:
    return db.scalar(select(func.count()).select_from(User)) or 0


def _open_session(db: Session, user: User, org: Organization) -> str:
    token = secrets.token_urlsafe(32)
    now = clock.now()
    db.execute(delete(Login).where(Login.user_id == user.id, Login.created_at < now - SESSION_LIFETIME))
    db.add(Login(token_hash=_hash(token), user_id=user.id, org_id=org.id, created_at=now, seen_at=now))
    db.flush()
    return token


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
