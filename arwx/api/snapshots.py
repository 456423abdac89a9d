"""The code of experiments: attached, read, compared, rebuilt."""

from flask import Response, g, render_template

from arwx import downloads, experiments, snapshots, web
from arwx.api import answers, bodies, body, bp, shapes
from arwx.api.operation import TEXT, operation


@bp.put("/experiments/<experiment_id>/tree")
@operation("write", takes=bodies.NewTree, gives=answers.AttachedTree, fails=[409])
def put_tree(experiment_id: str) -> Response:
    """Attach the code of an experiment. Blobs that are missing are named with 409; upload them and send it again."""
    sent = body.json_as(bodies.NewTree)
    experiment = g.scope.writable.experiment(experiment_id)
    snapshot = snapshots.attach(g.scope, experiment, sent.entries)
    return shapes.answer(shapes.attached(experiment, snapshot, experiments.prior(g.scope, experiment)))


@bp.get("/experiments/<experiment_id>/tree")
@operation("read", gives=answers.Tree)
def get_tree(experiment_id: str) -> Response:
    """The files of an experiment's code."""
    experiment = g.scope.experiment(experiment_id)
    return web.conditional(shapes.answer(shapes.tree(experiment, snapshots.of(experiment))))


@bp.get("/experiments/<experiment_id>/diff/<other_id>")
@operation("read", gives=answers.TreeDiff)
def get_tree_diff(experiment_id: str, other_id: str) -> Response:
    """What leads from the code of one experiment to that of another, file by file."""
    before, after = g.scope.experiment(experiment_id), g.scope.experiment(other_id)
    return web.conditional(shapes.answer(snapshots.diff(g.scope, downloads.store(), before, after)))


@bp.get("/experiments/<experiment_id>/reproduce")
@operation("read", gives=TEXT)
def reproduce(experiment_id: str) -> Response:
    """A shell script that rebuilds the code that ran, and checks that it is the same."""
    recipe = snapshots.recipe(g.scope.experiment(experiment_id))
    script = render_template("experiments/reproduce.sh", **recipe)
    return web.conditional(Response(script, mimetype="text/plain"))
