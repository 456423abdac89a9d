"""Points as an NDJSON stream: pieces are durable, faults are named with their line, the rest can be sent again."""

import gzip
import io
import json
from typing import Any

from werkzeug.test import TestResponse

from tests.make import Caller, point


def send(caller: Caller, *lines: object, tail: bytes = b"\n", **options: Any) -> TestResponse:
    raw = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + tail
    headers = {"Content-Type": "application/x-ndjson", **options.pop("headers", {})}
    return caller.post("/v1/ingest/stream", data=options.pop("zip", bytes)(raw), headers=headers)


def head(run: dict[str, Any], first_seq: int = 0) -> dict[str, object]:
    return {"run_id": run["id"], "writer_id": "w", "epoch": "e", "first_seq": first_seq}


def stored(caller: Caller, run: dict[str, Any]) -> int:
    receipt = caller.get(f"/v1/runs/{run['id']}/integrity").json
    return int(receipt["points_stored"])


def test_a_stream_is_stored_and_sent_again_is_nothing_new(ada: Caller) -> None:
    run = ada.run()
    lines = [head(run), *(point(step) for step in range(3000)), {"end": 3000}]
    first = send(ada, *lines)
    assert first.json == {
        "run_id": run["id"], "accepted": 3000, "stored": 3000, "duplicates": 0, "skipped": 0, "next_seq": 3000,
    }  # fmt: skip
    assert send(ada, *lines, zip=gzip.compress, headers={"Content-Encoding": "gzip"}).json["duplicates"] == 3000
    assert stored(ada, run) == 3000


def test_many_pieces_and_batches_are_one_sequence(ada: Caller) -> None:
    run = ada.run()
    wide = {f"layer{i}/norm": 0.5 for i in range(300)}
    answer = send(ada, head(run), *(point(step, **wide) for step in range(400)), {"end": 400})
    assert answer.json["stored"] == 400 * 300  # some megabytes, in several pieces
    assert ada.ingest(run["id"], [point(400)], first_seq=400, writer_id="w", epoch="e").json["next_seq"] == 401
    assert ada.get(f"/v1/runs/{run['id']}/integrity").json["intact"] is True


def test_a_cut_stream_keeps_what_came_and_says_where_to_go_on(ada: Caller) -> None:
    run = ada.run()
    cut = send(ada, head(run), point(0), point(1))
    assert (cut.status_code, cut.json["code"], cut.json["next_seq"]) == (400, "truncated_body", 2)
    assert stored(ada, run) == 2
    assert send(ada, head(run, 2), point(2), {"end": 1}).json["next_seq"] == 3


def test_a_line_without_end_is_not_read_to_its_end(ada: Caller) -> None:
    run = ada.run()
    raw = io.BytesIO(json.dumps(head(run)).encode() + b"\n" + b"{" * (30 * 2**20))
    answer = ada.post(
        "/v1/ingest/stream",
        input_stream=raw,
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == 413
    assert raw.tell() < 8 * 2**20


def test_a_bad_line_is_named_and_everything_before_it_kept(ada: Caller) -> None:
    run = ada.run()
    for bad, first in [(b"{broken", 0), (b'{"step":-1,"metrics":{}}', 2), (b'{"step":1,"metrics":{},"x":1}', 4)]:
        answer = send(ada, head(run, first), point(first), point(first + 1), bad, point(9), {"end": 4})
        assert (answer.status_code, answer.json["line"], answer.json["next_seq"]) == (422, 4, first + 2)
        assert stored(ada, run) == first + 2


def test_the_end_line_must_be_true_and_last(ada: Caller) -> None:
    run = ada.run()
    assert send(ada, head(run), point(0), {"end": 2}).status_code == 422
    assert send(ada, head(run), point(0), {"end": 1}, point(1)).status_code == 422
    assert stored(ada, run) == 1


def test_nan_literals_are_skipped_in_streams_too(ada: Caller) -> None:
    run = ada.run()
    answer = send(ada, head(run), b'{"step":0,"ts":1,"metrics":{"a":NaN,"b":1}}', {"end": 1})
    assert (answer.json["stored"], answer.json["skipped"]) == (1, 1)


def test_heads_and_lines_that_cannot_be_are_refused(ada: Caller, mallory: Caller) -> None:
    run = ada.run()
    assert send(ada, {"run_id": run["id"]}).status_code == 422
    assert send(mallory, head(run), point(0), {"end": 1}).status_code == 404
    long = b'{"step":0,"metrics":{"' + b"k" * (2**20 + 10)
    assert send(ada, head(run), long, {"end": 1}).status_code == 413
    assert ada.post("/v1/ingest/stream", json={}).status_code == 415
    assert stored(ada, run) == 0


def test_a_stream_that_ends_before_its_head_was_cut(ada: Caller) -> None:
    for raw in (b"", b"\n"):
        answer = send(ada, raw, tail=b"")
        assert (answer.status_code, answer.json["code"]) == (400, "truncated_body")


def test_an_empty_stream_is_a_heartbeat(ada: Caller) -> None:
    run = ada.run()
    assert send(ada, head(run), {"end": 0}, tail=b"").json["next_seq"] == 0
