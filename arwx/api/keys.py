"""API keys over the API."""

from flask import Response, g

from arwx import keys
from arwx.api import answers, bodies, body, bp, query, shapes
from arwx.api.operation import operation


@bp.post("/keys")
@operation("read", takes=bodies.NewKey, gives=answers.FreshKey, makes=True)
def make_key() -> Response:
    """Make a key. The answer holds the secret, this once."""
    wanted = body.json_as(bodies.NewKey)
    key, secret = keys.mint(g.scope, wanted.name, wanted.scope)
    response = shapes.answer({**shapes.key(key), "key": secret}, 201)
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/keys")
@operation("read", gives=answers.List[answers.Key], query="limit cursor")
def list_keys() -> Response:
    """The keys that work today, newest first; never their secrets."""
    return shapes.page(keys.page(g.scope, query.limit(), query.text("cursor")), shapes.key)


@bp.delete("/keys/<key_id>")
@operation("admin")
def revoke_key(key_id: str) -> Response:
    """Make a key useless at once."""
    keys.revoke(g.scope, key_id)
    return Response(status=204)
