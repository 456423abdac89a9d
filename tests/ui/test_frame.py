"""What stands around every page: the head of a project, its lenses, and the search in the bar."""

import html
import re
import time
from datetime import timedelta

import pytest

from arwx import clock
from tests.make import Caller
from tests.ui.conftest import Visitor


def said(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


def decided(ada: Caller, *scores: float, status: str = "keep") -> None:
    session_id = ada.post("/v1/sessions", json={"project": "char-lm"}).json["id"]
    for score in scores:
        made = ada.post("/v1/experiments", json={"session_id": session_id}).json["id"]
        ada.post(f"/v1/experiments/{made}/decision", json={"status": status, "score": score})


def test_the_head_tells_the_goal_and_how_far_it_is(ada_at_home: Visitor, ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "char-lm"})
    assert "Set a goal" in ada_at_home.get("/p/char-lm").text
    ada.post("/v1/projects", json={"name": "char-lm", "objective_metric": "bpb", "target": 2.45})
    assert "minimize bpb to 2.45" in said(ada_at_home.get("/p/char-lm").text)
    decided(ada, 2.6, 2.5, 2.55)
    decided(ada, 2.1, status="drop")  # a better one that was dropped moves nothing
    for lens in ("", "/experiments", "/artifacts"):
        page = ada_at_home.get(f"/p/char-lm{lens}").text
        assert "minimize bpb to 2.45 — best 2.5, 0.05 to go" in said(page)
        assert "Running best over 4 experiments: from 2.6 to 2.5" in page
    decided(ada, 2.4)
    assert "best 2.4, reached" in said(ada_at_home.get("/p/char-lm").text)


def test_the_goal_is_changed_in_place(ada_at_home: Visitor, ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "char-lm", "objective_metric": "bpb", "target": 2.45})
    goal = {"metric": "acc", "lower": "no", "target": "0.9", "description": "Characters"}
    assert ada_at_home.send("/p/char-lm", "/p/char-lm/goal", **goal).status_code == 302
    page = said(ada_at_home.get("/p/char-lm").text)
    assert "maximize acc to 0.9" in page
    assert page.count("Characters") == 2, "beside the goal, and in the form"
    for target in ("soon", "nan", "1e999"):
        assert ada_at_home.send("/p/char-lm", "/p/char-lm/goal", metric="x", target=target).status_code == 422
    for field, length in (("metric", 256), ("description", 65_537)):
        assert ada_at_home.send("/p/char-lm", "/p/char-lm/goal", **{field: "a" * length}).status_code == 422
    long = "Characters " * 900 + "to the end"
    ada_at_home.send("/p/char-lm", "/p/char-lm/goal", description=long)
    assert ada.get("/v1/projects/char-lm").json["description"] == long
    ada_at_home.send("/p/char-lm", "/p/char-lm/goal", description="Characters")
    project = ada.get("/v1/projects/char-lm").json
    assert (project["objective_metric"], project["target"], project["description"]) == (None, None, "Characters")


def test_cards_tell_the_goal_too_and_cost_the_same_for_one_and_for_many(
    ada_at_home: Visitor, ada: Caller, queries: list[str]
) -> None:
    ada.post("/v1/projects", json={"name": "char-lm", "objective_metric": "bpb", "target": 2.45})
    decided(ada, 2.6, 2.5)
    queries.clear()
    assert "minimize bpb to 2.45 — best 2.5, 0.05 to go" in said(ada_at_home.get("/").text)
    for_one = len(queries)
    for number in range(20):
        ada.post("/v1/projects", json={"name": f"p{number}", "objective_metric": "loss"})
    queries.clear()
    ada_at_home.get("/")
    assert len(queries) == for_one


def test_a_card_leads_to_what_a_project_has(ada_at_home: Visitor, ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "char-lm", "objective_metric": "bpb"})
    assert '<a class="panel project" href="/p/char-lm">' in ada_at_home.get("/").text
    decided(ada, 2.6, 2.5)
    page = ada_at_home.get("/").text
    assert '<a class="panel project" href="/p/char-lm/experiments">' in page
    assert "0 runs2 experiments" in said(page)
    ada.run("char-lm")
    assert '<a class="panel project" href="/p/char-lm">' in ada_at_home.get("/").text


def test_every_lens_is_a_link_and_says_where_one_is(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("char-lm")
    for path, name in (("", "Runs"), ("/experiments", "Experiments"), ("/artifacts", "Artifacts")):
        page = ada_at_home.get(f"/p/char-lm{path}").text
        (current,) = re.findall(r'<a href="([^"]+)" data-key="g \w" aria-current="page">(\w+)', page)
        assert current == (f"/p/char-lm{path}", name)
        assert len(re.findall(r'data-key="g [rea]"', page)) == 3


def test_an_empty_lens_shows_the_lines_that_fill_it(ada_at_home: Visitor, ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "char-lm"})
    for lens, line in (("", "pip install"), ("/experiments", "autoresearch"), ("/artifacts", "autoresearch")):
        page = ada_at_home.get(f"/p/char-lm{lens}").text
        assert line in page
        assert "data-copy" in page


def test_a_run_is_found_by_a_part_of_its_name_or_id(ada_at_home: Visitor, ada: Caller, mallory: Caller) -> None:
    run_id = ada.run("char-lm", name="warm up 100%")["id"]
    ada.run("other", name="baseline")
    mallory.run("char-lm", name="warm up secretly")
    for words in ("warm up", "WARM", "100%25", run_id[6:]):
        page = ada_at_home.get(f"/find?q={words}").text
        assert f"/p/char-lm/runs/{run_id}" in page, words
        assert "secretly" not in page
        assert "baseline" not in page
    assert 'href="/p/other"' in ada_at_home.get("/find?q=oth").text
    assert "Nothing has “_w”" in ada_at_home.get("/find?q=_w").text, "no wildcards"
    assert "Type a part of a name" in ada_at_home.get("/find").text


