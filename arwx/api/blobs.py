"""Bytes by their SHA-256: sent, asked for, fetched."""

from flask import Response, current_app, g, request

from arwx import blobs, blobstore, web
from arwx.api import answers, bodies, body, bp, shapes
from arwx.api.operation import BINARY, operation
from arwx.downloads import attachment, store
from arwx.quotas import Quotas


@bp.post("/blobs")
@operation("write", takes=BINARY, gives=answers.Blob, makes=True, headers=["X-Content-SHA256"], fails=[507])
def put_blob() -> Response:
    """Take in bytes of any number. Safe to send again."""
    blob, is_new = blobs.put(g.scope, received(of_any_type=False))
    return shapes.answer({"sha": blob.sha, "size": blob.size}, 201 if is_new else 200)


@bp.post("/blobs/missing")
@operation("write", takes=bodies.Shas, gives=answers.Missing)
def list_missing() -> Response:
    """Which of these the organization has not uploaded yet."""
    asked = body.json_as(bodies.Shas)
    return shapes.answer({"missing": blobs.missing(g.scope.writable, asked.shas)})


@bp.get("/blobs/<sha>")
@operation("read", gives=BINARY, in_parts=True)
def get_blob(sha: str) -> Response:
    """The bytes, or a range of them, verified on the way out."""
    return attachment(g.scope.blob(sha), sha)


def received(*, of_any_type: bool) -> blobstore.Content:
    """The bytes of the current request, kept in the store. The request's own transaction has not begun by then."""
    scope = g.scope.writable
    quotas: Quotas = current_app.extensions["arwx.quotas"]
    quotas.admit_bytes(scope, request.content_length or 0)
    pieces = body.raw(web.settings().max_blob_bytes, of_any_type=of_any_type)
    return blobstore.receive(store(), scope.org_id, pieces, body.declared_sha())
