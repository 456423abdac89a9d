"""Sessions, experiments and decisions over /v1, and the running best that follows from them."""

import hashlib
import json
import threading
from typing import Any

import pytest

from tests.make import Caller


def goal(caller: Caller, **fields: Any) -> None:
    caller.post(
        "/v1/projects", json={"name": "char-lm", "objective_metric": "val_bpb", "lower_is_better": True, **fields}
    )


def session(caller: Caller, **fields: Any) -> str:
    answer = caller.post("/v1/sessions", json={"project": "char-lm", **fields})
    assert answer.status_code in {200, 201}, answer.text
    return str(answer.json["id"])


def experiment(caller: Caller, session_id: str, **fields: Any) -> dict[str, Any]:
    answer = caller.post("/v1/experiments", json={"session_id": session_id, **fields})
    assert answer.status_code in {200, 201}, answer.text
    found: dict[str, Any] = answer.json
    return found


def decide(caller: Caller, found: dict[str, Any], status: str, score: float | None = None, **fields: Any) -> int:
    body = {"status": status, **({"score": score} if score is not None else {}), **fields}
    return caller.post(f"/v1/experiments/{found['id']}/decision", json=body).status_code


def test_a_session_is_opened_once(ada: Caller) -> None:
    first = ada.post("/v1/sessions", json={"project": "char-lm", "id": "s1", "tag": "warmup", "branch": "main"})
    again = ada.post("/v1/sessions", json={"project": "char-lm", "id": "s1", "tag": "other"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json["tag"] == "warmup"
    assert ada.post("/v1/sessions", json={"project": "elsewhere", "id": "s1"}).status_code == 409
    assert ada.get("/v1/sessions/s1").json == first.json
    assert [one["id"] for one in ada.get("/v1/projects/char-lm/sessions").json["items"]] == ["s1"]


def test_experiments_have_true_numbers_and_their_story(ada: Caller) -> None:
    line = session(ada)
    diff = "--- a/train.py\n+++ b/train.py\n"
    one = experiment(
        ada, line, note="lr too hot; warmup added", commit="abc", parent="abd", diff=diff, config={"lr": 1e-3}
    )
    two = experiment(ada, line, parent_id=one["id"])
    assert (one["index"], two["index"]) == (1, 2)
    found = ada.get(f"/v1/experiments/{one['id']}").json
    assert found["note"] == "lr too hot; warmup added"
    assert found["diff_sha"] == hashlib.sha256(diff.encode()).hexdigest()
    assert (found["decision"], found["decisions"]) == (None, [])
    text = ada.get(f"/v1/experiments/{one['id']}/diff")
    assert (text.text, text.mimetype) == (diff, "text/plain")
    assert [e["index"] for e in ada.get("/v1/projects/char-lm/experiments").json["items"]] == [2, 1]


def test_the_same_id_finds_the_stored_experiment(ada: Caller) -> None:
    line = session(ada)
    first = experiment(ada, line, id="e1", note="one")
    again = experiment(ada, line, id="e1", note="two")
    assert (again["index"], again["note"]) == (first["index"], "one")
    other = ada.post("/v1/sessions", json={"project": "elsewhere"}).json["id"]
    assert ada.post("/v1/experiments", json={"session_id": other, "id": "e1"}).status_code == 409
    assert experiment(ada, line)["index"] == 2


@pytest.mark.parametrize("chosen", ["", "a b", "é", "x" * 65])
def test_an_id_that_cannot_be_one_is_refused(ada: Caller, chosen: str) -> None:
    line = session(ada)
    for path, fields in [
        ("/v1/sessions", {"project": "char-lm"}),
        ("/v1/experiments", {"session_id": line}),
        ("/v1/runs", {"project": "char-lm"}),
    ]:
        answer = ada.post(path, json={**fields, "id": chosen})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "id")


@pytest.mark.parametrize("view", ["progress", "frontier", "progress.svg", "frontier.svg"])
def test_a_view_is_narrowed_to_a_session_of_its_project_alone(ada: Caller, view: str) -> None:
    line, other = session(ada), ada.post("/v1/sessions", json={"project": "elsewhere"}).json["id"]
    answers = [
        ada.get(f"/v1/projects/char-lm/{view}?session_id={chosen}").status_code for chosen in (line, other, "nope", "")
    ]
    assert answers == [200, 404, 404, 200]


def test_the_repro_key_is_recomputed_and_repeats_are_told(ada: Caller) -> None:
    goal(ada)
    line = session(ada)
    parts = {"commit": "abc", "diff": "+x\n", "config": {"b": 1, "a": [0.0003, None, "é"]}}
    identity = {
        "commit": "abc",
        "config": {"a": [0.0003, None, "é"], "b": 1},
        "diff_sha256": hashlib.sha256(b"+x\n").hexdigest(),
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    key = hashlib.sha256(canonical.encode()).hexdigest()
    one = experiment(ada, line, note="first", repro_key=key, **parts)
    assert (one["repro_key"], one["prior"]) == (key, [])
    decide(ada, one, "keep", 2.5)
    again = experiment(ada, line, **parts)
    assert again["prior"] == [
        {"experiment_id": one["id"], "index": 1, "session_id": line, "note": "first", "status": "keep", "score": 2.5}
    ]
    wrong = ada.post("/v1/experiments", json={"session_id": line, "repro_key": "0" * 64})
    assert (wrong.status_code, wrong.json["errors"][0]["field"]) == (422, "repro_key")
    assert experiment(ada, line)["index"] == 3  # what was refused took no number


def test_experiments_of_which_nothing_was_recorded_are_no_repeats(ada: Caller) -> None:
    goal(ada)
    line = session(ada)
    for score in (2.5, 2.4):
        one = experiment(ada, line)
        assert one["prior"] == []
        decide(ada, one, "keep", score)
    assert ada.get("/v1/projects/char-lm/progress").json["noise"] is None


def test_a_marker_keeps_the_hash_of_the_full_diff(ada: Caller) -> None:
    full = hashlib.sha256(b"a very long diff").hexdigest()
    found = experiment(ada, session(ada), diff="[diff of 9 MiB omitted]", diff_sha=full)
    assert found["diff_sha"] == full
    assert ada.get(f"/v1/experiments/{found['id']}/diff").text == "[diff of 9 MiB omitted]"
    assert ada.post("/v1/experiments", json={"session_id": session(ada), "diff_sha": "xyz"}).status_code == 422


def test_the_running_best_follows_the_rules(ada: Caller) -> None:
    goal(ada, target=2.45)
    line = session(ada)
    story = [("keep", 2.6), ("drop", 2.4), ("keep", 2.6), ("crash", None), (None, None), ("keep", 2.44)]
    for status, score in story:
        one = experiment(ada, line)
        if status:
            assert decide(ada, one, status, score) == 201
    progress = ada.get("/v1/projects/char-lm/progress").json
    assert progress["goal"] == {"metric": "val_bpb", "lower_is_better": True, "target": 2.45}
    assert progress["counts"] == {"keep": 3, "drop": 1, "crash": 1, "undecided": 1}
    assert [item["best"] for item in progress["items"]] == [2.6, 2.6, 2.6, 2.6, 2.6, 2.44]
    assert [item["index"] for item in progress["items"] if item["is_best"]] == [1, 6]
    assert (progress["best"]["score"], progress["target_reached"]) == (2.44, True)
    frontier = ada.get("/v1/projects/char-lm/frontier").json
    assert [item["index"] for item in frontier["items"]] == [1, 6]
    assert frontier["counts"] == progress["counts"]


def test_diverged_scores_break_no_view(ada: Caller) -> None:
    greatest = 1.7976931348623157e308
    goal(ada, target=-greatest)
    of = session(ada)
    for score in (greatest, greatest, 1e200, 0.0, -greatest, 5e-324, -greatest):
        found = experiment(ada, of, commit="a" * 40, config={})
        assert decide(ada, found, "keep", score) in {200, 201}
    for path in ("progress", "frontier", "progress.svg", "frontier.svg", "results.tsv"):
        assert ada.get(f"/v1/projects/char-lm/{path}").status_code == 200, path
    assert ada.get("/v1/agent/context?project=char-lm").status_code == 200
    noise = ada.get("/v1/projects/char-lm/progress").json["noise"]
    assert noise["deviation"] == pytest.approx(1.45e308, rel=0.05)
    assert noise["repeats"] == 7


def test_a_session_has_its_own_best(ada: Caller) -> None:
    goal(ada)
    one, two = session(ada), session(ada)
    decide(ada, experiment(ada, one), "keep", 2.0)
    decide(ada, experiment(ada, two), "keep", 3.0)
    assert ada.get(f"/v1/sessions/{two}/progress").json["best"]["score"] == 3.0
    assert ada.get(f"/v1/sessions/{two}/frontier").json["items"][0]["index"] == 2
    assert ada.get(f"/v1/projects/char-lm/progress?session_id={two}").json["best"]["score"] == 3.0
    assert ada.get("/v1/projects/char-lm/progress?session_id=nobody").status_code == 404


def test_verdicts_are_appended_and_the_last_counts(ada: Caller) -> None:
    goal(ada)
    one = experiment(ada, session(ada))
    assert decide(ada, one, "keep", 2.0) == 201
    assert decide(ada, one, "keep", 2.0) == 200  # said again: nothing new
    assert decide(ada, one, "keep", 2, note="", metric="val_bpb") == 200  # the same in other words
    assert decide(ada, one, "discard", 2.0) == 201
    found = ada.get(f"/v1/experiments/{one['id']}").json
    assert [verdict["status"] for verdict in found["decisions"]] == ["keep", "drop"]
    assert found["decision"]["status"] == "drop"
    assert found["decisions"][0]["decided_by"].startswith("key:")
    assert ada.get("/v1/projects/char-lm/progress").json["best"] is None


def test_changing_the_goal_does_not_rewrite_history(ada: Caller) -> None:
    goal(ada)
    line = session(ada)
    decide(ada, experiment(ada, line), "keep", 2.0)
    decide(ada, experiment(ada, line), "keep", 1.0)
    goal(ada, lower_is_better=False)
    assert [item["best"] for item in ada.get("/v1/projects/char-lm/progress").json["items"]] == [2.0, 1.0]


def test_another_metric_is_stored_and_moves_nothing(ada: Caller) -> None:
    goal(ada)
    one = experiment(ada, session(ada))
    assert decide(ada, one, "keep", 0.1, metric="memory") == 201
    progress = ada.get("/v1/projects/char-lm/progress").json
    assert (progress["best"], progress["items"][0]["metric"]) == (None, "memory")


@pytest.mark.parametrize(
    ("verdict", "field"),
    [
        ({"status": "keep"}, "score"),
        ({"status": "crash", "score": 0.0}, "score"),
        ({"status": "maybe", "score": 1}, "status"),
        ({"status": "keep", "score": "low"}, "score"),
        ({"status": "keep", "score": 1, "metric": "a\nb"}, "metric"),
        ({"status": "keep", "score": 1, "scroe": 2}, "scroe"),
    ],
)
def test_a_verdict_that_cannot_be_is_named(ada: Caller, verdict: dict[str, Any], field: str) -> None:
    goal(ada)
    one = experiment(ada, session(ada))
    answer = ada.post(f"/v1/experiments/{one['id']}/decision", json=verdict)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)


def test_without_a_goal_a_verdict_names_its_metric(ada: Caller) -> None:
    one = experiment(ada, session(ada))
    assert decide(ada, one, "keep", 1.0) == 422
    assert decide(ada, one, "keep", 1.0, metric="loss") == 201


def test_fifty_at_once_get_fifty_numbers(ada: Caller) -> None:
    line = session(ada)
    seen: list[int] = []

    def one() -> None:
        seen.append(experiment(ada, line)["index"])

    threads = [threading.Thread(target=one) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 51))


def test_a_reader_looks_and_a_stranger_sees_nothing(ada: Caller, mallory: Caller) -> None:
    goal(ada)
    line = session(ada, id="canary-session")
    one = experiment(ada, line, id="canary-experiment", note="canary")
    reader = Caller(ada.app, ada.org_id, ada.post("/v1/keys", json={"name": "r", "scope": "read"}).json["key"])
    assert reader.get(f"/v1/experiments/{one['id']}").status_code == 200
    assert decide(reader, one, "drop") == 403
    for path in (
        "sessions/canary-session",
        "sessions/canary-session/progress",
        "experiments/canary-experiment",
        "experiments/canary-experiment/diff",
    ):
        answer = mallory.get(f"/v1/{path}")
        assert answer.status_code == 404
        assert "canary" not in answer.text
    assert mallory.post("/v1/experiments", json={"session_id": "canary-session"}).status_code == 404
    assert decide(mallory, one, "drop") == 404
    own = session(mallory)
    assert mallory.post("/v1/experiments", json={"session_id": own, "parent_id": one["id"]}).status_code == 404
    run = ada.run()
    assert mallory.post("/v1/experiments", json={"session_id": own, "run_id": run["id"]}).status_code == 404
