"""The server as it is shipped, spoken to over bare sockets: smuggled requests, limits of HTTP, and clients that are slow."""

import contextlib
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gunicorn
import pytest

from tests.make import point
from tests.server import Server
from tests.test_deploy import call, raw_exchange

LASTS_S = 60.0 if os.environ.get("ARWX_FULL") else 3.0
CROWD = 256 if os.environ.get("ARWX_FULL") else 64
PATIENCE_S = 0.5 if os.environ.get("ARWX_FULL") else 5.0  # timed in earnest by the full run alone


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), ARWX_BASE_URL="http://arwx.example.org").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("admin")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def head(key: str, path: str = "/v1/runs", method: str = "POST", host: str = "127.0.0.1") -> str:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )


SMUGGLED = "0\r\n\r\nDELETE /v1/runs/kept HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding: chunked\r\n", SMUGGLED, {400}),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", {400, 501}),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", {400, 501}),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n", {400}),
        ("Content-Length: 2\r\nContent-Length: 4\r\n", "{}{}", {400}),
        ("Content-Length: +2\r\n", "{}", {400}),
        ("Content-Length: -1\r\n", "{}", {400}),
        ("Content-Length: 0x2\r\n", "{}", {400}),
        ("Content_Length: 4\r\n", "", {400, 422}),
        ("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n", {400}),
        ("Transfer-Encoding: chunked\r\n", "-2\r\n{}\r\n0\r\n\r\n", {400}),
        ("X: a\r\n b\r\n", "", {400}),
        ("X\x00Y: a\r\n", "", {400}),
        (": a\r\n", "", {400}),
        ("A\rB: c\r\n", "", {400}),
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(
    server: Server, key: str, headers: str, body: str, expected: set[int]
) -> None:
    call(server, key, "POST", "/v1/runs", {"project": "p", "id": "kept"})
    answer = raw_exchange(server, (head(key) + headers + "\r\n" + body).encode("latin-1"))
    assert status(answer) in expected, answer[:300]
    assert answer.count(b"HTTP/1.1") == 1
    assert call(server, key, "GET", "/v1/runs/kept")[0] == 200


def test_the_server_is_one_that_is_known_to_refuse_them() -> None:
    assert gunicorn.version_info >= (27,)


@pytest.mark.parametrize(
    "headers",
    ["".join(f"X-{number}: 1\r\n" for number in range(101)), f"X: {'a' * 9000}\r\n"],
    ids=["101 headers", "a header of 9 kB"],
)
def test_headers_have_limits(server: Server, key: str, headers: str) -> None:
    answer = raw_exchange(server, (head(key, "/v1/projects", "GET") + headers + "\r\n").encode())
    assert 400 <= status(answer) < 500, answer[:200]


def test_a_request_line_has_a_limit(server: Server, key: str) -> None:
    answer = raw_exchange(server, (head(key, "/v1/projects?" + "a" * 9000, "GET") + "\r\n").encode())
    assert 400 <= status(answer) < 500


def test_many_small_chunks_are_one_body(server: Server, key: str) -> None:
    """A chunk a byte, with extensions, a hundred thousand of them: read, and nobody waits for it."""
    body = b'{"project":"p","id":"chunky","notes":"' + b"n" * 50_000 + b'"}'
    chunks = b"".join(b"1;ext=%d\r\n%c\r\n" % (number % 10, byte) for number, byte in enumerate(body))
    began = time.monotonic()
    answer = raw_exchange(server, f"{head(key)}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n")
    assert status(answer) in {200, 201}, answer[:300]
    assert time.monotonic() - began < 20


def test_whoever_waits_for_a_go_ahead_with_a_bad_key_gets_a_refusal(server: Server) -> None:
    wire = head("nobody") + "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(wire.encode())
        answer = connection.recv(65536)
        while b" 401 " not in answer and (more := connection.recv(65536)):
            answer += more
    assert b" 401 " in answer


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "arwx.example.org.evil.test",
        "arwx.example.org@evil.test",
        "",
        "127.0.0.1.evil.test",
        "evil.test:8090",
    ],
)
def test_a_name_that_is_not_ours_is_not_answered(server: Server, key: str, host: str) -> None:
    for path in ("/v1/projects", "/login", "/sdk/"):
        assert status(raw_exchange(server, (head(key, path, "GET", host) + "\r\n").encode())) == 400, path
    if host:
        assert status(raw_exchange(server, (head(key, "/health", "GET", host) + "\r\n").encode())) == 200


