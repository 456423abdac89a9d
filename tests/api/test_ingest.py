"""Points over /v1: in, out, once each."""

import gzip
import json

import pytest

from tests.make import Caller, point


def test_a_batch_is_stored_and_told_in_points(ada: Caller) -> None:
    run = ada.run()
    answer = ada.ingest(
        run["id"],
        [
            {"step": 0, "ts": 1764000000.25, "metrics": {"loss": 2.31, "lr": 0.0003}},
            {"step": 1, "ts": 1764000000.31, "metrics": {"loss": 2.29, "lr": 0.0003}, "nonfinite": ["grad_norm"]},
        ],
        first_seq=0,
    )
    assert answer.status_code == 200
    assert answer.json == {
        "run_id": run["id"],
        "accepted": 4,
        "stored": 4,
        "duplicates": 0,
        "skipped": 1,
        "next_seq": 2,
    }
    latest = ada.get(f"/v1/runs/{run['id']}").json["latest"]
    assert latest["loss"] == {"step": 1, "value": 2.29, "ts": 1764000000.31}


@pytest.mark.parametrize("huge", ["1e400", "-1e999", "1" + "0" * 400, "-1" + "0" * 5000, "1" + "0" * 309])
def test_a_number_too_large_for_a_float_is_skipped_and_fails_nothing(ada: Caller, huge: str) -> None:
    run = ada.run()
    entry = f'{{"step":0,"ts":1,"metrics":{{"loss":{huge},"lr":0.5}}}}'
    batch = f'{{"run_id":"{run["id"]}","writer_id":"w","epoch":"e","first_seq":0,"points":[{entry}]}}'
    answer = ada.post("/v1/ingest", data=batch, content_type="application/json")
    assert (answer.status_code, answer.json["stored"], answer.json["skipped"]) == (200, 1, 1)
    lines = f'{{"run_id":"{run["id"]}","writer_id":"w2","epoch":"e","first_seq":0}}\n{entry}\n{{"end":1}}\n'
    answer = ada.post("/v1/ingest/stream", data=lines, content_type="application/x-ndjson")
    assert (answer.status_code, answer.json["stored"], answer.json["skipped"]) == (200, 1, 1)


@pytest.mark.parametrize("entry", ['{"step":1e400,"metrics":{}}', '{"step":0,"ts":1e400,"metrics":{}}'])
def test_a_step_or_ts_too_large_is_refused(ada: Caller, entry: str) -> None:
    batch = f'{{"run_id":"{ada.run()["id"]}","points":[{entry}]}}'
    answer = ada.post("/v1/ingest", data=batch, content_type="application/json")
    assert (answer.status_code, answer.json["errors"][0]["field"][:10]) == (422, "points[0]."), answer.text


def test_sending_a_batch_again_stores_nothing_new(ada: Caller) -> None:
    run = ada.run()
    batch = [point(1), point(2)]
    assert ada.ingest(run["id"], batch, first_seq=0).json["stored"] == 2
    again = ada.ingest(run["id"], batch, first_seq=0).json
    assert (again["stored"], again["duplicates"]) == (0, 2)
    receipt = ada.get(f"/v1/runs/{run['id']}/integrity").json
    assert (receipt["points_committed"], receipt["points_stored"], receipt["duplicates_collapsed"]) == (4, 2, 2)
    assert (receipt["lost"], receipt["intact"]) == (0, True)


def test_a_conflict_is_loud_and_the_rest_is_stored(ada: Caller) -> None:
    run = ada.run()
    ada.ingest(run["id"], [point(0, loss=1.0)], first_seq=0)
    answer = ada.ingest(run["id"], [point(0, loss=9.0), point(1, loss=2.0)], first_seq=0)
    assert answer.status_code == 409
    assert answer.json["code"] == "sequence_conflict"
    assert answer.json["stored"] == 1
    history = ada.get(f"/v1/runs/{run['id']}/metrics").json["items"]
    assert [entry["metrics"]["loss"] for entry in history] == [1.0, 2.0]
    receipt = ada.get(f"/v1/runs/{run['id']}/integrity").json
    assert receipt["conflicts"] == 1
    assert receipt["intact"] is False


def test_a_restarted_writer_hides_nothing(ada: Caller) -> None:
    run = ada.run()
    for life in ("a", "b", "c"):
        assert (
            ada.ingest(run["id"], [point(0), point(1)], first_seq=0, writer_id="rank0", epoch=life).json["stored"] == 2
        )
    assert ada.get(f"/v1/runs/{run['id']}/integrity").json["points_stored"] == 6


def test_without_numbers_the_content_is_the_identity(ada: Caller) -> None:
    run = ada.run()
    assert ada.ingest(run["id"], [point(0)]).json["stored"] == 1
    assert ada.ingest(run["id"], [point(0)]).json["stored"] == 0
    assert ada.ingest(run["id"], [point(1)]).json["stored"] == 1


