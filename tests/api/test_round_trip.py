"""What was logged comes back bit for bit, however it is asked for: pages of JSON, a stream of NDJSON, a CSV file."""

import csv
import io
import json
import struct
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.make import Caller

numbers = st.floats(allow_nan=False, allow_infinity=False)
keys = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=6)
spellings = st.sampled_from(["loss", "lr", 'a,"b"', "=SUM(A1)", "-x", "@", "null", "🙂"])
entries = st.lists(
    st.tuples(
        st.integers(0, 2**53 - 1) | st.integers(0, 4),
        st.floats(min_value=0, allow_nan=False, allow_infinity=False) | st.integers(0, 2**40).map(lambda n: n / 1000),
        st.dictionaries(keys | spellings, numbers, min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=20,
)
edges = [
    -0.0,
    0.0,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    0.1,
    1 / 3,
    2.0**53 + 2,
    1e22,
    1e23,
]

Row = tuple[int, bytes, str, dict[str, bytes]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries, st.sampled_from(["rank0", 'the "other", one', "=cmd", "[1]", "né"]), st.booleans())
@example([(n, 1e9, {"loss": number}) for n, number in enumerate(edges)], "w", True)
@example([(2**53 - 1, 0.0, {"a": 1.0}), (0, 1.7e308, {"b": -0.0})], "w", False)
def test_any_number_and_step_comes_back_in_every_form(
    ada: Caller, log: list[tuple[int, float, dict[str, float]]], writer: str, is_finished: bool
) -> None:
    run = ada.run()["id"]
    sent = [{"step": step, "ts": ts, "metrics": metrics} for step, ts, metrics in log]
    assert ada.ingest(run, sent, first_seq=0, writer_id=writer, epoch="e").status_code == 200
    if is_finished:
        ada.post(f"/v1/runs/{run}/finish", json={})
    wanted = [
        (step, bits(ts), writer, {key: bits(number) for key, number in metrics.items()})
        for step, ts, metrics in sorted(log, key=lambda entry: entry[0])
        if not all(key.startswith("system/") for key in metrics)
    ]
    assert pages(ada, run) == wanted
    assert ndjson(ada, run) == wanted
    assert spreadsheet(ada, run) == [
        (step, ts, harmless(writer), {harmless(key): number for key, number in metrics.items()})
        for step, ts, _, metrics in wanted
    ]


def bits(number: Any) -> bytes:
    return struct.pack("<d", float(number))


def row(entry: dict[str, Any]) -> Row:
    assert type(entry["step"]) is int
    metrics = {key: bits(number) for key, number in entry["metrics"].items()}
    return entry["step"], bits(entry["ts"]), entry["writer_id"], metrics


def pages(ada: Caller, run: str) -> list[Row]:
    found: list[Row] = []
    cursor = ""
    while cursor is not None:
        page = ada.get(f"/v1/runs/{run}/metrics?limit=7&cursor={quote(cursor)}").json
        found += map(row, page["items"])
        cursor = page["next"]
    return found


def ndjson(ada: Caller, run: str) -> list[Row]:
    text = ada.get(f"/v1/runs/{run}/metrics", headers={"Accept": "application/x-ndjson"}).text
    return [row(json.loads(line)) for line in text.split("\n") if line]


def spreadsheet(ada: Caller, run: str) -> list[Row]:
    text = ada.get(f"/v1/runs/{run}/metrics", headers={"Accept": "text/csv"}).text
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head[:3] == ["step", "ts", "writer_id"]
    return [
        (
            int(cells[0]),
            bits(cells[1]),
            cells[2],
            {key: bits(cell) for key, cell in zip(head[3:], cells[3:], strict=True) if cell},
        )
        for cells in rows
    ]


def harmless(cell: str) -> str:
    """What a spreadsheet would take for a formula has a quote in front."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell
