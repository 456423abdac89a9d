"""Keyset pages: newest first, stable while rows are added."""

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, tuple_
from sqlalchemy.orm import Session

from arwx import ids
from arwx.errors import Invalid, invalid

DEFAULT_LIMIT, MAX_LIMIT = 50, 500
T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and the cursor that continues it (None at the end)."""

    items: list[T]
    next: str | None


def newest(db: Session, query: Select[T], kind: Any, limit: int, cursor: str | None) -> Page[T]:
    """A page of what the query finds of this kind, newest first."""
    query = query.order_by(kind.created_at.desc(), kind.id.desc()).limit(limit + 1)
    if cursor:
        query = query.where(_after(cursor, kind.created_at, kind.id))
    rows = list(db.scalars(query))
    if len(rows) <= limit:
        return Page(rows, None)
    last: Any = rows[limit - 1]
    return Page(rows[:limit], _encode(round(last.created_at.timestamp() * 1_000_000), last.id))


def slice_of(found: Sequence[T], limit: int, cursor: str | None, asked: str) -> Page[T]:
    """A page of a list that was put in order in memory. It goes on after the item that ended the page before.

    A cursor holds for the list that was `asked` for alone: in another order it would skip what nobody has seen.
    """
    ids_: list[str] = [item.id for item in found]  # type: ignore[attr-defined]
    start, mark = 0, f"{zlib.crc32(asked.encode()):08x}"
    if cursor:
        offset, place = _decode(cursor)
        last, _, of_list = place.partition(" ")
        if of_list != mark:
            raise invalid("cursor", "is one of another list: ask for the same order and the same filters")
        start = ids_.index(last) + 1 if last in ids_ else min(max(offset, 0), len(found))
    stop = start + limit
    return Page(list(found[start:stop]), _encode(stop, f"{ids_[stop - 1]} {mark}") if stop < len(found) else None)


def _after(cursor: str, moment: Any, id_: Any) -> ColumnElement[bool]:
    """The condition for what comes after the cursor in the order newest first."""
    micros, last = _decode(cursor)
    try:
        when = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
        ids.check(last)
    except (ValueError, OverflowError, OSError, Invalid) as error:
        raise _unknown() from error
    return tuple_(moment, id_) < (when, last)


def _encode(place: int, id_: str) -> str:
    return base64.urlsafe_b64encode(f"{place} {id_}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[int, str]:
    """The place and the id of the last item shown; `Invalid` for a cursor that nobody was given."""
    try:
        place, last = base64.urlsafe_b64decode(cursor.encode() + b"==").decode().split(" ", 1)
        return int(place), last
    except (ValueError, binascii.Error) as error:
        raise _unknown() from error


def _unknown() -> Invalid:
    return invalid("cursor", "is not one that this server made")
