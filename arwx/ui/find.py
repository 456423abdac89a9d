"""One place to find a project, a run, an experiment or an artifact by what one remembers of it."""

from flask import g, render_template, request

from arwx import artifacts, experiments, projects, runs
from arwx.ui import bp


@bp.get("/find")
def find() -> str:
    """What holds the words in its name, its id or its note, or was made from that commit."""
    words = request.args.get("q", "").strip()[:255]
    return render_template(
        "find/page.html",
        words=words,
        projects=projects.find(g.scope, words) if words else [],
        runs=runs.find(g.scope, words) if words else [],
        experiments=experiments.find(g.scope, words) if words else [],
        artifacts=artifacts.find(g.scope, words) if words else [],
    )
