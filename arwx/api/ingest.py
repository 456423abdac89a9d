"""The way in for points."""

from flask import Response, g

from arwx import clock, points
from arwx.api import body, bp, shapes


@bp.post("/ingest")
def ingest() -> Response:
    """Store a batch of points. Safe to send again."""
    sent = body.json_as(body.Ingest, with_nonfinite=True)
    done = points.append(g.db, g.scope.writable.stream(sent.run_id), body.batch(sent), clock.now())
    return shapes.appended(sent.run_id, done)
