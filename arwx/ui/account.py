"""Coming in and going out, and the settings with their Connection panel."""

from typing import TypeAlias

from flask import current_app, g, redirect, render_template, request, url_for
from flask_login import login_user, logout_user
from werkzeug.wrappers import Response

from arwx import keys, people
from arwx.access import LEVELS
from arwx.config import Settings
from arwx.errors import ArwxError
from arwx.ui import bp, is_fragment, local

Answer: TypeAlias = str | tuple[str, int] | Response


def _policy() -> str:
    settings: Settings = current_app.extensions["arwx"]
    return settings.signup


def _welcome(token: str, then: str) -> Response:
    login_user(people.visitor(g.db, token))
    return redirect(then)


@bp.get("/login")
def login() -> Answer:
    """Ask for e-mail and password."""
    return redirect(local(request.args.get("next"))) if g.visitor else _login_form()


@bp.post("/login")
def log_in() -> Answer:
    """Open a session, or show the form again with what is wrong."""
    try:
        token = people.log_in(g.db, request.form.get("email", ""), request.form.get("password", ""))
    except ArwxError as error:
        return _login_form(error), error.status
    return _welcome(token, local(request.form.get("next")))


def _login_form(error: ArwxError | None = None) -> str:
    return render_template(
        "account/login.html",
        error=error,
        email=request.form.get("email", ""),
        next=request.values.get("next", ""),
        may_sign_up=people.may_sign_up(g.db, _policy()),
    )


@bp.get("/signup")
def signup() -> Answer:
    """Ask for what a new account needs, or say that sign-up is closed."""
    return redirect("/") if g.visitor else _signup_form()


@bp.post("/signup")
def sign_up() -> Answer:
    """Make the account and its organization, or show the form again with what is wrong."""
    email, password, organization = (request.form.get(name, "") for name in ("email", "password", "organization"))
    try:
        token = people.sign_up(g.db, _policy(), email, password, organization.strip())
    except ArwxError as error:
        g.db.rollback()
        return _signup_form(error), error.status
    return _welcome(token, "/")


def _signup_form(error: ArwxError | None = None) -> str:
    return render_template(
        "account/signup.html",
        error=error,
        faults={fault.field: fault.message for fault in error.errors} if error else {},
        email=request.form.get("email", ""),
        organization=request.form.get("organization", ""),
        may_sign_up=people.may_sign_up(g.db, _policy()),
    )


@bp.post("/logout")
def logout() -> Response:
    """End the session on the server and forget the cookie."""
    people.log_out(g.db, g.visitor.token)
    logout_user()
    return redirect(url_for("ui.login"))


@bp.get("/settings")
def settings() -> str:
    """The account and the Connection panel."""
    return render_template("account/settings.html", **_connection())


@bp.post("/settings/keys")
def key_new() -> Answer:
    """Make a key and show its secret, this once."""
    try:
        key, secret = keys.mint(g.scope, request.form.get("name", "").strip(), request.form.get("level", "write"))
    except ArwxError as error:
        g.db.rollback()
        # htmx swaps in good answers only: for it, a form with its faults is one.
        return _connection_page(error=error), 200 if is_fragment() else error.status
    return _connection_page(key=key, secret=secret)


@bp.post("/settings/keys/<key_id>/revoke")
def key_revoke(key_id: str) -> Answer:
    """Make a key useless."""
    keys.revoke(g.scope, key_id)
    g.db.flush()
    return _connection_page() if is_fragment() else redirect(url_for("ui.settings"))


def _connection_page(**shown: object) -> str:
    template = "account/_connection.html" if is_fragment() else "account/settings.html"
    return render_template(template, **_connection(**shown))


def _connection(**shown: object) -> dict[str, object]:
    levels = [level for level in LEVELS if g.scope.allows(level)]
    return {"keys": keys.listed(g.scope), "levels": levels, "can_revoke": g.scope.allows("admin"), **shown}
