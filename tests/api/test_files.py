"""Files over /v1: registered or uploaded, under a name, never fetched by the server."""

import contextlib
import hashlib
import socket
import threading

import pytest

from tests.make import Caller

RAW = b"\x89PNG not really"
SHA = hashlib.sha256(RAW).hexdigest()
FILE = {"project": "char-lm", "name": "plots/loss.png", "uri": "https://example.org/loss.png"}


def upload(caller: Caller, run_id: str, name: str = "plots/loss.png", raw: bytes = RAW, kind: str = "image/png"):  # type: ignore[no-untyped-def]
    where = {"project": "char-lm", "name": name, "run_id": run_id}
    return caller.post("/v1/files/upload", query_string=where, data=raw, headers={"Content-Type": kind})


def test_an_uploaded_file_is_a_blob_under_a_name(ada: Caller) -> None:
    run = ada.run()
    made = upload(ada, run["id"])
    assert made.status_code == 201
    assert made.json == made.json | {
        "project": "char-lm", "name": "plots/loss.png", "run_id": run["id"], "experiment_id": None, "uri": None,
        "sha": SHA, "size": len(RAW), "content_type": "image/png",
    }  # fmt: skip
    assert ada.get(f"/v1/blobs/{SHA}").data == RAW
    assert ada.get(f"/v1/files/{made.json['id']}").json == made.json
    again = upload(ada, run["id"])
    assert (again.status_code, again.json["id"]) == (200, made.json["id"])
    other = upload(ada, run["id"], raw=b"new bytes")
    assert (other.status_code, other.json["id"] == made.json["id"]) == (201, False)
    listed = ada.get(f"/v1/files?run_id={run['id']}").json["items"]
    assert [file["id"] for file in listed] == [other.json["id"], made.json["id"]]


def test_a_registered_file_is_a_record_and_nothing_more(ada: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        caught: list[object] = []

        def listen() -> None:
            with contextlib.suppress(TimeoutError):
                caught.append(trap.accept())

        listener = threading.Thread(target=listen)
        listener.start()
        uri = f"http://127.0.0.1:{trap.getsockname()[1]}/model.bin"
        made = ada.post("/v1/files", json={**FILE, "uri": uri, "sha": SHA, "size": 3, "content_type": "image/png"})
        assert made.status_code == 201
        assert ada.get(f"/v1/files/{made.json['id']}").json["uri"] == uri
        assert ada.get(f"/v1/files/{made.json['id']}/content").status_code == 404
        listener.join()
        assert caught == []
    assert ada.get(f"/v1/blobs/{SHA}").status_code == 404


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:5432/x",
        "https://example.org/a?b=c#d",
        "s3://bucket/key",
        "gs://bucket/key",
        "https://example.org/" + "a" * 2028,
    ],
)
def test_addresses_of_the_web_and_of_buckets_are_stored(ada: Caller, uri: str) -> None:
    assert ada.post("/v1/files", json={**FILE, "uri": uri}).status_code == 201


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:///etc/passwd",
        "gopher://x/1",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.org/x",
        "http://a@b/x",
        "http://user:secret@example.org/x",
        "https:///nohost",
        "https:example.org",
        "//example.org/x",
        "/etc/passwd",
        "http://example.org:99999/",
        "http://[::1/",
        "http://exa mple.org/",
        "http://example.org/\nSet-Cookie: a",
        "http://example.org\\@evil/",
        "http://exämple.org/",
        "HTTPS",
        "https://example.org/" + "a" * 2029,
    ],
)
def test_other_addresses_are_refused(ada: Caller, uri: str) -> None:
    answer = ada.post("/v1/files", json={**FILE, "uri": uri})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "uri")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../x"),
        ("name", "/etc/passwd"),
        ("name", ""),
        ("name", "a\nb"),
        ("name", "x" * 2000),
        ("sha", "A" * 64),
        ("sha", "1"),
        ("size", -1),
        ("size", 2**60),
        ("content_type", "text/html\r\nX: y"),
        ("content_type", "html"),
        ("project", "a/b"),
        ("nonsense", 1),
    ],
)
def test_a_bad_field_is_named(ada: Caller, field: str, value: object) -> None:
    answer = ada.post("/v1/files", json={**FILE, field: value})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("plots/loss.png", "attachment; filename=loss.png"),
        ("モデル.bin", "attachment; filename*=UTF-8''%E3%83%A2%E3%83%87%E3%83%AB.bin"),
        ("a b.txt", 'attachment; filename="a b.txt"'),
        ("a\"; filename*=UTF-8''x.html", 'attachment; filename="a\\"; filename*=UTF-8\'\'x.html"'),
        ("é.txt", "attachment; filename*=UTF-8''%C3%A9.txt"),
        ("x;y=z.txt", 'attachment; filename="x;y=z.txt"'),
    ],
)
def test_a_name_stays_within_its_header(ada: Caller, name: str, header: str) -> None:
    file_id = upload(ada, ada.run()["id"], name=name, kind="text/html").json["id"]
    got = ada.get(f"/v1/files/{file_id}/content")
    assert (got.status_code, got.data) == (200, RAW)
    assert got.headers.getlist("Content-Disposition") == [header]
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert ada.get(f"/v1/files/{file_id}/content", headers={"Range": "bytes=1-3"}).data == b"PNG"


