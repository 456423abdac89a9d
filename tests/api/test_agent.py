"""What an agent reads before its next step: whole, short enough, and only what is new."""

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from arwx import clock
from tests.api.test_experiments import decide, experiment, goal, session
from tests.make import Caller, point

STORY = [
    ("baseline", "keep", 2.60),
    ("dropout of 0.1 after each layer", "drop", 2.70),
    ("warmup of 200 steps", "keep", 2.50),
    ("dropout on the embedding alone", "drop", 2.65),
    ("longer warmup, cosine decay", "keep", 2.44),
    ("swap relu for gelu", "drop", 2.46),
    ("dropout with a schedule", "crash", None),
    ("label smoothing", "drop", 2.9),
]


def tell(caller: Caller, story: list[tuple[str, str, float | None]] = STORY, **goals: Any) -> str:
    """The story, told by a project; the id of its session."""
    goal(caller, **{"target": 2.41, **goals})
    line = session(caller)
    for number, (note, status, score) in enumerate(story):
        found = experiment(caller, line, note=note, config={"number": number})
        assert decide(caller, found, status, score, note=f"because {number}") == 201
    return line


def context(caller: Caller, **asked: Any) -> Any:
    answer = caller.get("/v1/agent/context", query_string={"project": "char-lm", **asked})
    assert answer.status_code == 200, answer.text
    return answer.text if asked.get("format") == "markdown" else answer.json


def test_it_tells_where_the_research_stands(ada: Caller) -> None:
    line = tell(ada)
    run = ada.run(name="the run")
    ada.ingest(run["id"], [point(7, val_bpb=2.5)])
    waiting = experiment(ada, line, note="rotary embedding", run_id=run["id"])
    found = context(ada)
    assert found["goal"] == {"metric": "val_bpb", "lower_is_better": True, "target": 2.41}
    assert (found["best"], found["best_index"], found["target_reached"]) == (2.44, 5, False)
    assert found["gap"] == pytest.approx(0.03)
    assert found["counts"] == {"keep": 3, "drop": 4, "crash": 1, "undecided": 1}
    assert [(one["index"], one["note"]) for one in found["chain"]] == [
        (5, "longer warmup, cosine decay"),
        (3, "warmup of 200 steps"),
        (1, "baseline"),
    ]
    assert [one["index"] for one in found["decisions"]] == [8, 7, 6, 5, 4]
    assert found["decisions"][0] | {"decided_at": "", "experiment_id": ""} == {
        "index": 8, "status": "drop", "score": 2.9, "metric": "val_bpb", "note": "label smoothing",
        "reason": "because 7", "decided_at": "", "experiment_id": "",
    }  # fmt: skip
    assert [(one["index"], pytest.approx(0.02) == one["behind"]) for one in found["near_misses"]] == [(6, True)]
    assert [(one["words"], one["indexes"], one["crashed"], one["best_score"]) for one in found["dead_ends"]] == [
        ("dropout", [2, 4, 7], 1, 2.65)
    ]
    assert [(one["experiment_id"], one["run_status"]) for one in found["open"]] == [(waiting["id"], "running")]
    assert [(one["name"], one["status"], one["value"]) for one in found["runs"]] == [("the run", "running", 2.5)]
    assert found["left_out"] == {}


def test_markdown_says_the_same_in_a_stable_order(ada: Caller) -> None:
    tell(ada)
    text = context(ada, format="markdown")
    order = ["# char-lm", "Goal: minimize val_bpb, target 2.41.", "Best: 2.44 (#5), 0.03 from the target.",
             "## Best chain", "## Last decisions", "- #8 drop 2.9: label smoothing — because 7",
             "## Near misses", "- #6 2.46, 0.02 behind the best: swap relu for gelu", "## Dead ends",
             "- “dropout”: 3 tries (#2, #4, #7), best 2.65, 1 crashed", "Cursor: "]  # fmt: skip
    places = [text.find(words) for words in order]
    assert -1 not in places
    assert places == sorted(places)
    same = context(ada, format="markdown")
    assert same.partition("Cursor")[0] == text.partition("Cursor")[0]
    answer = ada.get("/v1/agent/context?project=char-lm&format=markdown")
    assert answer.mimetype == "text/markdown"


def test_the_greater_is_the_better_where_the_goal_says_so(ada: Caller) -> None:
    story = [("start", "keep", 0.5), ("wider", "keep", 0.6), ("deeper", "drop", 0.58), ("noisy", "drop", 0.1)]
    tell(ada, story, lower_is_better=False, target=0.55)  # type: ignore[arg-type]
    found = context(ada)
    assert (found["best"], found["gap"], found["target_reached"]) == (0.6, 0.0, True)
    assert [(one["index"], round(one["behind"], 6)) for one in found["near_misses"]] == [(3, 0.02)]


