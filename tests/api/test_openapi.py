"""The document at /v1/openapi.json: all addresses, real schemas, examples that hold, and nothing undeclared gets in."""

import re
from typing import Any

import msgspec
import openapi_spec_validator
import pytest
from flask import Flask

from arwx.api import bp, openapi, operation
from tests.make import Caller
from tests.promises import problems, strict


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    return openapi.document(app)


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items()]


def test_anybody_may_read_it_and_it_is_valid(app: Flask) -> None:
    answer = app.test_client().get("/v1/openapi.json")
    assert answer.status_code == 200
    openapi_spec_validator.validate(answer.json)
    again = app.test_client().get("/v1/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_it_has_every_address_and_no_other(app: Flask, document: dict[str, Any]) -> None:
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] not in {"ui", "static"}
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _ in operations(document)} == served
    assert len(served) > 40


def test_every_operation_is_told_in_words_with_an_example_that_its_schema_allows(document: dict[str, Any]) -> None:
    names = set()
    for path, method, one in operations(document):
        where = f"{method} {path}"
        assert one["summary"], where
        assert one["operationId"] not in names, where
        names.add(one["operationId"])
        assert set(one["tags"]) <= {tag["name"] for tag in document["tags"]}, where
        contents = [one["requestBody"]["content"]] if "requestBody" in one else []
        contents += [answer["content"] for answer in one["responses"].values() if "content" in answer]
        for content in contents:
            for media, body in content.items():
                assert body["example"] is not None, where
                if media.endswith("json"):
                    raw = msgspec.json.encode(body["example"])
                    assert problems(strict(document), body["schema"], raw) == [], where
        for parameter in one["parameters"]:
            assert parameter["description"], f"{where} {parameter['name']}"


def test_examples_are_complete(document: dict[str, Any]) -> None:
    """Every field that a body may have is in its example, so that a reader sees what there is."""
    for path, method, one in operations(document):
        for content in (one.get("requestBody", {}), one["responses"].get("200", {})):
            body = content.get("content", {}).get("application/json", {})
            name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if name:
                fields = set(document["components"]["schemas"][name]["properties"])
                optional = fields - set(document["components"]["schemas"][name].get("required", []))
                assert fields - set(body["example"]) <= optional & {"reason", "x"}, f"{method} {path}"


def test_examples_of_requests_really_work(ada: Caller, document: dict[str, Any]) -> None:
    """The examples tell one story: sent in the order in which things are made, each is accepted."""
    story = [
        ("post", "/v1/projects", 201),
        ("post", "/v1/runs", 201),
        ("post", "/v1/ingest", 200),
        ("post", "/v1/runs/{run_id}/finish", 200),
        ("patch", "/v1/runs/{run_id}", 200),
        ("post", "/v1/sessions", 201),
        ("post", "/v1/blobs/missing", 200),
        ("post", "/v1/files", 201),
        ("post", "/v1/keys", 201),
    ]
    for method, path, status in story:
        one = document["paths"][path][method]
        address = path.format(**{p["name"]: p["example"] for p in one["parameters"] if p["in"] == "path"})
        example = one["requestBody"]["content"]["application/json"]["example"]
        answer = ada.open(address, method.upper(), json=example)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"


def test_an_address_that_declares_nothing_is_open_to_admin_keys_alone(app: Flask, ada: Caller, ben: Caller) -> None:
    app._got_first_request = False
    app.add_url_rule("/v1/undeclared", "api.undeclared", lambda: {"open": True})
    assert app.test_client().get("/v1/undeclared").status_code == 401
    assert ben.get("/v1/undeclared").status_code == 403
    assert ada.get("/v1/undeclared").status_code == 200


def test_a_parameter_that_is_not_declared_is_refused(ada: Caller) -> None:
    ada.run(id="one")
    answer = ada.get("/v1/runs/one?verbose=1")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "verbose")
    assert ada.post("/v1/runs?id=two", json={"project": "p"}).status_code == 422


def test_declarations_are_of_known_levels() -> None:
    with pytest.raises(ValueError, match="level"):
        operation.operation("anybody")
    assert bp.url_prefix == "/v1"
