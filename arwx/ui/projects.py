"""The front page: all projects of the organization."""

from flask import Response, g, make_response, render_template, request

from arwx import projects
from arwx.ui import bp, is_fragment


@bp.get("/")
def home() -> Response:
    """The projects as cards, or how to begin when there is none."""
    page = projects.page(g.scope, 60, request.args.get("cursor"))
    template = "projects/_list.html" if is_fragment() else "projects/page.html"
    answer = make_response(render_template(template, cards=page.items, next=page.next))
    answer.vary.add("HX-Request")
    return answer
