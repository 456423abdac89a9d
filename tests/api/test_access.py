"""Who comes in: keys, scopes, and other organizations."""

from datetime import timedelta

import pytest
from flask import Flask

from arwx import clock
from tests.make import Caller, point

NOT_KEYS = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": "Basic YXBpOmtleQ=="},
    {"Authorization": "Bearer arwx_live_short"},
    {"Authorization": "Bearer arwx_live_" + "0" * 30},
    {"Authorization": "Bearer arwx_live_" + "é" * 30},
    {"Authorization": "Bearer ' OR 1=1 --"},
]


@pytest.mark.parametrize("headers", NOT_KEYS)
@pytest.mark.parametrize("path", ["/v1/projects", "/v1/nothing", "/v1/runs/x"])
def test_without_a_valid_key_everything_is_401(app: Flask, headers: dict[str, str], path: str) -> None:
    answer = app.test_client().get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.mimetype == "application/problem+json"


def test_a_key_in_the_address_is_no_key(ada: Caller) -> None:
    assert ada.app.test_client().get(f"/v1/projects?api_key={ada.key}").status_code == 401


def test_a_key_comes_as_a_bearer_alone(ada: Caller) -> None:
    for scheme in ("Basic", "Token", "Digest", "Bearer:"):
        assert ada.get("/v1/projects", headers={"Authorization": f"{scheme} {ada.key}"}).status_code == 401
    assert ada.get("/v1/projects", headers={"Authorization": f"bearer {ada.key}"}).status_code == 200


def test_a_key_is_shown_once_and_stops_when_revoked(ada: Caller) -> None:
    made = ada.post("/v1/keys", json={"name": "ci", "scope": "write"})
    assert made.status_code == 201
    secret = made.json["key"]
    assert len(secret) == 40
    assert secret.startswith("arwx_live_")
    ci = Caller(ada.app, ada.org_id, secret)
    assert ci.get("/v1/projects").status_code == 200
    listed = ada.get("/v1/keys")
    assert secret not in listed.text
    mine = next(key for key in listed.json["items"] if key["name"] == "ci")
    assert mine["last_four"] == secret[-4:]
    assert mine["last_used_at"] is not None
    assert ada.delete(f"/v1/keys/{mine['id']}").status_code == 204
    assert ci.get("/v1/projects").status_code == 401
    assert ada.delete(f"/v1/keys/{mine['id']}").status_code == 404


def test_keys_are_walked_page_by_page(ada: Caller) -> None:
    names = [f"k{number}" for number in range(5)]
    for name in names:
        ada.post("/v1/keys", json={"name": name})
    seen, cursor = [], ""
    while cursor is not None:
        page = ada.get(f"/v1/keys?limit=2&cursor={cursor}").json
        seen += [key["name"] for key in page["items"]]
        cursor = page["next"]
    assert seen[:5] == names[::-1]
    assert len(seen) == len(ada.get("/v1/keys").json["items"])
    assert ada.get("/v1/keys?limit=501").status_code == 422


def test_the_use_of_a_key_is_noted_at_most_once_a_minute(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def noted() -> str:
        return str(ada.get("/v1/keys").json["items"][0]["last_used_at"])

    first = noted()
    assert noted() == first
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(days=365))
    later = noted()
    assert later > first
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(seconds=61))
    assert first < noted() < later  # the clock was wrong, and is set back


def test_a_key_mints_no_more_than_it_may(ada: Caller, ben: Caller, make: object) -> None:
    assert ben.post("/v1/keys", json={"name": "up", "scope": "admin"}).status_code == 403
    reader = Caller(ada.app, ada.org_id, ada.post("/v1/keys", json={"name": "r", "scope": "read"}).json["key"])
    assert reader.get("/v1/projects").status_code == 200
    for path, body in [
        ("/v1/projects", {"name": "p"}),
        ("/v1/runs", {"project": "p"}),
        ("/v1/ingest", {"run_id": "x", "points": []}),
        ("/v1/keys", {"name": "k", "scope": "write"}),
    ]:
        assert reader.post(path, json=body).status_code == 403, path
    assert ada.post("/v1/keys", json={"name": "k", "scope": "root"}).status_code == 422


def test_a_stranger_gets_the_answer_for_what_does_not_exist(ada: Caller, mallory: Caller) -> None:
    run = ada.run("secret-project", id="canary-run", config={"canary": "canary-value"})
    ada.ingest(run["id"], [point(0, canary_metric=1.0)], first_seq=0)
    key_id = ada.get("/v1/keys").json["items"][0]["id"]
    for method, path, body in [
        ("GET", "/v1/projects/{project}", None),
        ("GET", "/v1/projects/{project}/runs", None),
        ("GET", "/v1/projects/{project}/charts", None),
        ("GET", "/v1/runs/{run}", None),
        ("GET", "/v1/runs/{run}/metrics", None),
        ("GET", "/v1/runs/{run}/integrity", None),
        ("PATCH", "/v1/runs/{run}", {"name": "x"}),
        ("POST", "/v1/runs/{run}/finish", {}),
        ("DELETE", "/v1/runs/{run}", None),
        ("DELETE", "/v1/keys/{key}", None),
    ]:
        theirs = mallory.open(path.format(project="secret-project", run="canary-run", key=key_id), method, json=body)
        nothing = mallory.open(path.format(project="no-project", run="no-run", key="no-key"), method, json=body)
        assert theirs.status_code == nothing.status_code == 404, path
        assert "canary" not in theirs.text
        assert {**theirs.json, "request_id": 0} == {**nothing.json, "request_id": 0}
    sent = mallory.ingest("canary-run", [point(1)], first_seq=0)
    assert sent.status_code == 404
    assert mallory.get("/v1/projects").json["items"] == []
    assert ada.get(f"/v1/runs/{run['id']}/integrity").json["points_stored"] == 1


def test_two_organizations_may_use_the_same_names_and_ids(ada: Caller, mallory: Caller) -> None:
    for caller, value in ((ada, 1.0), (mallory, 2.0)):
        caller.run("p", id="same")
        caller.ingest("same", [point(0, loss=value)], first_seq=0)
    assert ada.get("/v1/runs/same").json["latest"]["loss"]["value"] == 1.0
    assert mallory.get("/v1/runs/same").json["latest"]["loss"]["value"] == 2.0
