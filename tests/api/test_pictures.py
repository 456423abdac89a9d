"""Pictures over /v1 and by secret addresses: well-formed whatever was written, revocable, cacheable, small."""

import random
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from flask import Flask
from playwright.sync_api import Browser
from werkzeug.test import TestResponse

from arwx import clock, deletion
from arwx.access import Scope
from arwx.models import Decision, Experiment, ResearchSession
from tests.make import Caller

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "]]><script>alert(1)</script>&#x0;\x01\u202e<img src=x onerror=alert(1)>\"' onload=alert(1) "


def tell(caller: Caller, rows: list[tuple[Any, ...]], project: str = "char-lm", **goal: Any) -> list[dict[str, Any]]:
    """A project with these experiments: status, score, note, session."""
    caller.post("/v1/projects", json={"name": project, "objective_metric": "val_bpb", **goal})
    made = []
    for status, score, note, session in ((*row, None, None, None)[:4] for row in rows):
        session_id = f"ses-{session}" if (session or "one").isalnum() else f"ses-{len(made)}"
        opened = caller.post("/v1/sessions", json={"project": project, "id": session_id[:60], "tag": session})
        session_id = opened.json["id"]
        answer = caller.post("/v1/experiments", json={"session_id": session_id, "note": note})
        assert answer.status_code == 201, answer.text
        made.append(answer.json)
        if status:
            verdict = {"status": status, **({} if score is None else {"score": score})}
            assert caller.post(f"/v1/experiments/{made[-1]['id']}/decision", json=verdict).status_code == 201
    return made


def words(answer: TestResponse) -> str:
    return " ".join("".join(element.itertext()) for element in ET.fromstring(answer.data).iter(f"{SVG}text"))


STORY = [("keep", 2.81, "baseline"), ("drop", 2.9, "hot"), ("crash", None, "oom"), ("keep", 2.5, "warm", "second")]


def test_a_project_and_a_session_have_their_pictures(ada: Caller) -> None:
    tell(ada, STORY, target=2.4)
    for path, said in [
        ("projects/char-lm/progress.svg", "val_bpb 2.81 → 2.5 in 4 experiments, 0.1 to target"),
        ("projects/char-lm/frontier.svg", "val_bpb 2.81 → 2.5 in 2 steps"),
        ("sessions/ses-second/progress.svg", "val_bpb 2.5 in 1 experiment"),
        ("sessions/ses-None/frontier.svg", "val_bpb 2.81 in 1 step"),
        ("projects/char-lm/progress.svg?session_id=ses-second", "val_bpb 2.5 in 1 experiment"),
    ]:
        answer = ada.get(f"/v1/{path}")
        assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
        assert said in words(answer)
        assert answer.headers["Cache-Control"] == "private, no-cache"
        again = ada.get(f"/v1/{path}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
    before = ada.get("/v1/projects/char-lm/progress.svg").headers["ETag"]
    tell(ada, [("drop", 2.7, "later")], target=2.4)
    assert ada.get("/v1/projects/char-lm/progress.svg").headers["ETag"] != before


def test_its_look_is_asked_for(ada: Caller) -> None:
    tell(ada, STORY)
    path = "/v1/projects/char-lm/progress.svg"
    auto, dark = ada.get(path).text, ada.get(f"{path}?theme=dark&background=none").text
    assert "prefers-color-scheme" in auto
    assert 'class="ground"' in auto
    assert "prefers-color-scheme" not in dark
    assert 'class="ground"' not in dark
    for query, field in (("theme=blue", "theme"), ("background=red", "background"), ("color=red", "color")):
        answer = ada.get(f"{path}?{query}")
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)


def test_whatever_was_written_stays_text(ada: Caller) -> None:
    name = "<b>&\"'"
    tell(ada, [("keep", 2.6, HOSTILE * 3, "<i>&"), ("keep", 2.5, "\u2028" + HOSTILE, "two")], project=name)
    ada.post("/v1/projects", json={"name": name, "description": HOSTILE})
    picture = ada.get("/v1/projects/%3Cb%3E&\"'/progress.svg")
    root = ET.fromstring(picture.data)
    known = {"svg", "title", "desc", "metadata", "style", "g", "text", "line", "path", "rect"}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= known
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in attributes if name.startswith("on") or name in {"style", "href"}}
    policy = picture.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("sandbox")
    assert "unsafe" not in policy
    assert picture.headers["X-Content-Type-Options"] == "nosniff"


