"""The API is held to its own document: every answer that the suite ever gets is compared with what is written."""

import copy
import json
import re
from typing import Any

import jsonschema_rs
from flask import Flask, Response, request

from arwx.api import openapi

_documents: dict[tuple[str, ...], dict[str, Any]] = {}


class Promises:
    """Watches the answers of an application. `broken` says what they hold that the document does not, or the other way."""

    def __init__(self, app: Flask) -> None:
        self.broken: list[str] = []
        addresses = tuple(sorted(str(rule) for rule in app.url_map.iter_rules()))
        if addresses not in _documents:
            _documents[addresses] = strict(openapi.document(app))
        self._document = _documents[addresses]
        # Registered last, so it runs first: before compression.
        app.after_request(self._watch)

    def _watch(self, response: Response) -> Response:
        if request.url_rule is not None and request.method not in {"HEAD", "OPTIONS"} and response.status_code != 500:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", request.url_rule.rule)
            described = self._document["paths"].get(path, {}).get(request.method.lower())
            if described:
                self.broken += [
                    f"{request.method} {path} → {response.status_code}: {fault}"
                    for fault in self._faults(described, response)
                ]
        return response

    def _faults(self, described: dict[str, Any], response: Response) -> list[str]:
        promised = described["responses"].get(str(response.status_code))
        if promised is None:
            return ["the status is not documented"]
        if "$ref" in promised:
            promised = self._document["components"]["responses"][promised["$ref"].rpartition("/")[2]]
        content = promised.get("content", {})
        if response.status_code in {204, 304}:
            return []
        if response.mimetype not in content:
            return [f"{response.mimetype} is not documented"]
        if response.is_streamed or not response.mimetype.endswith("json"):
            return []
        return problems(self._document, content[response.mimetype]["schema"], response.get_data())


def problems(document: dict[str, Any], schema: dict[str, Any], raw: bytes) -> list[str]:
    """What is wrong with a JSON body under a schema of the document."""
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{error.instance_path}: {error.message}"[:500] for error in validator.iter_errors(json.loads(raw))]


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The document with nothing left open: an answer must not hold a field that is not written down."""
    document = copy.deepcopy(document)
    for name, schema in document["components"]["schemas"].items():
        if name != "Problem" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return document