def test_what_was_named_so_is_found_before_what_has_it_in_its_id_alone(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("char-lm", id="older", name="baseline")
    session_id = ada.post("/v1/sessions", json={"project": "char-lm"}).json["id"]
    ada.post("/v1/experiments", json={"session_id": session_id, "id": "first", "note": "baseline"})
    for number in range(60):
        ada.run("char-lm", id=f"run_ba{number}", name="warm up")
    for number in range(25):
        ada.post("/v1/experiments", json={"session_id": session_id, "id": f"exp_ba{number}"})
    page = ada_at_home.get("/find?q=ba").text
    assert re.findall(r'/runs/(\w+)"', page)[:2] == ["older", "run_ba59"]
    assert re.findall(r'/experiments/(\w+)"', page)[:2] == ["first", "exp_ba24"]


def test_experiments_and_artifacts_are_found_too(
    ada_at_home: Visitor, ada: Caller, mallory_at_home: Visitor, queries: list[str]
) -> None:
    session_id = ada.post("/v1/sessions", json={"project": "char-lm"}).json["id"]
    fields = {"session_id": session_id, "note": "warm up for 200 steps\nas the paper says", "commit": "abcdef0123"}
    made = ada.post("/v1/experiments", json=fields).json["id"]
    ada.post(f"/v1/experiments/{made}/decision", json={"status": "keep", "score": 2.5, "metric": "bpb"})
    sha = ada.post("/v1/blobs", data=b"w").json["sha"]
    version = {"project": "char-lm", "name": "warm weights", "entries": [{"path": "w", "sha": sha, "size": 1}]}
    ada.post("/v1/artifacts/log", json=version)
    page = ada_at_home.get("/find?q=WARM").text
    assert f'href="/p/char-lm/experiments/{made}">#1 warm up for 200 steps</a>' in page
    assert 'href="/p/char-lm/artifacts/warm%20weights">warm weights</a>' in page
    assert "kept 2.5" in said(page)
    for words in ("abcdef", made[4:]):
        assert made in ada_at_home.get(f"/find?q={words}").text
    assert made not in ada_at_home.get("/find?q=bcdef").text, "of a commit, the beginning"
    assert "Nothing has “warm”" in mallory_at_home.get("/find?q=warm").text
    queries.clear()
    ada_at_home.get("/find?q=warm")
    for_one = len(queries)
    for number in range(10):
        ada.post("/v1/experiments", json={**fields, "note": f"warm {number}"})
    queries.clear()
    ada_at_home.get("/find?q=warm")
    assert len(queries) == for_one


def test_news_are_what_came_since_then_and_cost_nothing_while_there_are_none(
    ada_at_home: Visitor, ada: Caller, mallory_at_home: Visitor
) -> None:
    ada.post("/v1/projects", json={"name": "char-lm"})
    opened = html.unescape(ada_at_home.get("/p/char-lm/experiments").text)
    ada.run("char-lm")
    assert "data-news=" in ada_at_home.get("/p/char-lm/experiments").text
    since = clock.rfc3339(clock.now())
    asked = f"/p/char-lm/news?since={since}"
    quiet = ada_at_home.get(asked)
    assert quiet.text == ""
    assert ada_at_home.get(asked, headers={"If-None-Match": quiet.headers["ETag"]}).status_code == 304
    ada.run("char-lm")
    ada.run("char-lm")
    ada.run("other")
    assert ada_at_home.get(asked).text == "2 new runs"
    decided(ada, 2.5)
    assert ada_at_home.get(asked).text == "2 new runs, 1 new experiment"
    assert 'hx-trigger="every 5s"' in opened, "where nothing is yet, the first thing is awaited"
    assert mallory_at_home.get(asked).status_code == 404
    for wrong in ("", "soon", "2026-11-25T12:00:00", "0001-01-01T00:00:00Z"):
        assert ada_at_home.get(f"/p/char-lm/news?since={wrong}").status_code == 422


def test_the_story_is_asked_for_again_only_while_it_goes_on(
    ada_at_home: Visitor, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.post("/v1/projects", json={"name": "char-lm", "objective_metric": "bpb"})
    decided(ada, 2.5)
    page = "/p/char-lm/experiments"
    assert f'hx-get="{page}"' in ada_at_home.get(page).text
    answer = ada_at_home.get(page, is_htmx=True)
    assert answer.text.count("<html") == 0
    told = {"If-None-Match": answer.headers["ETag"]}
    time.sleep(1.1)  # the tokens of forms change with the second
    assert ada_at_home.get(page, is_htmx=True, headers=told).status_code == 304
    decided(ada, 2.4)
    assert ada_at_home.get(page, is_htmx=True, headers=told).status_code == 200
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(minutes=16))
    assert f'data-news="{page.removesuffix("experiments")}news?since=' in ada_at_home.get(page).text
    session_id = ada.post("/v1/sessions", json={"project": "char-lm"}).json["id"]
    ada.post("/v1/experiments", json={"session_id": session_id})
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(hours=3))
    assert f'hx-get="{page}"' in ada_at_home.get(page).text, "it waits for its verdict"
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(hours=25))
    ada_at_home.log_in("ada@example.org")
    assert "data-news=" in ada_at_home.get(page).text
