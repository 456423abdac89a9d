"""Runs over /v1: made, found again, changed, finished, listed."""

from datetime import timedelta

import pytest
from werkzeug.test import TestResponse

from arwx import clock
from tests.make import Caller, point


def test_a_run_is_made_with_its_project(ada: Caller) -> None:
    made = ada.post(
        "/v1/runs",
        json={
            "project": "char-lm",
            "config": {"lr": 3e-4, "layers": [1, 2]},
            "tags": ["a", "b", "a"],
            "notes": "first",
        },
    )
    assert made.status_code == 201
    run = made.json
    assert run["status"] == "running"
    assert run["tags"] == ["a", "b"]
    assert run["name"]
    assert run["url"].endswith(f"/p/char-lm/runs/{run['id']}")
    assert ada.get(f"/v1/runs/{run['id']}").json == run
    assert ada.get("/v1/projects/char-lm").json["runs"] == 1


def test_the_same_id_finds_the_stored_run(ada: Caller) -> None:
    first = ada.post("/v1/runs", json={"project": "p", "id": "mine", "name": "one"})
    again = ada.post("/v1/runs", json={"project": "p", "id": "mine", "name": "two"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json["name"] == "one"
    assert ada.post("/v1/runs", json={"project": "other", "id": "mine"}).status_code == 409


def test_resume_says_whether_a_run_may_or_must_be_there(ada: Caller) -> None:
    assert ada.post("/v1/runs", json={"project": "p", "id": "r", "resume": "must"}).status_code == 404
    assert ada.post("/v1/runs", json={"project": "p", "id": "r", "resume": "never"}).status_code == 201
    assert ada.post("/v1/runs", json={"project": "p", "id": "r", "resume": "never"}).status_code == 409
    ada.post("/v1/runs/r/finish", json={})
    assert ada.post("/v1/runs", json={"project": "p", "id": "r"}).json["status"] == "finished"
    assert ada.post("/v1/runs", json={"project": "p", "id": "r", "resume": "allow"}).json["status"] == "running"
    assert ada.post("/v1/runs", json={"project": "p", "id": "r", "resume": "perhaps"}).status_code == 422


def test_config_and_summary_merge_and_null_clears(ada: Caller) -> None:
    run = ada.run(config={"lr": 1, "b": 2}, notes="n")
    changed = ada.patch(
        f"/v1/runs/{run['id']}", json={"config": {"lr": 3}, "summary": {"best": 1.5}, "notes": None, "name": "renamed"}
    ).json
    assert changed["config"] == {"lr": 3, "b": 2}
    assert changed["summary"] == {"best": 1.5}
    assert changed["notes"] is None
    assert changed["name"] == "renamed"


def test_finishing_is_idempotent_and_late_points_are_taken(ada: Caller) -> None:
    run = ada.run()
    ada.ingest(run["id"], [point(0)], first_seq=0)
    first = ada.post(f"/v1/runs/{run['id']}/finish", json={"summary": {"loss": 1}, "exit_code": 0}).json
    again = ada.post(f"/v1/runs/{run['id']}/finish").json
    assert first["status"] == again["status"] == "finished"
    assert first["finished_at"] == again["finished_at"]
    assert ada.ingest(run["id"], [point(1)], first_seq=1).json["stored"] == 1


def test_without_a_status_the_exit_code_tells_how_a_run_ended(ada: Caller) -> None:
    for end, status in [
        ({"exit_code": 1}, "failed"),
        ({"exit_code": -9, "status": None}, "failed"),
        ({"exit_code": 0}, "finished"),
        ({"exit_code": 1, "status": "killed"}, "killed"),
        ({"exit_code": 1, "status": "finished"}, "finished"),
        ({}, "finished"),
    ]:
        assert ada.post(f"/v1/runs/{ada.run()['id']}/finish", json=end).json["status"] == status


def test_a_failure_stands_against_the_finish_of_another_rank(ada: Caller) -> None:
    run = ada.run()
    ada.post(f"/v1/runs/{run['id']}/finish", json={"status": "failed", "exit_code": 1})
    assert ada.post(f"/v1/runs/{run['id']}/finish", json={"status": "finished"}).json["status"] == "failed"
    assert ada.post(f"/v1/runs/{run['id']}/finish", json={"status": "running"}).status_code == 422


def test_silence_is_derived_and_undoes_itself(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ada.run()
    real = clock.now

    def status_after(passed: timedelta) -> str:
        monkeypatch.setattr(clock, "now", lambda: real() + passed)
        return str(ada.get(f"/v1/runs/{run['id']}").json["status"])

    assert status_after(timedelta(seconds=100)) == "running"
    assert status_after(timedelta(seconds=200)) == "silent"
    assert status_after(timedelta(minutes=31)) == "crashed"
    ada.ingest(run["id"], [])  # a heartbeat
    assert status_after(timedelta(minutes=31)) == "running"


def test_the_list_filters_by_status_tag_and_group(ada: Caller) -> None:
    one = ada.run(tags=['quo"ted', "x"], group="g1")
    two = ada.run(tags=["xx"])
    ada.post(f"/v1/runs/{two['id']}/finish", json={})

    def ids(query: str) -> list[str]:
        return [run["id"] for run in ada.get(f"/v1/projects/char-lm/runs?{query}").json["items"]]

    assert ids("") == [two["id"], one["id"]]
    assert ids("status=finished") == [two["id"]]
    assert ids("status=running") == [one["id"]]
    assert ids("tag=x") == [one["id"]]
    assert ids('tag=quo"ted') == [one["id"]]
    assert ids("group=g1") == [one["id"]]
    assert ada.get("/v1/projects/char-lm/runs?status=sleeping").status_code == 422
    assert ada.get("/v1/projects/char-lm/runs?statsu=running").status_code == 422


def test_a_deleted_run_is_gone_from_lists_at_once(ada: Caller, ben: Caller) -> None:
    run = ada.run()
    assert ben.delete(f"/v1/runs/{run['id']}").status_code == 403
    assert ada.delete(f"/v1/runs/{run['id']}").status_code == 204
    assert ada.get(f"/v1/runs/{run['id']}").status_code == 404
    assert ada.get("/v1/projects/char-lm/runs").json["items"] == []
    assert ada.post("/v1/runs", json={"project": "char-lm", "id": run["id"]}).status_code == 409


def test_a_deleted_run_takes_no_more_points(ada: Caller, mallory: Caller) -> None:
    run = ada.run()
    ada.ingest(run["id"], [point(0)], first_seq=0)
    ada.delete(f"/v1/runs/{run['id']}")
    mine, theirs = (caller.ingest(run["id"], [point(1)], first_seq=1) for caller in (ada, mallory))
    assert mine.status_code == theirs.status_code == 404
    assert {**mine.json, "request_id": ""} == {**theirs.json, "request_id": ""}


def test_an_empty_id_is_none(ada: Caller) -> None:
    for id_ in ("", "a b", "x" * 65):
        answer = ada.post("/v1/runs", json={"project": "char-lm", "id": id_})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "id")
    assert ada.post("/v1/runs", json={"project": "char-lm", "id": None}).json["id"].startswith("run_")
    line = ada.post("/v1/sessions", json={"project": "char-lm"}).json["id"]
    assert ada.post("/v1/sessions", json={"project": "char-lm", "id": ""}).status_code == 422
    assert ada.post("/v1/experiments", json={"session_id": line, "id": ""}).status_code == 422


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_a_history_that_did_not_grow_is_a_304(ada: Caller, accept: str) -> None:
    run = ada.run()
    path = f"/v1/runs/{run['id']}/metrics"

    def ask(etag: str = "") -> TestResponse:
        return ada.get(path, headers={"Accept": accept, "If-None-Match": etag})

    ada.ingest(run["id"], [point(0)], first_seq=0)
    first = ask()
    assert "Accept" in first.headers["Vary"]
    again = ask(first.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    assert ada.get(path, headers={"Accept": "text/plain", "If-None-Match": first.headers["ETag"]}).status_code == (
        304 if accept == "application/json" else 200
    )
    ada.ingest(run["id"], [], first_seq=1)  # a heartbeat
    assert ask(first.headers["ETag"]).status_code == 304
    ada.ingest(run["id"], [point(0)], first_seq=1)
    assert ask(first.headers["ETag"]).status_code == 200


def test_a_receipt_that_says_the_same_is_a_304(ada: Caller) -> None:
    run = ada.run()
    path = f"/v1/runs/{run['id']}/integrity"
    ada.ingest(run["id"], [point(0)], first_seq=0)
    etag = ada.get(path).headers["ETag"]
    assert ada.get(path, headers={"If-None-Match": etag}).status_code == 304
    ada.ingest(run["id"], [point(0)], first_seq=0)  # a repeat is in the receipt
    assert ada.get(path, headers={"If-None-Match": etag}).json["duplicates_collapsed"] == 1


def test_a_list_asks_as_many_queries_for_one_run_as_for_many(ada: Caller, queries: list[str]) -> None:
    ada.run()
    queries.clear()
    ada.get("/v1/projects/char-lm/runs")
    for_one = len(queries)
    for _ in range(20):
        ada.run()
    queries.clear()
    ada.get("/v1/projects/char-lm/runs")
    assert len(queries) == for_one


def test_extremes_of_config_come_back(ada: Caller) -> None:
    config = {"nul": "a\u0000b", "big": 2**80, "tiny": 5e-324, "deep": {"a": [{"b": None}]}, "emoji": "🚀", "": 0}
    assert ada.run(config=config)["config"] == config


def test_an_archived_run_is_kept_out_of_the_lists(ada: Caller) -> None:
    for run_id in ("a", "b"):
        ada.run("char-lm", id=run_id)

    def listed(**query: str) -> list[str]:
        return [run["id"] for run in ada.get("/v1/projects/char-lm/runs", query_string=query).json["items"]]

    put_away = ada.patch("/v1/runs/a", json={"archived": True}).json["archived_at"]
    assert put_away is not None
    assert ada.patch("/v1/runs/a", json={"archived": True}).json["archived_at"] == put_away, "the moment stays"
    assert (listed(), listed(archived="yes"), listed(archived="any")) == (["b"], ["a"], ["b", "a"])
    assert ada.ingest("a", [{"step": 0, "metrics": {"loss": 1}}]).json["stored"] == 1
    assert ada.patch("/v1/runs/a", json={"archived": False}).json["archived_at"] is None
    assert listed() == ["b", "a"]
    assert ada.get("/v1/projects/char-lm/runs?archived=perhaps").status_code == 422
