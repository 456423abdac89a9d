"""People: their accounts, how they come in, and their passwords."""

import hashlib
import re
import secrets
import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arwx import audit, clock, links, logins, organizations, passwords, throttle
from arwx.access import ROLE_LEVELS, Origin, Scope
from arwx.db import Database, insert
from arwx.errors import Forbidden, NotFound, Unauthorized, invalid
from arwx.logins import Visitor
from arwx.models import Membership, Organization, User

RESET_LASTS_S = 3600
# Every refused login takes at least this long: what little more is done for a known e-mail does not show.
REFUSAL_TAKES_S = 0.15
_RESET = "password reset"
_EMAIL = re.compile(r"[^@\s<>\"'\x00-\x1f]{1,64}@[^@\s<>\"'\x00-\x1f]{1,190}\Z")


def may_sign_up(db: Session, policy: str) -> bool:
    """Whether a stranger may make an account: the first one always unless closed, later ones when sign-up is open."""
    return policy == "open" or (policy == "first" and db.scalar(select(User.id).limit(1)) is None)


def sign_up(db: Session, policy: str, email: str, password: str, org_name: str, origin: Origin) -> str:
    """Make an account that owns a new organization, and sign it in. Answers the token for the cookie."""
    if policy == "closed":
        raise _closed()
    email = email_of(email)
    # The slow part comes before the first statement: no transaction is open yet, and nobody waits for it.
    kept = passwords.new(password, email)
    if not may_sign_up(db, policy):
        raise _closed()
    user = _insert(db, email, kept)
    if policy == "first" and not user.is_first:
        raise _closed()  # somebody else was the first a moment ago
    org = organizations.make(db, policy, user, org_name, origin)
    return welcome(db, user, db.get_one(Membership, (user.id, org.id)), origin)


def add_user(db: Session, email: str, password: str) -> User:
    """A new account, or `Invalid` with what is wrong with which field."""
    email = email_of(email)
    return _insert(db, email, passwords.new(password, email))


def find(db: Session, email: str) -> User | None:
    """The account with this e-mail, however it is written."""
    return db.scalar(select(User).where(User.email == email.strip().lower())) if _is_email(email) else None


def log_in(database: Database, email: str, password: str, origin: Origin) -> str:
    """The token of a new session, or `Unauthorized`: the same for an unknown e-mail and a wrong password.

    `TooMany` when the account or the address was tried too often. It opens its own transactions, since none may be
    open while a password is compared.
    """
    began = time.monotonic()
    mine = throttle.begin(database, email.strip().lower(), origin.ip)
    with database.reading() as db:
        user = find(db, email)
        membership = _first_membership(db, user) if user else None
    is_right = passwords.is_right(user.password_hash if user else None, password)
    kept = passwords.again(password) if is_right and user and passwords.is_outdated(user.password_hash) else None
    with database.writing() as db:
        if not is_right or user is None or membership is None:
            throttle.failed(db, mine)
            if user and membership:
                audit.record(_scope(db, user, membership, origin), "login.failed")
        else:
            throttle.succeeded(db, mine)
            if kept:
                db.get_one(User, user.id).password_hash = kept
            return welcome(db, user, membership, origin)
    time.sleep(max(0.0, began + REFUSAL_TAKES_S - time.monotonic()))
    if is_right:
        raise Unauthorized("This account belongs to no organization any more.")
    raise Unauthorized("E-mail or password is wrong.")


def confirm(database: Database, visitor: Visitor, password: str, origin: Origin) -> None:
    """Raise `Invalid` unless this is the password of the person who is signed in. Tries are counted as for a login."""
    mine = throttle.begin(database, visitor.user.email, origin.ip)
    is_right = passwords.is_right(visitor.user.password_hash, password)
    with database.writing() as db:
        (throttle.succeeded if is_right else throttle.failed)(db, mine)
    if not is_right:
        raise invalid("current", "is not your password")


