"""Organizations: another one, going over to it, its name and its end; and the end of a project."""

from typing import Any

from flask import g, redirect, render_template, request, url_for

from arwx import db, deletion, logins, organizations, people, projects, web
from arwx.errors import ArwxError
from arwx.ui import Answer, bp, faults, needs, on_fault, sign_in


@bp.get("/settings/organization")
def organization() -> str:
    """The name of the organization, its projects, and for owners the ways to end them."""
    return _organization()


def _organization(error: ArwxError | None = None, **_: Any) -> str:
    page = projects.page(g.scope, 200, request.args.get("cursor"))
    return render_template(
        "settings/organization.html",
        cards=page.items,
        next=page.next,
        is_owner=g.scope.allows("admin"),
        deleted=deletion.deleted_projects(g.scope) if g.scope.allows("admin") else [],
        error=error,
        faults=faults(error),
    )


@bp.post("/settings/organization")
@needs("admin")
@on_fault(_organization)
def organization_rename() -> Answer:
    """Give the organization another name. Its slug stays, since programs know it."""
    organizations.rename(g.scope, request.form.get("name", "").strip())
    return redirect(url_for("ui.organization"))


@bp.post("/settings/organization/delete")
@needs("admin")
@on_fault(_organization)
def organization_delete() -> Answer:
    """End the organization, when its name was typed and the password is right."""
    people.confirm(db.current(), g.visitor, request.form.get("current", ""), web.origin())
    deletion.delete_organization(g.scope, typed=request.form.get("typed", ""))
    return redirect(url_for("ui.login"))


@bp.get("/organizations/new")
def organization_new() -> str:
    """Ask for the name of one more organization."""
    return _new()


def _new(error: ArwxError | None = None) -> str:
    return render_template(
        "settings/new_organization.html",
        error=error,
        faults=faults(error),
        name=request.form.get("organization", ""),
        is_closed=web.settings().signup == "closed",
    )


@bp.post("/organizations/new")
@needs("read")
@on_fault(_new)
def organization_make() -> Answer:
    """Make an organization that the person owns, and go there."""
    name = request.form.get("organization", "").strip()
    return _go(organizations.make(g.db, web.settings().signup, g.visitor.user, name, web.origin()).slug)


@bp.post("/organizations/switch")
@needs("read")
def organization_switch() -> Answer:
    """Go on in another organization of the same person."""
    return _go(request.form.get("slug", ""))


def _go(slug: str) -> Answer:
    sign_in(logins.switch(g.db, g.visitor, slug, web.origin()))
    return redirect("/")


@bp.get("/p/<name>/delete")
@needs("admin")
def project_delete(name: str) -> str:
    """Say what goes with the project, and ask for its name."""
    return _project_delete(name)


def _project_delete(name: str, error: ArwxError | None = None) -> str:
    project = g.scope.admin.project(name)
    return render_template("settings/delete_project.html", card=projects.card(g.scope, project), error=error)


@bp.post("/p/<name>/delete")
@needs("admin")
@on_fault(_project_delete)
def project_end(name: str) -> Answer:
    """Delete the project, when its name was typed, and show from where it can be had back."""
    deletion.delete_project(g.scope, name, typed=request.form.get("typed", ""))
    return redirect(url_for("ui.organization", _anchor="deleted"))


@bp.post("/settings/organization/projects/<project_id>/restore")
@needs("admin")
@on_fault(_organization)
def project_restore(project_id: str) -> Answer:
    """Take the end of a project back."""
    return redirect(url_for("ui.project", name=deletion.restore_project(g.scope, project_id).name))
