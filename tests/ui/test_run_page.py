"""The page of one run: what it tells, and what people change on it."""

import re

import pytest
from flask import Flask

from tests.make import Caller, point
from tests.ui.conftest import Visitor, at_home

PAGE = "/p/char-lm/runs/one"
DIFF = "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-old <b>\n+new <b>\n"


def said(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


@pytest.fixture
def one(ada: Caller) -> str:
    run = ada.run("char-lm", id="one", name="baseline", config={"lr": 0.1, "opt": {"name": "adamw"}}, tags=["first"])
    ada.ingest(run["id"], [point(step) for step in range(5)], first_seq=0)
    return PAGE


def test_name_tags_group_and_notes_are_changed_in_place(ada_at_home: Visitor, ada: Caller, one: str) -> None:
    answer = ada_at_home.send(one, one, name="warm up", tags="sweep,  lr ,sweep", group="g", notes="looks\ngood")
    assert answer.status_code == 302
    run = ada.get("/v1/runs/one").json
    assert (run["name"], run["tags"], run["group"]) == ("warm up", ["sweep", "lr"], "g")
    assert run["notes"].split() == ["looks", "good"]
    ada_at_home.send(one, one, name="warm up", tags="", group="", notes="")
    run = ada.get("/v1/runs/one").json
    assert (run["tags"], run["group"], run["notes"]) == ([], None, None)


def test_a_wrong_value_is_told_and_what_was_typed_stays(ada_at_home: Visitor, ada: Caller, one: str) -> None:
    answer = ada_at_home.send(one, one, name="n" * 300, tags="t" * 200, notes="a long thought")
    assert answer.status_code == 422
    assert "a long thought" in answer.text
    assert 'role="alert"' in answer.text
    assert ada.get("/v1/runs/one").json["name"] == "baseline", "all or nothing"


def test_a_run_is_put_away_and_taken_back(ada_at_home: Visitor, one: str) -> None:
    ada_at_home.send(one, f"{one}/archive", archived="yes")
    assert "In the archive since" in said(ada_at_home.get(one).text)
    assert "baseline" not in ada_at_home.get("/p/char-lm").text
    assert "Every run is put away 1 run is in the archive." in said(ada_at_home.get("/p/char-lm").text)
    assert "baseline" in ada_at_home.get("/p/char-lm?archived=yes").text
    ada_at_home.send(one, f"{one}/archive", archived="no")
    assert "baseline" in ada_at_home.get("/p/char-lm").text


def test_a_deleted_run_is_gone(ada_at_home: Visitor, one: str) -> None:
    assert "data-confirm" in ada_at_home.get(one).text
    assert ada_at_home.send(one, f"{one}/delete").headers["Location"] == "/p/char-lm"
    assert ada_at_home.get(one).status_code == 404


def test_who_may_not_change_is_offered_nothing_and_refused(app: Flask, ada_at_home: Visitor, one: str) -> None:
    caller = Caller(app, 0, "")
    member = at_home(app, caller, "Ada's lab", "ben@example.org", "member")
    viewer = at_home(app, caller, "Ada's lab", "vera@example.org", "viewer")
    assert "Edit" in member.get(one).text
    assert f"{one}/delete" not in member.get(one).text
    assert member.send(one, f"{one}/delete").status_code == 403
    assert f'method="post" action="{one}"' not in viewer.get(one).text
    for action in (one, f"{one}/archive", f"{one}/delete"):
        assert viewer.send("/settings", action, name="x").status_code == 403
    assert ada_at_home.get(one).status_code == 200


def test_the_config_is_compared_with_that_of_another_run(ada_at_home: Visitor, ada: Caller, one: str) -> None:
    ada.run("char-lm", id="two", name="hot", config={"lr": 0.5, "opt": {"name": "adamw"}, "seed": 1})
    page = ada_at_home.get(f"{one}?against=two").text
    config = page[page.index('id="config-list"') : page.index("<h2>Summary")]
    changed = re.findall(r'class="is-changed"><dt title="([^"]+)".*?<del>([^<]+)</del> ([^<]+)</dd>', config)
    assert changed == [("lr", "0.5", "0.1"), ("seed", "1", "–")]
    assert 'is-same"><dt title="opt.name"' in config
    ada.run("other", id="three")
    assert ada_at_home.get(f"{one}?against=three").status_code == 404


def test_the_code_is_shown_with_its_changes(ada_at_home: Visitor, ada: Caller) -> None:
    sha = ada.post("/v1/blobs", data=DIFF.encode()).json["sha"]
    ada.run("char-lm", id="one", commit="c" * 40, diff_sha=sha)
    page = ada_at_home.get(PAGE).text
    assert "c" * 40 in page
    assert '<span class="gd">-old &lt;b&gt;</span>' in page
    assert '<span class="gi">+new &lt;b&gt;</span>' in page
    ada.run("char-lm", id="two", commit="c" * 40)
    assert "no change beyond it was told" in ada_at_home.get("/p/char-lm/runs/two").text
    ada.run("char-lm", id="three", commit="c" * 40, diff_sha="d" * 64)
    assert "was never uploaded" in said(ada_at_home.get("/p/char-lm/runs/three").text)


def test_the_diff_of_another_organization_stays_there(ada_at_home: Visitor, ada: Caller, mallory: Caller) -> None:
    sha = mallory.post("/v1/blobs", data=DIFF.encode()).json["sha"]
    ada.run("char-lm", id="one", diff_sha=sha)
    assert "was never uploaded" in said(ada_at_home.get(PAGE).text)


def test_files_are_listed_and_saved(ada_at_home: Visitor, ada: Caller, mallory_at_home: Visitor, one: str) -> None:
    sent = ada.post("/v1/files/upload?project=char-lm&name=out/samples.txt&run_id=one", data=b"hello")
    ada.run("char-lm", id="two")
    page = ada_at_home.get(one).text
    (address,) = re.findall(r'href="([^"]+/files/[^"]+)"', page)
    answer = ada_at_home.get(address)
    assert (answer.data, answer.mimetype) == (b"hello", "application/octet-stream")
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=samples.txt")
    assert ada_at_home.get(f"/p/char-lm/runs/two/files/{sent.json['id']}").status_code == 404
    assert mallory_at_home.get(address).status_code == 404


def test_silence_is_told_in_honest_words(ada_at_home: Visitor, ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    from arwx import clock

    ada.run("char-lm", id="one")
    now = clock.now()
    for minutes, words in ((1, "running"), (6, "The process may have stopped"), (40, "most likely died")):
        with monkeypatch.context() as later:
            later.setattr(clock, "now", lambda at=now + timedelta(minutes=minutes): at)
            page = said(ada_at_home.get(PAGE).text)
            assert words in page
            assert ("The next point makes it running again." in page) is (minutes > 2)


def test_the_course_is_in_order(ada_at_home: Visitor, ada: Caller, one: str) -> None:
    ada.post("/v1/runs/one/finish", json={"status": "failed"})
    course = re.findall(
        r"<li><span>([^<]+)</span>(?: <span class=\"quiet\">(\+)[^<]+</span>)? <time", ada_at_home.get(one).text
    )
    assert course == [("started", ""), ("last heard of", "+"), ("failed", "+")]


def test_a_run_without_a_number_says_what_its_summary_is_for(ada: Caller, ada_at_home: Visitor) -> None:
    run = ada.run("char-lm", id="blind")
    ada.ingest(run["id"], [{"step": 1, "ts": 1_764_000_000.0, "metrics": {}, "nonfinite": ["loss"]}])
    assert "The last value of every metric stands here." in said(ada_at_home.get("/p/char-lm/runs/blind").text)