def test_what_was_tried_again_and_dropped_again_is_one_dead_end(ada: Caller) -> None:
    line = tell(ada, STORY[:1])
    for note in ("a bigger batch", "batches twice as big"):
        found = experiment(ada, line, note=note, commit="abc", config={"batch": 64})
        decide(ada, found, "drop", 2.8)
    (end,) = context(ada)["dead_ends"]
    assert (end["kind"], end["indexes"], end["words"]) == ("same", [2, 3], "batches twice as big")


@pytest.mark.parametrize("most", [200, 300, 500, 1000, 2000, 5000])
@pytest.mark.parametrize("form", ["json", "markdown"])
def test_it_always_fits(ada: Caller, form: str, most: int) -> None:
    goal(ada, description="words " * 100, objective_metric="m" * 255)
    line = session(ada)
    for number in range(30):
        found = experiment(ada, line, note=f'try {number} “ü” "quoted"\n' + "long " * 60, config={"n": number})
        decide(ada, found, ["keep", "drop", "crash"][number % 3], None if number % 3 == 2 else 3 - number / 100)
    answer = ada.get(f"/v1/agent/context?project=char-lm&limit=20&max_chars={most}&format={form}")
    assert answer.status_code == 200
    assert len(answer.text) <= most
    whole = context(ada, limit=20)
    if form == "json":
        found = answer.json
        assert found["cursor"]
        assert sum(found["left_out"].values()) > 0
        if most >= 1000:
            assert found["best"] == whole["best"]
        if most >= 5000:  # the head of each list first
            assert found["chain"][0] == whole["chain"][0]
            assert found["decisions"][0] == whole["decisions"][0]
    else:
        assert "Cursor: " in answer.text
        assert "Left out: " in answer.text or f"Cut to {most}" in answer.text


def test_what_is_cut_is_counted(ada: Caller) -> None:
    tell(ada)
    whole, cut = context(ada), context(ada, max_chars=1500)
    for name in ("chain", "decisions", "dead_ends", "near_misses"):
        assert len(whole[name]) == len(cut[name]) + cut["left_out"].get(name, 0), name
    assert cut["left_out"]


def test_a_cursor_brings_only_what_is_new(ada: Caller) -> None:
    line = tell(ada)
    first = context(ada)
    quiet = context(ada, since=first["cursor"])
    assert quiet["changed"] is False
    assert all(quiet[name] == [] for name in ("chain", "decisions", "dead_ends", "near_misses", "open", "runs"))
    assert "Nothing is new." in context(ada, since=first["cursor"], format="markdown")

    waiting = experiment(ada, line, note="rotary", config={"x": 1})
    run = ada.run(name="new")
    news = context(ada, since=quiet["cursor"])
    assert [one["experiment_id"] for one in news["open"]] == [waiting["id"]]
    assert [one["id"] for one in news["runs"]] == [run["id"]]
    assert (news["decisions"], news["changed"]) == ([], True)

    decide(ada, waiting, "keep", 2.40)
    ada.post(f"/v1/runs/{run['id']}/finish", json={})
    last = context(ada, since=news["cursor"])
    assert [one["index"] for one in last["decisions"]] == [9]
    assert [one["index"] for one in last["chain"]] == [9]
    assert [(one["id"], one["status"]) for one in last["runs"]] == [(run["id"], "finished")]
    assert last["open"] == []
    assert context(ada, since=last["cursor"])["changed"] is False
    goal(ada, target=2.3)
    assert context(ada, since=last["cursor"])["changed"] is True


@pytest.mark.parametrize("query", ["project=char-lm", "project=char-lm&format=markdown", "limit=3", "format=markdown"])
def test_a_story_that_did_not_move_is_a_304(ada: Caller, query: str) -> None:
    line = tell(ada)
    etag = ada.get(f"/v1/agent/context?{query}").headers["ETag"]
    assert ada.get(f"/v1/agent/context?{query}", headers={"If-None-Match": etag}).status_code == 304
    experiment(ada, line, note="rotary", config={"x": 1})
    assert ada.get(f"/v1/agent/context?{query}", headers={"If-None-Match": etag}).status_code == 200


def test_many_new_verdicts_are_counted(ada: Caller) -> None:
    line = tell(ada, STORY[:1])
    cursor = context(ada)["cursor"]
    for number in range(5):
        decide(ada, experiment(ada, line, config={"new": number}), "drop", 3.0)
    news = context(ada, since=cursor, limit=2)
    assert (len(news["decisions"]), news["left_out"]["decisions"]) == (2, 3)


