"""Every address, every method, every kind of caller: each cell of the matrix against what the address declares."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from arwx import config, create_app, ui
from arwx.access import LEVELS, ROLE_LEVELS
from arwx.api import openapi
from arwx.db import SAFE_METHODS
from tests.access.world import CANARY, World, keyed, signed_in

CELLS: Counter[str] = Counter()
KEYS = {
    "no key": None,
    "malformed key": "arwx_live_short",
    "revoked key": "revoked",
    "key of another organization": "stranger",
    "read key": "read",
    "write key": "write",
    "admin key": "admin",
}
BROWSERS = {
    "anonymous browser": None,
    "member of another organization": "stranger",
    "viewer": "viewer",
    "member": "member",
    "owner": "owner",
}
# What the forms of the pages need to get as far as to the question who may.
FORM = {"name": "k", "level": "read", "role": "viewer", "ref": "winner", "version": "1"}
LEVEL_OF = {"read key": "read", "write key": "write", "admin key": "admin", **ROLE_LEVELS}


def routes() -> list[tuple[str, str]]:
    app = create_app(config.Settings("sqlite://", Path("/nonexistent"), "x" * 40))
    return sorted({(rule.rule, method) for rule in app.url_map.iter_rules() for method in rule.methods or ()})


@pytest.fixture(scope="module")
def unchanging(world: World, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """One application for all that changes nothing."""
    return world.app(tmp_path_factory.mktemp("unchanging"), "unchanging")


@pytest.fixture
def app(request: pytest.FixtureRequest, world: World, unchanging: Flask, tmp_path: Path, method: str) -> Any:
    """The world as it was made, whatever the test before did to it."""
    if method in SAFE_METHODS:
        yield unchanging
        return
    app = world.app(tmp_path)
    yield app
    app.extensions["arwx.db"].engine.dispose()


@pytest.mark.parametrize(("rule", "method"), routes())
def test_each_caller_gets_what_the_address_declares_and_no_more(
    app: Flask, world: World, rule: str, method: str
) -> None:
    level, surface = declared(app, rule, method)
    hers, nobodys = address(rule, world.names), address(rule, {})
    body = example(app, rule, method)
    if rule == "/v1/keys" and method == "POST":
        body["json"] = {"name": "k", "scope": "read"}  # what every key may mint
    wrong = []

    def check(actor: str, client: FlaskClient, level_of_actor: str | None, *, is_stranger: bool) -> None:
        CELLS[actor] += 1
        sent = body
        if surface == "ui" and method == "POST":
            sent = {"data": {**FORM, "csrf_token": form_token(client)}}
        answer = client.open(hers, method=method, **sent)
        where = f"{actor}: {method} {hers} → {answer.status_code}"
        if answer.status_code >= 500:
            wrong.append(f"{where}: {answer.data[:200]!r}")
        verdict = refusal(answer, surface)
        expected = expectation(level, level_of_actor)
        if level == "public" or (rule == "/logout" and level_of_actor):
            verdict = expected  # a wrong password is 401 too, and who signs out is sent to the login
        if is_stranger and expected == "in":
            if CANARY in leaked(answer, hers):
                wrong.append(f"{where} holds a canary: {answer.data[:300]!r}")
            if "<" in rule and level != "public" and method != "OPTIONS":
                nothing = client.open(nobodys, method=method, **sent)
                if answer.status_code != 404 or told(answer) != told(nothing):
                    wrong.append(f"{where}, what is not there {nothing.status_code}: {told(answer)} {told(nothing)}")
                return
        if verdict != expected:
            wrong.append(f"{where} is {verdict}, should be {expected}: {answer.data[:150]!r}")

    for actor, key in KEYS.items():
        secret = world.keys.get(key, key) if key else None
        known = LEVEL_OF.get(actor) or ("admin" if key == "stranger" else None)
        # A key opens no page, whoever holds it.
        check(actor, keyed(app, secret), known if surface == "api" else None, is_stranger=key == "stranger")
    for actor, who in BROWSERS.items():
        cookie = world.cookies[who] if who else None
        known = LEVEL_OF.get(actor) or ("admin" if who == "stranger" else None)
        # A cookie opens nothing of the API.
        check(actor, signed_in(app, cookie), known if surface == "ui" else None, is_stranger=who == "stranger")
    assert wrong == []


def test_the_matrix_is_whole() -> None:
    """Runs last: every address was asked by everyone."""
    assert set(CELLS) == {*KEYS, *BROWSERS}
    assert len(set(CELLS.values())) == 1
    print(f"authorization matrix: {len(routes())} methods × {len(CELLS)} callers = {sum(CELLS.values())} cells")


def declared(app: Flask, rule: str, method: str) -> tuple[str, str]:
    """The level that the address declares, and the surface that it belongs to."""
    found = next(one for one in app.url_map.iter_rules() if one.rule == rule and method in (one.methods or ()))
    if found.endpoint == "static":
        return "public", "ui"
    if found.endpoint.startswith("ui."):
        with app.app_context():
            level = ui.level_of(found.endpoint, method)
            # The things are others', so only whoever may do it to others' gets in.
            return ("admin" if method == "POST" else "read") if level == ui.OWN else level, "ui"
    return app.view_functions[found.endpoint].operation.level, "api"  # type: ignore[attr-defined]


def address(rule: str, names: dict[str, str]) -> str:
    """The rule with Ada's names in it, or with names that nobody has."""

    def name(match: re.Match[str]) -> str:
        noun = rule[: match.start()].rstrip("/").rpartition("/")[2]
        for known in (f"{noun}.{match[1]}", match[1]):
            if known in names:
                return names[known]
        assert not names, f"say in tests/access/world.py which <{match[1]}> of {rule} is Ada's"
        return {"sha": "0" * 64, "user_id": "999"}.get(match[1], "nobodys")

    return re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", name, rule)


