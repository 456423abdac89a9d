"""Pages and fragments for people: who may come in, forged forms, and failures in plain words."""

import logging
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_login import LoginManager, current_user, login_user
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from arwx import db, logins, people, web
from arwx.errors import ArwxError, Forbidden, TooMany

bp = Blueprint("ui", __name__)

# What a stranger may see. Every other page asks for a login first.
PUBLIC = frozenset(
    (
        "ui.login ui.log_in ui.signup ui.sign_up ui.forgot ui.send_reset ui.reset ui.reset_password ui.invitation "
        "ui.join ui.docs ui.chapter ui.api_reference"
    ).split()
)
Answer: TypeAlias = str | tuple[str, int] | BaseResponse

Handler = TypeVar("Handler", bound=Callable[..., Any])
OWN = "own"

_MAX_FORM_BYTES = 2**20

_log = logging.getLogger("arwx.error")
_csrf = CSRFProtect()
_logins = LoginManager()


def init_app(app: Flask) -> None:
    """Attach the pages, the login and the check against forged forms."""
    from arwx.ui import (  # noqa: F401
        account,
        artifacts,
        audit,
        charts,
        compare,
        docs,
        experiments,
        filters,
        find,
        members,
        news,
        organizations,
        projects,
        run,
        runs,
        settings,
        share,
    )

    # Forms are checked in `_admit`, for pages alone: the API takes no cookies, so nobody can forge a call to it.
    app.config.update(WTF_CSRF_CHECK_DEFAULT=False, WTF_CSRF_TIME_LIMIT=None)
    _csrf.init_app(app)
    _logins.init_app(app, add_context_processor=False)  # a failure page must not look up who failed
    _logins.user_loader(_visitor)
    filters.init_app(app)
    app.register_blueprint(bp)


def needs(level: str) -> Callable[[Handler], Handler]:
    """Declare who may ask for this: read, write or admin; or `OWN`: whoever made the thing, and admins.

    Pages are for all members unless they say more. What changes something must say who may.
    """

    def keep(handler: Handler) -> Handler:
        handler.level = level  # type: ignore[attr-defined]
        return handler

    return keep


def level_of(endpoint: str, method: str) -> str:
    """Who may ask for this address. One that changes something and declares nothing is for owners alone."""
    if endpoint in PUBLIC:
        return "public"
    by_default = "read" if method in db.SAFE_METHODS else "admin"
    return str(getattr(current_app.view_functions[endpoint], "level", by_default))


