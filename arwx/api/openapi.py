"""The OpenAPI 3.1 document, made from what the handlers declare and from the types of their bodies."""

import inspect
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask, Response, current_app
from werkzeug.routing import Rule

import arwx
from arwx import web
from arwx.api import answers, examples, operation, parameters, public
from arwx.api.operation import PUBLIC, Operation

_ABOUT = """A small, exact experiment tracker.

Everything under `/v1` needs `Authorization: Bearer arwx_live_…`, but for what is marked as public. What belongs to
another organization answers exactly as what does not exist. Failures are `application/problem+json` (RFC 9457) with a
`code` for programs. Unknown fields and parameters are refused. Request bodies may be sent with
`Content-Encoding: gzip`."""

_NOUNS = {
    "projects": "Projects and their goals.",
    "runs": "Runs: made, changed, finished, listed; their history and their receipt.",
    "ingest": "The way in for points. What is answered with 200 is durable, and is stored once however often it is sent.",
    "charts": "Downsampled series.",
    "sessions": "Lines of inquiry.",
    "experiments": "Experiments and the verdicts on them.",
    "snapshots": "The code of experiments: attached, compared, rebuilt.",
    "progress": "The running best.",
    "pictures": "The running best as SVG, and addresses under which anybody may see it.",
    "blobs": "Bytes by their SHA-256.",
    "files": "Files of projects, runs and experiments.",
    "artifacts": "Versioned outputs, their refs and lineage.",
    "agent": "What agents and dashboards read first.",
    "keys": "API keys.",
    "service": "Is the service alive; the SDK; this document.",
}

# What may come back besides what an operation is for, and where.
_FAILURES = {
    400: "The request cannot be read: malformed JSON, a short body, a bad encoding.",
    401: "No valid key came with the request.",
    403: "The key may not do this.",
    404: "There is no such thing, or it belongs to somebody else: the answer is the same.",
    409: "It conflicts with what is stored, or says too little to tell which is meant.",
    413: "Over a limit, which the answer names.",
    415: "The body is of a kind that this address does not take.",
    416: "There are no bytes in this range.",
    422: "Well-formed, but something in it is impossible; `errors` names the fields.",
    429: "Too many requests; `Retry-After` says when to come again.",
    503: "The database is busy or away for a moment. Send the same request again after `Retry-After`.",
    507: "The organization keeps as many bytes of blobs as it may. Metrics are still taken.",
}


# Told where the rates of keys have a limit.
_LEFT = {
    "RateLimit-Limit": "How many requests the key may save up.",
    "RateLimit-Remaining": "How many of them are left.",
    "RateLimit-Reset": "In how many seconds all of them are there again.",
}


@public.get("/v1/openapi.json")
@operation.operation(PUBLIC, gives=dict[str, Any])
def get_openapi() -> Response:
    """This document."""
    response = Response(current_app.extensions["arwx.openapi"](), mimetype="application/json")
    return web.conditional(response)


def init_app(app: Flask) -> None:
    """Make the document when it is first asked for, from the routes as they are then."""
    made: list[bytes] = []

    def encoded() -> bytes:
        if not made:
            made.append(msgspec.json.encode(document(app)))
        return made[0]

    app.extensions["arwx.openapi"] = encoded


def document(app: Flask) -> dict[str, Any]:
    """The whole document for the routes of the application."""
    described = list(_described(app))
    kinds = [kind for _, _, _, declared in described for kind in (declared.takes, declared.gives) if _is_type(kind)]
    found, components = msgspec.json.schema_components(
        [answers.Problem, *kinds], ref_template="#/components/schemas/{name}"
    )
    names = {name: _readable(name) for name in components}
    schemas = {names[name]: _renamed(schema, names) for name, schema in components.items()}
    of_type = dict(zip(map(repr, kinds), (_renamed(schema, names) for schema in found[1:]), strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, handler, declared in described:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        paths.setdefault(path, {})[method.lower()] = _operation(rule, method, handler, declared, of_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "arwx",
            "version": arwx.__version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": words} for name, words in _NOUNS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key: `arwx_live_` and 30 letters and digits. Its scope is read, write or "
                    "admin, each of which includes the ones before it.",
                }
            },
            "schemas": schemas,
            "responses": {str(status): _failure(status) for status in _FAILURES},
            "headers": {
                name: {"description": words, "schema": {"type": "integer", "minimum": 0}}
                for name, words in _LEFT.items()
            },
        },
    }


def _described(app: Flask) -> Iterable[tuple[Rule, str, Any, Operation]]:
    for rule in app.url_map.iter_rules():
        handler = app.view_functions[rule.endpoint]
        declared: Operation | None = getattr(handler, "operation", None)
        if declared is not None:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method, handler, declared


