"""Pages and fragments for people: who may come in, forged forms, and failures in plain words."""

import logging
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, g, make_response, redirect, render_template, request, url_for
from flask_login import LoginManager, current_user
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from arwx import db, people
from arwx.errors import ArwxError

bp = Blueprint("ui", __name__)

# What a stranger may see. Every other page asks for a login first.
PUBLIC = frozenset({"ui.login", "ui.log_in", "ui.signup", "ui.sign_up"})

_MAX_FORM_BYTES = 2**20

_log = logging.getLogger("arwx.error")
_csrf = CSRFProtect()
_logins = LoginManager()


def init_app(app: Flask) -> None:
    """Attach the pages, the login and the check against forged forms."""
    from arwx.ui import account, artifacts, charts, experiments, filters, find, projects, runs  # noqa: F401

    # Forms are checked in `_admit`, for pages alone: the API takes no cookies, so nobody can forge a call to it.
    app.config.update(WTF_CSRF_CHECK_DEFAULT=False, WTF_CSRF_TIME_LIMIT=None)
    _csrf.init_app(app)
    _logins.init_app(app)
    _logins.user_loader(lambda token: people.visitor(g.db, token))
    filters.init_app(app)
    app.register_blueprint(bp)


def is_fragment() -> bool:
    """Whether htmx asks, which wants a piece of a page and no redirect. Going back in history wants the whole page."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def local(address: str | None) -> str:
    """The address when it is a path of this server, else `/`: nobody is sent elsewhere after the login."""
    if not address or not address.startswith("/") or address.startswith(("//", "/\\")):
        return "/"
    parts = urlsplit(address)
    return address if not parts.scheme and not parts.netloc and address.isprintable() else "/"


def failure(error: Exception) -> Response:
    """The failure as a page, or as a line of words when htmx asked. What we cannot name shows its request id alone."""
    if isinstance(error, ArwxError):
        status, message = error.status, error.message
    elif isinstance(error, HTTPException):
        if error.code is None or error.code < 400:
            return make_response(error.get_response())
        status, message = error.code, error.description or ""
    else:
        _log.error("unhandled", exc_info=error, extra={"fields": {"request_id": g.get("request_id")}})
        status, message = 500, ""
    title, said = _WORDS.get(status, ("This cannot be done", "") if status < 500 else _WORDS[500])
    template = "errors/_fragment.html" if is_fragment() else "errors/page.html"
    needs = {"status": status, "title": title, "message": said or message, "request_id": g.get("request_id")}
    return make_response(render_template(template, **needs), status)


# Titles, and what says more to people than the message for programs.
_WORDS = {
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
        # Before the database is touched: a slow sender must not hold a transaction open.
        request.max_content_length = _MAX_FORM_BYTES
        request.form  # noqa: B018 - reads the whole form
    g.visitor = current_user._get_current_object() if current_user.is_authenticated else None
    if g.visitor is None and (request.endpoint or "") not in PUBLIC:
        return _to_login()
    if request.method not in db.SAFE_METHODS:
        _csrf.protect()
    if g.visitor is not None:
        people.note_visit(db.current(), g.visitor)
        g.scope = g.visitor.scope(g.db)
    return None


def _to_login() -> BaseResponse:
    back = request.full_path.rstrip("?") if request.method == "GET" else "/"
    if is_fragment():
        # A fragment of a page that was open when the login ended: the whole page must go to the login.
        back = local(urlsplit(request.headers.get("HX-Current-URL", "/")).path)
        return Response(status=401, headers={"HX-Redirect": url_for("ui.login", next=back)})
    settings = current_app.extensions["arwx"]
    # The very first visitor has no account to log in with.
    is_first = settings.signup == "first" and people.may_sign_up(g.db, settings.signup)
    if is_first and back == "/":
        return redirect(url_for("ui.signup"))
    return redirect(url_for("ui.login", next=None if back == "/" else back))