def test_a_run_that_falls_silent_is_told_once(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ada.run()
    ada.ingest(run["id"], [point(1)])
    cursor = context(ada)["cursor"]
    later = clock.now() + timedelta(minutes=5)
    monkeypatch.setattr(clock, "now", lambda: later)
    news = context(ada, since=cursor)
    assert [(one["id"], one["status"]) for one in news["runs"]] == [(run["id"], "silent")]
    assert context(ada, since=news["cursor"])["runs"] == []
    assert [one["status"] for one in context(ada)["runs"]] == ["silent"]


def test_without_a_project_each_has_a_line(ada: Caller, mallory: Caller) -> None:
    tell(ada)
    ada.post("/v1/projects", json={"name": "vision"})
    mallory.post("/v1/projects", json={"name": "hers"})
    found = ada.get("/v1/agent/context").json
    assert [(one["name"], one["best"], one["experiments"]) for one in found["projects"]] == [
        ("vision", None, 0),
        ("char-lm", 2.44, 8),
    ]
    text = ada.get("/v1/agent/context?format=markdown").text
    assert "- char-lm: minimize val_bpb to 2.41; best 2.44, 0.03 from it; 8 experiments, 0 runs" in text
    assert "- vision: no goal; nothing kept yet; 0 experiments, 0 runs" in text
    again = ada.get(f"/v1/agent/context?since={found['cursor']}").json
    assert (again["projects"], again["changed"]) == ([], False)
    tell(ada, STORY[:1])
    again = ada.get(f"/v1/agent/context?since={found['cursor']}").json
    assert [one["name"] for one in again["projects"]] == ["char-lm"]
    for form in ("json", "markdown"):
        assert len(ada.get(f"/v1/agent/context?max_chars=200&format={form}").text) <= 200


def test_an_empty_project_has_little_to_tell(ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "char-lm"})
    found = context(ada)
    assert (found["best"], found["gap"], found["goal"]["metric"]) == (None, None, None)
    assert "Goal: none is set." in context(ada, format="markdown")


@pytest.mark.parametrize(
    ("asked", "field"),
    [("max_chars=199", "max_chars"), ("limit=0", "limit"), ("limit=101", "limit"), ("format=html", "format"),
     ("since=yesterday", "since"), ("since=ffffffffffffffffffff-0000-", "since"), ("since=1-00-", "since")],
)  # fmt: skip
def test_bad_questions_are_refused(ada: Caller, asked: str, field: str) -> None:
    answer = ada.get(f"/v1/agent/context?{asked}")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)


def test_others_see_nothing(ada: Caller, mallory: Caller) -> None:
    tell(ada)
    answer = mallory.get("/v1/agent/context?project=char-lm")
    assert answer.status_code == 404
    assert mallory.get("/v1/agent/context").json["projects"] == []


def test_many_experiments_take_as_many_queries_as_one(ada: Caller, queries: list[str]) -> None:
    tell(ada, STORY[:1])
    queries.clear()
    context(ada)
    few = len(queries)
    tell(ada, STORY)
    queries.clear()
    found = context(ada)
    assert len(queries) == few
    assert json.dumps(found)


def test_one_call_brings_what_a_dashboard_shows_first(ada: Caller, mallory: Caller) -> None:
    tell(ada)
    for number in range(3):
        run = ada.run(id=f"r{number}", project=["char-lm", "vision", "char-lm"][number])
    ada.ingest(run["id"], [point(4, loss=0.5)])
    mallory.run(project="hers")
    answer = ada.get("/v1/bootstrap")
    found = answer.json
    assert found["organization"] == {"name": "Ada's lab", "slug": "ada-s-lab"}
    assert [(one["name"], one["best"], one["target_reached"], one["runs"]) for one in found["projects"]] == [
        ("vision", None, False, 1),
        ("char-lm", 2.44, False, 2),
    ]
    assert [(one["id"], one["project"]) for one in found["runs"]] == [
        ("r2", "char-lm"), ("r1", "vision"), ("r0", "char-lm"),
    ]  # fmt: skip
    assert found["runs"][0]["latest"]["loss"]["value"] == 0.5
    assert found["next"] is None
    assert "points" not in found["runs"][0]
    again = ada.get("/v1/bootstrap", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    ada.run(id="r3")
    assert ada.get("/v1/bootstrap", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 200


def test_it_stays_small_however_much_there_is(ada: Caller, queries: list[str]) -> None:
    for number in range(52):
        ada.run(project=f"p{number}")
    queries.clear()
    found = ada.get("/v1/bootstrap").json
    many = len(queries)
    assert (len(found["projects"]), len(found["runs"])) == (50, 50)
    rest = ada.get(f"/v1/projects?cursor={found['next']}").json["items"]
    assert [one["name"] for one in rest] == ["p1", "p0"]
    assert many < 20


def test_programs_that_read_are_told_where(app: Flask) -> None:
    answer = app.test_client().get("/llms.txt")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert answer.text.startswith("# arwx\n\n> ")
    for place in ("/docs", "/v1/openapi.json", "/sdk/", "python -m arwandb mcp", "/v1/agent/context"):
        assert place in answer.text
    assert "http://localhost/v1/openapi.json" in answer.text
    again = app.test_client().get("/llms.txt", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