def _operation(rule: Rule, method: str, handler: Any, declared: Operation, of_type: dict[str, Any]) -> dict[str, Any]:
    words = inspect.getdoc(handler) or ""
    summary = re.split(r"(?<=[.:;])\s", words, maxsplit=1)[0].rstrip(".:;")
    needs = "Anybody may call this." if declared.level == PUBLIC else f"Needs a key of the scope `{declared.level}`."
    found: dict[str, Any] = {
        "operationId": handler.__name__,
        "tags": [handler.__module__.rpartition(".")[2] if handler.__module__ != __name__ else "service"],
        "summary": summary,
        "description": f"{words}\n\n{needs}",
        "security": [] if declared.level == PUBLIC else [{"key": [declared.level]}],
        "parameters": [*_parameters(rule, handler.__name__, declared)],
        "responses": _responses(rule, method, declared, of_type),
    }
    if declared.takes is not None:
        media = declared.takes if isinstance(declared.takes, str) else "application/json"
        found["requestBody"] = {
            "required": not declared.may_be_empty,
            "content": {media: _content(declared.takes, of_type)},
        }
    return found


def _parameters(rule: Rule, handler: str, declared: Operation) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"<(?:\w+:)?(\w+)>", rule.rule):
        yield _parameter("path", name, parameters.of_path(rule.rule, name), is_required=True)
    for name in declared.query:
        found = parameters.of_query(handler, name)
        yield _parameter("query", name, found, is_required=found.is_required)
    for name in declared.headers:
        yield _parameter("header", name, parameters.HEADERS[name], is_required=False)


def _parameter(place: str, name: str, found: parameters.Parameter, *, is_required: bool) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": is_required,
        "description": found.words,
        "schema": found.schema,
        **({} if found.example is None else {"example": found.example}),
    }


def _responses(rule: Rule, method: str, declared: Operation, of_type: dict[str, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {}
    if declared.gives is None:
        good["204"] = {"description": "Done."}
    else:
        media = declared.gives if isinstance(declared.gives, str) else "application/json"
        content = {
            media: _content(declared.gives, of_type),
            **{kind: _content(kind, of_type) for kind in declared.also},
        }
        good["200"] = {"description": "It was there already." if declared.makes else "Done.", "content": content}
        if declared.makes:
            good["201"] = {"description": "It was made just now.", "content": content}
        if declared.in_parts:
            good["206"] = {"description": "The range of bytes that was asked for.", "content": content}
        if method == "GET":
            good["304"] = {"description": "The caller has it already: the ETag is the one in `If-None-Match`."}
    if declared.level != PUBLIC and declared.is_metered:
        for answer in good.values():
            answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in _LEFT}
    refs: dict[str, Any] = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(_failures(rule, declared))
    }
    if declared.fails_as is not None:
        refs["404"] = {
            "description": _FAILURES[404],
            "content": {declared.fails_as: _content(declared.fails_as, of_type)},
        }
    return {**good, **refs}


def _failures(rule: Rule, declared: Operation) -> set[int]:
    found = {400, *declared.fails}
    if declared.level != PUBLIC:
        found |= {401, 403, 422, 429, 503}
    if declared.takes is not None:
        found |= {413, 415}
    if rule.arguments:
        found.add(404)
    if declared.in_parts:
        found.add(416)
    return found


def _failure(status: int) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    example: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": {401: "unauthorized", 404: "not_found", 422: "invalid_field"}.get(
            status, title.lower().replace(" ", "_")
        ),
        "detail": _FAILURES[status],
        "request_id": examples.FIELDS["request_id"],
    }
    if status == 422:
        example |= {
            "detail": "score must be a finite number",
            "errors": [{"field": "score", "message": "must be a finite number"}],
        }
    found: dict[str, Any] = {
        "description": _FAILURES[status],
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
        },
    }
    if status in {429, 503}:
        seconds = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        found["headers"] = {"Retry-After": seconds}
    return found


def _content(kind: Any, of_type: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, str):
        schema = {} if kind in {operation.BINARY, operation.ZIP, operation.ANYTHING} else {"type": "string"}
        return {"schema": schema, "example": examples.of(kind)}
    if not _is_type(kind):
        return {"schema": {"type": "object"}, "example": {"openapi": "3.1.0"}}
    return {"schema": of_type[repr(kind)], "example": examples.of(kind)}


def _is_type(kind: Any) -> bool:
    return kind is not None and not isinstance(kind, str) and kind != dict[str, Any]


def _readable(name: str) -> str:
    """`List_Run_` as `ListOfRun`, and a name that two modules have, with that of its module."""
    if match := re.fullmatch(r"List_(\w+)_", name):
        return f"ListOf{match[1]}"
    parts = [part for part in name.split(".") if part not in {"arwx", "api"} and not part.startswith("_")]
    return "".join(part.capitalize() if part.islower() else part for part in parts)


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    """The schema with readable names in its references and clean descriptions."""
    if isinstance(schema, list):
        return [_renamed(part, names) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _renamed(value, names) for key, value in schema.items() if key != "title"}
    if isinstance(found.get("$ref"), str):
        stem, _, name = found["$ref"].rpartition("/")
        found["$ref"] = f"{stem}/{names.get(name, name)}"
    if isinstance(found.get("description"), str):
        found["description"] = inspect.cleandoc(found["description"])
    return found
