"""The way in for points."""

from flask import Response, g

from arwx import clock, points
from arwx.api import answers, bodies, body, bp, shapes, stream
from arwx.api.operation import NDJSON, operation


@bp.post("/ingest")
@operation(
    "write",
    takes=bodies.Ingest,
    gives=answers.Ingested,
    headers=["Idempotency-Key"],
    fails=[404, 409],
    is_metered=False,
)
def ingest() -> Response:
    """Store a batch of points. Safe to send again."""
    sent = body.json_as(bodies.Ingest, with_nonfinite=True)
    done = points.append(g.db, g.scope.writable.stream(sent.run_id), body.batch(sent), clock.now())
    return shapes.appended(sent.run_id, done)


@bp.post("/ingest/stream")
@operation("write", takes=NDJSON, gives=answers.Ingested, fails=[404, 409], is_metered=False)
def ingest_stream() -> Response:
    """Store a stream of points of any length. Each piece is durable by itself; safe to send again."""
    run_id, done = stream.store(g.scope)
    return shapes.appended(run_id, done)
