"""What an address under /v1 promises: who may call it, what it takes, what it answers. Declared beside its handler.

    @bp.post("/runs")
    @operation("write", takes=bodies.NewRun, gives=answers.Run, makes=True)
    def make_run() -> Response:

The declaration is kept: the guard lets nobody in below the level and refuses query parameters that are not named, the
document at /v1/openapi.json is made from it, and the tests hold every answer to it. An address without one is closed to
all but admin keys, and the tests name it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import current_app, request

from arwx.access import LEVELS

PUBLIC = "public"
BINARY, TEXT, HTML, SVG = "application/octet-stream", "text/plain", "text/html", "image/svg+xml"
NDJSON, CSV, ZIP, ANYTHING = "application/x-ndjson", "text/csv", "application/zip", "*/*"
MARKDOWN, TSV = "text/markdown", "text/tab-separated-values"

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one address."""

    level: str
    gives: Any = None
    takes: Any = None
    query: tuple[str, ...] = ()
    makes: bool = False
    also: tuple[str, ...] = ()
    may_be_empty: bool = False
    headers: tuple[str, ...] = ()
    fails: tuple[int, ...] = ()
    in_parts: bool = False
    is_metered: bool = True
    fails_as: str | None = None


def operation(
    level: str,
    *,
    gives: Any = None,
    takes: Any = None,
    query: str = "",
    makes: bool = False,
    also: Sequence[str] = (),
    may_be_empty: bool = False,
    headers: Sequence[str] = (),
    fails: Sequence[int] = (),
    in_parts: bool = False,
    is_metered: bool = True,
    fails_as: str | None = None,
) -> Callable[[Handler], Handler]:
    """Declare a handler.

    `level` is read, write, admin or public. `takes` and `gives` are the types of the JSON bodies, or a media type such
    as `TEXT`; without `gives` the answer is 204. `makes`: 201 when something new was made, 200 when it was there.
    `also` names other media types of the answer, `query` the parameters, by words of `parameters.QUERY`, `headers`
    those that the request may carry, `in_parts` that ranges of the bytes may be asked for. `fails` are the failures
    that the rest does not tell: 409, 413, 503; `fails_as` is the media type of a 404 that is no problem+json. What is
    not `is_metered` takes nothing of what a key may ask for.
    """
    if level not in {PUBLIC, *LEVELS}:
        raise ValueError(f"{level} is not a level")
    declared = Operation(
        level=level,
        gives=gives,
        takes=takes,
        query=tuple(query.split()),
        makes=makes,
        also=tuple(also),
        may_be_empty=may_be_empty,
        headers=tuple(headers),
        fails=tuple(fails),
        in_parts=in_parts,
        is_metered=is_metered,
        fails_as=fails_as,
    )

    def keep(handler: Handler) -> Handler:
        handler.operation = declared  # type: ignore[attr-defined]
        return handler

    return keep


def of(endpoint: str | None) -> Operation | None:
    """What the endpoint of the running application has declared."""
    found: Operation | None = getattr(current_app.view_functions.get(endpoint or ""), "operation", None)
    return found


def is_public() -> bool:
    """Whether the current request is for an address that anybody may call."""
    found = of(request.endpoint)
    return found is not None and found.level == PUBLIC
