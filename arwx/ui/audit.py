"""The audit page."""

from flask import g, render_template, request

from arwx import audit
from arwx.models import AuditEntry
from arwx.ui import bp, needs

# What each action reads like. Braces are filled from the details of the row.
WORDS = {
    "login.ok": "signed in",
    "login.failed": "failed to sign in",
    "logout": "signed out",
    "session.ended": "ended {count} other sessions",
    "password.changed": "changed the password",
    "password.reset": "set a new password by a link",
    "key.made": "made the {level} key",
    "key.revoked": "revoked the {level} key",
    "member.joined": "joined as {a_role}",
    "member.added": "added {a_role}",
    "member.role": "changed the role from {before} to {after} of",
    "member.removed": "removed the {role}",
    "invitation.made": "invited {a_role}",
    "invitation.revoked": "withdrew the invitation of {a_role}",
    "organization.made": "made the organization",
    "organization.renamed": "renamed the organization to",
    "organization.deleted": "deleted the organization",
    "project.deleted": "deleted the project",
    "organization.restored": "took back the end of the organization",
    "project.restored": "took back the end of the project",
    "project.imported": "imported the project",
    "run.deleted": "deleted the run",
    "embed.made": "showed to anybody",
    "embed.revoked": "no longer shows to anybody",
    "export": "exported",
    "denied": "was refused",
}
KINDS = ("login", "password", "key", "member", "invitation", "project", "run", "embed", "export", "denied")


@bp.get("/settings/audit", endpoint="audit")
@needs("admin")
def show() -> str:
    """What was done, newest first. For owners."""
    kind = request.args.get("kind", "")
    page = audit.page(g.scope, 50, request.args.get("cursor"), kind if kind in KINDS else None)
    return render_template(
        "settings/audit.html",
        entries=[(entry, _words(entry)) for entry in page.items],
        next=page.next,
        kinds=KINDS,
        kind=kind,
    )


def _words(entry: AuditEntry) -> str:
    role = str(entry.details.get("role", ""))
    return WORDS[entry.action].format(**entry.details, a_role=f"{'an' if role == 'owner' else 'a'} {role}")
