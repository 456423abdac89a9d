"""Members, their roles, and invitations."""

from typing import Any

from flask import g, redirect, render_template, request, url_for

from arwx import invitations, mail, members, web
from arwx.access import ROLE_LEVELS
from arwx.errors import ArwxError
from arwx.models import Invitation
from arwx.ui import OWN, Answer, bp, faults, needs, on_fault


@bp.get("/settings/members", endpoint="members")
def show() -> str:
    """Who belongs to the organization; for owners also whom they invited."""
    return _members()


def _members(error: ArwxError | None = None, fresh: Invitation | None = None, **_: Any) -> str:
    is_owner = g.scope.allows("admin")
    invited = invitations.open_ones(g.scope) if is_owner else []
    return render_template(
        "settings/members.html",
        members=members.listed(g.scope),
        invitations=invited,
        links={invitation.id: _link(invitation) for invitation in invited},
        fresh=fresh,
        roles=list(ROLE_LEVELS),
        is_owner=is_owner,
        error=error,
        faults=faults(error),
    )


def _link(invitation: Invitation) -> str:
    token = invitations.token(web.settings().secret_key, invitation)
    return web.base_url() + url_for("ui.invitation", token=token)


@bp.post("/settings/members/invite")
@needs("admin")
@on_fault(_members)
def invite() -> Answer:
    """Make an invitation and show its link; mail it when it is for somebody and there is a mail server."""
    smtp_url = web.settings().smtp_url
    made = invitations.make(g.scope, request.form.get("email", ""), request.form.get("role", "member"))
    if made.email and smtp_url:
        text = f"{g.visitor.user.email} invites you to {g.visitor.org.name} on arwx:\n{_link(made)}\n\nThe link is good for a week.\n"
        mail.send_soon(smtp_url, made.email, f"An invitation to {g.visitor.org.name}", text)
    return _members(fresh=made)


@bp.post("/settings/members/invitations/<invitation_id>/revoke")
@needs("admin")
@on_fault(_members)
def invitation_revoke(invitation_id: str) -> Answer:
    """Make an invitation useless."""
    invitations.revoke(g.scope, invitation_id)
    return redirect(url_for("ui.members"))


@bp.post("/settings/members/<int(max=9007199254740991):user_id>/role")
@needs("admin")
@on_fault(_members)
def member_role(user_id: int) -> Answer:
    """Give a member another role."""
    members.change_role(g.scope, user_id, request.form.get("role", ""))
    return redirect(url_for("ui.members"))


@bp.post("/settings/members/<int(max=9007199254740991):user_id>/remove")
@needs(OWN)
@on_fault(_members)
def member_remove(user_id: int) -> Answer:
    """Take a member out, or leave."""
    members.remove(g.scope, user_id)
    return redirect(url_for("ui.home" if user_id == g.visitor.user.id else "ui.members"))
