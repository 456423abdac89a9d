"""The service as it is shipped: the commands, gunicorn, killed processes, broken bodies on a real socket."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import KIND
from tests.make import point
from tests.postgres import Postgres
from tests.server import Server

IS_FULL = os.environ.get("ARWX_FULL") == "1"


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = request.getfixturevalue("postgres").create("deploy") if KIND == "postgres" else None
    server = Server(tmp_path_factory.mktemp("server"), url).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("admin")


def call(server: Server, key: str, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    return answer.status, json.loads(raw) if raw else {}


def raw_exchange(server: Server, request: bytes, *, hang_up: bool = True) -> bytes:
    """Send these bytes and end the sending side in an orderly way, as the kernel does for a killed sender."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def test_health_and_readiness_need_no_key(server: Server) -> None:
    assert call(server, "", "GET", "/health") == (200, {"status": "ok"})
    assert call(server, "", "GET", "/ready") == (200, {"status": "ready"})


def test_a_key_from_the_command_line_works_until_revoked(server: Server) -> None:
    secret = server.key("admin")
    status, listed = call(server, secret, "GET", "/v1/keys")
    assert status == 200
    newest = listed["items"][0]  # type: ignore[index]
    server.run("key", "revoke", newest["id"])
    assert call(server, secret, "GET", "/v1/keys")[0] == 401
    with pytest.raises(subprocess.CalledProcessError) as caught:
        server.run("key", "revoke", newest["id"])
    assert caught.value.returncode == 1


def test_gc_compacts_what_a_run_left(server: Server, key: str) -> None:
    call(server, key, "POST", "/v1/runs", {"project": "p", "id": "left"})
    batch = {"run_id": "left", "writer_id": "w", "epoch": "e", "first_seq": 0, "points": [point(0), point(1)]}
    assert call(server, key, "POST", "/v1/ingest", batch)[1]["stored"] == 2
    assert "Compacted: " in server.run("gc")
    assert "Compacted: " not in server.run("gc")
    receipt = call(server, key, "GET", "/v1/runs/left/integrity")[1]
    assert (receipt["points_stored"], receipt["intact"]) == (2, True)


def test_a_short_body_is_refused_and_nothing_of_it_stored(server: Server, key: str) -> None:
    call(server, key, "POST", "/v1/runs", {"project": "p", "id": "short"})
    body = json.dumps(
        {"run_id": "short", "writer_id": "w", "epoch": "e", "first_seq": 0, "points": [point(0)]}
    ).encode()
    head = f"POST /v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    answer = raw_exchange(server, f"{head}Content-Length: {len(body) + 50}\r\n\r\n".encode() + body)
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"truncated_body" in answer
    cut_chunk = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body[:-5]
    assert b" 400 " in raw_exchange(server, cut_chunk).split(b"\r\n")[0]
    assert call(server, key, "GET", "/v1/runs/short/integrity")[1]["points_stored"] == 0


def test_a_stream_that_broke_in_the_middle_of_a_line_keeps_the_lines_before(server: Server, key: str) -> None:
    call(server, key, "POST", "/v1/runs", {"project": "p", "id": "broken"})
    lines = [{"run_id": "broken", "writer_id": "w", "epoch": "e", "first_seq": 0}, point(0), point(1), point(2)]
    body = b"\n".join(json.dumps(line).encode() for line in lines)[:-9]
    head = f"POST /v1/ingest/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body) + 99}\r\n\r\n"
    told = json.loads(raw_exchange(server, head.encode() + body).partition(b"\r\n\r\n")[2])
    assert (told["status"], told["code"], told["next_seq"]) == (400, "truncated_body", 2)
    assert call(server, key, "GET", "/v1/runs/broken/integrity")[1]["points_stored"] == 2


def test_a_chunked_body_over_the_limit_is_413_and_not_cut(server: Server, key: str) -> None:
    head = f"POST /v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(20):
                connection.sendall(chunk)
        except OSError:
            pass  # the server has answered and closed
        with connection.makefile("rb") as answer:
            assert b" 413 " in answer.readline()


def test_a_refused_upload_does_not_hold_up_its_neighbours(server: Server, key: str) -> None:
    head = "POST /v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nobody\r\nContent-Type: application/json\r\n"
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(8)]
    for connection in connections:
        connection.sendall(f"{head}Content-Length: 1048576\r\n\r\n".encode() + b"x" * 65536)
    started = time.monotonic()
    assert call(server, key, "GET", "/v1/projects")[0] == 200
    assert time.monotonic() - started < 5
    for connection in connections:
        connection.close()