def test_an_upload_to_nowhere_is_told_before_its_bytes_are_kept(ada: Caller, mallory: Caller) -> None:
    run = ada.run()
    assert upload(ada, "no-such-run").status_code == 404
    assert upload(mallory, run["id"]).status_code == 404
    assert ada.get(f"/v1/blobs/{SHA}").status_code == 404
    for name in ("../x", "/x", "a\\b"):
        assert upload(ada, run["id"], name=name).status_code == 422
    assert ada.post(f"/v1/files/upload?name=x&run_id={run['id']}", data=RAW).status_code == 422
    assert upload(ada, run["id"], kind="multipart/form-data; boundary=x").status_code == 415
    assert ada.get(f"/v1/files?run_id={run['id']}").json["items"] == []


def test_a_file_of_a_run_is_of_its_project(ada: Caller) -> None:
    run = ada.run("other")
    assert upload(ada, run["id"]).status_code == 409
    answer = ada.post("/v1/files", json={**FILE, "run_id": run["id"]})
    assert answer.status_code == 409
    assert ada.post("/v1/files", json={**FILE, "run_id": "none"}).status_code == 404
    both = ada.post("/v1/files", json={**FILE, "run_id": run["id"], "experiment_id": "e"})
    assert both.status_code == 422


def test_a_file_may_be_of_an_experiment(ada: Caller) -> None:
    session = ada.post("/v1/sessions", json={"project": "char-lm"}).json
    experiment = ada.post("/v1/experiments", json={"session_id": session["id"]}).json
    made = ada.post("/v1/files", json={**FILE, "experiment_id": experiment["id"]})
    assert made.json["experiment_id"] == experiment["id"]
    assert len(ada.get(f"/v1/files?experiment_id={experiment['id']}").json["items"]) == 1
    assert len(ada.get("/v1/files?project=char-lm").json["items"]) == 1


def test_a_stranger_gets_the_answer_for_what_does_not_exist(ada: Caller, mallory: Caller) -> None:
    run = ada.run()
    file_id = upload(ada, run["id"]).json["id"]
    for theirs, nothing in [
        (f"/v1/files/{file_id}", "/v1/files/none"),
        (f"/v1/files/{file_id}/content", "/v1/files/none/content"),
        (f"/v1/files?run_id={run['id']}", "/v1/files?run_id=none"),
        ("/v1/files?project=char-lm", "/v1/files?project=none"),
    ]:
        one, two = mallory.get(theirs), mallory.get(nothing)
        assert one.status_code == two.status_code == 404
        assert {**one.json, "request_id": 0} == {**two.json, "request_id": 0}
    assert mallory.get("/v1/files").json["items"] == []


def test_the_list_is_walked_page_by_page_at_the_same_cost(ada: Caller, queries: list[str]) -> None:
    for number in range(7):
        ada.post("/v1/files", json={**FILE, "name": f"f{number}"})
    seen, cursor, costs = [], "", set()
    while cursor is not None:
        queries.clear()
        page = ada.get(f"/v1/files?project=char-lm&limit=3&cursor={cursor}").json
        costs.add(len(queries))
        seen += [file["name"] for file in page["items"]]
        cursor = page["next"]
    assert seen == [f"f{number}" for number in reversed(range(7))]
    assert len(costs) == 1
