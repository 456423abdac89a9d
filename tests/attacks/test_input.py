"""Bodies and parameters as torture: JSON that parsers differ on, fields that nobody offered, bombs, and what has no end."""

import ast
import base64
import gzip
import json
import re
import resource
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from arwx import db
from arwx.api import openapi
from tests.conftest import KIND
from tests.make import Caller, point

JSON = "application/json"
TORTURE = {
    "NaN": b'{"project":"p","config":{"a":NaN}}',
    "Infinity": b'{"project":"p","config":{"a":Infinity}}',
    "1e999": b'{"project":"p","config":{"a":1e999}}',
    "deep array": b'{"project":"p","config":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "deep object": b'{"project":"p","config":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "a million digits": b'{"project":"p","config":{"a":' + b"9" * 1_000_000 + b"}}",
    "lone surrogate": b'{"project":"p","notes":"\\ud800"}',
    "surrogate in a key": b'{"project":"p","config":{"\\udfff":1}}',
    "invalid UTF-8": b'{"project":"p","notes":"\xff\xfe"}',
    "overlong UTF-8": b'{"project":"p","notes":"\xc0\xaf"}',
    "byte order mark": b'\xef\xbb\xbf{"project":"p"}',
    "UTF-16": '{"project":"p"}'.encode("utf-16"),
    "trailing bytes": b'{"project":"p"} {"project":"q"}',
    "trailing comma": b'{"project":"p",}',
    "comment": b'{"project":"p" /* */}',
    "single quotes": b"{'project':'p'}",
    "NUL in a name": b'{"project":"a\\u0000b"}',
    "NUL in notes": b'{"project":"p","notes":"a\\u0000b"}',
    "NUL in a tag": b'{"project":"p","tags":["a\\u0000b"]}',
    "NUL in an id": b'{"project":"p","id":"a\\u0000b"}',
    "array": b"[]",
    "number": b"1",
    "null": b"null",
    "nothing": b"",
}


@pytest.mark.parametrize("name", TORTURE)
def test_json_that_parsers_differ_on_is_refused_by_name(ada: Caller, name: str) -> None:
    answer = ada.post("/v1/runs", data=TORTURE[name], content_type=JSON)
    assert answer.status_code in {400, 422}, answer.text[:300]
    assert answer.json["code"] in {"malformed_json", "invalid_field"}
    assert ada.get("/v1/projects").json["items"] == []


@pytest.mark.parametrize(
    "text", ["\\u0000", "a\\u0000b", "\\ud83d\\ude00", "\\u202e", "\\u0007", "\\ufffe", "'; DROP TABLE runs;--"]
)
def test_what_is_taken_comes_back_letter_for_letter(ada: Caller, text: str) -> None:
    """In places that hold data as it is, both databases keep all that JSON can say."""
    raw = f'{{"project":"p","id":"r","config":{{"k{text}":"v{text}"}}}}'.encode()
    made = ada.post("/v1/runs", data=raw, content_type=JSON)
    assert made.status_code == 201, made.text
    assert ada.get("/v1/runs/r").json["config"] == json.loads(raw)["config"]


@pytest.mark.parametrize(
    "number", ["9007199254740993", "-9223372036854775809", "18446744073709551616", "1e308", "-0.0", "5e-324"]
)
def test_numbers_at_the_borders_are_kept_or_refused(ada: Caller, number: str) -> None:
    made = ada.post(
        "/v1/runs", data=f'{{"project":"p","id":"r","config":{{"a":{number}}}}}'.encode(), content_type=JSON
    )
    assert made.status_code in {201, 400, 422}, made.text
    if made.status_code == 201:
        assert repr(ada.get("/v1/runs/r").json["config"]["a"]) == repr(json.loads(number))


@pytest.mark.parametrize("step", ["9223372036854775808", "9007199254740992", "-1", "1.5", '"1"', "null", "1e400"])
def test_a_step_out_of_bounds_is_refused(ada: Caller, step: str) -> None:
    run = ada.run()
    raw = f'{{"run_id":"{run["id"]}","points":[{{"step":{step},"metrics":{{"a":1}}}}]}}'.encode()
    assert ada.post("/v1/ingest", data=raw, content_type=JSON).status_code in {400, 422}


@pytest.mark.parametrize("field", ["first_seq", "exit_code", "size", "version"])
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**30])
def test_numbers_beyond_a_column_are_no_failure_of_ours(ada: Caller, field: str, number: int) -> None:
    run = ada.run(id="r")
    answers = {
        "first_seq": lambda: ada.ingest(run["id"], [point(0)], first_seq=number),
        "exit_code": lambda: ada.post("/v1/runs/r/finish", json={"exit_code": number}),
        "size": lambda: ada.post("/v1/files", json={"project": "p", "name": "a", "uri": "https://a/b", "size": number}),
        "version": lambda: ada.open("/v1/artifacts/a/refs/b?project=p", "PUT", json={"version": number}),
    }
    assert answers[field]().status_code in {400, 404, 422}


