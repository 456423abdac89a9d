"""The running best as pictures: for whoever has a key, and for READMEs by a secret address."""

import base64
import hashlib
from functools import cache

from flask import Response, g, render_template, request
from markupsafe import Markup

from arwx import embeds, experiments, web
from arwx.access import Scope
from arwx.api import answers, bodies, body, bp, public, query, shapes
from arwx.api.operation import PUBLIC, SVG, operation
from arwx.errors import BadRequest, FieldError, NotFound
from arwx.models import Project, ResearchSession
from arwx.svg import badge, progress, theme

_LOOKS = {"theme": theme.THEMES, "background": theme.GROUNDS}
# Image proxies keep what they were given for long; longer than this nobody should see an old best.
_SHARED = "public, max-age=60"


@bp.get("/projects/<name>/progress.svg")
@operation("read", gives=SVG, query="session_id theme background")
def draw_project_progress(name: str) -> Response:
    """The progress of a project as a picture."""
    project, session = _chosen(name)
    return _drawn(g.scope, project, session)


@bp.get("/projects/<name>/frontier.svg")
@operation("read", gives=SVG, query="session_id theme background")
def draw_project_frontier(name: str) -> Response:
    """The steps that moved the running best of a project, as a picture."""
    project, session = _chosen(name)
    return _drawn(g.scope, project, session, is_frontier=True)


@bp.get("/sessions/<session_id>/progress.svg")
@operation("read", gives=SVG, query="theme background")
def draw_session_progress(session_id: str) -> Response:
    """The progress of a session as a picture."""
    session = g.scope.session(session_id)
    return _drawn(g.scope, g.scope.project_of(session), session)


@bp.get("/sessions/<session_id>/frontier.svg")
@operation("read", gives=SVG, query="theme background")
def draw_session_frontier(session_id: str) -> Response:
    """The steps of a session that moved the best within it, as a picture."""
    session = g.scope.session(session_id)
    return _drawn(g.scope, g.scope.project_of(session), session, is_frontier=True)


@bp.post("/projects/<name>/embeds")
@operation("write", takes=bodies.NewEmbed, gives=answers.FreshEmbed, makes=True)
def make_embed(name: str) -> Response:
    """Make an address under which anybody sees a picture of the project. It is shown this once."""
    wanted = body.json_as(bodies.NewEmbed)
    project = g.scope.writable.project(name)
    embed, token = embeds.make(g.scope, project, wanted.kind)
    response = shapes.answer(shapes.fresh_embed(embed, project.name, token), 201)
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/projects/<name>/embeds")
@operation("read", gives=answers.List[answers.Embed], query="limit cursor")
def list_embeds(name: str) -> Response:
    """The pictures of the project that anybody may see, newest first."""
    return shapes.page(embeds.page(g.scope, g.scope.project(name), query.limit(), query.text("cursor")), shapes.embed)


@bp.delete("/embeds/<embed_id>")
@operation("write")
def revoke_embed(embed_id: str) -> Response:
    """Make the address of a picture useless from now on."""
    embeds.revoke(g.scope, g.scope.writable.embed(embed_id))
    return Response(status=204)


@public.get("/embed/<token>/<kind>.svg")
@operation(PUBLIC, gives=SVG, query="theme background", fails=[400, 404], fails_as=SVG)
def get_embed(token: str, kind: str) -> Response:
    """A picture by its secret address. What is revoked or unknown is told by a picture too, with 404."""
    for name, values in request.args.lists():
        # Every address more is a copy more in somebody's cache: there are no others than these.
        if name not in _LOOKS or len(values) > 1 or values[0] not in _LOOKS[name]:
            raise BadRequest(
                f"{name} is not known here, or has no such value.", [FieldError(name, "is not known here")]
            )
    try:
        scope, project = embeds.find(g.db, token, kind)
    except NotFound:
        response = _as_svg("pictures/absent.svg", theme.style(_look("theme")))
        response.status_code = 404
    else:
        response = _badge(scope, project) if kind == "badge" else _drawn(scope, project, is_frontier=kind == "frontier")
    response.headers["Cache-Control"] = _SHARED
    return response


def _chosen(name: str) -> tuple[Project, ResearchSession | None]:
    project, session_id = g.scope.project(name), query.text("session_id")
    return project, g.scope.session(session_id, project) if session_id else None


def _drawn(
    scope: Scope, project: Project, session: ResearchSession | None = None, *, is_frontier: bool = False
) -> Response:
    found = experiments.progress(scope, project, session)
    picture = progress.draw(found, experiments.tags(scope, project), is_frontier=is_frontier)
    has_ground = _look("background") == "paper"
    return _as_svg("pictures/progress.svg", theme.style(_look("theme")), picture=picture, has_ground=has_ground)


def _badge(scope: Scope, project: Project) -> Response:
    drawn = badge.draw(experiments.progress(scope, project))
    return _as_svg("pictures/badge.svg", theme.badge_style(_look("theme")), badge=drawn)


def _look(name: str) -> str:
    return query.one_of(name, *_LOOKS[name])


def _as_svg(template: str, style: str, **variables: object) -> Response:
    """A picture in which nothing runs and nothing is loaded, whatever people wrote into it: only our own style works."""
    drawn = render_template(template, style=Markup(style), **variables)  # noqa: S704 - the style is our own
    response = Response(drawn, mimetype=SVG)
    response.headers["Content-Security-Policy"] = f"default-src 'none'; style-src {_digest(style)}; sandbox"
    return web.conditional(response)


@cache
def _digest(style: str) -> str:
    """How a Content-Security-Policy names one style sheet."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
