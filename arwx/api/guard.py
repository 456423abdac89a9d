"""Who comes in under /v1, and how failures are told there."""

import logging

from flask import Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from arwx import db, keys, web
from arwx.access import Scope
from arwx.api import body, operation, query, shapes
from arwx.errors import ArwxError, Unauthorized
from arwx.quotas import Left, Quotas

_log = logging.getLogger("arwx.error")


def speaks_json() -> bool:
    """Whether the request is one for this surface, so that failures are told in JSON."""
    return request.path == "/v1" or request.path.startswith("/v1/") or request.blueprint in {"api", "service"}


def admit() -> None:
    """Turn the bearer key into `g.scope`, or refuse. Runs for every address under /v1, also for those not there.

    What the address declares is checked here too, before anything is read: the level and the names of parameters.
    """
    if not speaks_json() or operation.is_public():
        return
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("A valid API key is needed: Authorization: Bearer arwx_live_…")
    database = db.current()
    # A session of its own, closed before the body is read: a slow sender must not hold a transaction open.
    with database.reading() as session:
        key = keys.find(session, secret)
    keys.note_use(database, key)
    g.scope = Scope(g.db, key.org_id, key.scope, f"key:{key.id}", web.origin())
    declared = operation.of(request.endpoint)
    if declared is None or declared.is_metered:
        quotas: Quotas = current_app.extensions["arwx.quotas"]
        g.left = quotas.take(key.org_id, key.id)
    if request.endpoint is not None:
        # What says nothing is open to admin keys alone.
        g.scope.at_least(declared.level if declared else "admin")
        if declared:
            query.only(*declared.query)
    web.refuse_nul()
    web.refuse_nul_in_path()


def tell_left(response: Response) -> Response:
    """Say how many requests the key may still make, and when all of them are there again."""
    left: Left | None = g.get("left")
    if left is not None:
        response.headers["RateLimit-Limit"] = str(left.limit)
        response.headers["RateLimit-Remaining"] = str(left.remaining)
        response.headers["RateLimit-Reset"] = str(left.reset_s)
    return response


def problem(error: Exception) -> Response:
    """The failure as RFC 9457 problem+json. What we cannot name is a 500 that tells nothing but its request id."""
    body.drain()
    if isinstance(error, ArwxError):
        return shapes.problem(error)
    if isinstance(error, HTTPException):
        return shapes.http_problem(error)
    _log.error("unhandled", exc_info=error, extra={"fields": {"request_id": g.get("request_id")}})
    return shapes.problem(ArwxError("Something went wrong here. The request id names it in our log."))
