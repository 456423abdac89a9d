"""A NUL where an address or a body names a thing: PostgreSQL fails at the mere question, so it is never asked."""

import json
import re
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import event

from arwx.db import SAFE_METHODS
from tests.access.test_matrix import FORM, address, declared, example, form_token, routes
from tests.access.world import World, keyed, signed_in
from tests.make import Caller, point

NAMED = re.compile(r"<(?!int:)(?:\w+(?:\([^)]*\))?:)?(\w+)>")


def test_none_is_asked_for_in_any_place_of_any_address(world: World, tmp_path: Path) -> None:
    app = world.app(tmp_path)
    asked = listen(app)
    program, owner = keyed(app, world.keys["admin"]), signed_in(app, world.cookies["owner"])
    form = {"data": {**FORM, "csrf_token": form_token(owner)}}
    tried = 0
    for rule, method in routes():
        for place in NAMED.finditer(rule):
            before, after = rule[: place.start()], rule[place.end() :]
            # The rest of the address is there, so that nothing before this place ends the question.
            known = address(rule, {**world.names, **dict.fromkeys((place[1], noun(before, place[1])), "a%00b")})
            _, surface = declared(app, rule, method)
            client = program if surface == "api" else owner
            sent = example(app, rule, method) if surface == "api" else form
            answer = client.open(known, method=method, **(sent if method not in SAFE_METHODS else {}))
            where = f"{method} {before}<{place[1]}>{after}: {answer.status_code}"
            assert method == "OPTIONS" or 400 <= answer.status_code < 500, where
            assert asked == [], where
            tried += 1
    app.extensions["arwx.db"].engine.dispose()
    assert tried > 100


def test_points_for_one_are_for_no_run(ada: Caller) -> None:
    """Ingest asks by a statement of its own, past all listeners: on PostgreSQL the answer tells whether it asked."""
    head = {"run_id": "a\0b", "writer_id": "w", "epoch": "e", "first_seq": 0}
    lines = f"{json.dumps(head)}\n{json.dumps({'end': 0})}\n"
    for answer in (
        ada.ingest("a\0b", [point(0, loss=1.0)]),
        ada.ingest("a\0b", []),
        ada.post("/v1/ingest/stream", data=lines, content_type="application/x-ndjson"),
    ):
        assert (answer.status_code, answer.json["detail"]) == (404, "No such thing."), answer.text


def listen(app: Flask) -> list[str]:
    """The statements that ask the database for something with a NUL in it: SQLite would not mind."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        rows = parameters if isinstance(parameters, list) else [parameters]
        values = (value for row in rows for value in (row.values() if isinstance(row, dict) else row))
        if any("\0" in value for value in values if isinstance(value, str)):  # the bytes of a hash may hold one
            seen.append(statement)

    event.listen(app.extensions["arwx.db"].engine, "before_cursor_execute", note)
    return seen


def noun(before: str, name: str) -> str:
    return f"{before.rstrip('/').rpartition('/')[2]}.{name}"
