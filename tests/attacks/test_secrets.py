"""Log lines that nobody can forge, and secrets that are in none of them, nor in the database."""

import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from arwx import config, web
from tests.access.world import PASSWORD, build
from tests.conftest import KIND
from tests.make import Caller

FORGED = '\r\n{"time":"now","level":"info","event":"request","status":200,"actor":"user:1"}\r\n\x1b[31m'


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the server writes to its log."""
    out, root = io.StringIO(), logging.getLogger("arwx")
    handlers, level, propagate = root.handlers, root.level, root.propagate
    monkeypatch.setattr("sys.stdout", out)
    web.log_to_stdout()
    yield out
    root.handlers, root.level, root.propagate = handlers, level, propagate


def test_a_line_of_the_log_is_one_object_whatever_was_sent(ada: Caller, lines: io.StringIO) -> None:
    ada.run(name=FORGED.replace("\x1b", ""), id="r")
    ada.get("/v1/runs/r", headers={"User-Agent": "A" * 1_000_000})
    ada.get("/v1/runs/" + "%0d%0a%7b%22level%22%3a%22info%22%7d")
    ada.get("/v1/runs/r", headers={"X-Request-Id": 'forged" , "x": "y'})
    ada.get("/v1/runs/r", headers={"X-Request-Id": "a" * 65})
    ada.get("/v1/runs/r", headers={"X-Request-Id": "good-request-id"})
    written = lines.getvalue().splitlines()
    assert len(written) >= 6
    for line in written:
        found = json.loads(line)
        assert {"time", "level", "event"} <= set(found)
        assert len(line) <= 8192
        assert "\x1b" not in line
    ids = [json.loads(line).get("request_id") for line in written]
    assert "good-request-id" in ids
    assert not any("forged" in str(id_) or len(str(id_)) > 64 for id_ in ids)


def test_a_failure_of_ours_is_one_line_with_the_id_of_its_answer(app: Flask, ada: Caller, lines: io.StringIO) -> None:
    app._got_first_request = False
    app.add_url_rule("/v1/broken", "api.broken", lambda: {}[FORGED])  # type: ignore[index]
    answer = ada.get("/v1/broken")
    assert answer.status_code == 500
    for word in ("Traceback", "KeyError", "/work", ".py", "SELECT", "sqlite", "postgres"):
        assert word not in answer.text
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    failures = [line for line in told if line["level"] == "error"]
    assert [line["request_id"] for line in failures] == [answer.json["request_id"]]
    app._got_first_request = False
    app.add_url_rule("/v1/loud", "api.loud", lambda: {}["A" * 1_000_000])
    assert ada.get("/v1/loud").status_code == 500
    longest = max(lines.getvalue().splitlines(), key=len)
    assert len(longest) <= 8192
    assert "KeyError" in json.loads(longest)["trace"] or "AAAA" in json.loads(longest)["trace"]


@pytest.mark.parametrize("broken", ["no table", "no file"])
def test_a_database_that_breaks_tells_nothing_of_itself(
    settings: config.Settings, app: Flask, ada: Caller, broken: str
) -> None:
    if KIND == "postgres":
        return  # its own failures are told in the tests of the deployment
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    if broken == "no table":
        with sqlite3.connect(path) as connection:
            connection.execute("ALTER TABLE projects RENAME TO gone")
    else:
        app.extensions["arwx.db"].engine.dispose()
        for part in path.parent.glob("arwx.db*"):
            part.unlink()
    for answer in (ada.get("/v1/projects"), ada.post("/v1/runs", json={"project": "p"}), ada.get("/v1/keys")):
        assert answer.status_code in {200, 401, 500, 503}
        for word in ("Traceback", "sqlite", "SELECT", "INSERT", "no such table", str(path), "projects."):
            assert word not in answer.text, answer.text
    if broken == "no table":
        with sqlite3.connect(path) as connection:
            connection.execute("ALTER TABLE gone RENAME TO projects")


def test_secrets_are_in_no_log_and_not_in_the_database(tmp_path: Path, lines: io.StringIO) -> None:
    """A whole world is made and used; then everything that it wrote is searched for what nobody should find there."""
    (tmp_path / "made").mkdir()
    world = build(tmp_path / "made")
    app = world.app(tmp_path / "used")
    client = app.test_client()
    for key in world.keys.values():
        client.get("/v1/projects", headers={"Authorization": f"Bearer {key}"})
        client.get(f"/v1/projects?api_key={key}")
        client.get(f"/v1/runs/{key}", headers={"Authorization": f"Bearer {key}"})
    for cookie in world.cookies.values():
        client.set_cookie("arwx", cookie)
        client.get("/settings")
    app.extensions["arwx.db"].engine.dispose()
    secrets = [
        *world.keys.values(),
        PASSWORD,
        *world.cookies.values(),
        world.names["reset.token"],
        world.names["embed.token"],
    ]
    log = lines.getvalue()
    assert log.count("\n") > 20
    for secret in secrets:
        assert secret not in log
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "secret_key")
    assert len(kept) > 100_000
    for secret in secrets:
        assert secret.encode() not in kept
