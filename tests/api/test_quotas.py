"""How fast a key may ask, and how much an organization may keep: the same for all processes."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from flask import Flask
from sqlalchemy import text

from arwx import clock, config, create_app, quotas
from arwx.db import Database
from arwx.errors import TooMany
from arwx.quotas import BURST_S, Quotas
from tests.make import Caller, Maker, point


@pytest.fixture
def app(settings: config.Settings) -> Iterator[Flask]:
    """A server that is stingy: two requests a second, ten kilobytes of blobs."""
    app = create_app(replace(settings, rate=2, quota_bytes=10_000))
    app.testing = False
    yield app
    app.extensions["arwx.db"].engine.dispose()


def test_a_key_that_asks_too_fast_is_told_when_to_come_again(ada: Caller, ben: Caller) -> None:
    burst = int(2 * BURST_S)
    first = ada.get("/v1/projects")
    assert first.headers["RateLimit-Limit"] == str(burst)
    assert first.headers["RateLimit-Remaining"] == str(burst - 1)
    answers = [ada.get("/v1/projects") for _ in range(burst + 5)]
    assert [answer.status_code for answer in answers[: burst - 2]] == [200] * (burst - 2)
    refused = answers[-1]
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    assert ben.get("/v1/projects").status_code == 200  # another key, another bucket
    time.sleep(int(refused.headers["Retry-After"]))
    assert ada.get("/v1/projects").status_code == 200


def test_addresses_that_are_not_there_cost_as_much(ada: Caller) -> None:
    answers = [ada.get(f"/v1/nothing/{number}").status_code for number in range(int(2 * BURST_S) + 5)]
    assert (answers[0], answers[-1]) == (404, 429)


def test_what_was_saved_up_has_an_end(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    real, burst = clock.now, int(2 * BURST_S)
    for _ in range(5):
        ada.get("/v1/projects")
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(days=30))
    left = [int(ada.get("/v1/projects").headers["RateLimit-Remaining"]) for _ in range(3)]
    assert burst - 3 <= max(left) <= burst


def test_points_come_in_whatever_was_asked_before(ada: Caller) -> None:
    run = ada.run()
    while ada.get("/v1/projects").status_code == 200:
        pass
    sent = [ada.ingest(run["id"], [point(step)], first_seq=step).status_code for step in range(30)]
    assert sent == [200] * 30


def test_processes_share_a_bucket(app: Flask, ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes ask a thousand times a second for two seconds: together they get what one key may, within a tenth."""
    key_id = ada.get("/v1/keys").json["items"][0]["id"]
    rate, began, passed_s = 50, clock.now(), 0.0
    monkeypatch.setattr(clock, "now", lambda: began + timedelta(seconds=passed_s))
    monkeypatch.setattr(quotas, "time", SimpleNamespace(monotonic=lambda: passed_s))
    processes = [Quotas(app.extensions["arwx.db"], per_second=rate) for _ in range(2)]
    got = 0
    while passed_s < 2.0:
        for process in processes:
            with suppress(TooMany):
                process.take(ada.org_id, f"{key_id}-shared")
                got += 1
        passed_s += 0.002
    allowed = rate * (BURST_S + 2.0)
    assert 0.9 * allowed <= got <= 1.1 * allowed


def test_blobs_end_where_the_quota_does_and_metrics_do_not(ada: Caller, mallory: Caller) -> None:
    def upload(caller: Caller, size: int, seed: bytes) -> int:
        raw = (seed * size)[:size]
        return caller.post("/v1/blobs", data=raw, content_type="application/octet-stream").status_code

    run = ada.run()
    assert upload(ada, 6000, b"a") == 201
    refused = ada.post("/v1/blobs", data=b"b" * 6000, content_type="application/octet-stream")
    assert (refused.status_code, refused.json["code"]) == (507, "quota_exceeded")
    assert refused.json["limit"] == 10_000
    where = {"project": "char-lm", "name": "big.bin", "run_id": run["id"]}
    assert ada.post("/v1/files/upload", query_string=where, data=b"c" * 6000).status_code == 507
    assert upload(ada, 3000, b"d") == 201  # what fits is taken
    assert ada.ingest(run["id"], [point(0)], first_seq=0).status_code == 200
    assert upload(mallory, 6000, b"e") == 201  # another organization, another quota


def test_whoever_writes_for_long_keeps_no_reader_waiting(ada: Caller, database: Database) -> None:
    """Neither the use of a key that is to be noted nor its rate that cannot be counted stands in the way of a read."""

    def last_used() -> str | None:
        found: str | None = ada.get("/v1/keys").json["items"][0]["last_used_at"]
        return found

    before = last_used()
    with database.writing() as db:
        db.execute(text("UPDATE api_keys SET last_used_at = '2026-01-01 00:00:00+00:00'"))
    began = time.monotonic()
    with database.writing() as db:
        db.execute(text("UPDATE allowances SET tokens = 0"))
        db.execute(text("UPDATE api_keys SET name = name"))
        assert [ada.get("/v1/projects").status_code for _ in range(3)] == [200] * 3
        db.rollback()
    assert time.monotonic() - began < 15  # of the twenty seconds that a writer waits, each time
    assert str(before) <= str(last_used())


def test_without_a_limit_nothing_is_counted(settings: config.Settings) -> None:
    app = create_app(settings)
    ada = Maker(app).caller("Ada's lab")
    assert "RateLimit-Limit" not in ada.get("/v1/projects").headers
    app.extensions["arwx.db"].engine.dispose()
