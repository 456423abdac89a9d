"""The Experiments lens of a project."""

from flask import g, render_template

from arwx.ui import bp, frame


@bp.get("/p/<name>/experiments")
def experiments(name: str) -> str:
    """The Experiments lens: what was tried, and what became of it."""
    project = g.scope.project(name)
    return render_template("experiments/page.html", head=frame.head(project))
