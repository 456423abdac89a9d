"""The Artifacts lens of a project."""

from flask import g, render_template

from arwx.ui import bp, frame


@bp.get("/p/<name>/artifacts")
def artifacts(name: str) -> str:
    """The Artifacts lens: what came out of the runs and experiments."""
    project = g.scope.project(name)
    return render_template("artifacts/page.html", head=frame.head(project))
