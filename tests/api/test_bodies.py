"""Bad input: each kind gets a clear problem+json, and nothing is lost or half stored."""

import pytest

from tests.make import Caller

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b'{"name":"p"} trailing', 400, "malformed_json"),
        (b'{"name":"\xff"}', 400, "malformed_json"),
        (b"[]", 422, "invalid_field"),
        (b'{"name":1}', 422, "invalid_field"),
        (b'{"nam":"p"}', 422, "invalid_field"),
        (b"{}", 422, "invalid_field"),
        (b'{"name":"p","target":' + b"9" * 5000 + b"}", 422, "invalid_field"),
        (b'{"name":"p","org_id":2}', 422, "invalid_field"),
        (b'{"name":"\\ud800"}', 400, "malformed_json"),
    ],
)
def test_a_bad_body_is_named(ada: Caller, raw: bytes, status: int, code: str) -> None:
    answer = ada.post("/v1/projects", data=raw, headers=JSON)
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.text
    assert answer.mimetype == "application/problem+json"
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert ada.get("/v1/projects").json["items"] == []


def test_nesting_without_end_is_malformed(ada: Caller) -> None:
    answer = ada.post("/v1/runs", data=b'{"project":"p","config":{"a":' + b"[" * 100_000, headers=JSON)
    assert (answer.status_code, answer.json["code"]) == (400, "malformed_json")


def test_an_unknown_field_is_named(ada: Caller) -> None:
    answer = ada.post("/v1/runs", json={"project": "p", "cnofig": {}})
    assert answer.json["errors"] == [{"field": "cnofig", "message": "is not a field of this request"}]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_another_media_type_is_415(ada: Caller, kind: str) -> None:
    assert ada.post("/v1/projects", data=b'{"name":"p"}', headers={"Content-Type": kind}).status_code == 415


def test_twenty_megabytes_are_too_much(ada: Caller) -> None:
    answer = ada.post("/v1/projects", data=b" " * (20 * 2**20), headers=JSON)
    assert (answer.status_code, answer.json["limit"]) == (413, 16 * 2**20)


def test_wrong_methods_and_addresses_are_problems_too(ada: Caller) -> None:
    wrong = ada.post("/v1/projects/p", json={})
    assert (wrong.status_code, wrong.mimetype) == (405, "application/problem+json")
    assert "GET" in wrong.headers["Allow"]
    assert wrong.json["detail"] == "This address takes the methods of the Allow header alone."
    missing = ada.get("/v1/nothing").json
    assert (missing["code"], missing["detail"]) == ("not_found", "There is nothing at this address.")


def test_a_bug_tells_nothing_but_its_request_id(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from arwx import projects

    def broken(*_: object) -> None:
        raise RuntimeError("SELECT secret FROM /etc/passwd")

    monkeypatch.setattr(projects, "page", broken)
    answer = ada.get("/v1/projects")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json["request_id"]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "limit=1&limit=2", "cursor=zzz", "nonsense=1"])
def test_a_bad_parameter_is_named(ada: Caller, query: str) -> None:
    answer = ada.get(f"/v1/projects?{query}")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == query.split("=", 1)[0]


def test_a_nul_in_an_address_is_refused_before_anything_is_asked(ada: Caller) -> None:
    answer = ada.get("/v1/projects?cursor=%00")
    assert (answer.status_code, answer.json["code"]) == (400, "malformed_query")
