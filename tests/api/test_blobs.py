"""Blobs over /v1: bytes in, bytes out, nobody else's."""

import gzip
import hashlib
import http.client
import io
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from arwx import clock, config, create_app
from arwx.db import Database
from arwx.models import Blob, BlobChunk
from tests.conftest import KIND
from tests.make import Caller, Maker
from tests.s3 import BUCKET, s3_server
from tests.server import Server

MIB = 2**20
OCTETS = {"Content-Type": "application/octet-stream"}


def sha_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def put(caller: Caller, raw: bytes, **headers: str) -> str:
    answer = caller.post("/v1/blobs", data=raw, headers={**OCTETS, **headers})
    assert answer.status_code in {200, 201}, answer.text
    assert answer.json == {"sha": sha_of(raw), "size": len(raw)}
    return sha_of(raw)


def stored_bytes(settings: config.Settings, database: Database) -> int:
    """How many bytes the store holds, published or not."""
    if settings.is_sqlite:
        return sum(path.stat().st_size for path in (settings.data_dir / "blobs").rglob("*") if path.is_file())
    with database.reading() as session:
        chunks = session.scalars(select(BlobChunk.data).where(BlobChunk.org_id.in_(range(1, 10)))).all()
    return sum(map(len, chunks))


@pytest.mark.parametrize("raw", [b"", b"x", b"<svg onload=alert(1)>", b"y" * (3 * MIB + 1)])
def test_bytes_come_back_as_they_went(ada: Caller, raw: bytes) -> None:
    first = ada.post("/v1/blobs", data=raw, headers=OCTETS)
    again = ada.post("/v1/blobs", data=raw)
    assert (first.status_code, again.status_code) == (201, 200)
    got = ada.get(f"/v1/blobs/{sha_of(raw)}")
    assert (got.status_code, got.data) == (200, raw)
    assert got.headers["Content-Length"] == str(len(raw))
    assert got.headers["ETag"] == f'"{sha_of(raw)}"'


def test_bytes_are_never_shown_by_a_browser(ada: Caller) -> None:
    sha = put(ada, b"<html><script>alert(1)</script>")
    got = ada.get(f"/v1/blobs/{sha}")
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Content-Disposition"] == f"attachment; filename={sha}"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in got.headers["Content-Security-Policy"]
    assert ada.get(f"/v1/blobs/{sha}?type=text/html").status_code == 422


def test_a_wrong_hash_leaves_nothing(ada: Caller, settings: config.Settings, database: Database) -> None:
    for wrong, status in [("0" * 64, 422), ("A" * 64, 422), ("short", 422), ("", 422)]:
        answer = ada.post("/v1/blobs", data=b"some bytes", headers={**OCTETS, "X-Content-SHA256": wrong})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (status, "X-Content-SHA256")
    assert ada.get(f"/v1/blobs/{sha_of(b'some bytes')}").status_code == 404
    assert stored_bytes(settings, database) == 0
    put(ada, b"some bytes", **{"X-Content-SHA256": sha_of(b"some bytes")})
    assert stored_bytes(settings, database) == 10


def test_the_same_bytes_sent_at_once_are_kept_once(ada: Caller, settings: config.Settings, database: Database) -> None:
    raw = b"z" * (2 * MIB)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ada.post("/v1/blobs", data=raw).status_code)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 19 + [201]
    assert stored_bytes(settings, database) == len(raw)
    assert ada.get(f"/v1/blobs/{sha_of(raw)}").data == raw


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_another_media_type_is_415(ada: Caller, kind: str) -> None:
    assert ada.post("/v1/blobs", data=b"x", headers={"Content-Type": kind}).status_code == 415


def test_a_blob_over_the_limit_is_413_and_leaves_nothing(
    settings: config.Settings, make: Maker, database: Database
) -> None:
    app = create_app(replace(settings, max_blob_bytes=2 * MIB))
    ada = Caller(app, 0, make.caller("Ada's lab").key)
    put(ada, b"x" * (2 * MIB))
    long = b"y" * (2 * MIB + 1)
    for body, encoding in ((long, {}), (gzip.compress(long), {"Content-Encoding": "gzip"})):
        answer = ada.post("/v1/blobs", data=body, headers={**OCTETS, **encoding})
        assert (answer.status_code, answer.json["limit"]) == (413, 2 * MIB)
        assert "2 MiB" in answer.json["detail"]
    assert stored_bytes(settings, database) == 2 * MIB
    app.extensions["arwx.db"].engine.dispose()


def test_a_blob_that_says_it_is_too_long_is_refused_before_it_is_read(ada: Caller) -> None:
    class Untouched(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: object) -> int:
            raise AssertionError("nothing of it was to be read")

    body = {"wsgi.input": Untouched(), "CONTENT_LENGTH": str(2**43)}
    answer = ada.post("/v1/blobs", environ_overrides=body, headers=OCTETS)
    assert answer.status_code == 413


