"""The failures that we can name. The domain raises them; each surface answers them in one handler."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of the input."""

    field: str
    message: str


class ArwxError(Exception):
    """A failure that the caller can understand. `code` is for programs, the message for people."""

    code = "error"
    status = 500
    title = "Internal Server Error"

    def __init__(
        self, message: str, errors: list[FieldError] | None = None, code: str | None = None, **extra: object
    ) -> None:
        super().__init__(message)
        self.message = message
        self.errors = errors or []
        self.code = code or self.code
        self.extra = extra


class BadRequest(ArwxError):
    """The request cannot be read: malformed JSON, a bad encoding."""

    code, status, title = "bad_request", 400, "Bad Request"


class TruncatedBody(BadRequest):
    """The body ended before it was complete. Nothing that is not named as kept was stored."""

    code = "truncated_body"


class Unauthorized(ArwxError):
    """No valid key or login came with the request."""

    code, status, title = "unauthorized", 401, "Unauthorized"


class Forbidden(ArwxError):
    """The caller is known, but may not do this."""

    code, status, title = "forbidden", 403, "Forbidden"


class NotFound(ArwxError):
    """There is no such thing, or it belongs to somebody else: the answer is the same."""

    code, status, title = "not_found", 404, "Not Found"


class Conflict(ArwxError):
    """The same identity is taken by other content."""

    code, status, title = "conflict", 409, "Conflict"


class SequenceConflict(Conflict):
    """A sequence number came again with other content. The first stays, the rest of the batch is stored."""

    code = "sequence_conflict"


class TooManyGaps(Conflict):
    """A writer sends with so many gaps that they cannot all be kept in mind; the missing entries must come first."""

    code = "too_many_gaps"


class TooLarge(ArwxError):
    """A limit is passed; the message names it."""

    code, status, title = "too_large", 413, "Content Too Large"


class WrongMediaType(ArwxError):
    """The body is of a kind that this address does not take."""

    code, status, title = "unsupported_media_type", 415, "Unsupported Media Type"


class Invalid(ArwxError):
    """The request is well-formed, but says something impossible."""

    code, status, title = "invalid_field", 422, "Unprocessable Content"


class TooMany(ArwxError):
    """More tries than are allowed. After `retry_after_s` seconds the next one is listened to again."""

    code, status, title = "too_many_requests", 429, "Too Many Requests"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverQuota(ArwxError):
    """The organization keeps as much as it may; `limit` and `used` say how much."""

    code, status, title = "quota_exceeded", 507, "Insufficient Storage"


class Damaged(ArwxError):
    """What is stored is not what was stored: a disk or a store lost or changed bytes. They are never given out."""

    code = "damaged"


class Unavailable(ArwxError):
    """The database is away for a moment; the same request may be sent again."""

    code, status, title = "unavailable", 503, "Service Unavailable"


def invalid(field: str, message: str) -> Invalid:
    """An `Invalid` about one field."""
    return Invalid(f"{field} {message}", [FieldError(field, message)])
