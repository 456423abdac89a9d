"""The page of one run: how it stands, its charts, config, code and files; and what people change of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Response, abort, g, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from arwx import charts, code, downloads, files, points, runs
from arwx.errors import ArwxError
from arwx.models import Project
from arwx.runs import RunView
from arwx.ui import bp, columns, figures, frame, is_fragment, listing, needs, on_fault, page_or_part, view

_MOST_FILES = 200
_MOST_OTHERS = 30


@dataclass(frozen=True)
class Entry:
    """An entry of the config; `before` is what another run has instead, where it differs."""

    name: str
    value: Any
    before: Any = None
    is_changed: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happened to the run, and how long after its start."""

    words: str
    at: datetime


@bp.get("/p/<name>/runs/<run_id>")
def run(name: str, run_id: str) -> Response:
    """One run: how it stands, its charts, its config, code and files."""
    return _page(name, run_id)


def _page(name: str, run_id: str, error: ArwxError | None = None) -> Response:
    project = g.scope.project(name)
    found = listing.one(project, run_id)
    choice = view.read(request.args, carry=("against",))
    shown = figures.shown_runs(project, choice, [found], found.id)
    sections, metrics_fault = figures.sections(shown, project.objective_metric)
    others = [one for one in runs.page(g.scope, project, _MOST_OTHERS).items if one.id != found.id]
    against = _against(project, others, dict(choice.carried).get("against"))
    return page_or_part(
        "runs/run.html",
        "runs/_run.html",
        head=frame.head(project),
        run=found,
        config=_config(found, against),
        against=against,
        others=others,
        summary=columns.flat(found.summary),
        events=_events(found),
        files=files.page(g.scope, _MOST_FILES, None, run_id=found.id).items,
        patches=code.patches(g.scope, downloads.store(), [found]),
        shown=shown,
        sections=sections,
        metrics=charts.keys([found]),
        metrics_fault=metrics_fault,
        is_live=found.is_live,
        may_write=g.scope.allows("write"),
        may_delete=g.scope.allows("admin"),
        fault=error,
        view=choice,
    )


@bp.post("/p/<name>/runs/<run_id>")
@needs("write")
@on_fault(_page)
def run_change(name: str, run_id: str) -> BaseResponse:
    """Change name, tags, notes and group, or show the form again with what is wrong."""
    listing.one(g.scope.project(name), run_id)
    given = {field: request.form.get(field, "").strip() for field in ("name", "notes", "group")}
    tags = [tag.strip() for tag in request.form.get("tags", "").split(",") if tag.strip()]
    fields = {"name": given["name"], "notes": given["notes"] or None, "group": given["group"] or None, "tags": tags}
    runs.change(g.scope.writable.run(run_id), fields)
    return redirect(url_for("ui.run", name=name, run_id=run_id))


@bp.post("/p/<name>/runs/<run_id>/archive")
@needs("write")
def run_archive(name: str, run_id: str) -> BaseResponse:
    """Put the run away, or take it back."""
    listing.one(g.scope.project(name), run_id)
    runs.change(g.scope.writable.run(run_id), {"archived": request.form.get("archived") == "yes"})
    return redirect(url_for("ui.run", name=name, run_id=run_id))


@bp.post("/p/<name>/runs/<run_id>/delete")
@needs("admin")
def run_delete(name: str, run_id: str) -> BaseResponse:
    """Take the run out of every list at once."""
    listing.one(g.scope.project(name), run_id)
    runs.delete(g.scope.admin, g.scope.run(run_id))
    return redirect(url_for("ui.project", name=name))


@bp.get("/p/<name>/runs/<run_id>/files/<file_id>")
def run_file(name: str, run_id: str, file_id: str) -> Response:
    """A file of the run, as something to save."""
    listing.one(g.scope.project(name), run_id)
    file = g.scope.file(file_id)
    if file.run_id != run_id or file.sha is None or file.uri:
        abort(404)
    return downloads.attachment(g.scope.blob(file.sha), file.name.rsplit("/", 1)[-1])


@bp.get("/p/<name>/runs/<run_id>/receipt")
def receipt(name: str, run_id: str) -> Response:
    """What was acknowledged against what is stored: a line that opens into the whole receipt."""
    project = g.scope.project(name)
    found = listing.one(project, run_id)
    return page_or_part(
        "runs/receipt.html",
        "runs/_receipt.html",
        project=project,
        run=found,
        receipt=points.receipt(g.db, g.scope.stream(run_id)),
        is_open=not is_fragment(),
    )


def _against(project: Project, others: list[RunView], wanted: str | None) -> RunView | None:
    """The run to whose config this one is compared; any of the project, the newest ones are at hand already."""
    if not wanted:
        return None
    known = next((one for one in others if one.id == wanted), None)
    return known or listing.one(project, wanted)


def _config(found: RunView, against: RunView | None) -> list[Entry]:
    """The config in its own order; compared to another run, what differs comes first."""
    own = columns.flat(found.config)
    if against is None:
        return [Entry(name, value) for name, value in own.items()]
    before = columns.flat(against.config)
    entries = [
        Entry(name, own.get(name), before.get(name), repr(own.get(name)) != repr(before.get(name)))
        for name in dict.fromkeys([*own, *before])
    ]
    return sorted(entries, key=lambda entry: not entry.is_changed)


def _events(found: RunView) -> list[Event]:
    """What is known of the course of the run, in order."""
    events = [Event("started", found.started_at)]
    if (found.created_at - found.started_at).total_seconds() > 60:
        events.append(Event("arrived here", found.created_at))
    events.append(Event("last heard of", found.last_seen_at))
    if found.finished_at:
        events.append(Event(found.status, found.finished_at))
    if found.archived_at:
        events.append(Event("archived", found.archived_at))
    return sorted(events, key=lambda event: event.at)
