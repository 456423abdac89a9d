"""The way in for points."""

from flask import Response, g, request

from arwx import clock, points
from arwx.api import body, bp, shapes


@bp.post("/ingest")
def ingest() -> Response:
    """Store a batch of points. Safe to send again."""
    sent = body.json_as(body.Ingest)
    batch = sent.batch(request.headers.get("Idempotency-Key"))
    done = points.append(g.db, g.scope.writable.stream(sent.run_id), batch, clock.now())
    return shapes.appended(sent.run_id, done)