@pytest.mark.parametrize("host", ["arwx.example.org", "arwx.example.org:80", "localhost:1", "127.0.0.1", "[::1]:9"])
def test_our_names_are_answered(server: Server, key: str, host: str) -> None:
    assert status(raw_exchange(server, (head(key, "/v1/projects", "GET", host) + "\r\n").encode())) == 200


def test_forwarded_names_change_nothing(server: Server, key: str) -> None:
    forged = "X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\nX_Forwarded_Proto: https\r\nForwarded: host=evil.test\r\n"
    answer = raw_exchange(server, (head(key, "/sdk/latest.json", "GET") + forged + "\r\n").encode())
    assert status(answer) == 200
    assert b"evil" not in answer
    assert b"Strict-Transport-Security" not in answer


def idle(_: Server, connection: socket.socket, __: str) -> Iterator[None]:
    while True:
        yield


def slow_header(_: Server, connection: socket.socket, key: str) -> Iterator[None]:
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    while True:
        connection.sendall(b"X: 1\r\n")
        yield


def slow_body(_: Server, connection: socket.socket, key: str) -> Iterator[None]:
    connection.sendall(f"{head(key)}Content-Length: 100000\r\n\r\n".encode())
    while True:
        connection.sendall(b" ")
        yield


def slow_read(_: Server, connection: socket.socket, key: str) -> Iterator[None]:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall((head(key, BIG[0], "GET") + "\r\n").encode())
    while True:
        connection.recv(1024)
        yield


BIG: list[str] = []


@pytest.mark.parametrize("way", [idle, slow_header, slow_body, slow_read])
def test_a_crowd_of_slow_clients_holds_nobody_up(
    server: Server, key: str, way: Callable[[Server, socket.socket, str], Iterator[None]]
) -> None:
    if not BIG:
        import hashlib

        raw = os.urandom(2**20) * 50
        upload = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        upload.sendall(
            head(key, "/v1/blobs").replace("application/json", "application/octet-stream").encode()
            + f"Content-Length: {len(raw)}\r\nConnection: close\r\n\r\n".encode()
        )
        upload.sendall(raw)
        with upload, upload.makefile("rb") as answer:
            assert b" 201 " in answer.readline()
        BIG.append(f"/v1/blobs/{hashlib.sha256(raw).hexdigest()}")
    call(server, key, "POST", "/v1/runs", {"project": "p", "id": "quick"})
    crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(CROWD)]
    ends, stories = time.monotonic() + LASTS_S, [way(server, connection, key) for connection in crowd]
    done = threading.Event()

    def trickle() -> None:
        while not done.wait(1.0):
            for story in stories:
                with contextlib.suppress(OSError, StopIteration):
                    next(story)

    slow = threading.Thread(target=trickle)
    slow.start()
    health, ingest, seq = [], [], getattr(test_a_crowd_of_slow_clients_holds_nobody_up, "seq", 0)
    try:
        while time.monotonic() < ends:
            began = time.monotonic()
            assert call(server, "", "GET", "/health")[0] == 200
            health.append(time.monotonic() - began)
            body: dict[str, Any] = {
                "run_id": "quick",
                "writer_id": "w",
                "epoch": "e",
                "first_seq": seq,
                "points": [point(seq)],
            }
            began = time.monotonic()
            assert call(server, key, "POST", "/v1/ingest", body)[0] == 200
            ingest.append(time.monotonic() - began)
            seq += 1
            time.sleep(0.1)
    finally:
        done.set()
        slow.join()
        for connection in crowd:
            connection.close()
        test_a_crowd_of_slow_clients_holds_nobody_up.seq = seq  # type: ignore[attr-defined]
    print(
        f"{CROWD} × {way.__name__} for {LASTS_S:.0f} s: health median {statistics.median(health) * 1000:.1f} ms, "
        f"worst {max(health) * 1000:.0f} ms; ingest median {statistics.median(ingest) * 1000:.1f} ms, "
        f"worst {max(ingest) * 1000:.0f} ms ({len(ingest)} each)"
    )
    assert max(health) <= PATIENCE_S
    assert max(ingest) <= PATIENCE_S