def test_null_is_what_is_absent(ada: Caller) -> None:
    batch = {"run_id": ada.run()["id"], "points": [point(0)]}
    assert ada.post("/v1/ingest", json=batch).json["stored"] == 1
    nothing = {"writer_id": None, "epoch": None, "first_seq": None}
    assert ada.post("/v1/ingest", json={**batch, **nothing}).json["duplicates"] == 1


def test_an_idempotency_key_names_a_batch(ada: Caller) -> None:
    run = ada.run()
    body = {"run_id": run["id"], "points": [{"step": 0, "metrics": {"loss": 1}}]}
    assert ada.post("/v1/ingest", json=body, headers={"Idempotency-Key": "k1"}).json["stored"] == 1
    assert ada.post("/v1/ingest", json=body, headers={"Idempotency-Key": "k1"}).json["stored"] == 0
    assert ada.post("/v1/ingest", json=body, headers={"Idempotency-Key": "k2"}).json["stored"] == 1
    other = {**body, "points": [{"step": 0, "metrics": {"loss": 2}}]}
    assert ada.post("/v1/ingest", json=other, headers={"Idempotency-Key": "k1"}).status_code == 409


def test_what_is_not_a_finite_number_is_skipped_and_counted(ada: Caller) -> None:
    run = ada.run()
    raw = (
        '{"run_id":"RUN","writer_id":"w","epoch":"e","first_seq":0,"points":[{"step":0,"ts":1,"metrics":'
        '{"ok":1,"yes":true,"nan":NaN,"inf":Infinity,"minus":-Infinity,"text":"1.5","word":"NaN","none":null,"list":[1],"dict":{}}}]}'
    ).replace("RUN", run["id"])
    answer = ada.post("/v1/ingest", data=raw, content_type="application/json")
    assert answer.status_code == 200, answer.text
    assert (answer.json["stored"], answer.json["skipped"]) == (2, 8)
    assert ada.get(f"/v1/runs/{run['id']}/metrics").json["items"][0]["metrics"] == {"ok": 1.0, "yes": 1.0}


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"step": -1, "metrics": {}}, "points[0].step"),
        ({"step": 2**53, "metrics": {}}, "points[0].step"),
        ({"step": 1.5, "metrics": {}}, "points[0].step"),
        ({"metrics": {}}, "points[0].step"),
        ({"step": 0, "metrics": {}, "stpe": 1}, "points[0].stpe"),
        ({"step": 0, "metrics": [1]}, "points[0].metrics"),
    ],
)
def test_a_malformed_entry_is_named_and_nothing_is_stored(ada: Caller, entry: object, field: str) -> None:
    run = ada.run()
    answer = ada.post("/v1/ingest", json={"run_id": run["id"], "points": [entry]})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == field
    assert ada.get(f"/v1/runs/{run['id']}/integrity").json["points_stored"] == 0


@pytest.mark.parametrize("key", ["", "a\nb", "k" * 256, "a\u0000", "a\u007f", "a\u0085b"])
def test_a_key_that_cannot_name_a_metric_is_refused(ada: Caller, key: str) -> None:
    run = ada.run()
    answer = ada.ingest(run["id"], [{"step": 0, "ts": 1.0, "metrics": {key: 1.0}}], first_seq=0)
    assert answer.status_code == 422


def test_a_zipped_body_is_taken_and_a_bomb_is_not(ada: Caller) -> None:
    run = ada.run()
    body = json.dumps({"run_id": run["id"], "points": [point(0)]}).encode()
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert ada.post("/v1/ingest", data=gzip.compress(body), headers=headers).json["stored"] == 1
    # A file that was appended to is several gzip bodies behind each other.
    appended = gzip.compress(body[:9]) + gzip.compress(b"") + gzip.compress(body[9:])
    assert ada.post("/v1/ingest", data=appended, headers=headers).json["duplicates"] == 1
    bomb = gzip.compress(b" " * (64 * 2**20))
    assert ada.post("/v1/ingest", data=bomb, headers=headers).status_code == 413
    assert ada.post("/v1/ingest", data=gzip.compress(body)[:-9], headers=headers).json["code"] == "truncated_body"
    assert ada.post("/v1/ingest", data=body, headers=headers).json["code"] == "bad_encoding"
    assert ada.post("/v1/ingest", data=body, headers={**headers, "Content-Encoding": "br"}).status_code == 415