def test_a_note_of_a_hundred_kilobytes_makes_no_big_picture(ada: Caller) -> None:
    tell(ada, [("keep", 2.6 - i / 100, "&<\"'" * 16_000, "s" * 100) for i in range(3)])
    assert len(ada.get("/v1/projects/char-lm/progress.svg").data) < 20_000


@pytest.mark.parametrize("kind", ["mixed", "all kept", "undecided"])
def test_a_thousand_experiments_take_sixty_kilobytes(app: Flask, ada: Caller, kind: str) -> None:
    chance, best = random.Random(7), 9.0
    tell(ada, [("keep", best, "baseline")], target=1.0)
    steps = []
    for number in range(999):
        best -= chance.random() / 200
        note, session = f"{number} " + "&<>\"'" * 40, f"s{number // 20}"
        if kind == "undecided":
            steps.append((None, None, note, session))
        elif kind == "all kept" or chance.random() < 0.2:
            steps.append(("keep", best, note, session))
        else:
            steps.append((chance.choice(["drop", "crash"]), None, note, session))
    fill(app, ada, steps)
    for name in ("progress.svg", "frontier.svg"):
        answer = ada.get(f"/v1/projects/char-lm/{name}")
        assert len(answer.data) <= 60_000
        ET.fromstring(answer.data)
    assert len(ada.get("/v1/projects/char-lm/progress").json["items"]) == 1000


def fill(app: Flask, caller: Caller, rows: list[tuple[Any, ...]]) -> None:
    """Many experiments at once: a thousand requests would take a minute."""
    with app.extensions["arwx.db"].writing() as db:
        project = Scope(db, caller.org_id, "write", "key:test").project("char-lm")
        common = {
            "org_id": caller.org_id,
            "project_id": project.id,
            "created_by": "key:test",
            "created_at": clock.now(),
        }
        db.add_all(ResearchSession(id=tag, tag=tag, **common) for tag in {row[3] for row in rows})
        db.flush()
        verdicts = []
        for index, (status, score, note, tag) in enumerate(rows, project.experiment_count + 1):
            key = f"{index:064x}"
            db.add(Experiment(id=f"e{index}", session_id=tag, index=index, note=note, repro_key=key, **common))
            if status:
                verdict = {"metric": "val_bpb", "lower_is_better": True, "number": 1}
                score = 9.5 if status == "drop" else score
                common_id = {"id": f"d{index}", "experiment_id": f"e{index}"}
                verdicts.append(Decision(status=status, score=score, **common_id, **verdict, **common))
        project.experiment_count += len(rows)
        db.flush()
        db.add_all(verdicts)


def embed(caller: Caller, kind: str = "progress") -> dict[str, Any]:
    answer = caller.post("/v1/projects/char-lm/embeds", json={"kind": kind})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]


@pytest.mark.parametrize("kind", ["progress", "frontier", "badge"])
def test_anybody_sees_an_embed_until_it_is_revoked(app: Flask, ada: Caller, kind: str) -> None:
    tell(ada, STORY, target=2.4)
    made = embed(ada, kind)
    path, anybody = path_of(made["url"]), app.test_client()
    assert path.endswith(f"/{kind}.svg")
    assert made["markdown"] == f"[![char-lm: {kind}]({made['url']})](http://localhost/p/char-lm/experiments)"
    answer = anybody.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
    assert "2.5" in words(answer)
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert "Set-Cookie" not in answer.headers
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert anybody.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert anybody.get(f"{path}?theme=dark").status_code == 200

    listed = ada.get("/v1/projects/char-lm/embeds").json["items"]
    assert [(one["id"], one["kind"]) for one in listed] == [(made["id"], kind)]
    assert "url" not in listed[0]
    assert ada.delete(f"/v1/embeds/{made['id']}").status_code == 204
    assert anybody.get(path).status_code == 404
    assert ada.get("/v1/projects/char-lm/embeds").json["items"] == []
    assert ada.delete(f"/v1/embeds/{made['id']}").status_code == 404