def test_a_blob_may_be_sent_zipped(ada: Caller) -> None:
    raw = b"a" * (2 * MIB)
    answer = ada.post("/v1/blobs", data=gzip.compress(raw), headers={**OCTETS, "Content-Encoding": "gzip"})
    assert answer.json == {"sha": sha_of(raw), "size": len(raw)}


RAW = bytes(range(256)) * 10


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=2550-", 2550, 2560),
        ("bytes=-5", 2555, 2560),
        ("bytes=-9999", 0, 2560),
        ("bytes=2559-99999", 2559, 2560),
    ],
)
def test_a_range_is_206(ada: Caller, wanted: str, start: int, stop: int) -> None:
    sha = put(ada, RAW)
    got = ada.get(f"/v1/blobs/{sha}", headers={"Range": wanted})
    assert (got.status_code, got.data) == (206, RAW[start:stop])
    assert got.headers["Content-Range"] == f"bytes {start}-{stop - 1}/2560"
    assert got.headers["Content-Length"] == str(stop - start)


def test_a_range_that_is_not_there_is_416(ada: Caller) -> None:
    for raw, wanted in ((RAW, "bytes=2560-"), (b"", "bytes=0-")):
        got = ada.get(f"/v1/blobs/{put(ada, raw)}", headers={"Range": wanted})
        assert (got.status_code, got.mimetype) == (416, "application/problem+json")
        assert got.headers["Content-Range"] == f"bytes */{len(raw)}"


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "lines=1-2", "bytes=", "bytes=b-c", "bytes=5-2"])
def test_a_range_of_another_kind_gets_everything(ada: Caller, wanted: str) -> None:
    got = ada.get(f"/v1/blobs/{put(ada, RAW)}", headers={"Range": wanted})
    assert (got.status_code, got.data) == (200, RAW)


def test_conditions_are_kept(ada: Caller) -> None:
    sha = put(ada, RAW)
    same = ada.get(f"/v1/blobs/{sha}", headers={"If-None-Match": f'"{sha}"'})
    assert (same.status_code, same.data) == (304, b"")
    part = {"Range": "bytes=0-1", "If-Range": f'"{sha}"'}
    assert ada.get(f"/v1/blobs/{sha}", headers=part).status_code == 206
    for other in ('"other"', "Tue, 01 Jan 2030 00:00:00 GMT"):
        assert ada.get(f"/v1/blobs/{sha}", headers={**part, "If-Range": other}).status_code == 200
    head = ada.open(f"/v1/blobs/{sha}", "HEAD")
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", "2560")


def test_what_is_missing_is_told_in_order(ada: Caller) -> None:
    here = put(ada, b"here")
    away = [sha_of(str(number).encode()) for number in range(3)]
    asked = [away[2], here, away[0], away[2], away[1]]
    assert ada.post("/v1/blobs/missing", json={"shas": asked}).json == {"missing": [away[2], away[0], away[1]]}
    assert ada.post("/v1/blobs/missing", json={"shas": []}).json == {"missing": []}
    many = [sha_of(bytes([number // 250, number % 250])) for number in range(1001)]
    assert ada.post("/v1/blobs/missing", json={"shas": many[:1000]}).json == {"missing": many[:1000]}
    assert ada.post("/v1/blobs/missing", json={"shas": many}).status_code == 422
    for bad in ("A" * 64, "a" * 63, "../x", ""):
        answer = ada.post("/v1/blobs/missing", json={"shas": [here, bad]})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "shas[1]")


def test_what_is_said_to_be_here_is_leased(ada: Caller, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = put(ada, b"here")
    real = clock.now

    def leased_at() -> object:
        with database.reading() as session:
            return session.scalar(select(Blob.leased_at).where(Blob.org_id == ada.org_id, Blob.sha == sha))

    first = leased_at()
    ada.post("/v1/blobs/missing", json={"shas": [sha]})
    assert leased_at() == first  # noted at most once an hour
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=2))
    ada.post("/v1/blobs/missing", json={"shas": [sha]})
    second = leased_at()
    assert second != first
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=4))
    put(ada, b"here")
    assert leased_at() != second


