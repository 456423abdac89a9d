"""Points on their way out: charts, receipts and exports, inside the store and over HTTP."""

import statistics
from collections.abc import Iterator

from arwx import points
from arwx.db import Database
from arwx.points import RunKey
from bench import host, limits, wire
from bench.filled import Filled
from bench.session import Session
from bench.table import Row, passes, timed
from bench.units import MILLISECONDS, RATE

_ORG = 1  # the first organization of a fresh server


def measure(session: Session) -> Iterator[Row]:
    """A chart of a million points, one of 50 runs × 20,000, the receipt and the export of a million."""
    filled, scale = session.filled, session.scale
    long, fifty = filled.long(), filled.fifty()
    database = Database(f"sqlite:///{filled.server.folder / 'arwx.db'}")
    many = [RunKey(_ORG, f"fifty-{i}") for i in range(50)]
    million = scale.count(1_000_000)
    decode = limits.decode_columns(million)
    yield Row("limit: decoding the columns of 1 M points alone", decode, MILLISECONDS)
    limit = f"decoding all {MILLISECONDS.text(statistics.median(decode))}"

    yield Row(
        "chart: 500 samples of 1 M points, in the store",
        passes(lambda: _chart(database, [RunKey(_ORG, "long")]), scale.passes(15)),
        MILLISECONDS,
        limit,
        at_most=0.010,
    )
    yield Row("– server time over HTTP, JSON", http_chart(filled, long), MILLISECONDS)
    yield Row(
        "chart: 50 runs × 20,000 points, in the store",
        passes(lambda: _chart(database, many), scale.passes(15)),
        MILLISECONDS,
        limit,
        at_most=0.030,
    )
    yield Row("– server time over HTTP, JSON", http_chart(filled, fifty), MILLISECONDS)
    yield Row(
        "receipt of 1 M points, in the store",
        passes(lambda: _receipt(database), scale.passes(5)),
        MILLISECONDS,
        limit,
        at_most=0.100,
    )
    yield Row("– server time over HTTP", server_times(filled.server, "/v1/runs/long/integrity", 5), MILLISECONDS)
    for kind in ("application/x-ndjson", "text/csv"):
        taken = [timed(lambda kind=kind: _export(filled, kind)) for _ in range(scale.passes(3))]  # type: ignore[misc]
        yield Row(f"history of 1 M points as {kind}", [million / s for s in taken], RATE)


def http_chart(filled: Filled, project: str, rounds: int = 9) -> list[float]:
    """Seconds that the server counts for the chart of `loss` over all runs of a project."""
    return server_times(filled.server, f"/v1/projects/{project}/charts?keys=loss&samples=500", rounds)


def server_times(server: host.Arwx, path: str, rounds: int) -> list[float]:
    """Seconds that the server counts for a GET over one kept-alive connection, after one to warm up."""
    whole = server.request("GET", path)
    with wire.Connection(server.port) as connection:
        answers = [connection.send(whole) for _ in range(rounds + 1)][1:]
    if any(answer.status != 200 for answer in answers):
        raise RuntimeError(f"{path}: {answers[0].status} {answers[0].body[:300]!r}")
    return [answer.server_s for answer in answers]


def _chart(database: Database, keys: list[RunKey]) -> None:
    with database.reading() as session:
        found = points.series(session, keys, ["loss"], samples=500)
    if len(found["loss"]) != len(keys):
        raise RuntimeError("a series is missing")


def _receipt(database: Database) -> None:
    with database.reading() as session:
        if not points.receipt(session, RunKey(_ORG, "long")).intact:
            raise RuntimeError("the receipt is not intact")


def _export(filled: Filled, kind: str) -> None:
    answer = filled.server.call("GET", "/v1/runs/long/metrics", Accept=kind)
    if answer.body.count(b"\n") < filled.long_points:
        raise RuntimeError("lines are missing")
