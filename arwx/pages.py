"""Keyset pages: newest first, stable while rows are added."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, tuple_

from arwx import ids
from arwx.errors import Invalid, invalid

DEFAULT_LIMIT, MAX_LIMIT = 50, 500
T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and the cursor that continues it (None at the end)."""

    items: list[T]
    next: str | None


def after(cursor: str, moment: Any, id_: Any) -> ColumnElement[bool]:
    """The condition for what comes after the cursor in the order newest first."""
    try:
        micros, last = base64.urlsafe_b64decode(cursor.encode() + b"==").decode().split(" ", 1)
        when = datetime.fromtimestamp(int(micros) // 1_000_000, UTC).replace(microsecond=int(micros) % 1_000_000)
        ids.check(last)
    except (ValueError, OverflowError, OSError, binascii.Error, Invalid) as error:
        raise invalid("cursor", "is not one that this server made") from error
    return tuple_(moment, id_) < (when, last)


def cut(rows: Sequence[Any], limit: int, moment: str = "created_at") -> tuple[Sequence[Any], str | None]:
    """Of `limit + 1` rows asked for, those that belong on the page, and the cursor when there are more."""
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    micros = round(getattr(last, moment).timestamp() * 1_000_000)
    cursor = base64.urlsafe_b64encode(f"{micros} {last.id}".encode()).decode().rstrip("=")
    return rows[:limit], cursor


def slice_of(found: Sequence[Any], limit: int, cursor: str | None) -> tuple[Sequence[Any], str | None]:
    """A page of a list that was put in order in memory. It goes on after the item that ended the page before."""
    start = 0
    if cursor:
        try:
            offset, last = base64.urlsafe_b64decode(cursor.encode() + b"==").decode().split(" ", 1)
            start = int(offset)
        except (ValueError, binascii.Error) as error:
            raise invalid("cursor", "is not one that this server made") from error
        start = next((i + 1 for i, item in enumerate(found) if item.id == last), min(max(start, 0), len(found)))
    shown = found[start : start + limit]
    if start + limit >= len(found):
        return shown, None
    return shown, base64.urlsafe_b64encode(f"{start + limit} {shown[-1].id}".encode()).decode().rstrip("=")
