"""One place to find a project or a run by what one remembers of it."""

from flask import g, render_template, request

from arwx import projects, runs
from arwx.ui import bp


@bp.get("/find")
def find() -> str:
    """Projects and runs whose name or id holds the words."""
    words = request.args.get("q", "").strip()[:255]
    return render_template(
        "find/page.html",
        words=words,
        projects=projects.find(g.scope, words) if words else [],
        runs=runs.find(g.scope, words) if words else [],
    )