def example(app: Flask, rule: str, method: str) -> dict[str, Any]:
    """A body that the address takes: the example of the documentation."""
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
    found = (
        openapi.document(app)["paths"].get(path, {}).get(method.lower(), {}).get("requestBody", {}).get("content", {})
    )
    for media, content in found.items():
        if media == "application/json":
            return {"json": content["example"]}
        return {"data": content["example"], "content_type": "application/octet-stream" if media == "*/*" else media}
    return {}


def form_token(client: FlaskClient) -> str:
    """What a form of our own pages would bring."""
    page = client.get("/settings")
    text = page.text if page.status_code == 200 else client.get("/login").text
    return text.partition('name="csrf_token" value="')[2].partition('"')[0]


def refusal(answer: TestResponse, surface: str) -> str:
    """How the answer turns the caller away, or `in`."""
    if answer.status_code in {401, 403}:
        return {401: "out", 403: "forbidden"}[answer.status_code]
    if surface == "ui" and answer.status_code == 302 and re.match(r"/(login|signup)", answer.headers["Location"]):
        return "out"
    return "in"


def expectation(level: str, of_actor: str | None) -> str:
    if level == "public":
        return "in"
    if of_actor is None:
        return "out"
    return "in" if LEVELS.index(of_actor) >= LEVELS.index(level) else "forbidden"


def told(answer: TestResponse) -> str:
    """The body without what names this one request."""
    return re.sub(
        r'"request_id":"[^"]*"|<code>[0-9a-f]{16}</code>|csrf[^>]*>|"dur=[^"]*"',
        "",
        answer.data.decode(errors="replace"),
    )


def leaked(answer: TestResponse, asked: str) -> str:
    """The answer, headers included, without the address that the caller sent."""
    text = answer.data.decode(errors="replace") + str(answer.headers)
    return text.replace(asked, "").replace(asked.replace(" ", "%20"), "")
