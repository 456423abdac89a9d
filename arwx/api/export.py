"""The history of a run as a stream: NDJSON or CSV, in bounded memory."""

import csv
import io
from collections.abc import Iterator

import msgspec
from flask import Response

from arwx import downloads, points, turns
from arwx.db import Database

KINDS = ("application/x-ndjson", "text/csv")


def stream(
    database: Database, key: points.RunKey, kind: str, keys: list[str] | None, low: int | None, high: int | None
) -> Response:
    """All of the history that is wanted, from step `low` to `high`, in parts that are read as they are sent."""
    parts = points.export(database, key, keys=keys, min_step=low, max_step=high)
    lines = _ndjson(parts) if kind == "application/x-ndjson" else _csv(parts, points.columns(database, key, keys))
    return Response(turns.giving_way(lines), mimetype=kind)


def _ndjson(parts: Iterator[list[points.HistoryEntry]]) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    for part in parts:
        yield encoder.encode_lines(part)


def _csv(parts: Iterator[list[points.HistoryEntry]], columns: list[str]) -> Iterator[bytes]:
    yield _row(["step", "ts", "writer_id", *columns])
    encoder = msgspec.json.Encoder()
    nothing = msgspec.Raw(b"")
    writers: dict[str, msgspec.Raw] = {}
    for part in parts:
        for entry in part:
            if entry.writer_id not in writers:
                writers[entry.writer_id] = msgspec.Raw(_row([entry.writer_id]).rstrip())
        metrics = [entry.metrics for entry in part]
        rows = zip(
            [entry.step for entry in part],
            [entry.ts for entry in part],
            [writers[entry.writer_id] for entry in part],
            *([of_entry.get(column, nothing) for of_entry in metrics] for column in columns),
            strict=True,
        )
        # A row of numbers is an array of JSON but for the brackets, and JSON is written several times as fast as CSV.
        # No writer's name has a line break in it, so that brackets around one are those between two rows.
        lines = encoder.encode_lines(list(rows))
        yield lines[1:-2].replace(b"]\n[", b"\r\n") + b"\r\n"


def _row(cells: list[str]) -> bytes:
    """A line of text cells."""
    out = io.StringIO()
    csv.writer(out).writerow([downloads.harmless(cell) for cell in cells])
    return out.getvalue().encode()
