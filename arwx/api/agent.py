"""What agents read first: where the research stands, and what is here."""

from flask import Response, g

from arwx import briefing, digest, web
from arwx.api import answers, bp, query, shapes
from arwx.api.operation import MARKDOWN, operation

LONGEST = 1_000_000


@bp.get("/agent/context")
@operation("read", gives=answers.Context, also=[MARKDOWN], query="project limit max_chars since format", fails=[404])
def agent_context() -> Response:
    """Where the research of a project stands, short: goal, gap, best chain, last decisions, near misses, dead ends,
    open experiments, runs that go on or fell silent. Without a project, one line for each.

    With `since`, the `cursor` of an earlier answer, the lists hold only what is new. With `max_chars` the answer is no
    longer than that: the least important things are left out, and `left_out` counts them.
    """
    name, asked = query.text("project"), briefing.since(query.text("since"))
    limit = query.whole("limit", 1, briefing.MOST) or briefing.DEFAULT_LIMIT
    most = query.whole("max_chars", digest.SHORTEST, LONGEST)
    is_json = query.one_of("format", "json", "markdown") == "json"
    if name is None:
        found = briefing.of_all(g.scope, asked)
        text = shapes.overview(found, most) if is_json else digest.markdown_overview(found, most)
    else:
        brief = briefing.of_project(g.scope, g.scope.project(name), limit, asked)
        text = shapes.context(brief, most) if is_json else digest.markdown(brief, most)
    return web.conditional(Response(text, mimetype="application/json" if is_json else MARKDOWN))
