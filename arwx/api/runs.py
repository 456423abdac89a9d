"""Runs: made, read, changed, finished, listed; their history and their receipt."""

from flask import Response, g, request

from arwx import audit, db, points, projects, runs, web
from arwx.api import answers, bodies, body, bp, export, query, shapes
from arwx.api.operation import CSV, NDJSON, operation
from arwx.api.parameters import HISTORY_LIMIT, HISTORY_MOST


@bp.post("/runs")
@operation("write", takes=bodies.NewRun, gives=answers.Run, makes=True, fails=[404, 409])
def make_run() -> Response:
    """Make a run, or find the one with this id."""
    fields = body.given(body.json_as(bodies.NewRun))
    project, _ = projects.ensure(g.scope.writable, fields.pop("project"))
    resume = fields.pop("resume")
    run, is_new = runs.create(g.scope, project, fields, resume)
    return shapes.answer(shapes.run(runs.view(g.scope, run)), 201 if is_new else 200)


@bp.get("/projects/<name>/runs")
@operation("read", gives=answers.List[answers.Run], query="limit cursor status tag group q sort archived")
def list_runs(name: str) -> Response:
    """The runs of a project that meet the condition `q`, newest first or in the order `sort`; archived ones apart."""
    asked = runs.wanted(
        status=query.text("status"),
        tag=query.text("tag"),
        group=query.text("group"),
        q=query.text("q"),
        sort=query.text("sort"),
        archived={"no": False, "yes": True, "any": None}[query.one_of("archived", "no", "yes", "any")],
    )
    found = runs.page(g.scope, g.scope.project(name), query.limit(), query.text("cursor"), asked)
    return shapes.page(found, shapes.run)


@bp.get("/runs/<run_id>")
@operation("read", gives=answers.Run)
def get_run(run_id: str) -> Response:
    """One run."""
    return web.conditional(shapes.answer(shapes.run(runs.view(g.scope, g.scope.run(run_id)))))


@bp.patch("/runs/<run_id>")
@operation("write", takes=bodies.RunChange, gives=answers.Run)
def change_run(run_id: str) -> Response:
    """Change name, tags, notes or group; merge into config and summary."""
    fields = body.given(body.json_as(bodies.RunChange))
    run = g.scope.writable.run(run_id)
    runs.change(run, fields)
    return shapes.answer(shapes.run(runs.view(g.scope, run)))


@bp.delete("/runs/<run_id>")
@operation("admin")
def delete_run(run_id: str) -> Response:
    """Take a run out of all lists at once."""
    runs.delete(g.scope, g.scope.admin.run(run_id))
    return Response(status=204)


@bp.post("/runs/<run_id>/finish")
@operation("write", takes=bodies.Finish, gives=answers.Run, may_be_empty=True)
def finish_run(run_id: str) -> Response:
    """Close a run. Safe to repeat; points that arrive later are still taken."""
    end = body.json_as(bodies.Finish, may_be_empty=True)
    run = g.scope.writable.run(run_id)
    runs.finish(g.scope, run, end.status, end.summary or {}, end.exit_code, end.expected or [])
    return shapes.answer(shapes.run(runs.view(g.scope, run)))


@bp.get("/runs/<run_id>/metrics")
@operation("read", gives=answers.History, also=[NDJSON, CSV], query="keys min_step max_step limit cursor")
def get_metrics(run_id: str) -> Response:
    """The full history of a run in step order: a page of JSON, or all of it as NDJSON or CSV.

    A page of a wide run may hold fewer entries than asked for: whether there is more, `next` says.
    """
    run = g.scope.run(run_id)
    kind = request.accept_mimetypes.best_match(["application/json", *export.KINDS], default="application/json")
    response = web.if_changed([kind, runs.view(g.scope, run).latest], lambda: _history(runs.key(run), kind))
    response.vary.add("Accept")
    return response


def _history(key: points.RunKey, kind: str) -> Response:
    keys, low, high = query.words("keys"), query.whole("min_step"), query.whole("max_step")
    if kind in export.KINDS:
        audit.record_apart(db.current(), g.scope, "export", key.run_id, format=kind)
        return export.stream(db.current(), key, kind, keys, low, high)
    limit = query.whole("limit", 1, HISTORY_MOST) or HISTORY_LIMIT
    found = points.history(g.db, key, keys=keys, min_step=low, max_step=high, limit=limit, after=query.text("cursor"))
    return shapes.answer({"run_id": key.run_id, "items": found.entries, "next": found.next})


@bp.get("/runs/<run_id>/integrity")
@operation("read", gives=answers.Receipt)
def get_integrity(run_id: str) -> Response:
    """The receipt: what the ledger acknowledged against what the metric store holds, counted by decoding it.

    It is counted anew each time, also for an answer of 304; only `checked_at` may then differ.
    """
    run = g.scope.run(run_id)
    found = shapes.receipt(points.receipt(g.db, runs.key(run)), run.commit, run.diff_sha)
    return web.if_changed({**found, "checked_at": None}, lambda: shapes.answer(found))
