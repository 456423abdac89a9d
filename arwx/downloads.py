"""What leaves as something to save: bytes, whole or in ranges, and cells of CSV files."""

from urllib.parse import quote

from flask import Response, current_app, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import dump_options_header

from arwx import blobs, blobstore
from arwx.models import Blob


def store() -> blobstore.Store:
    """The blob store of the running application."""
    found: blobstore.Store = current_app.extensions["arwx.blobs"]
    return found


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


def harmless(cell: str) -> str:
    """The text as a cell of a CSV file: with a quote in front where a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


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
