"""Against guessing: tries are counted in the database, so that all processes see the same and a restart forgets none.

Two things are counted, the account that is tried and the address from which. An address with ten wrong tries waits. An
account with ten wrong tries, from wherever, listens only to addresses that have not failed yet: its owner still gets
in, and whoever guesses from many addresses has one guess with each.
"""

import hashlib
import ipaddress
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from arwx import clock
from arwx.db import Database, insert
from arwx.errors import TooMany
from arwx.models import Throttle

MOST = 10
WINDOW_S = 15 * 60
# A try whose end is not known yet counts, so that many at once are no way around; for a minute, should nobody tell.
_PENDING_S = 60
# How many tries of an account are remembered: enough to know that there are too many.
_KEPT = 40


@dataclass(frozen=True)
class Try:
    """One counted try. Tell `failed` or `succeeded` about it."""

    token: str
    subjects: tuple[str, ...]


def begin(database: Database, account: str, ip: str, purpose: str = "login") -> Try:
    """Count a try, or `TooMany`. Without an account the address alone is counted."""
    address = _subject(f"{purpose} from", _network(ip))
    subjects = {address, _subject(f"{purpose} to", account)} if account else {address}
    mine = Try(secrets.token_hex(6), tuple(sorted(subjects)))
    with database.writing() as db:
        rows = {row.subject: row for row in _locked(db, mine.subjects)}
        now = clock.now().timestamp()
        # None counts much longer than it should: then the clock was set back meanwhile.
        latest = now + WINDOW_S + _PENDING_S
        counted = {name: [item for item in row.tries if now < item[1] < latest] for name, row in rows.items()}
        wait_s = _wait_s({name: [item[1] for item in items] for name, items in counted.items()}, address, now)
        if not wait_s:
            for name, row in rows.items():
                _write(row, [*counted[name], [mine.token, now + _PENDING_S]][-_KEPT:])
    if wait_s:
        minutes = math.ceil(wait_s / 60)
        raise TooMany(
            f"Too many tries. Wait {minutes} {'minute' if minutes == 1 else 'minutes'} and try again.", wait_s
        )
    return mine


def pace(database: Database, purpose: str, ip: str, account: str = "") -> None:
    """Count something that may be done ten times in a quarter of an hour, right or wrong, or `TooMany`."""
    mine = begin(database, account, ip, purpose)
    with database.writing() as db:
        failed(db, mine)


def failed(db: Session, mine: Try) -> None:
    """It was wrong: it counts for a quarter of an hour."""
    until = clock.now().timestamp() + WINDOW_S
    for row in _locked(db, mine.subjects):
        _write(row, [[token, until if token == mine.token else ends] for token, ends in row.tries])


def succeeded(db: Session, mine: Try) -> None:
    """It was right: it does not count. What failed before still does."""
    for row in _locked(db, mine.subjects):
        _write(row, [item for item in row.tries if item[0] != mine.token])


def sweep(db: Session) -> int:
    """Forget what counts no more; answers how many rows."""
    gone = db.scalars(delete(Throttle).where(Throttle.ends_at < clock.now()).returning(Throttle.subject)).all()
    return len(gone)


def _wait_s(counted: dict[str, list[float]], address: str, now: float) -> int:
    """For how many seconds the next try has to wait, 0 for not at all."""
    waits = [0.0]
    for name, ends in counted.items():
        if len(ends) >= MOST and (name == address or counted[address]):
            waits.append(sorted(ends)[len(ends) - MOST] - now)
    return math.ceil(max(waits))


def _locked(db: Session, subjects: Sequence[str]) -> Sequence[Throttle]:
    """The rows of these subjects, made when they are not there, for this transaction alone."""
    blank = [{"subject": subject, "tries": [], "ends_at": clock.now()} for subject in subjects]
    db.execute(insert(db, Throttle).values(blank).on_conflict_do_nothing(index_elements=["subject"]))
    query = select(Throttle).where(Throttle.subject.in_(subjects)).order_by(Throttle.subject).with_for_update()
    return db.scalars(query.execution_options(populate_existing=True)).all()


def _write(row: Throttle, tries: list[list[Any]]) -> None:
    row.tries = tries
    row.ends_at = datetime.fromtimestamp(max((ends for _, ends in tries), default=0.0), UTC)


def _subject(kind: str, name: str) -> str:
    # Hashed: nobody needs to read here who tried to get in, and the key is short whatever is sent.
    return f"{kind}:{hashlib.blake2b(name.encode(errors='replace'), digest_size=16).hexdigest()}"


def _network(ip: str) -> str:
    """The address, or for IPv6 the network of a household, which has more addresses than anybody can count."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    return ip if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))
