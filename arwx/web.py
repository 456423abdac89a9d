"""What the JSON API and the pages share: request ids, timing, headers, ETags, and one log line a request."""

import hashlib
import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from flask import Flask, Response, current_app, g, request, url_for
from sqlalchemy.exc import SQLAlchemyError

from arwx import audit, clock, db
from arwx.access import Origin
from arwx.config import Settings
from arwx.errors import BadRequest, Forbidden, NotFound, Unavailable

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}\Z")
_log = logging.getLogger("arwx.request")
_LONGEST_LINE = 8192

# No script or style but our own files: nothing that a user wrote can run.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


def init_app(app: Flask, settings: Settings) -> None:
    """Name, time, secure and log every request."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.match(given) else secrets.token_hex(8)
        g.started = time.perf_counter()
        # Whoever asks whether the service lives calls it by its number. Everybody else must know its name.
        if settings.hosts and request.endpoint not in {"service.health", "service.ready"}:
            if _hostname(request.host) not in settings.hosts:
                raise BadRequest("This server is not known by the name in the Host header.", code="unknown_host")

    @app.after_request
    def finish(response: Response) -> Response:
        headers = response.headers
        headers["X-Request-Id"] = g.request_id
        spent_ms = (time.perf_counter() - g.started) * 1000
        headers["Server-Timing"] = f"app;dur={spent_ms:.1f}"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers.setdefault(
            "Content-Security-Policy", _PAGE_POLICY if response.mimetype == "text/html" else _DATA_POLICY
        )
        if settings.is_https:
            headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
        if request.endpoint != "static":
            # What a form answers, such as a fresh key, is not kept anywhere.
            headers.setdefault(
                "Cache-Control", "private, no-cache" if request.method in {"GET", "HEAD"} else "no-store"
            )
        _log_request(response, spent_ms)
        if settings.metrics_token:
            _count(response, spent_ms / 1000)
        return response


def refuse_nul() -> None:
    """No name, no id and no text holds a NUL, and PostgreSQL fails at the mere question."""
    if any("\x00" in part for pair in request.args.items(multi=True) for part in pair):
        raise BadRequest("The query string must not contain the NUL character.", code="malformed_query")


def refuse_nul_in_path() -> None:
    """Neither has a thing that an address names. Call it once it is known that the caller may ask there."""
    if any("\x00" in str(part) for part in (request.view_args or {}).values()):
        raise NotFound("No such thing.")


def _hostname(host: str) -> str | None:
    """The name in a Host header, without the port; None for what is no name."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def answer_failures(
    app: Flask,
    speaks_json: Callable[[], bool],
    as_problem: Callable[[Exception], Response],
    as_page: Callable[[Exception], Response],
) -> None:
    """Every failure ends here, and is told in the language of the surface that was asked."""

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        if "db" in g:
            g.db.rollback()
        if isinstance(error, Forbidden) and "scope" in g:
            _record_denial()
        return as_problem(error) if speaks_json() else as_page(error)


def _record_denial() -> None:
    """One row in the audit log. When even that is impossible, the caller is refused all the same."""
    try:
        audit.record_apart(db.current(), g.scope, "denied", f"{request.method} {_told_path()}")
    except (SQLAlchemyError, Unavailable) as error:
        logging.getLogger("arwx.error").error("denial not recorded", exc_info=error)


def _told_path() -> str:
    """The address, without what opens something by itself: an invitation that was refused here is good elsewhere."""
    token = (request.view_args or {}).get("token")
    return request.path.replace(token, "…") if token else request.path


def origin() -> Origin:
    """Where the request comes from. Behind proxies the address is theirs, unless ARWX_PROXIES says how many there are."""
    return Origin(request.remote_addr or "", request.user_agent.string)


def settings() -> Settings:
    """The settings of the running application."""
    found: Settings = current_app.extensions["arwx"]
    return found


def base_url() -> str:
    """The address under which the caller reaches this server, without a slash at the end."""
    return settings().base_url or request.host_url.rstrip("/")


def embedded(project: str, kind: str, token: str) -> tuple[str, str]:
    """The address of an embed, and the Markdown that shows it and leads from it to the project."""
    url = base_url() + url_for("service.get_embed", token=token, kind=kind)
    page = base_url() + url_for("ui.experiments", name=project)
    words = re.sub(r"([\\\[\]<>*_`])", r"\\\1", f"{project}: {kind}")
    return url, f"[![{words}]({url})]({page})"


def conditional(response: Response) -> Response:
    """The response with an ETag of its bytes; 304 when the caller has them already."""
    response.set_etag(hashlib.blake2b(response.get_data(), digest_size=12).hexdigest(), weak=True)
    response.make_conditional(request)
    return response


def if_changed(state: object, make: Callable[[], Response]) -> Response:
    """What `make` gives, with an ETag of the state that it is made of; for a caller who has that, 304 and no work."""
    described = msgspec.msgpack.encode([request.full_path, state])
    etag = hashlib.blake2b(described, digest_size=12).hexdigest()
    response = Response(status=304) if request.if_none_match.contains_weak(etag) else make()
    response.set_etag(etag, weak=True)
    return response


def log_to_stdout() -> None:
    """One JSON object a line on standard output, for hosts that collect it. At a terminal, only what went wrong."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger("arwx")
    root.handlers = [handler]
    root.setLevel(logging.WARNING if sys.stdout.isatty() else logging.INFO)
    root.propagate = False


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": clock.rfc3339(clock.now()), "level": record.levelname.lower(), "event": record.getMessage()}
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        line = json.dumps(fields, ensure_ascii=True)
        if len(line) <= _LONGEST_LINE:
            return line
        # Cut where it is long, so that the line stays an object: of a trace the end tells most.
        short = {name: value[-600:] if isinstance(value, str) else value for name, value in fields.items()}
        return json.dumps(short, ensure_ascii=True)


def _count(response: Response, spent_s: float) -> None:
    from arwx import metrics  # only where it is wanted: it costs memory

    metrics.count(request.url_rule.rule if request.url_rule else None, request.method, response.status_code, spent_s)
    if (done := g.get("appended")) is not None:
        metrics.count_points(done)


def _log_request(response: Response, spent_ms: float) -> None:
    if request.endpoint in {"static", "service.health"}:
        return
    scope = g.get("scope")
    _log.info(
        "request",
        extra={
            "fields": {
                "request_id": g.request_id,
                "method": request.method,
                "route": request.url_rule.rule if request.url_rule else None,
                "status": response.status_code,
                "ms": round(spent_ms, 1),
                "org": scope.org_id if scope else None,
                "actor": scope.actor if scope else None,
            }
        },
    )