def test_a_hash_gives_a_stranger_nothing(ada: Caller, mallory: Caller) -> None:
    sha, nothing = put(ada, b"secret weights"), "0" * 64
    theirs, none = mallory.get(f"/v1/blobs/{sha}"), mallory.get(f"/v1/blobs/{nothing}")
    assert theirs.status_code == none.status_code == 404
    assert {**theirs.json, "request_id": 0} == {**none.json, "request_id": 0}
    assert mallory.post("/v1/blobs/missing", json={"shas": [sha, nothing]}).json == {"missing": [sha, nothing]}
    entry = {"path": "w", "sha": sha, "size": 14}
    logged = mallory.post("/v1/artifacts/log", json={"project": "p", "name": "a", "entries": [entry]})
    assert (logged.status_code, logged.json["missing"]) == (409, [sha])
    # Whoever has the bytes may upload them, and it counts as new there.
    assert mallory.post("/v1/blobs", data=b"secret weights", headers=OCTETS).status_code == 201
    assert mallory.get(f"/v1/blobs/{sha}").data == b"secret weights"


def test_a_reader_fetches_and_does_not_upload(ada: Caller, make: Maker) -> None:
    reader = make.caller("Ada's lab", scope="read")
    sha = put(ada, b"x")
    assert reader.get(f"/v1/blobs/{sha}").data == b"x"
    assert reader.post("/v1/blobs", data=b"y", headers=OCTETS).status_code == 403
    assert reader.post("/v1/blobs/missing", json={"shas": []}).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2fetc%2fpasswd",
        "%252e%252e%252fetc%252fpasswd",
        "../../etc/passwd",
        "{sha}%00",
        "{sha}/",
        "{sha}%2f",
        "{upper}",
        "{short}",
        "{sha}0",
        "%20{sha}",
    ],
)
def test_nothing_but_a_hash_is_an_address(ada: Caller, path: str) -> None:
    sha = put(ada, b"x")
    answer = ada.get("/v1/blobs/" + path.format(sha=sha, upper=sha.upper(), short=sha[:-1]))
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"
    assert b"root:" not in answer.data


def test_a_damaged_blob_is_a_failure_and_not_an_answer(ada: Caller, settings: config.Settings) -> None:
    if not settings.is_sqlite:
        pytest.skip("the bytes are not in files here")
    raw = b"a" * (9 * MIB)
    sha = put(ada, raw)
    file = settings.data_dir / f"blobs/{ada.org_id}/{sha[:2]}/{sha}"
    file.write_bytes(b"b" + raw[1:])
    answer = ada.get(f"/v1/blobs/{sha}")
    assert (answer.status_code, answer.json["code"]) == (500, "damaged")
    file.unlink()
    assert ada.get(f"/v1/blobs/{sha}").json["code"] == "damaged"


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = request.getfixturevalue("postgres").create("blobs") if KIND == "postgres" else None
    server = Server(tmp_path_factory.mktemp("server"), url, WEB_CONCURRENCY="1").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("write")


def connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)


