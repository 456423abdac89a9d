"""Paths and names that reach for something else: dots, slashes, twice-encoded, cut by a NUL, of other schemes."""

from pathlib import Path
from urllib.parse import quote

import pytest
from flask import Flask

from tests.access.test_matrix import routes
from tests.make import Caller

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CLIMBS = [
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "%2fetc%2fpasswd",
    "..%00",
    f"{SHA}%00",
    f"{SHA}%00.png",
    SHA.upper(),
    SHA[:-1],
    SHA + "0",
    "file:%2f%2f%2fetc%2fpasswd",
    "*",
    "..;",
    "%u002e%u002e",
    "%c0%ae%c0%ae",
]
NAMES = ["a/b", "a\\b", "a#../x", "a?b", "a%2fb", "a:b", "file:///etc", ".", "..", "", " a", "a ", "a\x00b", "a\nb",
         "a" * 129, "a\u202eb", "a\u200bb", "a\ufeffb", "a\u2028b", "a\x85b"]  # fmt: skip


@pytest.mark.parametrize("climb", CLIMBS)
@pytest.mark.parametrize("path", ["/v1/blobs/{}", "/v1/runs/{}", "/v1/projects/{}", "/v1/files/{}/content",
                                  "/v1/artifacts/{}/latest", "/v1/experiments/{}/diff", "/sdk/{}", "/static/{}"])  # fmt: skip
def test_no_path_leads_out(ada: Caller, climb: str, path: str) -> None:
    answer = ada.get(path.format(climb))
    assert answer.status_code in {404, 308}, answer.text
    assert b"root:" not in answer.data


@pytest.mark.parametrize("climb", ["../..", "%2e%2e", "*", "%", "run_%25", "' OR 1=1 --"])
def test_deletion_goes_by_the_whole_id_alone(ada: Caller, tmp_path: Path, climb: str) -> None:
    ada.run(id="one")
    ada.post("/v1/blobs", data=b"bytes", content_type="application/octet-stream")
    before = sorted(path for path in tmp_path.rglob("*") if "blobs" in path.parts)
    assert ada.delete(f"/v1/runs/{quote(climb)}").status_code in {404, 405}
    assert ada.delete(f"/v1/keys/{quote(climb)}").status_code in {404, 405}
    assert ada.get("/v1/runs/one").status_code == 200
    assert sorted(path for path in tmp_path.rglob("*") if "blobs" in path.parts) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_could_be_an_address_is_no_name(ada: Caller, name: str) -> None:
    for path, body in [
        ("/v1/projects", {"name": name}),
        ("/v1/runs", {"project": name}),
        ("/v1/sessions", {"project": name}),
        ("/v1/keys", {"name": name}),
        ("/v1/artifacts/log", {"project": "p", "name": name, "entries": [{"path": "a", "sha": SHA, "size": 1}]}),
    ]:
        answer = ada.post(path, json=body)
        # The blob of the artifact is not there either, which may be seen first.
        assert answer.status_code == 422 or (path == "/v1/artifacts/log" and answer.status_code == 409), answer.text
    assert ada.get("/v1/projects").json["items"] == []
    looked = ada.get(f"/v1/projects/{quote(name, safe='')}")
    assert looked.status_code in {404, 308}


@pytest.mark.parametrize("bad", ["../x", "/x", "C:\\x", "C:x", "a//b", "a/../b", "./a", "a\\b", ".git/hooks/post-checkout",
                                 "sub/.GIT/config", "a\x00b", "a\nb", "e\u0301", "x" * 256, "d/" * 600 + "x", ""])  # fmt: skip
def test_a_manifest_stays_within_its_folder(ada: Caller, bad: str) -> None:
    ada.post("/v1/sessions", json={"project": "p", "id": "s"})
    ada.post("/v1/experiments", json={"session_id": "s", "id": "e"})
    raw = b"good"
    sha = ada.post("/v1/blobs", data=raw, content_type="application/octet-stream").json["sha"]
    good = [{"path": "train.py", "sha": sha, "size": len(raw), "mode": "100644"}]
    assert ada.open("/v1/experiments/e/tree", "PUT", json={"entries": good}).status_code in {200, 201}
    for entries in ([{**good[0], "path": bad}], [*good, {**good[0], "path": "TRAIN.py"}], [*good, *good]):
        assert ada.open("/v1/experiments/e/tree", "PUT", json={"entries": entries}).status_code == 422
        version = {"project": "p", "name": "a", "entries": entries}
        assert ada.post("/v1/artifacts/log", json=version).status_code == 422
    assert [entry["path"] for entry in ada.get("/v1/experiments/e/tree").json["entries"]] == ["train.py"]


def test_what_nobody_serves_is_not_there(app: Flask) -> None:
    client = app.test_client()
    for path in ("/.git/config", "/.env", "/debug", "/console", "/static/", "/static/../app.py", "/admin", "/server-status",
                 "/metrics", "/v1/../app.py", "/actuator/env"):  # fmt: skip
        assert client.get(path).status_code in {401, 404}, path
    known = {method for _, method in routes()}
    for method in ("TRACE", "CONNECT", "PROPFIND"):
        assert method not in known
        assert client.open("/health", method=method).status_code == 405


def test_debugging_is_off_whatever_the_environment_says(settings: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from arwx import create_app

    monkeypatch.setenv("FLASK_DEBUG", "1")
    app = create_app(settings)  # type: ignore[arg-type]
    app.add_url_rule("/v1/broken", "api.broken", lambda: 1 / 0)
    assert b"Traceback" not in app.test_client().get("/v1/broken").data
    app.extensions["arwx.db"].engine.dispose()
