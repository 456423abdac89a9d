"""Builders: callers with keys, and what they make through the front door."""

from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from arwx import keys, organizations
from arwx.access import Scope
from arwx.db import Database
from arwx.errors import NotFound


def point(step: int, ts: float = 1_764_000_000.0, **metrics: Any) -> dict[str, Any]:
    """One entry as the wire has it: `point(3, loss=0.5)`."""
    return {"step": step, "ts": ts + step, "metrics": metrics or {"loss": 1.0 / (step + 1)}}


class Caller:
    """Somebody with an API key. Answers have `.status_code`, `.json` and the rest of Werkzeug's test response."""

    def __init__(self, app: Flask, org_id: int, key: str) -> None:
        self.app, self.org_id, self.key = app, org_id, key

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.open(path, "GET", **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.open(path, "POST", **options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        return self.open(path, "PATCH", **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.open(path, "DELETE", **options)

    def open(self, path: str, method: str, headers: dict[str, str] | None = None, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        return self.app.test_client().open(path, method=method, headers=headers, **options)

    def run(self, project: str = "char-lm", **fields: Any) -> dict[str, Any]:
        """A new run, as the server answered it."""
        answer = self.post("/v1/runs", json={"project": project, **fields})
        assert answer.status_code in {200, 201}, answer.text
        found: dict[str, Any] = answer.json
        return found

    def ingest(self, run_id: str, points: list[dict[str, Any]], **fields: Any) -> TestResponse:
        """Send a batch: with sequence numbers when `first_seq` is given."""
        if "first_seq" in fields:
            fields = {"writer_id": "w1", "epoch": "e1", **fields}
        return self.post("/v1/ingest", json={"run_id": run_id, "points": points, **fields})


class Maker:
    """Makes what a test needs before its story begins."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.database: Database = app.extensions["arwx.db"]

    def caller(self, org: str, scope: str = "write") -> Caller:
        """Somebody with a key of this scope in this organization, which is made when it is not there."""
        with self.database.writing() as session:
            try:
                found = organizations.named(session, org)
            except NotFound:
                found = organizations.add(session, org)
            _, secret = keys.mint(Scope(session, found.id, "admin", "test"), f"{scope} key", scope)
            return Caller(self.app, found.id, secret)