def is_fragment() -> bool:
    """Whether htmx asks, which wants a piece of a page and no redirect. Going back in history wants the whole page."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def page_or_part(page: str, part: str, /, **needs: Any) -> Response:
    """The whole page, or the part of it that htmx asks for under the same address."""
    answer = make_response(render_template(part if is_fragment() else page, **needs))
    answer.vary.add("HX-Request")
    return answer


def faults(error: ArwxError | None) -> dict[str, str]:
    """What is wrong with each field of a form, by the name of the field."""
    return {fault.field: fault.message for fault in error.errors} if error else {}


def local(address: str | None) -> str:
    """The address when it is a path of this server, else `/`: nobody is sent elsewhere after the login."""
    if not address or not re.match(r"/(?!/)[^\\]*\Z", address) or not address.isprintable():
        return "/"
    parts = urlsplit(address)
    # Slashes and controls that some program on the way might decode.
    is_odd = parts.scheme or parts.netloc or re.search(r"%(2f|5c|[01][0-9a-f]|7f)", parts.path, re.IGNORECASE)
    return "/" if is_odd else address


def sign_in(token: str) -> None:
    """The browser has this session from now on, and nothing of what it had before: neither cookie nor form token."""
    session.clear()
    _remember(logins.visitor(g.db, token))


def on_fault(page: Callable[..., str | Response]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Where what was sent is wrong, the page with its form is shown again: `page(error=…)` with the handler's arguments.

    What is not there or not allowed is a page of its own.
    """

    def wrap(handler: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(handler)
        def answered(**arguments: Any) -> Any:
            try:
                return handler(**arguments)
            except ArwxError as error:
                if error.status not in {401, 409, 422, 429}:
                    raise
                g.db.rollback()
                # htmx swaps in good answers only: for it, a form with its faults is one.
                answer = make_response(page(error=error, **arguments), 200 if is_fragment() else error.status)
                return _patient(answer, error)

        return answered

    return wrap


def failure(error: Exception) -> Response:
    """The failure as a page, or as a line of words when htmx asked. What we cannot name shows its request id alone."""
    if isinstance(error, ArwxError):
        status, message, code = error.status, error.message, error.code
    elif isinstance(error, HTTPException):
        if error.code is None or error.code < 400:
            return make_response(error.get_response())
        status, message, code = error.code, error.description or "", ""
    else:
        _log.error("unhandled", exc_info=error, extra={"fields": {"request_id": g.get("request_id")}})
        status, message, code = 500, "", ""
    title, said = _WORDS.get(code) or _WORDS.get(status, ("This cannot be done", "") if status < 500 else _WORDS[500])
    template = "errors/_fragment.html" if is_fragment() else "errors/page.html"
    needs = {"status": status, "title": title, "message": said or message, "request_id": g.get("request_id")}
    return _patient(make_response(render_template(template, **needs), status), error)


# Titles, and what says more to people than the message for programs.
_WORDS: dict[int | str, tuple[str, str]] = {
    "csrf": ("Send it once more", ""),
    "link_over": ("This link is over", ""),
    403: ("Not yours to do", ""),
    404: ("There is nothing here", "The address is mistyped, or the thing was deleted or belongs to somebody else."),
    405: ("That cannot be done here", "This address answers another kind of request."),
    500: ("Something broke here", "The fault is ours, and our log has it under the request id below."),
    503: ("Busy for a moment", "The database does not answer. Nothing is lost; try again in a few seconds."),
}


@bp.before_request
def _admit() -> BaseResponse | None:
    """Turn the login into `g.scope`, or ask for one; then refuse forms that did not come from our own pages."""
    if request.method not in db.SAFE_METHODS:
        # Before the database is touched: a slow sender must not hold a transaction open, and a forger costs nothing.
        request.max_content_length = _MAX_FORM_BYTES
        request.form  # noqa: B018 - reads the whole form
        _refuse_forged()
    web.refuse_nul()
    g.visitor = current_user._get_current_object() if current_user.is_authenticated else None
    if g.visitor is None:
        return None if (request.endpoint or "") in PUBLIC else _to_login()
    if g.visitor.is_stale and (token := logins.renew(db.current(), g.visitor, web.origin())):
        _remember(_visitor(token))
    logins.note_visit(db.current(), g.visitor)
    g.scope = g.visitor.scope(g.db, web.origin())
    level = level_of(request.endpoint or "", request.method)
    if level not in {"public", OWN}:
        g.scope.at_least(level)
    web.refuse_nul_in_path()
    return None


@bp.after_request
def _keep_nowhere(response: Response) -> Response:
    """No cache keeps a page, which is one person's. What has an ETag may stay in their browser, and is asked for anew."""
    if "ETag" not in response.headers:
        response.headers.setdefault("Cache-Control", "private, no-store")
    response.vary.add("Cookie")
    return response


def _refuse_forged() -> None:
    """Raise `Forbidden` unless the form was sent by a page of ours."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden("Another site sent this form. Nothing was done.", code="csrf")
    try:
        _csrf.protect()
    except CSRFError as error:
        raise Forbidden("The page with this form was open for too long. Load it again.", code="csrf") from error


def _visitor(token: str) -> logins.Visitor | None:
    # In a session of its own: a form whose password is compared first must not hold a transaction meanwhile.
    with db.current().reading() as own:
        return logins.visitor(own, token)


def _remember(visitor: logins.Visitor | None) -> None:
    session.permanent = True
    g.visitor = visitor
    login_user(visitor)


def _patient(answer: Response, error: Exception) -> Response:
    """The answer with the time to wait, where there is one."""
    if isinstance(error, TooMany):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def _to_login() -> BaseResponse:
    back = request.full_path.rstrip("?") if request.method == "GET" else "/"
    if is_fragment():
        # A fragment of a page that was open when the login ended: the whole page must go to the login.
        back = local(urlsplit(request.headers.get("HX-Current-URL", "/")).path)
        return Response(status=401, headers={"HX-Redirect": url_for("ui.login", next=back)})
    policy = web.settings().signup
    # The very first visitor has no account to log in with.
    is_first = policy == "first" and people.may_sign_up(g.db, policy)
    if is_first and back == "/":
        return redirect(url_for("ui.signup"))
    return redirect(url_for("ui.login", next=None if back == "/" else back))
