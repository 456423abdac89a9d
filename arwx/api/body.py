"""The one reader of request bodies under /v1: what was sent as JSON, as NDJSON or as bytes, whole or refused.

Flask's own `get_data` and `get_json` are not used here: they cut a chunked body at the limit and take a body that ended
early, both with a 200.
"""

import json
import zlib
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from flask import g, request

from arwx.api import bodies
from arwx.errors import ArwxError, BadRequest, FieldError, Invalid, TooLarge, TruncatedBody, WrongMediaType, invalid
from arwx.points import Batch
from arwx.trees import is_sha

MAX_JSON_BYTES = 16 * 2**20
MAX_LINE_BYTES = 2**20
_PIECE = 64 * 1024
_DRAIN = 2**20
# No float has more digits before the point; Python refuses to read whole numbers of thousands of digits.
_LONGEST_INT = 310

T = TypeVar("T")


def batch(sent: bodies.Ingest) -> Batch:
    """The batch as the metric store takes it. One without sequence numbers may be named by an Idempotency-Key."""
    if (sent.epoch is None) != (sent.first_seq is None):
        raise invalid("first_seq", "and epoch belong together: send both or neither")
    writer_id = "http" if sent.writer_id is None else sent.writer_id
    return Batch(writer_id, sent.epoch, sent.first_seq, sent.points, request.headers.get("Idempotency-Key"))


def json_as(kind: type[T], *, may_be_empty: bool = False, with_nonfinite: bool = False) -> T:
    """The JSON body of the current request as `kind`, a msgspec struct; every failure is named.

    `with_nonfinite` reads the literals NaN and Infinity too, which JSON lacks and Python writes.
    """
    if request.mimetype != "application/json" and not (may_be_empty and not request.content_length):
        raise WrongMediaType("The body must be sent as Content-Type: application/json.")
    raw = b"".join(pieces(MAX_JSON_BYTES))
    if not raw and may_be_empty:
        raw = b"{}"
    return _decode(kind, raw, with_nonfinite=with_nonfinite)


def raw(limit: int, *, of_any_type: bool = False) -> Iterator[bytes]:
    """A body of bytes, in pieces. One that says it is too long is refused before any of it is read."""
    kind = request.mimetype
    is_form = kind in {"multipart/form-data", "application/x-www-form-urlencoded"}
    if is_form or (kind not in {"", "application/octet-stream"} and not of_any_type):
        raise WrongMediaType("Send the bytes as they are, as Content-Type: application/octet-stream.")
    if not request.headers.get("Content-Encoding") and (request.content_length or 0) > limit:
        raise _too_large(limit)
    return pieces(limit)


def declared_sha() -> str | None:
    """The SHA-256 that the sender expects of the body, if it says."""
    sha = request.headers.get("X-Content-SHA256")
    if sha is not None and not is_sha(sha):
        raise invalid("X-Content-SHA256", "must be a SHA-256: 64 digits of lower-case hexadecimal")
    return sha


def blocks(size: int) -> Iterator[bytes]:
    """An NDJSON body of any length in blocks of whole lines, about `size` bytes each.

    No line may be longer than a mebibyte. When the body ended early, what was whole comes first, then the failure.
    """
    if request.mimetype != "application/x-ndjson":
        raise WrongMediaType("The body must be sent as Content-Type: application/x-ndjson.")
    held = bytearray()
    try:
        for piece in pieces(None):
            held += piece
            if len(held) < size:
                continue
            whole = held.rfind(b"\n") + 1
            _check_lines(held, whole)
            if whole:
                yield bytes(held[:whole])
                del held[:whole]
    except TruncatedBody:
        yield bytes(held[: held.rfind(b"\n") + 1])
        raise
    _check_lines(held, len(held))
    yield bytes(held)


def _check_lines(held: bytearray, whole: int) -> None:
    """Hold the lines up to `whole`, and what there is of the next one, to the limit of a line."""
    if len(held) <= MAX_LINE_BYTES:
        return
    longest = max(map(len, bytes(held[:whole]).split(b"\n")))
    if max(longest, len(held) - whole) > MAX_LINE_BYTES:
        raise TooLarge(f"A line is over the limit of {MAX_LINE_BYTES // 2**20} MiB.", limit=MAX_LINE_BYTES)


def decode_line(kind: type[T], line: bytes, number: int) -> T:
    """One line of NDJSON as `kind`; a failure names the line by its number, from 1."""
    try:
        return _decode(kind, line, with_nonfinite=True)
    except ArwxError as error:
        error.message = f"Line {number:,}: {error.message.replace('The body', 'it', 1)}"
        # The stream was well-formed up to here; what is wrong is this line.
        error.status, error.title, error.code = Invalid.status, Invalid.title, Invalid.code
        error.extra["line"] = number
        raise