def change_password(database: Database, visitor: Visitor, current: str, new: str, origin: Origin) -> None:
    """Set another password. All other sessions of the person end."""
    confirm(database, visitor, current, origin)
    kept = passwords.new(new, visitor.user.email)
    with database.writing() as db:
        user = db.get_one(User, visitor.user.id)
        user.password_hash = kept
        ended = logins.end_others(db, user, but=visitor.token)
        audit.record(visitor.scope(db, origin), "password.changed", sessions_ended=ended)


def reset_token(secret_key: str, user: User) -> str:
    """What stands in a link with which the person sets a new password: for an hour, and once."""
    return links.sign(secret_key, _RESET, [user.id, _fingerprint(user)])


def of_reset(db: Session, secret_key: str, token: str) -> User:
    """The account whose password the link resets; `NotFound` when it is too old or was used."""
    said = links.read(secret_key, _RESET, token, RESET_LASTS_S)
    user = db.get(User, said[0]) if said else None
    if user is None or not secrets.compare_digest(_fingerprint(user), said[1]):
        raise NotFound("This link has been used, or is older than an hour. Ask for a new one.", code="link_over")
    return user


def reset_password(database: Database, secret_key: str, token: str, password: str, origin: Origin) -> None:
    """Set a new password by the link. All sessions of the person end, and the link is used up."""
    with database.reading() as db:
        email = of_reset(db, secret_key, token).email
    kept = passwords.new(password, email)
    with database.writing() as db:
        user = of_reset(db, secret_key, token)
        # Read again under a lock: of two who use one link at once, the second finds another password in place.
        db.refresh(user, with_for_update=True)
        of_reset(db, secret_key, token)
        user.password_hash = kept
        logins.end_others(db, user)
        membership = _first_membership(db, user)
        if membership:
            audit.record(_scope(db, user, membership, origin), "password.reset")


def welcome(db: Session, user: User, membership: Membership, origin: Origin) -> str:
    """A new session of the person in this organization, recorded. Answers the token for the cookie."""
    audit.record(_scope(db, user, membership, origin), "login.ok")
    return logins.start(db, user, membership, origin)


def email_of(email: str) -> str:
    """The e-mail as accounts have it, or `Invalid`."""
    if not _is_email(email):
        raise invalid("email", "must be an e-mail address")
    return email.strip().lower()


def count(db: Session) -> int:
    return db.scalar(select(func.count()).select_from(User)) or 0


def _insert(db: Session, email: str, kept: str) -> User:
    """The new account: marked as the first when it is. Of two first ones at once, only one gets the mark."""
    is_empty = db.scalar(select(User.id).limit(1)) is None
    for is_first in (True, None) if is_empty else (None,):
        made = insert(db, User).values(email=email, password_hash=kept, is_first=is_first, created_at=clock.now())
        user_id = db.scalar(made.on_conflict_do_nothing().returning(User.id))
        if user_id is not None:
            return db.get_one(User, user_id)
    raise invalid("email", "has an account already")


def _first_membership(db: Session, user: User) -> Membership | None:
    """Where the person's session begins: in the organization to which they belong longest."""
    return db.scalar(
        select(Membership)
        .join(Organization, Organization.id == Membership.org_id)
        .where(Membership.user_id == user.id, Organization.deleted_at.is_(None))
        .order_by(Membership.created_at, Membership.org_id)
        .limit(1)
    )


def _scope(db: Session, user: User, membership: Membership, origin: Origin) -> Scope:
    return Scope(db, membership.org_id, ROLE_LEVELS[membership.role], f"user:{user.id}", origin)


def _fingerprint(user: User) -> str:
    """Another one for every password, so that a reset link is good until the password changes."""
    return hashlib.sha256(user.password_hash.encode()).hexdigest()[:16]


def _is_email(email: str) -> bool:
    return _EMAIL.match(email.strip()) is not None and email.strip().isprintable()


def _closed() -> Forbidden:
    return Forbidden("Sign-up is closed. Ask an owner for an invitation.")