def test_a_field_that_nobody_offers_is_refused_everywhere(app: Flask, ada: Caller) -> None:
    document = openapi.document(app)
    asked = 0
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            body = one.get("requestBody", {}).get("content", {}).get(JSON)
            if body is None:
                continue
            address = path.format(
                **{p["name"]: p.get("example") or "x" for p in one["parameters"] if p["in"] == "path"}
            )
            for extra in ("org_id", "created_at", "is_admin", "role", "intact", "hash", "deleted_at", "__class__"):
                sent = {**body["example"], extra: 1}
                answer = ada.open(address, method.upper(), json=sent)
                assert answer.status_code == 422, f"{method} {path} {extra}: {answer.text}"
                assert answer.json["errors"][0]["field"] == extra
                asked += 1
    assert asked > 100


def test_a_parameter_twice_or_in_two_places_is_refused(ada: Caller) -> None:
    ada.run("a", id="r")
    for path in ("/v1/files?project=a&project=b", "/v1/projects?limit=1&limit=2", "/v1/runs/r/metrics?keys=a&keys=b"):
        assert ada.get(path).status_code == 422, path
    assert ada.post("/v1/runs?project=a", json={"project": "b"}).status_code == 422


@pytest.mark.parametrize(
    "query",
    [
        "limit=1000000000",
        "limit=-1",
        "limit=0",
        "limit=1e3",
        "limit=%D9%A1",
        "cursor=AAAA",
        "cursor=%00",
        "cursor=" + "A" * 5000,
    ],
)
def test_a_page_has_bounds(ada: Caller, query: str) -> None:
    assert ada.get(f"/v1/projects?{query}").status_code in {400, 422}


def test_names_and_lists_have_bounds(ada: Caller) -> None:
    run = ada.run(id="r")
    long = "n" * 10_000_000
    assert ada.post("/v1/projects", json={"name": long}).status_code == 422
    assert ada.patch("/v1/runs/r", json={"name": long}).status_code == 422
    assert ada.patch("/v1/runs/r", json={"tags": [str(n) for n in range(100_000)]}).status_code == 422
    assert ada.post("/v1/blobs/missing", json={"shas": ["0" * 64] * 100_000}).status_code == 422
    assert ada.get(f"/v1/projects/char-lm/charts?samples={10**9}").status_code == 422
    assert ada.get("/v1/projects/char-lm/charts?keys=" + ",".join(f"k{n}" for n in range(10_000))).status_code == 422
    sent = ada.ingest(run["id"], [{"step": 0, "ts": 1.0, "metrics": {"k" * 300: 1.0, "ok": 1.0}}], first_seq=0)
    assert sent.status_code in {200, 422}
    assert "k" * 300 not in ada.get("/v1/runs/r").text


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "deflate", "zstd", "compress", "gzip;q=1"])
def test_another_encoding_is_refused(ada: Caller, encoding: str) -> None:
    raw = gzip.compress(gzip.compress(b'{"project":"p"}'))
    assert ada.post("/v1/runs", data=raw, content_type=JSON, headers={"Content-Encoding": encoding}).status_code == 415


