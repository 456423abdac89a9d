"""API keys: made, shown once, stored as a hash, revoked.

A key is `arwx_live_` and 30 characters of base 62: five that tell the organization (so that finding a key needs no
global index), 21 random ones (125 bits), and four of a checksum (so that a mistyped key is told without asking the
database).
"""

import hashlib
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from arwx import audit, clock, db, ids, pages
from arwx.access import LEVELS, Scope
from arwx.errors import Forbidden, Unauthorized, invalid
from arwx.models import ApiKey
from arwx.prepared import Prepared

PREFIX = "arwx_live_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ORG, _RANDOM, _CHECK = 5, 21, 4
_USE_IS_NOTED_EVERY = timedelta(minutes=1)


def mint(scope: Scope, name: str, level: str = "write") -> tuple[ApiKey, str]:
    """A new key of the caller's scope or lower, and its secret, which nobody can read again."""
    if level not in LEVELS:
        raise invalid("scope", f"must be one of {', '.join(LEVELS)}")
    if not scope.allows(level):
        raise Forbidden(f"A key mints keys of its own scope or lower; yours is {scope.level}.")
    ids.check_name(name, "name")
    secret = _compose(scope.org_id)
    key = ApiKey(
        org_id=scope.org_id,
        id=ids.new("key"),
        hash=_hash(secret),
        name=name,
        scope=level,
        prefix=secret[: len(PREFIX) + _ORG + 3],
        last_four=secret[-4:],
        created_by=scope.actor,
        created_at=clock.now(),
    )
    scope.db.add(key)
    scope.db.flush()
    audit.record(scope, "key.made", name, id=key.id, level=level)
    return key, secret


def listed(scope: Scope) -> list[ApiKey]:
    """The keys that work today, newest first."""
    return list(scope.db.scalars(scope.keys().order_by(ApiKey.created_at.desc(), ApiKey.id.desc())))


def page(scope: Scope, limit: int, cursor: str | None) -> pages.Page[ApiKey]:
    """The same, a page of them."""
    return pages.newest(scope.db, scope.keys(), ApiKey, limit, cursor)


def revoke(scope: Scope, key_id: str) -> ApiKey:
    """Make the key useless from now on. Whoever may not manage keys may still revoke those that they made."""
    key = scope.key(key_id)
    if not may_revoke(scope, key):
        scope.at_least("admin")
    key.revoked_at = clock.now()
    audit.record(scope, "key.revoked", key.name, id=key.id, level=key.scope)
    return key


def may_revoke(scope: Scope, key: ApiKey) -> bool:
    return key.created_by == scope.actor or scope.allows("admin")


def revoke_made_by(scope: Scope, maker: str, above: str | None = None) -> int:
    """Revoke the keys that the maker made, and those made with them; answers how many.

    With `above`, only keys that may do more than this level.
    """
    made: dict[str, list[ApiKey]] = {}
    # Revoked ones too: what was made with a key that is gone by now was made by the same person.
    for key in scope.db.scalars(select(ApiKey).where(ApiKey.org_id == scope.org_id)):
        made.setdefault(key.created_by, []).append(key)
    found: list[ApiKey] = []
    makers = [maker]
    while makers:
        children = made.get(makers.pop(), [])
        found += children
        makers += [f"key:{key.id}" for key in children]
    lowest = -1 if above is None else LEVELS.index(above)
    doomed = [key for key in found if key.revoked_at is None and LEVELS.index(key.scope) > lowest]
    for key in doomed:
        key.revoked_at = clock.now()
    scope.db.flush()
    return len(doomed)


@dataclass(frozen=True, slots=True)
class Holder:
    """What a request needs to know of the key that it brought."""

    org_id: int
    id: str
    scope: str
    last_used_at: datetime | None


# Built once: it runs before every request.
_FIND = Prepared(
    select(ApiKey.org_id, ApiKey.id, ApiKey.scope, ApiKey.last_used_at).where(
        ApiKey.org_id == bindparam("org_id"), ApiKey.hash == bindparam("hash"), ApiKey.revoked_at.is_(None)
    )
)


def find(session: Session, secret: str) -> Holder:
    """The enabled key with this secret, or `Unauthorized` for whatever is not one."""
    org_id = _org_of(secret)
    row = None
    if org_id is not None:
        db.enter(session, org_id)
        row = _FIND.one(session, {"org_id": org_id, "hash": _hash(secret)})
    if row is None:
        raise Unauthorized("A valid API key is needed: Authorization: Bearer arwx_live_…")
    return Holder(*row)


def note_use(database: db.Database, key: Holder) -> None:
    """Remember that the key was used, at most once a minute, in a transaction of its own, as far as that can be."""
    now = clock.now()
    # A moment that is still to come was noted before the clock was set back.
    if key.last_used_at is not None and timedelta(0) <= now - key.last_used_at < _USE_IS_NOTED_EVERY:
        return
    with database.noting(key.org_id) as session:
        session.execute(update(ApiKey).where(ApiKey.org_id == key.org_id, ApiKey.id == key.id).values(last_used_at=now))


def _compose(org_id: int) -> str:
    body = _base62(org_id, _ORG) + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM))
    return PREFIX + body + _checksum(body)


def _org_of(secret: str) -> int | None:
    """The organization that a well-formed key names, None for anything else."""
    body, check = secret[len(PREFIX) : -_CHECK], secret[-_CHECK:]
    if not secret.startswith(PREFIX) or len(body) != _ORG + _RANDOM or not all(c in _DIGITS for c in body):
        return None
    if not secrets.compare_digest(_checksum(body).encode(), check.encode()):
        return None
    number = 0
    for digit in body[:_ORG]:
        number = number * 62 + _DIGITS.index(digit)
    return number


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()) % 62**_CHECK, _CHECK)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    if number:
        raise ValueError("the number does not fit the width")
    return "".join(reversed(digits))


def _hash(secret: str) -> bytes:
    # A plain SHA-256 is enough: the secret has 125 random bits, nobody can try them all.
    return hashlib.sha256(secret.encode()).digest()
