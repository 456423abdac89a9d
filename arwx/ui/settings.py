"""One's own settings: the Connection panel with the keys, the password, and where one is signed in."""

from typing import Any

from flask import g, redirect, render_template, request, url_for

from arwx import db, keys, logins, people, web
from arwx.access import LEVELS
from arwx.errors import ArwxError
from arwx.ui import OWN, Answer, bp, faults, is_fragment, needs, on_fault


@bp.get("/settings")
def settings() -> str:
    """The Connection panel."""
    return _connection()


def _connection(error: ArwxError | None = None, **shown: Any) -> str:
    template = "settings/_connection.html" if is_fragment() else "settings/connection.html"
    listed = keys.listed(g.scope)
    return render_template(
        template,
        keys=listed,
        revocable={key.id for key in listed if keys.may_revoke(g.scope, key)},
        levels=[level for level in LEVELS if g.scope.allows(level)],
        error=error,
        **shown,
    )


@bp.post("/settings/keys")
@needs("read")
@on_fault(_connection)
def key_new() -> Answer:
    """Make a key and show its secret, this once."""
    key, secret = keys.mint(g.scope, request.form.get("name", "").strip(), request.form.get("level", "write"))
    return _connection(key=key, secret=secret)


@bp.post("/settings/keys/<key_id>/revoke")
@needs(OWN)
def key_revoke(key_id: str) -> Answer:
    """Make a key useless."""
    keys.revoke(g.scope, key_id)
    g.db.flush()
    return _connection() if is_fragment() else redirect(url_for("ui.settings"))


@bp.get("/settings/account")
def account() -> str:
    """The password, the sessions, and the organizations of the person."""
    return _account()


def _account(error: ArwxError | None = None, **shown: Any) -> str:
    return render_template(
        "settings/account.html",
        places=logins.places(g.db, g.visitor),
        error=error,
        faults=faults(error),
        **shown,
    )


@bp.post("/settings/account/password")
@needs("read")
@on_fault(_account)
def password_change() -> Answer:
    """Set another password; the other sessions end."""
    current, new = request.form.get("current", ""), request.form.get("password", "")
    people.change_password(db.current(), g.visitor, current, new, web.origin())
    return _account(is_changed=True)


@bp.post("/settings/account/sessions/<place_id>/end")
@needs("read")
def session_end(place_id: str) -> Answer:
    """Sign out somewhere else."""
    logins.end_place(g.scope, g.visitor, place_id)
    return redirect(url_for("ui.account"))


@bp.post("/settings/account/sessions/end")
@needs("read")
def sessions_end() -> Answer:
    """Sign out everywhere else."""
    logins.end_elsewhere(g.scope, g.visitor)
    return redirect(url_for("ui.account"))