@pytest.mark.parametrize(
    "raw",
    [gzip.compress(b'{"project":"p"}')[:-4], gzip.compress(b"{}") + b"more", b"not gzip", b""],
    ids=["cut", "followed by more", "not gzip", "empty"],
)
def test_a_broken_archive_is_400(ada: Caller, raw: bytes) -> None:
    answer = ada.post("/v1/runs", data=raw, content_type=JSON, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400, answer.text


def test_a_bomb_is_stopped_at_the_limit_and_costs_no_memory(ada: Caller) -> None:
    pack = zlib.compressobj(9, wbits=31)
    bomb = b"".join(pack.compress(b" " * 2**20) for _ in range(1024)) + pack.flush()
    assert len(bomb) < 2**21
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    answer = ada.post("/v1/runs", data=bomb, content_type=JSON, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 * 1024


def multipart(parts: int, boundary: str = "b") -> bytes:
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    return (part * parts + f"--{boundary}--\r\n").encode()


@pytest.mark.parametrize(
    ("raw", "boundary"),
    [(multipart(100_000), "b"), (b"\r\n" * 500_000, "b"), (multipart(2)[:-6], "b"), (multipart(2, "b" * 1_000_000), "b" * 1_000_000)],
    ids=["many parts", "a flood of lines", "no end", "a boundary of a megabyte"],
)  # fmt: skip
def test_forms_of_parts_are_not_read_at_all(ada: Caller, raw: bytes, boundary: str) -> None:
    began = time.monotonic()
    for path in ("/v1/runs", "/v1/blobs", "/v1/files/upload?project=p&name=a"):
        answer = ada.post(path, data=raw, content_type=f"multipart/form-data; boundary={boundary}")
        assert answer.status_code in {415, 422}, path  # 422: no type is that long
    assert time.monotonic() - began < 5


def test_nothing_stored_is_ever_worked_out(ada: Caller) -> None:
    """Not as a template, not as a setting, not as a format."""
    words = ["${SECRET_KEY}", "{{7*7}}", "{% if 1 %}x{% endif %}", "%(x)s", "{0.__class__}", "$(id)", "`id`", "#{7*7}"]
    config: dict[str, Any] = {f"k{number}": word for number, word in enumerate(words)}
    ada.run(id="r", config=config, notes=" ".join(words))
    found = ada.get("/v1/runs/r").json
    assert (found["config"], found["notes"]) == (config, " ".join(words))


@pytest.mark.parametrize(
    "query",
    [
        "q=().__class__",
        "q=__import__('os')",
        "q=config.lr > (",
        "sort=1;DROP TABLE runs",
        "sort=password_hash",
        "sort=org_id",
        "q=password_hash = 'x'",
        "status=running' OR 1=1",
    ],
)
def test_a_filter_is_read_and_never_run(ada: Caller, query: str) -> None:
    ada.run(id="r")
    answer = ada.get(f"/v1/projects/char-lm/runs?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"]


def patterns() -> set[str | bytes]:
    """What the server and the SDK hand to `re`."""
    found: set[str | bytes] = set()
    root = Path(__file__).parents[2]
    for path in [*(root / "arwx").rglob("*.py"), *(root / "sdk" / "arwandb").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.") and node.args:
                if isinstance(node.args[0], ast.Constant):
                    found.add(node.args[0].value)
    return found


def test_no_pattern_of_ours_is_slow() -> None:
    """Against what makes bad ones go on for ever."""
    endless = ["a" * 20_000 + "!", "1" * 20_000 + "!", "/" * 20_000 + "\n", " " * 20_000 + "x", "a." * 10_000 + "\0"]
    assert len(patterns()) > 25
    for pattern in patterns():
        for one in endless:
            began = time.monotonic()
            if isinstance(pattern, bytes):
                re.compile(pattern).match(one.encode())
            else:
                re.compile(pattern).match(one)
            assert time.monotonic() - began < 2, pattern


def test_statements_have_a_deadline(app: Flask) -> None:
    """Below that of the worker, which is below the 30 s that routers wait."""
    settings = (Path(__file__).parents[2] / "gunicorn.conf.py").read_text()
    worker_s = int(re.search(r"^timeout = (\d+)", settings, re.MULTILINE)[1])  # type: ignore[index]
    assert worker_s < 30
    assert worker_s > db._STATEMENT_TIMEOUT_MS / 1000
    if KIND == "postgres":
        with app.extensions["arwx.db"].reading() as session:
            assert session.scalar(text("SHOW statement_timeout")) == "20s"


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-01-01T00:00:00", "1969-12-31T00:00:00Z"]
)
def test_a_moment_that_is_none_everywhere_is_refused(ada: Caller, moment: str) -> None:
    answer = ada.post("/v1/runs", json={"project": "p", "started_at": moment})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "started_at")


def test_the_goal_of_a_project_is_text_that_both_databases_hold(ada: Caller) -> None:
    for field, value in [
        ("objective_metric", ""),
        ("objective_metric", "a\0b"),
        ("objective_metric", "m" * 256),
        ("description", "a\0b"),
        ("description", "d" * 70_000),
    ]:
        answer = ada.post("/v1/projects", json={"name": "p", field: value})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)


def test_a_nul_in_a_question_is_refused_before_a_database_sees_it(ada: Caller) -> None:
    ada.run(id="r")
    hidden = base64.urlsafe_b64encode(b"1764000000000000 a\0b").decode()
    for path in (
        f"/v1/projects?cursor={hidden}",
        "/v1/runs/r/metrics?keys=%00",
        "/v1/artifacts?type=a%00",
        "/find?q=%00",
        "/login?next=%00",
    ):
        assert ada.get(path).status_code in {400, 422}, path