def test_what_is_not_there_is_told_by_a_picture(app: Flask, ada: Caller) -> None:
    tell(ada, STORY)
    token = embed(ada)["url"].split("/")[-2]
    anybody = app.test_client()
    swapped = token[:-1] + ("A" if token[-1] != "A" else "B")
    for path in (
        f"{token}/frontier.svg",  # an address shows one picture
        f"{token}/badge.svg",
        f"{token}/x.svg",
        f"{swapped}/progress.svg",
        f"ff{token}/progress.svg",
        "nothing/progress.svg",
        f"{'f' * 15}_{'a' * 24}/progress.svg",
        f"{'9' * 40}_{'a' * 24}/progress.svg",
        "%00/progress.svg",
    ):
        answer = anybody.get(f"/embed/{path}")
        assert (answer.status_code, answer.mimetype) == (404, "image/svg+xml"), path
        assert "not available" in words(answer)
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("query", ["x=1", "theme=pink", "theme=dark&theme=light", "background=", "utm_source=a"])
def test_an_address_with_more_in_it_is_refused(app: Flask, ada: Caller, query: str) -> None:
    tell(ada, STORY)
    path = path_of(embed(ada)["url"])
    assert app.test_client().get(f"{path}?{query}").status_code == 400
    assert app.test_client().get(path, headers={"X-Forwarded-Host": "evil.example"}).status_code == 200


def test_embeds_end_with_their_project(app: Flask, ada: Caller) -> None:
    tell(ada, STORY)
    path = path_of(embed(ada)["url"])
    with app.extensions["arwx.db"].writing() as session:
        deletion.delete_project(Scope(session, ada.org_id, "admin", "key:test"), "char-lm")
    assert app.test_client().get(path).status_code == 404


def test_embeds_are_walked_page_by_page(ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "char-lm"})
    made = [ada.post("/v1/projects/char-lm/embeds", json={"kind": "badge"}).json["id"] for _ in range(3)]
    first = ada.get("/v1/projects/char-lm/embeds?limit=2").json
    rest = ada.get(f"/v1/projects/char-lm/embeds?limit=2&cursor={first['next']}").json
    assert [one["id"] for one in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None


def test_a_session_of_another_project_is_none_of_this_one(ada: Caller) -> None:
    tell(ada, [("keep", 2.8)])
    tell(ada, [("keep", 2.8, "elsewhere", "theirs")], project="other")
    for path in ("progress", "frontier", "progress.svg", "frontier.svg"):
        assert ada.get(f"/v1/projects/other/{path}?session_id=ses-theirs").status_code == 200
        assert ada.get(f"/v1/projects/char-lm/{path}?session_id=ses-theirs").status_code == 404


def test_who_may_make_and_see_embeds(ada: Caller, mallory: Caller) -> None:
    tell(ada, STORY)
    made = embed(ada)
    reader = Caller(ada.app, ada.org_id, ada.post("/v1/keys", json={"name": "r", "scope": "read"}).json["key"])
    assert reader.post("/v1/projects/char-lm/embeds", json={"kind": "badge"}).status_code == 403
    assert reader.delete(f"/v1/embeds/{made['id']}").status_code == 403
    assert mallory.post("/v1/projects/char-lm/embeds", json={"kind": "badge"}).status_code == 404
    assert mallory.get("/v1/projects/char-lm/embeds").status_code == 404
    assert mallory.delete(f"/v1/embeds/{made['id']}").status_code == 404
    assert mallory.get("/v1/projects/char-lm/progress.svg").status_code == 404
    wrong = ada.post("/v1/projects/char-lm/embeds", json={"kind": "poster"})
    assert (wrong.status_code, wrong.json["errors"][0]["field"]) == (422, "kind")


def test_no_script_runs_and_the_style_works(app: Flask, ada: Caller, browser: Browser) -> None:
    """As a document of its own, under its own policy."""
    tell(ada, [("keep", 2.6, HOSTILE, "<i>"), ("drop", 2.7, HOSTILE), ("keep", 2.5, "fine")], target=2.4)
    answer = ada.get("/v1/projects/char-lm/progress.svg?theme=light")
    context = browser.new_context(java_script_enabled=True, viewport={"width": 1000, "height": 560})
    page = context.new_page()
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: said.append(message.text))
    page.route(
        "**/*",
        lambda route: route.fulfill(status=200, headers=dict(answer.headers.items()), body=answer.get_data()),
    )
    page.goto("http://127.0.0.1/picture.svg")
    page.wait_for_load_state()
    shot = page.screenshot()
    context.close()
    assert said == []
    assert shot != b""
