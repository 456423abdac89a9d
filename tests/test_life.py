"""How the server starts, or says why it does not; what its host may do to it; and how it ends."""

import http.client
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.make import point
from tests.server import ARWX, ROOT, Server
from tests.test_deploy import Writers, call

CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("ARWX_", "DATABASE_", "SECRET_", "PORT", "WEB_CONCURRENCY"))
}


def arwx(folder: Path, *arguments: str, through: tuple[str, ...] = (), **environment: str) -> tuple[int, list[str]]:
    """The exit code of a command, and the lines that it says on stderr."""
    done = subprocess.run(
        [*through, ARWX, *arguments],
        env={**CLEAN, "ARWX_DATA_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.strip().splitlines()


def refusal(folder: Path, command: str = "serve", through: tuple[str, ...] = (), **environment: str) -> str:
    """The one line with which a command says why it cannot start."""
    code, lines = arwx(folder, command, through=through, **environment)
    assert code == 2, lines
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "data"
    assert arwx(folder, "migrate") == (0, [])
    return folder


@pytest.fixture
def folder(migrated: Path, tmp_path: Path) -> Path:
    """The data folder of a server that has not been started yet."""
    shutil.copytree(migrated, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def in_a_place(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """A command in a mount name space of its own, in which the folder is what these commands of a shell make of it."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("name spaces of mounts are not permitted here")
    return lambda shell: ("unshare", "-rm", "sh", "-c", f'{shell} && exec "$@"', "sh")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:9/none"}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"ARWX_SIGNUP": "perhaps"}, "ARWX_SIGNUP"),
        ({"ARWX_BASE_URL": "example.org"}, "ARWX_BASE_URL"),
        ({"ARWX_BASE_URL": "https://"}, "ARWX_BASE_URL"),
        ({"ARWX_BASE_URL": "https://example.org/arwx"}, "without a path"),
        ({"ARWX_BASE_URL": "https://example.org?"}, "ARWX_BASE_URL"),
        ({"ARWX_BASE_URL": "https://ada@example.org"}, "ARWX_BASE_URL"),
        ({"ARWX_BASE_URL": "https://example.org:port"}, "ARWX_BASE_URL"),
        ({"PORT": "many"}, "PORT"),
        ({"WEB_CONCURRENCY": "many"}, "WEB_CONCURRENCY"),
        ({"WEB_CONCURRENCY": "0"}, "WEB_CONCURRENCY"),
        ({"WEB_CONCURRENCY": "", "PORT": "", "ARWX_HOST": ""}, "arwx migrate"),  # empty is as good as not there
        ({}, "arwx migrate"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:9/none", "SECRET_KEY": "s" * 40}, "Connection refused"),
        ({"DATABASE_URL": "sqlite:////proc/nowhere/arwx.db"}, "DATABASE_URL"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    assert words in refusal(tmp_path, **environment)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("import /nowhere.zip", "'/nowhere.zip' does not exist"),
        ("key new", "'--org'"),
        ("nonsense", "'nonsense'"),
        ("key list --org", "'--org'"),
    ],
)
def test_a_command_that_is_not_understood_says_why_in_one_line(tmp_path: Path, command: str, words: str) -> None:
    code, lines = arwx(tmp_path, *command.split())
    assert (code, len(lines)) == (2, 1)
    assert words in lines[0]


def test_a_port_that_is_taken_is_told(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refusal(folder, PORT=str(port), ARWX_HOST="127.0.0.1")
    assert f"Port {port} of 127.0.0.1" in said
    assert "in use" in said


@pytest.mark.parametrize("command", ["serve", "migrate", "gc"])
def test_a_database_of_a_newer_version_is_left_alone(folder: Path, command: str) -> None:
    with sqlite3.connect(folder / "arwx.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = (folder / "arwx.db").read_bytes()
    said = refusal(folder, command)
    assert "newer version" in said
    assert "arwx migrate" not in said
    assert (folder / "arwx.db").read_bytes() == before


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_file_that_is_no_database_is_told(folder: Path, command: str) -> None:
    (folder / "arwx.db").write_bytes(b"no database, but long enough to be taken for one" * 200)
    assert "not a database" in refusal(folder, command)


def test_a_folder_that_cannot_be_written_is_told(folder: Path, in_a_place: Callable[..., tuple[str, ...]]) -> None:
    read_only = in_a_place(f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}")
    assert "unable to open database file" in refusal(folder, through=read_only)
    (folder / "secret_key").unlink()
    assert "Read-only file system" in refusal(folder, through=read_only)
    full = in_a_place(f"mount -t tmpfs -o size=4k none {folder} && head -c 4096 /dev/zero > {folder}/ballast")
    for command in ("serve", "migrate"):
        said = refusal(folder, command, through=full)
        assert said == f"ARWX_DATA_DIR cannot be used: No space left on device: {folder}."


def test_two_first_starts_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    code = "from arwx import config; print(config.from_environment().secret_key)"
    environment = {**CLEAN, "ARWX_DATA_DIR": str(tmp_path / "data")}
    starts = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(6)
    ]
    assert len({start.communicate()[0] for start in starts}) == 1
    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_damaged_secret_is_no_secret(folder: Path) -> None:
    (folder / "secret_key").write_text("")
    assert "secret_key is damaged" in refusal(folder)


def idle(server: Server) -> http.client.HTTPConnection:
    """A connection that was used once and is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/health")
    assert connection.getresponse().read()
    return connection


def test_it_ends_when_all_who_asked_are_served_and_waits_for_nobody_else(tmp_path: Path) -> None:
    """Told to end, it takes no more connections, hangs up on idle ones, and finishes what is on its way."""
    server = Server(tmp_path).start()
    key = server.key("admin")
    writers = Writers(server, key, batches=20, size=8)
    kept = [idle(server) for _ in range(8)]
    body = b"x" * 300_000
    upload = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    upload.sendall(
        f"POST /v1/blobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\n\r\n".encode()
    )
    answer = upload.makefile("rb")
    assert [answer.readline(), answer.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]  # it is on its way
    upload.sendall(body[:100_000])
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    # Idle ones are closed, in an orderly way, while the upload is still on its way: a server that waited for them would
    # break it off when its patience is over.
    for connection in kept:
        assert connection.sock.recv(1) == b""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    upload.sendall(body[100_000:])
    with upload, answer:
        assert b" 201 " in answer.read().split(b"\r\n")[0]
    assert server.process.wait(30) == 0
    assert "Traceback" not in server.log()
    server.start()
    writers.check()
    server.stop()


def test_new_settings_are_taken_over_without_a_gap(tmp_path: Path) -> None:
    server = Server(tmp_path, WEB_CONCURRENCY="1").start()
    key, old = server.key("admin"), server.workers()
    writers = Writers(server, key, batches=25, size=8)
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while set(server.workers()) & set(old) or not server.workers():
        assert call(server, "", "GET", "/health")[0] == 200
        assert time.monotonic() < deadline
        time.sleep(0.05)
    writers.check()
    server.stop()


def test_a_crowd_finds_a_server_whose_host_begins_with_few_descriptors(tmp_path: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")
    server = Server(tmp_path, through=("prlimit", "--nofile=64:4096"), WEB_CONCURRENCY="1").start()
    crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(150)]
    for connection in crowd:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
    assert call(server, "", "GET", "/ready")[0] == 200
    for connection in crowd:
        connection.close()
    server.stop()


def test_two_servers_on_one_folder_share_everything_but_their_counts(folder: Path) -> None:
    token = "a token for the scraper"
    one, other = (Server(folder, ARWX_METRICS_TOKEN=token, WEB_CONCURRENCY="1") for _ in range(2))
    one.start()
    key = one.key("admin")
    assert call(one, key, "POST", "/v1/runs", {"project": "p", "id": "shared"})[0] == 201
    assert call(one, key, "POST", "/v1/ingest", batch("a", 0))[1]["stored"] == 100
    other.start()

    def send(server: Server, writer: str) -> None:
        for first in range(100, 2000, 100):
            assert call(server, key, "POST", "/v1/ingest", batch(writer, first))[1]["stored"] == 100

    threads = [threading.Thread(target=send, args=pair) for pair in ((one, "a"), (other, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receipt = call(other, key, "GET", "/v1/runs/shared/integrity")[1]
    assert (receipt["points_stored"], receipt["lost"], receipt["conflicts"]) == (3900, 0, 0)
    for server, points in ((one, 2000), (other, 1900)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
        assert f'arwx_points_total{{outcome="stored"}} {points}.0' in connection.getresponse().read().decode()
        connection.close()
        server.stop()


def batch(writer: str, first: int) -> dict[str, object]:
    noise = random.Random(first)
    points = [point(first + number, loss=noise.random()) for number in range(100)]
    return {"run_id": "shared", "writer_id": writer, "epoch": "e", "first_seq": first, "points": points}


@pytest.fixture
def small_disk(tmp_path: Path, in_a_place: Callable[..., tuple[str, ...]]) -> Iterator[tuple[Server, str]]:
    """A server whose data lies on a disk of three megabytes, two of which are taken; and a key."""
    folder = tmp_path / "data"
    server = Server(folder, WEB_CONCURRENCY="1")
    key = server.key("admin")
    shutil.copytree(folder, tmp_path / "copy")
    server._through = in_a_place(
        f"mount -t tmpfs -o size=3m none {folder} && cp -a {tmp_path}/copy/. {folder} "
        f"&& head -c 2000000 /dev/zero > {folder}/ballast"
    )
    yield server.start(), key
    server.stop()


def test_a_full_disk_is_told_reading_goes_on_and_nothing_is_lost(small_disk: tuple[Server, str]) -> None:
    server, key = small_disk
    assert call(server, key, "POST", "/v1/runs", {"project": "p", "id": "shared"})[0] == 201
    acknowledged = 0
    while (answer := call(server, key, "POST", "/v1/ingest", batch("w", acknowledged)))[0] == 200:
        acknowledged += 100
        assert acknowledged < 100_000, "the disk never filled"
    assert (answer[0], answer[1]["code"]) == (503, "unavailable")
    receipt = call(server, key, "GET", "/v1/runs/shared/integrity")
    assert (receipt[0], receipt[1]["points_stored"], receipt[1]["intact"]) == (200, acknowledged, True)
    assert call(server, key, "GET", "/v1/projects/p/charts?keys=loss")[0] == 200
    assert call(server, key, "POST", "/v1/projects", {"name": "q" * 100})[0] in {201, 503}
    assert call(server, "", "GET", "/health")[0] == 200
    assert call(server, "", "GET", "/ready")[0] == 503
    # Somebody makes room, on the disk as the server sees it.
    assert server.process is not None
    Path(f"/proc/{server.process.pid}/root{server.folder}/ballast").unlink()
    assert call(server, key, "POST", "/v1/ingest", batch("w", acknowledged))[1]["stored"] == 100
    receipt = call(server, key, "GET", "/v1/runs/shared/integrity")
    assert (receipt[1]["points_stored"], receipt[1]["intact"]) == (acknowledged + 100, True)
    assert call(server, "", "GET", "/ready")[0] == 200
