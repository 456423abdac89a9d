"""Experiments and the decisions on them."""

from flask import Response, g

from arwx import experiments, web
from arwx.api import answers, bodies, body, bp, query, shapes
from arwx.api.operation import TEXT, operation


@bp.post("/experiments")
@operation("write", takes=bodies.NewExperiment, gives=answers.RecordedExperiment, makes=True, fails=[404, 409])
def record_experiment() -> Response:
    """Record one tried change. The answer says when the same was tried before."""
    fields = body.given(body.json_as(bodies.NewExperiment))
    session = g.scope.writable.session(fields.pop("session_id"))
    experiment, is_new = experiments.record(g.scope, session, fields)
    prior = experiments.prior(g.scope, experiment)
    found = experiments.verdicts(g.scope, [experiment])
    answer = shapes.experiment(experiment, g.scope.project_of(experiment).name, found.get(experiment.id))
    return shapes.answer({**answer, "prior": shapes.tried(prior)}, 201 if is_new else 200)


@bp.get("/projects/<name>/experiments")
@operation("read", gives=answers.List[answers.Experiment], query="limit cursor")
def list_experiments(name: str) -> Response:
    """The experiments of a project, newest first, each with the verdict that counts."""
    project = g.scope.project(name)
    found = experiments.page(g.scope, project, query.limit(), query.text("cursor"))
    verdicts = experiments.verdicts(g.scope, found.items)
    return shapes.page(found, lambda one: shapes.experiment(one, project.name, verdicts.get(one.id)))


@bp.get("/experiments/<experiment_id>")
@operation("read", gives=answers.FullExperiment)
def get_experiment(experiment_id: str) -> Response:
    """One experiment with all verdicts on it, and what was tried before that is the same."""
    experiment = g.scope.experiment(experiment_id)
    found = experiments.verdicts(g.scope, [experiment])
    answer = {
        **shapes.experiment(experiment, g.scope.project_of(experiment).name, found.get(experiment.id)),
        "decisions": [shapes.decision(row) for row in experiments.decisions(g.scope, experiment)],
        "prior": shapes.tried(experiments.prior(g.scope, experiment)),
    }
    return web.conditional(shapes.answer(answer))


@bp.get("/experiments/<experiment_id>/diff")
@operation("read", gives=TEXT)
def get_diff(experiment_id: str) -> Response:
    """The stored diff as text; also the marker that stands for one that was over the client's cap."""
    diff = g.scope.experiment(experiment_id).diff
    return web.conditional(Response(diff or "", mimetype="text/plain"))


@bp.post("/experiments/<experiment_id>/decision")
@operation("write", takes=bodies.NewDecision, gives=answers.Decision, makes=True)
def decide(experiment_id: str) -> Response:
    """Append a verdict. Saying the same again changes nothing."""
    verdict = body.json_as(bodies.NewDecision)
    experiment = g.scope.writable.experiment(experiment_id)
    decision, is_new = experiments.decide(
        g.scope, experiment, verdict.status, verdict.score, verdict.metric, verdict.note
    )
    return shapes.answer(shapes.decision(decision), 201 if is_new else 200)
