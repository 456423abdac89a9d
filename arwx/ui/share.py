"""Pictures of a project for READMEs: addresses that anybody may see, made and revoked."""

from flask import g, redirect, render_template, request, url_for

from arwx import actors, embeds, web
from arwx.errors import ArwxError
from arwx.models import Embed
from arwx.ui import Answer, bp, frame, needs, on_fault


@bp.get("/p/<name>/experiments/share")
@needs("write")
def share(name: str) -> str:
    """Which pictures of the project anybody may see."""
    return _share(name)


def _share(name: str, error: ArwxError | None = None, fresh: tuple[Embed, str] | None = None) -> str:
    project = g.scope.project(name)
    listed = embeds.listed(g.scope, project)
    url, markdown = web.embedded(project.name, fresh[0].kind, fresh[1]) if fresh else ("", "")
    return render_template(
        "experiments/share.html",
        head=frame.head(project),
        kinds=embeds.KINDS,
        embeds=listed,
        names=actors.names(g.scope, [embed.created_by for embed in listed]),
        url=url,
        markdown=markdown,
        error=error,
    )


@bp.post("/p/<name>/experiments/share")
@needs("write")
@on_fault(_share)
def share_make(name: str) -> Answer:
    """Make an address and show it, once."""
    return _share(name, fresh=embeds.make(g.scope, g.scope.project(name), request.form.get("kind", "")))


@bp.post("/p/<name>/experiments/share/<embed_id>/revoke")
@needs("write")
def share_revoke(name: str, embed_id: str) -> Answer:
    """Make an address useless."""
    embeds.revoke(g.scope, g.scope.embed(embed_id))
    return redirect(url_for("ui.share", name=name))
