"""People with a browser: signed-in clients, and pages to look into."""

import html
import re
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from arwx import members, organizations, people
from arwx.db import Database
from tests.make import Caller

PASSWORD = "correct horse battery"


class Visitor:
    """Somebody at a browser, without script unless a request says that htmx asks."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, path: str, *, is_htmx: bool = False, **options: Any) -> TestResponse:
        headers = {**options.pop("headers", {}), **({"HX-Request": "true"} if is_htmx else {})}
        return self.client.get(path, headers=headers, **options)

    def send(self, page: str, action: str, *, is_htmx: bool = False, **fields: str) -> TestResponse:
        """Fill in the form of a page and send it, with the token that stands in it."""
        token = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get(page).text)
        assert token is not None, f"no form on {page}"
        headers = {"HX-Request": "true"} if is_htmx else {}
        return self.client.post(action, data={"csrf_token": html.unescape(token[1]), **fields}, headers=headers)

    def log_in(self, email: str, password: str = PASSWORD, **fields: str) -> TestResponse:
        return self.send("/login", "/login", email=email, password=password, **fields)


@pytest.fixture
def stranger(app: Flask) -> Visitor:
    """Somebody who has not signed in."""
    return Visitor(app)


def at_home(app: Flask, caller: Caller, org: str, email: str, role: str) -> Visitor:
    database: Database = app.extensions["arwx.db"]
    with database.writing() as session:
        user = people.add_user(session, email, PASSWORD)
        members.join(session, user, organizations.named(session, org), role)
    visitor = Visitor(app)
    assert visitor.log_in(email).status_code == 302
    return visitor


@pytest.fixture
def ada_at_home(app: Flask, ada: Caller) -> Visitor:
    """Ada at her browser: she owns the organization."""
    return at_home(app, ada, "Ada's lab", "ada@example.org", "owner")


@pytest.fixture
def ben_at_home(app: Flask, ada: Caller) -> Visitor:
    """Ben at his browser: a member of Ada's lab."""
    return at_home(app, ada, "Ada's lab", "ben@example.org", "member")


@pytest.fixture
def mallory_at_home(app: Flask, mallory: Caller) -> Visitor:
    """Mallory at her browser, in her own organization."""
    return at_home(app, mallory, "Elsewhere", "mallory@example.org", "owner")