def test_history_is_walked_by_pages_in_step_order(ada: Caller) -> None:
    run = ada.run()
    ada.ingest(run["id"], [point(step, loss=step / 7, lr=1.0) for step in reversed(range(50))], first_seq=0)
    ada.ingest(run["id"], [{"step": 3, "ts": 1.0, "metrics": {"system/cpu": 5.0}}], first_seq=50)
    steps, cursor = [], ""
    while cursor is not None:
        page = ada.get(f"/v1/runs/{run['id']}/metrics?keys=loss&limit=20&min_step=1&max_step=48&cursor={cursor}").json
        assert all(set(entry["metrics"]) == {"loss"} and entry["writer_id"] == "w1" for entry in page["items"])
        steps += [entry["step"] for entry in page["items"]]
        cursor = page["next"]
    assert steps == list(range(1, 49))
    all_keys = ada.get(f"/v1/runs/{run['id']}/metrics").json["items"]
    assert not any("system/cpu" in entry["metrics"] for entry in all_keys)
    system = ada.get(f"/v1/runs/{run['id']}/metrics?keys=system/*").json["items"]
    assert [entry["metrics"] for entry in system] == [{"system/cpu": 5.0}]


def test_history_streams_as_ndjson_and_csv(ada: Caller) -> None:
    run = ada.run()
    ada.ingest(
        run["id"],
        [point(step, loss=0.1 + 0.2, **({"val": -0.0} if step % 2 else {})) for step in range(4)],
        first_seq=0,
    )
    lines = ada.get(f"/v1/runs/{run['id']}/metrics", headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line)["metrics"]["loss"] for line in lines] == [0.1 + 0.2] * 4
    csv = ada.get(f"/v1/runs/{run['id']}/metrics", headers={"Accept": "text/csv"}).text.splitlines()
    assert csv[0] == "step,ts,writer_id,loss,val"
    assert csv[1].split(",")[3:] == ["0.30000000000000004", ""]
    assert csv[2].split(",")[3:] == ["0.30000000000000004", "-0.0"]


def test_an_answer_of_charts_is_bounded_and_says_what_is_left_out(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arwx.charts.MOST_POINTS", 100)
    for _ in range(2):
        metrics = {f"m{n}": 1.0 for n in range(4)}
        ada.ingest(ada.run()["id"], [point(step, **metrics) for step in range(20)], first_seq=0)
    answer = ada.get("/v1/projects/char-lm/charts").json
    assert (list(answer["series"]), answer["left_out"]) == (["m0", "m1"], ["m2", "m3"])
    refused = ada.get("/v1/projects/char-lm/charts?keys=m1,m2,m3")
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "keys")
    assert ada.get("/v1/projects/char-lm/charts?keys=m1,m2,m3&samples=10").json["left_out"] == []


def test_charts_that_did_not_change_are_not_made_again(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ada.run()
    ada.ingest(run["id"], [point(0), point(1)], first_seq=0)
    path = "/v1/projects/char-lm/charts?samples=10"
    etag = ada.get(path).headers["ETag"]
    with monkeypatch.context() as patch:
        patch.setattr("arwx.charts.series", None)
        again = ada.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    assert ada.get("/v1/projects/char-lm/charts?samples=9", headers={"If-None-Match": etag}).status_code == 200
    ada.ingest(run["id"], [point(2)], first_seq=2)
    assert ada.get(path, headers={"If-None-Match": etag}).status_code == 200


def test_charts_hold_the_series_of_every_run(ada: Caller) -> None:
    one, two = ada.run(), ada.run()
    for run in (one, two):
        ada.ingest(run["id"], [point(step, loss=float(step)) for step in range(100)], first_seq=0)
    answer = ada.get("/v1/projects/char-lm/charts?samples=10").json
    assert {run["id"] for run in answer["runs"]} == {one["id"], two["id"]}
    for series in answer["series"]["loss"]:
        assert series["count"] == 100
        assert (series["steps"][0], series["steps"][-1]) == (0, 99)
        assert (min(series["min"]), max(series["max"])) == (0.0, 99.0)
    exact = ada.get(f"/v1/projects/char-lm/charts?runs={one['id']}&keys=loss&since_step=89").json["series"]["loss"]
    assert [series["steps"] for series in exact] == [list(range(90, 100))]
    assert ada.get("/v1/projects/char-lm/charts?runs=nobody").status_code == 404
    assert ada.get("/v1/projects/char-lm/charts?samples=1").status_code == 422
    assert ada.get("/v1/projects/char-lm/charts?x=moon").status_code == 422


def test_a_shortened_receipt_says_what_is_missing(ada: Caller) -> None:
    run = ada.run()
    ada.ingest(run["id"], [point(0)], first_seq=0)
    ada.ingest(run["id"], [point(9)], first_seq=9)
    receipt = ada.get(f"/v1/runs/{run['id']}/integrity").json
    assert receipt["intact"] is False
    assert receipt["writers"][0]["gaps"] == [[1, 8]]
