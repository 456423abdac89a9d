"""What agents read first: where the research stands, and what is here."""

from dataclasses import replace

from flask import Response, current_app, g, render_template

from arwx import briefing, digest, pages, projects, runs, since, web
from arwx.api import answers, bp, public, query, shapes
from arwx.api.operation import MARKDOWN, PUBLIC, TEXT, operation

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
    most = query.whole("max_chars", digest.SHORTEST, digest.LONGEST)
    is_json = query.one_of("format", "json", "markdown") == "json"
    kind = "application/json" if is_json else MARKDOWN
    # The cursor tells the time, so that it is another one each time: whoever has the rest goes on with the one they have.
    if name is None:
        found = briefing.of_all(g.scope, asked)
        overview = shapes.overview if is_json else digest.markdown_overview
        return web.if_changed(replace(found, cursor=""), lambda: Response(overview(found, most), mimetype=kind))
    brief = briefing.of_project(g.scope, g.scope.project(name), limit, asked)
    context = shapes.context if is_json else digest.markdown
    return web.if_changed(replace(brief, cursor=""), lambda: Response(context(brief, most), mimetype=kind))


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
