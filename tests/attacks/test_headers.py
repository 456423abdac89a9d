"""What stands around every answer: policies, cookies, caches, and the order in which a forger is turned away."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from arwx import config, create_app
from arwx.db import SAFE_METHODS
from tests.access.test_matrix import address, example, form_token, routes
from tests.access.world import PASSWORD, World, build, keyed, signed_in
from tests.make import Caller

PAGE_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def live(world: World, tmp_path_factory: pytest.TempPathFactory) -> Any:
    app = world.app(tmp_path_factory.mktemp("live"))
    yield app
    app.extensions["arwx.db"].engine.dispose()


def policy(text: str) -> dict[str, str]:
    return {name: rest for name, _, rest in (part.strip().partition(" ") for part in text.split(";") if part.strip())}


def test_every_answer_carries_its_policies(live: Flask, world: World) -> None:
    """Of every address, to the owner, to a key and to a stranger, whatever the status."""
    seen: dict[int, int] = {}
    for rule, method in routes():
        if method not in {"GET", "HEAD"}:
            continue
        path = address(rule, world.names)
        for client in (signed_in(live, world.cookies["owner"]), keyed(live, world.keys["admin"]), live.test_client()):
            answer = client.open(path, method=method)
            headers, where = answer.headers, f"{method} {path} {answer.status_code}"
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
            assert headers["X-Content-Type-Options"] == "nosniff", where
            assert headers["Referrer-Policy"] == "same-origin", where
            said = policy(headers["Content-Security-Policy"])
            assert said["default-src"] == "'none'", where
            assert "unsafe" not in headers["Content-Security-Policy"], where
            if answer.mimetype == "text/html" and answer.status_code == 200:
                assert {name: said.get(name) for name in PAGE_POLICY} == PAGE_POLICY, where
            elif answer.mimetype not in {"text/html", "text/css"} and not path.startswith("/static/"):
                assert "sandbox" in said, where
            assert not [name for name, _ in headers if name.lower().startswith("access-control-")], where
            assert "Server" not in headers or "Werkzeug" in headers["Server"], where
    assert {200, 302, 401, 404} <= set(seen)


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/v1/runs/x", "/static/nothing.js"])
def test_failures_carry_them_too(live: Flask, world: World, path: str) -> None:
    for client in (live.test_client(), keyed(live, world.keys["admin"]), signed_in(live, world.cookies["owner"])):
        answer = client.get(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_an_unchanged_answer_carries_them_too(live: Flask, world: World) -> None:
    client = keyed(live, world.keys["read"])
    first = client.get(f"/v1/runs/{world.names['run_id']}")
    again = client.get(f"/v1/runs/{world.names['run_id']}", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.headers["X-Content-Type-Options"] == "nosniff"


def test_over_tls_browsers_are_told_to_stay_there(settings: config.Settings) -> None:
    app = create_app(replace(settings, base_url="https://arwx.example.org"))
    client = app.test_client()
    page = client.get("/login", base_url="https://arwx.example.org")
    assert "max-age=31536000" in page.headers["Strict-Transport-Security"]
    cookies = page.headers.getlist("Set-Cookie")
    assert len(cookies) == 1
    for part in ("__Host-arwx=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert part in cookies[0]
    assert "Domain" not in cookies[0]
    assert (
        "max-age=31536000"
        in client.get("/v1/x", base_url="https://arwx.example.org").headers["Strict-Transport-Security"]
    )
    app.extensions["arwx.db"].engine.dispose()


def test_pages_of_a_person_are_kept_nowhere_and_public_answers_set_no_cookie(live: Flask, world: World) -> None:
    for rule, method in routes():
        if method != "GET" or rule.startswith("/static"):
            continue
        path = address(rule, world.names)
        answer = signed_in(live, world.cookies["owner"]).get(path)
        if answer.mimetype == "text/html" and answer.status_code == 200 and not rule.startswith(("/sdk", "/docs")):
            assert re.search("no-store|no-cache", answer.headers["Cache-Control"]), path
            assert "private" in answer.headers["Cache-Control"], path
            assert "Cookie" in answer.headers["Vary"], path
        if rule.startswith(("/v1/", "/health", "/ready", "/sdk", "/embed")):
            assert "Set-Cookie" not in answer.headers, path
            key = keyed(live, world.keys["read"]).get(path)
            assert "Set-Cookie" not in key.headers, path
            assert (
                "public" not in key.headers.get("Cache-Control", "")
                or not rule.startswith("/v1/")
                or rule == "/v1/openapi.json"
            ), path


def forms() -> list[str]:
    return [rule for rule, method in routes() if method == "POST" and not rule.startswith("/v1/")]


def test_a_forged_form_is_refused_before_anything_is_asked(world: World, tmp_path: Path) -> None:
    """Every form: without a token, with that of another session, and from another site even with a good one."""
    app = world.app(tmp_path)
    queries: list[str] = []
    event.listen(app.extensions["arwx.db"].engine, "before_cursor_execute", lambda *seen: queries.append(seen[2]))
    others = form_token(signed_in(app, world.cookies["stranger"]))
    assert len(forms()) > 15
    for rule in forms():
        client = signed_in(app, world.cookies["owner"])
        token, path = form_token(client), address(rule, world.names)
        for data, headers in (
            ({}, {}),
            ({"csrf_token": ""}, {}),
            ({"csrf_token": others}, {}),
            ({"csrf_token": token}, {"Sec-Fetch-Site": "cross-site"}),
            ({"csrf_token": token}, {"Sec-Fetch-Site": "same-site"}),
        ):
            queries.clear()
            answer = client.post(path, data=data, headers=headers)
            assert answer.status_code == 403, f"{path} {data} {headers} {answer.status_code}"
            asked = [query for query in queries if not query.startswith(("BEGIN", "ROLLBACK"))]
            # The page that says so is told in the frame of whoever is signed in; what was asked for is not touched.
            assert not [query for query in asked if not query.startswith("SELECT")], f"{path}: {asked}"
    app.extensions["arwx.db"].engine.dispose()


def test_a_get_changes_nothing(world: World, tmp_path: Path) -> None:
    """Every address that is only asked, by whoever may: no statement that writes, but for when somebody was last seen."""
    app = world.app(tmp_path)
    written: list[str] = []

    def note(*seen: Any) -> None:
        if re.match("INSERT|UPDATE|DELETE", seen[2]):
            written.append(seen[2])

    event.listen(app.extensions["arwx.db"].engine, "before_cursor_execute", note)
    keyed(app, world.keys["admin"]).get("/v1/projects")  # notes that the key is used
    written.clear()
    for rule, method in routes():
        if method in SAFE_METHODS:
            path = address(rule, world.names)
            keyed(app, world.keys["admin"]).open(path, method=method)
            signed_in(app, world.cookies["owner"]).open(path, method=method)
    assert [query for query in written if "logins" not in query and "audit" not in query] == []
    app.extensions["arwx.db"].engine.dispose()


def test_a_cookie_opens_nothing_of_the_api(live: Flask, world: World) -> None:
    client = signed_in(live, world.cookies["owner"])
    for rule, method in routes():
        if rule.startswith("/v1/") and rule != "/v1/openapi.json" and method not in {"OPTIONS", "HEAD"}:
            answer = client.open(address(rule, world.names), method=method, **example(live, rule, method))
            assert answer.status_code == 401, rule


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://127.0.0.1:1"])
def test_other_origins_get_no_leave_to_read(ada: Caller, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        answer = ada.open("/v1/projects", method, headers=asked)
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]


def test_keys_come_in_one_way_alone(app: Flask, ada: Caller) -> None:
    client = app.test_client()
    for options in (
        {"query_string": {"api_key": ada.key}},
        {"query_string": {"access_token": ada.key}},
        {"headers": {"Cookie": f"api_key={ada.key}; arwx={ada.key}"}},
        {"headers": {"X-Api-Key": ada.key}},
        {"headers": {"Authorization": ada.key}},
        {"headers": {"Authorization": f"Token {ada.key}"}},
        {"headers": {"Authorization": f"Bearer  {ada.key}"}},
        {"headers": {"Authorization": f"Bearer {ada.key} x"}},
        {"headers": {"Authorization": f"Bearer {ada.key},Bearer {ada.key}"}},
        {"headers": [("Authorization", "Bearer x"), ("Authorization", f"Bearer {ada.key}")]},
        {"headers": {"Authorization": f"Bearer {ada.key.upper()}"}},
        {"headers": {"Authorization": f"Bearer {ada.key[:-1]}"}},
    ):
        answer = client.get("/v1/projects", **options)  # type: ignore[arg-type]
        assert answer.status_code == 401, options
        assert ada.key not in answer.text
    assert client.get("/v1/projects", headers={"Authorization": f"bearer {ada.key}"}).status_code == 200


@pytest.fixture
def asked(app: Flask) -> Iterator[list[str]]:
    """The statements of the house, those that are handed to the driver directly too."""
    seen: list[str] = []

    def note(_connection: object, statement: object, *_: object) -> None:
        seen.append(str(statement))

    engine = app.extensions["arwx.db"].engine
    event.listen(engine, "before_execute", note)
    yield seen
    event.remove(engine, "before_execute", note)


def test_a_key_with_a_typing_error_never_reaches_the_database(app: Flask, ada: Caller, asked: list[str]) -> None:
    ada.get("/v1/projects")
    assert [query for query in asked if "FROM api_keys" in query]
    asked.clear()
    typed = ada.key[:-1] + ("0" if ada.key[-1] != "0" else "1")
    for key in (typed, "arwx_live_" + "0" * 30, "arwx_live_" + "é" * 30, "x" * 10_000):
        assert Caller(app, 1, key).get("/v1/projects").status_code == 401
    assert [query for query in asked if "api_keys" in query] == []


def test_keys_are_found_by_their_hash_so_that_no_comparison_can_be_timed(ada: Caller, asked: list[str]) -> None:
    """The secret is hashed before it is looked for: how much of a guess is right shows in no time."""
    ada.get("/v1/projects")
    found = next(query for query in asked if "FROM api_keys" in query)
    assert re.search(r"api_keys\.hash = :hash", found)


def test_a_planted_session_is_not_the_one_that_is_signed_in(world: World, tmp_path: Path) -> None:
    """Whoever put a cookie into a browser before the login holds nothing after it."""
    app = world.app(tmp_path)
    victim = signed_in(app, world.cookies["viewer"])
    token = form_token(victim)
    planted = victim.get_cookie("arwx")
    victim.post("/login", data={"csrf_token": token, "email": "owner@example.org", "password": PASSWORD})
    fresh = victim.get_cookie("arwx")
    assert planted is not None
    assert fresh is not None
    assert fresh.value != planted.value
    assert victim.get("/settings").status_code == 200
    # The old one is over for everybody, and never became the owner's.
    assert signed_in(app, planted.value).get("/settings").status_code == 302
    for made_up in ("x", "", fresh.value[:-3], fresh.value + "x"):
        assert signed_in(app, made_up).get("/settings").status_code == 302
    app.extensions["arwx.db"].engine.dispose()
