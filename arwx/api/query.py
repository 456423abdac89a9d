"""The one reader of query strings under /v1: each parameter once, of the right kind, unknown ones refused."""

from flask import request

from arwx import ids, pages, points
from arwx.errors import FieldError, Invalid, invalid

# As long as nearly the whole first line of a request, which has 8,190 bytes.
_LONGEST = 8000


def only(*names: str) -> None:
    """Refuse parameters that this address does not have, and those that came twice: a typo never vanishes silently."""
    for name, values in request.args.lists():
        if name not in names:
            raise Invalid(
                f"{name} is not a parameter of this address", [FieldError(name, "is not a parameter of this address")]
            )
        if len(values) > 1:
            raise invalid(name, "must be given once")


def text(name: str) -> str | None:
    """The value as it came; None when absent."""
    value = request.args.get(name)
    return ids.check_text(value, name, _LONGEST) if value else None


def words(name: str, limit: int = 1000) -> list[str] | None:
    """A comma-separated list; None when absent."""
    value = text(name)
    if value is None:
        return None
    found = [word for word in value.split(",") if word]
    if len(found) > limit:
        raise invalid(name, f"must have at most {limit:,} items")
    return found


def one_of(name: str, *choices: str) -> str:
    """One of these words; the first one when absent."""
    value = text(name) or choices[0]
    if value not in choices:
        raise invalid(name, f"must be one of {', '.join(choices)}")
    return value


def whole(name: str, low: int = 0, high: int = points.LAST_STEP) -> int | None:
    """A whole number within its bounds; None when absent."""
    value = request.args.get(name)
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 16 and low <= int(value) <= high):
        raise invalid(name, f"must be a whole number from {low} to {high}")
    return int(value)


def limit() -> int:
    """How many items a page of a list has."""
    return whole("limit", 1, pages.MAX_LIMIT) or pages.DEFAULT_LIMIT
