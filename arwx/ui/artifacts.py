"""The Artifacts lens of a project: versions with their scores and refs, files, lineage, and what differs."""

from dataclasses import dataclass
from typing import Any

from flask import Response, g, make_response, redirect, render_template, request, url_for

from arwx import actors, artifacts, blobs, downloads, lineage, trees
from arwx.errors import ArwxError
from arwx.models import Artifact, Project
from arwx.svg import lineage as graph
from arwx.ui import Answer, bp, frame, needs, on_fault, reading

WINNER = "winner"
_SHELVES, _EACH = 20, 5
_VERSIONS, _MOVES, _IN_GRAPH = 50, 20, 12


@bp.get("/p/<name>/artifacts", endpoint="artifacts")
def lens(name: str) -> str:
    """Every artifact with its newest versions, their scores, and which of them carry a ref."""
    project = g.scope.project(name)
    page = artifacts.shelves(g.scope, project, _SHELVES, request.args.get("cursor"), _EACH)
    views = [view for shelf in page.items for view in shelf.versions]
    return render_template(
        "artifacts/page.html",
        head=frame.head(project),
        shelves=page.items,
        next=page.next,
        titles=lineage.titles(g.scope, [link for view in views for link in view.links]),
    )


@bp.get("/p/<name>/artifacts/<artifact_name>")
def artifact(name: str, artifact_name: str) -> Response:
    """One artifact: its versions, the files of the chosen one, what differs from another, refs and lineage."""
    project = g.scope.project(name)
    return make_response(_artifact(project, g.scope.artifact(artifact_name, project.name)))


def _artifact(project: Project, row: Artifact, error: ArwxError | None = None) -> str:
    before = request.args.get("before", "")
    versions = artifacts.versions(g.scope, row, _VERSIONS + 1, int(before) if before.isdecimal() else None)
    chosen = artifacts.resolve(g.scope, row, request.args.get("version") or artifacts.LATEST)
    view = artifacts.version_views(g.scope, row, [chosen])[0]
    files = artifacts.tree(chosen)
    folder = request.args.get("in", "").strip("/")
    moves = artifacts.moves(g.scope, row, _MOVES)
    shown = versions[:_VERSIONS]
    return render_template(
        "artifacts/artifact.html",
        head=frame.head(project),
        artifact=artifacts.view(g.scope, row),
        versions=shown,
        next=shown[-1].version.number if len(versions) > _VERSIONS else None,
        chosen=view,
        folder=folder,
        listing=trees.listing(files, folder),
        file_count=len(files),
        opened=reading.opened(files),
        compared=_compared(row, view),
        titles=lineage.titles(g.scope, [link for one in [*shown, view] for link in one.links]),
        moves=moves,
        names=actors.names(g.scope, [move.created_by for move in moves] + [one.version.created_by for one in shown]),
        graph=_graph(project, row),
        error=error,
    )


@dataclass(frozen=True)
class Compared:
    """What leads from another version to the chosen one."""

    number: int
    diff: trees.TreeDiff


def _compared(row: Artifact, view: artifacts.VersionView) -> Compared | None:
    asked = request.args.get("with")
    if not asked:
        return None
    other = artifacts.resolve(g.scope, row, asked)
    texts = blobs.texts(g.scope, downloads.store())
    return Compared(other.number, trees.diff(artifacts.tree(other), artifacts.tree(view.version), texts))


@dataclass(frozen=True)
class Node:
    """A box of the lineage: a version, or who made or used one."""

    id: str
    column: int
    label: str
    note: str
    address: str | None
    is_winner: bool = False


def _graph(project: Project, row: Artifact) -> dict[str, Any] | None:
    """The newest versions between those who made and those who used them; nothing when nobody is known."""
    found = artifacts.graph(g.scope, row, _IN_GRAPH)
    nodes = {}
    for version in found.versions:
        refs = [ref for ref in found.refs.get(version.number, []) if ref != artifacts.LATEST]
        address = url_for("ui.artifact", name=project.name, artifact_name=row.name, version=f"v{version.number}")
        id_ = f"version:{version.number}"
        nodes[id_] = Node(id_, graph.VERSIONS, f"v{version.number}", ", ".join(refs), address, WINNER in refs)
    edges = []
    for link in found.links:
        column = graph.MAKERS if link.role == lineage.PRODUCER else graph.USERS
        id_ = f"{column}:{link.kind}:{link.target_id}"
        if link.kind == "experiment" and (tried := found.experiments.get(link.target_id)):
            address = url_for("ui.experiment", name=project.name, experiment_id=tried.id)
            nodes[id_] = Node(id_, column, f"#{tried.index}", tried.note or "", address)
        elif link.kind == "run" and (run := found.runs.get(link.target_id)):
            address = url_for("ui.run", name=project.name, run_id=run.id)
            nodes[id_] = Node(id_, column, run.name, "run", address)
        version_id = f"version:{link.version}"
        edges.append((id_, version_id) if column == graph.MAKERS else (version_id, id_))
    if not edges:
        return None
    return {"nodes": nodes, "drawing": graph.draw(list(nodes.values()), edges)}


def _again(name: str, artifact_name: str, error: ArwxError) -> str:
    project = g.scope.project(name)
    return _artifact(project, g.scope.artifact(artifact_name, project.name), error)


@bp.post("/p/<name>/artifacts/<artifact_name>/promote")
@needs("write")
@on_fault(_again)
def promote(name: str, artifact_name: str) -> Answer:
    """Move a ref to a version."""
    row = g.scope.artifact(artifact_name, g.scope.project(name).name)
    version = artifacts.promote(g.scope, row, request.form.get("ref", "").strip(), request.form.get("version", ""))
    return redirect(url_for("ui.artifact", name=name, artifact_name=artifact_name, version=f"v{version.number}"))


@bp.get("/p/<name>/artifacts/<artifact_name>/<version>/files/<path:path>")
def artifact_file(name: str, artifact_name: str, version: str, path: str) -> Response:
    """One file of a version, to be saved."""
    row = g.scope.artifact(artifact_name, g.scope.project(name).name)
    entry = reading.find(artifacts.tree(artifacts.resolve(g.scope, row, version)), path)
    return downloads.attachment(g.scope.blob(entry.sha), path.rpartition("/")[2])