def test_a_refused_body_leaves_the_connection_good_unless_it_is_long(server: Server, key: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.connect()
    connection.auto_open = 0
    kind = {"Content-Type": "application/json"}
    for secret, size in (("nobody", 200_000), ("nobody", 3), (key, 200_000), ("nobody", 9_000_000)):
        connection.request("POST", "/v1/ingest", b"x" * size, {"Authorization": f"Bearer {secret}", **kind})
        answer = connection.getresponse()
        assert answer.status == (400 if secret == key else 401)
        assert answer.will_close == (size > 2**20)
        assert b"request_id" in answer.read()
    connection.close()


@pytest.mark.parametrize(
    "more",
    [
        "Content-Length: 5000000\r\n\r\n",
        "Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n180000\r\n" + "x" * 0x180000,
    ],
    ids=["a long one", "one that is kept back", "one without end"],
)
def test_the_rest_of_a_refused_body_is_not_waited_for(server: Server, more: str) -> None:
    head = "POST /v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nobody\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"{head}{more}".encode())
        with connection.makefile("rb") as answer:
            told = answer.read()
    assert b"HTTP/1.1 401 " in told
    assert b"\r\nConnection: close\r\n" in told


def test_idle_and_trickling_clients_stop_nobody(server: Server, key: str) -> None:
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(64)]
    for number, connection in enumerate(connections):
        if number % 2:
            connection.sendall(
                f"POST /v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-".encode()
            )
    for _ in range(20):
        assert call(server, key, "GET", "/health")[0] == 200
        assert call(server, key, "GET", "/v1/projects")[0] == 200
    for connection in connections:
        connection.close()


class Writers:
    """Four writers that send their batches until each is acknowledged, whatever happens to the server meanwhile."""

    def __init__(self, server: Server, key: str, batches: int, size: int) -> None:
        self.server, self.key, self.batches, self.size = server, key, batches, size
        self.failures: list[BaseException] = []
        self.threads = [threading.Thread(target=self._write, args=(f"w{i}",)) for i in range(4)]
        call(server, key, "POST", "/v1/runs", {"project": "p", "id": "hard"})
        for thread in self.threads:
            thread.start()

    @property
    def are_busy(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def check(self) -> None:
        """Every acknowledged point is stored, once, and the receipt says so."""
        for thread in self.threads:
            thread.join()
        assert self.failures == []
        receipt = call(self.server, self.key, "GET", "/v1/runs/hard/integrity")[1]
        assert receipt["points_stored"] == 4 * self.batches * self.size * 2
        assert (receipt["lost"], receipt["intact"]) == (0, True)

    def _write(self, writer: str) -> None:
        try:
            for number in range(self.batches):
                first = number * self.size
                batch = [point(first + i, loss=float(i), lr=0.1) for i in range(self.size)]
                body = {"run_id": "hard", "writer_id": writer, "epoch": "e", "first_seq": first, "points": batch}
                self._send(body)
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.failures.append(error)

    def _send(self, body: dict[str, object]) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                status, answer = call(self.server, self.key, "POST", "/v1/ingest", body)
            except (OSError, http.client.HTTPException):
                status, answer = 503, {}
            if status == 200:
                return
            # A server that goes down may say so; whatever it has acknowledged before counts.
            assert status == 503, answer
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_every_acknowledged_point_survives_the_killing_of_all_processes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("postgres").create("kills") if KIND == "postgres" else None
    server = Server(tmp_path, url).start()
    writers = Writers(server, server.key("admin"), batches=125, size=8)
    for _ in range(3):
        time.sleep(0.7)
        server.kill()
        server.start()
    writers.check()
    server.stop()


def test_every_acknowledged_point_survives_the_killing_of_workers(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The master starts new ones. With ARWX_FULL=1: 200,000 points, 50 workers killed."""
    url = request.getfixturevalue("postgres").create("workers") if KIND == "postgres" else None
    server = Server(tmp_path, url).start()
    batches, kills = (500, 50) if IS_FULL else (30, 3)
    writers = Writers(server, server.key("admin"), batches=batches, size=50)
    done = 0
    while writers.are_busy or done < kills:
        time.sleep(0.5)
        if found := server.workers():
            os.kill(found[done % len(found)], signal.SIGKILL)
            done += 1
        if not writers.are_busy and not IS_FULL:
            break
    writers.check()
    server.stop()


@pytest.mark.skipif(KIND != "postgres", reason="PostgreSQL alone can be stopped without the server")
def test_every_acknowledged_point_survives_the_crashing_of_postgresql(tmp_path: Path) -> None:
    """With ARWX_FULL=1: 200,000 points, 30 crashes."""
    postgres = Postgres(durable=True)
    try:
        server = Server(tmp_path, postgres.create("crashes")).start()
        batches, crashes = (500, 30) if IS_FULL else (30, 2)
        writers = Writers(server, server.key("admin"), batches=batches, size=50)
        for _ in range(crashes):
            time.sleep(0.7)
            postgres.crash()
            postgres.start()
        writers.check()
        server.stop()
    finally:
        postgres.stop()