def memory(server: Server) -> dict[str, int]:
    """The most bytes that each process of the server ever had resident, by its id."""
    assert server.process is not None
    group = server.process.pid
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            fields = (status.parent / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and (most := re.search(r"VmHWM:\s+(\d+)", status.read_text())):
                found[status.parent.name] = int(most[1]) * 1024
    return found


def upload(server: Server, key: str, raw: Iterator[bytes], size: int) -> tuple[int, bytes]:
    connection = connect(server)
    headers = {"Authorization": f"Bearer {key}", **OCTETS, "Content-Length": str(size)}
    connection.request("POST", "/v1/blobs", raw, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def there_and_back(server: Server, key: str, mebibytes: int) -> int:
    """Send a blob of this size and fetch it again; by how much the server's memory grew at its highest."""
    block = hashlib.shake_128(b"block").digest(MIB)
    whole, got = hashlib.sha256(), hashlib.sha256()
    for number in range(mebibytes):
        whole.update(number.to_bytes(8) + block[8:])
    upload(server, key, iter([block] * 10), 10 * MIB)  # what is loaded at first use is loaded
    before = memory(server)
    parts = (number.to_bytes(8) + block[8:] for number in range(mebibytes))
    answer = f'{{"sha":"{whole.hexdigest()}","size":{mebibytes * MIB}}}'.encode()
    assert upload(server, key, parts, mebibytes * MIB) == (201, answer)
    connection = connect(server)
    connection.request("GET", f"/v1/blobs/{whole.hexdigest()}", headers={"Authorization": f"Bearer {key}"})
    download = connection.getresponse()
    while piece := download.read(MIB):
        got.update(piece)
    connection.close()
    assert got.digest() == whole.digest()
    return max(now - before[process] for process, now in memory(server).items())


def test_a_quarter_of_a_gibibyte_goes_through_a_small_server(server: Server, key: str) -> None:
    assert there_and_back(server, key, 256) <= 64 * MIB


def test_a_bucket_behind_the_real_server_takes_and_gives_blobs(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue("postgres").create("blobs_s3") if KIND == "postgres" else None
    with s3_server() as environment:
        server = Server(tmp_path, url, **environment, ARWX_BLOB_URL=f"s3://{BUCKET}/blobs").start()
        key = server.key("write")
        assert there_and_back(server, key, 48) <= 64 * MIB
        server.stop()


def test_a_server_killed_in_an_upload_has_half_a_blob_nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue("postgres").create("blobs_kill") if KIND == "postgres" else None
    server = Server(tmp_path, url).start()
    key = server.key("write")
    raw = hashlib.shake_128(b"half").digest(16 * MIB)
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = f"POST /v1/blobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(raw)}\r\n\r\n"
    connection.sendall(head.encode() + raw[: 10 * MIB])
    server.kill()
    connection.close()
    server.start()

    def ask(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        asked = connect(server)
        kind = "application/json" if path.endswith("missing") else "application/octet-stream"
        asked.request(method, path, body, {"Authorization": f"Bearer {key}", "Content-Type": kind})
        answer = asked.getresponse()
        found = answer.status, answer.read()
        asked.close()
        return found

    sha = sha_of(raw)
    assert ask("GET", f"/v1/blobs/{sha}")[0] == 404
    assert ask("GET", f"/v1/blobs/{sha_of(raw[: 10 * MIB])}")[0] == 404
    assert sha in ask("POST", "/v1/blobs/missing", f'{{"shas":["{sha}"]}}'.encode())[1].decode()
    assert ask("POST", "/v1/blobs", raw)[0] == 201
    assert ask("GET", f"/v1/blobs/{sha}") == (200, raw)
    server.stop()


def test_a_body_cut_short_is_400_and_stored_nowhere(server: Server, key: str) -> None:
    head = f"POST /v1/blobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 5000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode() + b"x" * 3_000_000)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while b"}" not in answer and (piece := connection.recv(65536)):
            answer += piece
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"truncated_body" in answer
    asked = connect(server)
    sha = sha_of(b"x" * 3_000_000)
    asked.request("GET", f"/v1/blobs/{sha}", headers={"Authorization": f"Bearer {key}"})
    assert asked.getresponse().status == 404
    asked.close()


def test_a_bit_that_flipped_ends_the_connection(server: Server, key: str) -> None:
    if KIND == "postgres":
        pytest.skip("the bytes are not in files here")
    raw = hashlib.shake_128(b"flip").digest(9 * MIB)
    assert upload(server, key, iter([raw]), len(raw))[0] == 201
    file = next((server.folder / "blobs").rglob(sha_of(raw)))
    bad = bytearray(raw)
    bad[-1] ^= 1
    file.write_bytes(bad)
    connection = connect(server)
    connection.request("GET", f"/v1/blobs/{sha_of(raw)}", headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as caught:
        answer.read()
    assert raw.startswith(caught.value.partial)


def test_a_slow_upload_holds_nothing_that_others_need(server: Server, key: str) -> None:
    """The database takes writes while bytes trickle in."""
    head = f"POST /v1/blobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 5000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(head.encode() + b"x" * 3_000_000)
        for number in range(5):
            other = connect(server)
            body = f'{{"name":"p{number}"}}'
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            other.request("POST", "/v1/projects", body, headers)
            assert other.getresponse().status in {200, 201}
            other.close()


def test_readiness_names_the_blob_store(settings: config.Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app: Flask = create_app(replace(settings, blob_url=(tmp_path / "file/blobs").as_uri()))
    answer = app.test_client().get("/ready")
    assert (answer.status_code, answer.json) == (
        503,
        {"status": "not ready", "reason": "The folder of the blob store cannot be written."},
    )
    app.extensions["arwx.db"].engine.dispose()


@pytest.mark.parametrize(
    "url", ["/var/blobs", "file://x", "file:///", "s3://", "gs://bucket", "db", "http://x", "s3:bucket"]
)
def test_an_address_that_cannot_be_is_told_at_the_start(tmp_path: Path, url: str) -> None:
    with pytest.raises(config.CannotStart, match="ARWX_BLOB_URL"):
        config.from_environment({"ARWX_DATA_DIR": str(tmp_path), "ARWX_BLOB_URL": url})


def test_the_default_place_follows_the_database(tmp_path: Path) -> None:
    folder = {"ARWX_DATA_DIR": str(tmp_path)}
    assert config.from_environment(folder).blobs_at == f"file://{tmp_path}/blobs"
    postgres = {**folder, "DATABASE_URL": "postgres://x/y", "SECRET_KEY": "s" * 40}
    assert config.from_environment(postgres).blobs_at == "db:"
    assert config.from_environment({**postgres, "ARWX_BLOB_URL": "s3://bucket/p"}).blobs_at == "s3://bucket/p"
    with pytest.raises(config.CannotStart, match="ARWX_MAX_BLOB_BYTES"):
        config.from_environment({**folder, "ARWX_MAX_BLOB_BYTES": "5G"})
