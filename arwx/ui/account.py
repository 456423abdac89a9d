"""The doors: signing in and out, signing up, invitations, and passwords that were forgotten."""

from typing import Any

from flask import g, redirect, render_template, request, session, url_for

from arwx import db, invitations, logins, mail, people, throttle, web
from arwx.errors import ArwxError
from arwx.ui import Answer, bp, faults, local, needs, on_fault, sign_in


def _field(name: str) -> str:
    return request.form.get(name, "")


@bp.get("/login")
def login() -> Answer:
    """Ask for e-mail and password."""
    return redirect(local(request.args.get("next"))) if g.visitor else _login_page()


def _login_page(error: ArwxError | None = None) -> str:
    return render_template(
        "account/login.html",
        error=error,
        email=_field("email"),
        next=request.values.get("next", ""),
        may_sign_up=people.may_sign_up(g.db, web.settings().signup),
        can_mail=web.settings().smtp_url is not None,
    )


@bp.post("/login")
@on_fault(_login_page)
def log_in() -> Answer:
    """Open a session; the one that this browser had before is over."""
    token = people.log_in(db.current(), _field("email"), _field("password"), web.origin())
    if g.visitor:
        logins.end(g.db, g.visitor.token)
    sign_in(token)
    return redirect(local(request.form.get("next")))


@bp.post("/logout")
@needs("read")
def logout() -> Answer:
    """End the session on the server and forget the cookie."""
    logins.log_out(g.scope, g.visitor)
    session.clear()
    return redirect(url_for("ui.login"))


@bp.get("/signup")
def signup() -> Answer:
    """Ask for what a new account needs, or say that sign-up is closed."""
    return redirect("/") if g.visitor else _signup_page()


def _signup_page(error: ArwxError | None = None) -> str:
    return render_template(
        "account/signup.html",
        error=error,
        faults=faults(error),
        email=_field("email"),
        organization=_field("organization"),
        may_sign_up=people.may_sign_up(g.db, web.settings().signup),
    )


@bp.post("/signup")
@on_fault(_signup_page)
def sign_up() -> Answer:
    """Make the account and its organization, and sign it in."""
    origin = web.origin()
    throttle.pace(db.current(), "sign-up", origin.ip)
    token = people.sign_up(
        g.db, web.settings().signup, _field("email"), _field("password"), _field("organization").strip(), origin
    )
    sign_in(token)
    return redirect("/")


@bp.get("/invitations/<token>")
def invitation(token: str) -> str:
    """What the link invites to, and the way in."""
    return _invitation_page(token)


def _invitation_page(token: str, error: ArwxError | None = None) -> str:
    found, org = invitations.read(g.db, web.settings().secret_key, token)
    return render_template(
        "account/invitation.html",
        invitation=found,
        org=org,
        token=token,
        error=error,
        faults=faults(error),
        email=found.email or _field("email"),
    )


@bp.post("/invitations/<token>")
@on_fault(_invitation_page)
def join(token: str) -> Answer:
    """Come in by the link: who is signed in as they are, anybody else with a new account."""
    secret_key, origin = web.settings().secret_key, web.origin()
    if g.visitor:
        membership = invitations.accept(g.db, secret_key, token, g.visitor.user, origin)
        logins.end(g.db, g.visitor.token)
        sign_in(logins.start(g.db, g.visitor.user, membership, origin, since=g.visitor.login.created_at))
    else:
        throttle.pace(db.current(), "sign-up", origin.ip)
        sign_in(invitations.sign_up(g.db, secret_key, token, _field("email"), _field("password"), origin))
    return redirect("/")


@bp.get("/forgot")
def forgot() -> str:
    """Ask to whom a link for a new password goes, or say who can make one."""
    return _forgot_page()


def _forgot_page(error: ArwxError | None = None, **shown: Any) -> str:
    return render_template("account/forgot.html", error=error, can_mail=web.settings().smtp_url is not None, **shown)


@bp.post("/forgot")
@on_fault(_forgot_page)
def send_reset() -> Answer:
    """Mail a link when there is such an account. The answer is the same when there is none."""
    settings, email = web.settings(), _field("email")
    throttle.pace(db.current(), "reset", web.origin().ip, email.strip().lower())
    user = people.find(g.db, email)
    if user and settings.smtp_url:
        address = web.base_url() + url_for("ui.reset", token=people.reset_token(settings.secret_key, user))
        text = f"Somebody, probably you, asked for a new password on {web.base_url()}.\n\nSet it within an hour:\n{address}\n"
        mail.send_soon(settings.smtp_url, user.email, "A new password for arwx", text)
    return _forgot_page(is_sent=True)


@bp.get("/reset/<token>")
def reset(token: str) -> str:
    """Ask for the new password."""
    return _reset_page(token)


def _reset_page(token: str, error: ArwxError | None = None) -> str:
    user = people.of_reset(g.db, web.settings().secret_key, token)
    return render_template("account/reset.html", email=user.email, token=token, error=error, faults=faults(error))


@bp.post("/reset/<token>")
@on_fault(_reset_page)
def reset_password(token: str) -> Answer:
    """Set the new password; then it must be used to sign in."""
    people.reset_password(db.current(), web.settings().secret_key, token, _field("password"), web.origin())
    session.clear()
    return redirect(url_for("ui.login"))
