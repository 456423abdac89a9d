"""Bytes by their SHA-256: sent, asked for, fetched."""

from urllib.parse import quote

from flask import Response, current_app, g, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import dump_options_header

from arwx import blobs, blobstore
from arwx.api import answers, body, bp, shapes
from arwx.api.operation import BINARY, operation
from arwx.config import Settings
from arwx.models import Blob


def store() -> blobstore.Store:
    """The blob store of the running application."""
    found: blobstore.Store = current_app.extensions["arwx.blobs"]
    return found


@bp.post("/blobs")
@operation("write", takes=BINARY, gives=answers.Blob, makes=True, headers=["X-Content-SHA256"])
def put_blob() -> Response:
    """Take in bytes of any number. Safe to send again."""
    blob, is_new = blobs.put(g.scope, received(of_any_type=False))
    return shapes.answer({"sha": blob.sha, "size": blob.size}, 201 if is_new else 200)


@bp.post("/blobs/missing")
@operation("write", takes=body.Shas, gives=answers.Missing)
def list_missing() -> Response:
    """Which of these the organization has not uploaded yet."""
    asked = body.json_as(body.Shas)
    return shapes.answer({"missing": blobs.missing(g.scope.writable, asked.shas)})


@bp.get("/blobs/<sha>")
@operation("read", gives=BINARY, in_parts=True)
def get_blob(sha: str) -> Response:
    """The bytes, or a range of them, verified on the way out."""
    return attachment(g.scope.blob(sha), sha)


def received(*, of_any_type: bool) -> blobstore.Content:
    """The bytes of the current request, kept in the store. The request's own transaction has not begun by then."""
    scope = g.scope.writable
    settings: Settings = current_app.extensions["arwx"]
    pieces = body.raw(settings.max_blob_bytes, of_any_type=of_any_type)
    return blobstore.receive(store(), scope.org_id, pieces, body.declared_sha())


def attachment(blob: Blob, filename: str) -> Response:
    """The blob as something to save, never to show: whatever it claims to be, a browser does not run it."""
    start, stop, status = _wanted(blob)
    response = Response(status=status, mimetype="application/octet-stream")
    response.set_etag(blob.sha)
    # RFC 6266: letters beyond ASCII have a form of their own, quotes and backslashes are escaped.
    plain = {"filename": filename} if filename.isascii() else {"filename*": f"UTF-8''{quote(filename, safe='')}"}
    response.headers["Content-Disposition"] = dump_options_header("attachment", plain)
    response.headers["Accept-Ranges"] = "bytes"
    if request.if_none_match.contains(blob.sha):
        response.status_code = 304
        return response
    response.content_length = stop - start
    if status == 206:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    if request.method != "HEAD":
        response.response = blobs.stream(store(), blob, start, stop)
    return response


def _wanted(blob: Blob) -> tuple[int, int, int]:
    """From where to where, and the status that says so. Several ranges at once are answered with everything."""
    wanted = request.range
    is_same = request.if_range.etag in {None, blob.sha} and request.if_range.date is None
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1 or not is_same:
        return 0, blob.size, 200
    first, end = wanted.ranges[0]
    # A negative start counts from the end, and may reach beyond the beginning.
    start = first if first >= 0 else max(blob.size + first, 0)
    stop = blob.size if end is None else min(end, blob.size)
    if start >= stop:
        raise RequestedRangeNotSatisfiable(length=blob.size)
    return start, stop, 206
