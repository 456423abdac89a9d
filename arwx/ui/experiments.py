"""The Experiments lens of a project: the story of what was tried, and each try by itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Response, g, make_response, redirect, render_template, request, url_for
from werkzeug.datastructures import MultiDict

from arwx import actors, clock, downloads, experiments, projects, runs, snapshots, trees, web
from arwx.errors import ArwxError, NotFound, invalid
from arwx.frontier import CRASH, KEEP, Step
from arwx.models import Experiment, Project, ResearchSession
from arwx.svg import progress as drawing
from arwx.ui import Answer, bp, figures, frame, is_fragment, needs, on_fault, reading, view
from arwx.ui.columns import flat

STATES = ("keep", "drop", "crash", "undecided")
_ROWS = 100
_CURVES = 4


# How long after its last move a story is expected to go on: by itself, and while an experiment waits for its verdict.
_MOVING, _WAITING = timedelta(minutes=15), timedelta(hours=24)


@bp.get("/p/<name>/experiments", endpoint="experiments")
def lens(name: str) -> Response:
    """The running best as a picture, and the experiments below it, newest first; asked for again while it grows."""
    project, session_id = g.scope.project(name), request.args.get("session")
    session = g.scope.session(session_id, project) if session_id else None
    progress = experiments.progress(g.scope, project, session)
    moved_at = projects.moved_at(g.scope, project)
    head, is_live = frame.head(project), _is_moving(progress, moved_at)

    def make() -> Response:
        return make_response(_lens(project, head, session, progress, is_live=is_live))

    # By what it is made of, not by its bytes: its form has another token each time.
    goal = [head.objective_metric, head.lower_is_better, head.target, head.description]
    state = [moved_at, is_live, head.run_count, head.artifact_count, *goal, head.may_write, g.visitor.user.id]
    answer = web.if_changed(state, make) if is_fragment() else make()
    answer.vary.add("HX-Request")
    return answer


def _lens(
    project: Project,
    head: frame.Head,
    session: ResearchSession | None,
    progress: experiments.Progress,
    *,
    is_live: bool,
) -> str:
    state, before = request.args.get("status", ""), request.args.get("before", "")
    wanted = [
        step
        for step in reversed(progress.steps)
        if state not in STATES or _state(step) == state
        if not before.isdecimal() or step.tried.index < int(before)
    ]
    shown = wanted[:_ROWS]
    verdicts = [step.tried.verdict for step in shown if step.tried.verdict]
    return render_template(
        "experiments/_lens.html" if is_fragment() else "experiments/page.html",
        head=head,
        progress=progress,
        picture=drawing.draw(progress, experiments.tags(g.scope, project)),
        links=_links(project, progress.steps),
        steps=shown,
        next=shown[-1].tried.index if len(wanted) > _ROWS else None,
        states=STATES,
        state=state if state in STATES else "",
        session=session,
        sessions=experiments.sessions(g.scope, project, 50, None).items,
        names=actors.names(g.scope, [verdict.decided_by for verdict in verdicts]),
        reasons=experiments.reasons(g.scope, [step.tried.experiment_id for step in shown]),
        is_live=is_live,
    )


def _is_moving(progress: experiments.Progress, moved_at: datetime | None) -> bool:
    """Whether the story is likely to go on soon."""
    is_waiting = progress.steps and progress.steps[-1].tried.verdict is None
    return moved_at is not None and clock.now() - moved_at < (_WAITING if is_waiting else _MOVING)


def _links(project: Project, steps: Iterable[Step]) -> dict[str, str]:
    """The addresses of experiments by their ids, which stand in an address as they are."""
    stem = url_for("ui.experiment", name=project.name, experiment_id="-").removesuffix("-")
    return {step.tried.experiment_id: stem + step.tried.experiment_id for step in steps}


def _state(step: Step) -> str:
    return step.tried.verdict.status if step.tried.verdict else "undecided"


@bp.get("/p/<name>/experiments/<experiment_id>")
def experiment(name: str, experiment_id: str) -> str:
    """One experiment: what was wrong and what was changed, the code, the verdicts, and what it is the same as."""
    return _experiment(name, experiment_id)


def _experiment(name: str, experiment_id: str, error: ArwxError | None = None) -> str:
    project, row = _found(name, experiment_id)
    steps = experiments.progress(g.scope, project).steps
    place = next(number for number, step in enumerate(steps) if step.tried.experiment_id == row.id)
    kept = next((step for step in reversed(steps[:place]) if _state(step) == KEEP), None)
    decisions = experiments.decisions(g.scope, row)
    folder = request.args.get("in", "").strip("/")
    files = snapshots.of(row).entries if row.tree_sha else []
    return render_template(
        "experiments/experiment.html",
        head=frame.head(project),
        experiment=row,
        step=steps[place],
        earlier=steps[place - 1] if place else None,
        later=steps[place + 1] if place + 1 < len(steps) else None,
        kept=kept,
        changed=_changed(row, kept),
        decisions=list(reversed(decisions)),
        prior=experiments.prior(g.scope, row),
        session=g.scope.session(row.session_id),
        folder=folder,
        listing=trees.listing(files, folder),
        file_count=len(files),
        opened=reading.opened(files),
        **_curves(project, row, kept),
        names=actors.names(g.scope, [row.created_by, *(one.created_by for one in decisions)]),
        error=error,
    )


def _curves(project: Project, row: Experiment, kept: Step | None) -> dict[str, Any]:
    """The charts of the run of this experiment, the objective first, with those of the last kept one beside them."""
    wanted = [row.run_id, g.scope.experiment(kept.tried.experiment_id).run_id if kept else None]
    found = runs.known(g.scope, project, [run_id for run_id in dict.fromkeys(wanted) if run_id])
    found.sort(key=lambda run: wanted.index(run.id))
    own = found[0] if found and found[0].id == row.run_id else None
    shown = figures.shown_runs(project, view.read(MultiDict()), found if own else [])
    last = own.latest.get(project.objective_metric or "") if own else None
    return {
        "run": own,
        "shown": shown,
        "slots": figures.first_slots(shown, project.objective_metric, _CURVES),
        "reached": last.value if last is not None and last.count else None,
    }


@dataclass(frozen=True)
class Changed:
    """What of the code differs from an earlier experiment, and which values of the config do."""

    diff: trees.TreeDiff | None
    config: list[tuple[str, object, object]]


def _changed(row: Experiment, kept: Step | None) -> Changed | None:
    """What differs from the previous kept experiment, which is what this one is measured against."""
    if kept is None:
        return None
    other = g.scope.experiment(kept.tried.experiment_id)
    diff = None
    if row.tree_sha and other.tree_sha:
        diff = snapshots.diff(g.scope, downloads.store(), other, row)
    was, now = flat(other.config or {}), flat(row.config or {})
    config = [(key, was.get(key), now.get(key)) for key in sorted(was | now) if was.get(key) != now.get(key)]
    return Changed(diff, config) if diff is not None or config else None


@bp.get("/p/<name>/experiments/<experiment_id>/reproduce.sh")
def experiment_script(name: str, experiment_id: str) -> Response:
    """The script that rebuilds the code, to be saved."""
    _, row = _found(name, experiment_id)
    response = Response(render_template("experiments/reproduce.sh", **snapshots.recipe(row)), mimetype="text/plain")
    response.headers["Content-Disposition"] = f'attachment; filename="{row.id}.sh"'
    return web.conditional(response)


@bp.get("/p/<name>/experiments/<experiment_id>/files/<path:path>")
def experiment_file(name: str, experiment_id: str, path: str) -> Response:
    """One file of the code, to be saved."""
    _, row = _found(name, experiment_id)
    entry = reading.find(snapshots.of(row).entries, path)
    return downloads.attachment(g.scope.blob(entry.sha), path.rpartition("/")[2])


@bp.post("/p/<name>/experiments/<experiment_id>/decide")
@needs("write")
@on_fault(_experiment)
def decide(name: str, experiment_id: str) -> Answer:
    """Append a verdict."""
    _, row = _found(name, experiment_id)
    status, metric = request.form.get("status", ""), request.form.get("metric", "").strip()
    score = request.form.get("score", "").strip()
    experiments.decide(
        g.scope, row, status, None if status == CRASH else _number(score), metric or None,
        request.form.get("note", "").strip() or None,
    )  # fmt: skip
    return redirect(url_for("ui.experiment", name=name, experiment_id=experiment_id))


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise invalid("score", "must be a number") from None


def _found(name: str, experiment_id: str) -> tuple[Project, Experiment]:
    """The experiment, under its own project alone."""
    project, row = g.scope.project(name), g.scope.experiment(experiment_id)
    if row.project_id != project.id:
        raise NotFound("No such experiment.")
    return project, row