def given(fields: msgspec.Struct) -> dict[str, Any]:
    """The fields that were sent, null included."""
    return {name: value for name in fields.__struct_fields__ if (value := getattr(fields, name)) is not msgspec.UNSET}


def pieces(limit: int | None) -> Iterator[bytes]:
    """The body as it was meant, unzipped, in pieces. Raises at the limit, if any, and when the body ended early."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in {"", "identity"}:
        yield from _limited(_raw(), limit)
    elif encoding == "gzip":
        yield from _limited(_unzipped(_raw()), limit)
    else:
        raise WrongMediaType("The body may be sent plain or with Content-Encoding: gzip, in no other encoding.")


def drain() -> None:
    """Read away a small rest of the body, so that the connection can be used again; give up on a big one."""
    length = request.content_length
    if length is None and not request.headers.get("Transfer-Encoding"):
        return
    if (length is not None and length > _DRAIN) or request.headers.get("Expect"):
        # Whoever waits for a go-ahead sends nothing until there is an answer.
        g.must_close = True
        return
    try:
        left = _DRAIN
        while left > 0 and (piece := request.stream.read(min(_PIECE, left))):
            left -= len(piece)
        g.must_close = left <= 0
    except Exception:  # noqa: BLE001 - whatever a broken sender causes, the answer is already decided
        g.must_close = True


def _raw() -> Iterator[bytes]:
    expected, read = request.content_length, 0
    while True:
        try:
            piece = request.stream.read(_PIECE)
        except OSError as error:
            raise TruncatedBody("The connection broke before the body was complete.") from error
        except Exception as error:  # the server has its own names for chunks that are none
            raise BadRequest("The body is not what its headers say.", code="bad_encoding") from error
        if not piece:
            break
        read += len(piece)
        yield piece
    if expected is not None and read < expected:
        raise TruncatedBody(f"The body ended after {read:,} of {expected:,} bytes.")


def _limited(source: Iterator[bytes], limit: int | None) -> Iterator[bytes]:
    read = 0
    for piece in source:
        read += len(piece)
        if limit is not None and read > limit:
            raise _too_large(limit)
        yield piece


def _too_large(limit: int) -> TooLarge:
    named = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit:,} bytes"
    return TooLarge(f"The body is over the limit of {named}.", limit=limit)


def _unzipped(source: Iterator[bytes]) -> Iterator[bytes]:
    """The decompressed bytes, never more than a piece at a time, so that a bomb is stopped at the limit."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        for piece in source:
            while piece:
                if unzip.eof:
                    # A gzip body may be several behind each other, as of a log that was appended to.
                    unzip = zlib.decompressobj(wbits=31)
                yield unzip.decompress(piece, _PIECE)
                piece = unzip.unused_data if unzip.eof else unzip.unconsumed_tail
    except zlib.error as error:
        raise BadRequest("The body is not valid gzip.", code="bad_encoding") from error
    if not unzip.eof:
        raise TruncatedBody("The gzip body ended early.")


def _decode(kind: type[T], raw: bytes, *, with_nonfinite: bool) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        if with_nonfinite and "out of range" in str(error):
            return _decode_lenient(kind, raw)
        raise _named(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if with_nonfinite and (b"NaN" in raw or b"Infinity" in raw):
            return _decode_lenient(kind, raw)
        raise _malformed(error) from error


def _decode_lenient(kind: type[T], raw: bytes) -> T:
    """The body read as Python reads JSON: with NaN and Infinity, and with numbers too large for a float as infinite."""
    try:
        return msgspec.convert(json.loads(raw, parse_int=_whole), kind)
    except msgspec.ValidationError as error:
        raise _named(error) from error
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from error


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


def _named(error: msgspec.ValidationError) -> Invalid:
    """Msgspec says `… - at `$.points[3].step``; we say which field."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if message.startswith("Object contains unknown field `"):
        name = message.split("`")[1]
        field = f"{field}.{name}" if field else name
        message = "is not a field of this request"
    elif message.startswith("Object missing required field `"):
        name = message.split("`")[1]
        field = f"{field}.{name}" if field else name
        message = "is required"
    return Invalid(f"{field or 'body'}: {message}", [FieldError(field or "body", message)])


def _malformed(error: Exception) -> BadRequest:
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return BadRequest(f"The body is not valid JSON: {reason}", code="malformed_json")
