"""The history of a run as a stream: NDJSON or CSV, in bounded memory."""

import csv
import io
from collections.abc import Iterator

import msgspec
from flask import Response

from arwx import points
from arwx.db import Database

KINDS = ("application/x-ndjson", "text/csv")


def stream(
    database: Database, key: points.RunKey, kind: str, keys: list[str] | None, low: int | None, high: int | None
) -> Response:
    """All of the history that is wanted, from step `low` to `high`, read from one snapshot as long as it takes."""
    parts = points.export(database, key, keys=keys, min_step=low, max_step=high)
    lines = _ndjson(parts) if kind == "application/x-ndjson" else _csv(parts, points.columns(database, key, keys))
    return Response(lines, mimetype=kind)


def _ndjson(parts: Iterator[list[points.HistoryEntry]]) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    for part in parts:
        yield encoder.encode_lines(part)


def _csv(parts: Iterator[list[points.HistoryEntry]], columns: list[str]) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out)
    # A cell that a spreadsheet would take for a formula gets a quote in front; numbers never look like one.
    writer.writerow(["step", "ts", "writer_id", *(_harmless(column) for column in columns)])
    for part in parts:
        for entry in part:
            metrics = entry.metrics
            writer.writerow(
                [
                    entry.step,
                    repr(entry.ts),
                    _harmless(entry.writer_id),
                    *(repr(metrics[c]) if c in metrics else "" for c in columns),
                ]
            )
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
