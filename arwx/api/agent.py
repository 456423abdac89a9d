"""What agents read first: where the research stands, and what is here."""

from flask import Response, current_app, g, render_template

from arwx import briefing, digest, pages, projects, runs, since, web
from arwx.api import answers, bp, public, query, shapes
from arwx.api.operation import MARKDOWN, PUBLIC, TEXT, operation

LONGEST = 1_000_000
_NEWEST = 50


@bp.get("/agent/context")
@operation("read", gives=answers.Context, also=[MARKDOWN], query="project limit max_chars since format", fails=[404])
def agent_context() -> Response:
    """Where the research of a project stands, short: goal, gap, best chain, last decisions, near misses, dead ends,
    open experiments, runs that go on or fell silent. Without a project, one line for each.

    With `since`, the `cursor` of an earlier answer, the lists hold only what is new. With `max_chars` the answer is no
    longer than that: the least important things are left out, and `left_out` counts them.
    """
    name, asked = query.text("project"), since.read(query.text("since"))
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


@bp.get("/bootstrap")
@operation("read", gives=answers.Bootstrap)
def bootstrap() -> Response:
    """What a dashboard shows first, in one call: the organization, projects with goal and best, the newest runs with
    their latest values. No points; at most 50 projects and 50 runs.
    """
    cards = projects.page(g.scope, pages.DEFAULT_LIMIT, None)
    return web.conditional(shapes.answer(shapes.bootstrap(g.scope.org, cards, runs.newest(g.scope, _NEWEST))))


@public.get("/llms.txt")
@operation(PUBLIC, gives=TEXT)
def llms_txt() -> Response:
    """What this is and where to read on, for programs that read."""
    wheels = current_app.extensions["arwx.wheels"]
    text = render_template("agent/llms.txt", base_url=web.base_url(), wheel=wheels[0] if wheels else None)
    return web.conditional(Response(text, mimetype=TEXT))
