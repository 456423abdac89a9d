"""`arwx backup`: a copy that can be served at once, taken while others write, and never half."""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from arwx import backup, cli, clock, create_app, dumps
from arwx.config import Settings, from_environment
from tests.conftest import KIND, SECRET_KEY
from tests.make import Caller, point
from tests.postgres import Postgres, as_operator
from tests.server import ARWX, Server

FULL = bool(os.environ.get("ARWX_FULL"))
DATABASE = "arwx.db" if KIND == "sqlite" else "arwx.dump"
Command = Callable[..., Result]


@pytest.fixture
def environment(settings: Settings, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """What the operator's commands run with: blobs in a folder, whatever the database is."""
    found = {
        "DATABASE_URL": as_operator(settings.database_url),
        "ARWX_DATA_DIR": str(settings.data_dir),
        "SECRET_KEY": SECRET_KEY,
        "ARWX_BLOB_URL": (tmp_path / "blobs").as_uri(),
    }
    if KIND == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        found["PATH"] = f"{postgres.programs}:{os.environ['PATH']}"
    return found


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    blobs = (tmp_path / "blobs").as_uri()
    return Settings(database_url=database_url, data_dir=tmp_path, secret_key=SECRET_KEY, blob_url=blobs)


@pytest.fixture
def arwx(environment: dict[str, str]) -> Command:
    def run(*arguments: str, **more: str) -> Result:
        done = CliRunner().invoke(cli.main, arguments, env={**environment, **more})
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        return done

    return run


@pytest.fixture
def restore(request: pytest.FixtureRequest, environment: dict[str, str]) -> Callable[[Path], dict[str, str]]:
    """What a server is started with on the copy."""

    def at(folder: Path) -> dict[str, str]:
        if KIND == "sqlite":
            return {"ARWX_DATA_DIR": str(folder), "DATABASE_URL": "", "ARWX_BLOB_URL": "", "SECRET_KEY": SECRET_KEY}
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.create(f"restored_{random.randrange(10**9)}")
        program, plain = postgres.programs / "pg_restore", url.replace("+psycopg", "")
        subprocess.run([program, "--no-owner", f"--dbname={plain}", folder / DATABASE], check=True, timeout=60)
        return {**environment, "DATABASE_URL": plain, "ARWX_BLOB_URL": (folder / "blobs").as_uri()}

    return at


@pytest.fixture
def lab(ada: Caller) -> Caller:
    """Ada with a run and a few files."""
    ada.run(id="r")
    ada.ingest("r", [point(step) for step in range(10)], first_seq=0, writer_id="w", epoch="e")
    for number in range(3):
        upload(ada, b"weights" * 1000 + bytes([number]), f"w{number}.bin")
    return ada


def upload(ada: Caller, raw: bytes, name: str) -> str:
    answer = ada.post(f"/v1/files/upload?project=char-lm&name={name}&run_id=r", data=raw)
    assert answer.status_code == 201
    return str(answer.json["id"])


def files(folder: Path) -> dict[str, int]:
    """The blobs in a backup, with the number that the file system knows each by."""
    return {path.name: path.stat().st_ino for path in folder.glob("blobs/*/*/*")}


def test_a_copy_serves_what_the_server_served(
    lab: Caller, arwx: Command, restore: Callable[[Path], dict[str, str]], tmp_path: Path
) -> None:
    done = arwx("backup", str(tmp_path / "copy"))
    assert (done.exit_code, done.output) == (0, f"{tmp_path / 'copy'} has the database and 3 blobs, 3 of them new.\n")
    restored = restore(tmp_path / "copy")
    assert arwx("fsck", **restored).output == "Everything is as it was stored.\n"
    app = create_app(from_environment(restored))
    again = Caller(app, lab.org_id, lab.key)
    for path in ("/v1/runs/r", "/v1/runs/r/metrics", "/v1/files?run_id=r", "/v1/projects/char-lm/charts?keys=loss"):
        assert again.get(path).json == lab.get(path).json
    for item in lab.get("/v1/files?run_id=r").json["items"]:
        assert hashlib.sha256(again.get(f"/v1/blobs/{item['sha']}").data).hexdigest() == item["sha"]
    assert again.get("/v1/runs/r/integrity").json["intact"]
    app.extensions["arwx.db"].engine.dispose()


def test_nobody_else_may_read_the_copy(lab: Caller, arwx: Command, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert arwx("backup", str(copy)).exit_code == 0
    assert copy.stat().st_mode & 0o077 == 0
    assert [path for path in copy.rglob("*") if path.is_file() and path.stat().st_mode & 0o077] == []
    told = json.loads((copy / "backup.json").read_text())
    assert (told["format"], told["version"], told["database"], told["blobs"]) == ("arwx backup", 1, DATABASE, 3)


def test_again_copies_what_is_new_and_forgets_what_is_gone(
    lab: Caller, arwx: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    assert arwx("backup", str(copy)).exit_code == 0
    before = files(copy)
    upload(lab, b"more", "more.bin")
    assert arwx("backup", str(copy)).output.endswith("4 blobs, 1 of them new.\n")
    assert before.items() <= files(copy).items()
    assert len(files(copy)) == 4
    assert lab.delete("/v1/projects/char-lm").status_code == 204
    sweep(arwx, monkeypatch)
    assert arwx("backup", str(copy)).output.endswith("0 blobs, 0 of them new.\n")
    assert files(copy) == {}


def sweep(arwx: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """`arwx gc`, days later."""
    now = clock.now()
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: now + timedelta(days=8))
        assert arwx("gc").exit_code == 0


def test_what_is_taken_away_meanwhile_is_not_missing(
    lab: Caller,
    arwx: Command,
    restore: Callable[[Path], dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database is copied; then a project with its blobs goes for good; then the blobs are to be copied."""
    take, taken = dumps.take, []

    def then_delete(*arguments: Any) -> Any:
        found = take(*arguments)
        taken.append(len(found))
        if len(taken) == 1:
            assert lab.delete("/v1/projects/char-lm").status_code == 204
            sweep(arwx, monkeypatch)
        return found

    monkeypatch.setattr(backup.dumps, "take", then_delete)
    assert arwx("backup", str(tmp_path / "copy")).exit_code == 0
    assert taken == [3, 0]
    assert arwx("fsck", **restore(tmp_path / "copy")).exit_code == 0


def test_what_the_server_has_lost_is_named(app: Flask, lab: Caller, arwx: Command, tmp_path: Path) -> None:
    sha = hashlib.sha256(b"weights" * 1000 + b"\1").hexdigest()
    assert app.extensions["arwx.blobs"].erase(lab.org_id, sha, clock.now() + timedelta(days=1))
    done = arwx("backup", str(tmp_path / "copy"))
    assert (done.exit_code, f"blob {sha}: The stored bytes are damaged or gone" in done.output) == (1, True)
    assert (tmp_path / "copy" / DATABASE).exists()
    assert len(files(tmp_path / "copy")) == 2


def test_places_where_it_would_destroy_something_are_refused(lab: Caller, arwx: Command, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("")
    for place, said in [
        (tmp_path, "belongs to the server itself"),
        (tmp_path / "blobs", "belongs to the server itself"),
        (tmp_path / "blobs" / "1", "belongs to the server itself"),
        (other, "holds something else than a backup"),
        (tmp_path / "file" / "copy", "cannot be used"),
    ]:
        done = arwx("backup", str(place))
        assert (done.exit_code, said in done.output, done.output.count("\n")) == (2, True, 1), done.output
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


@pytest.mark.skipif(KIND != "sqlite", reason="a dump is no database that could be in use")
def test_a_copy_on_which_a_server_works_is_left_alone(lab: Caller, arwx: Command, tmp_path: Path) -> None:
    assert arwx("backup", str(tmp_path / "copy")).exit_code == 0
    with sqlite3.connect(tmp_path / "copy" / "arwx.db") as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("CREATE TABLE work (it TEXT)")
        live.commit()
        done = arwx("backup", str(tmp_path / "copy"))
        assert (done.exit_code, "is in use: a server was started on it" in done.output) == (2, True)
    live.close()


def test_two_at_once_do_not_meet(
    lab: Caller, arwx: Command, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, said = dumps.take, []

    def meanwhile(*arguments: Any) -> Any:
        done = subprocess.run(
            [ARWX, "backup", tmp_path / "copy"], env={**os.environ, **environment}, capture_output=True, text=True
        )
        said.append((done.returncode, done.stderr))
        return take(*arguments)

    monkeypatch.setattr(backup.dumps, "take", meanwhile)
    assert arwx("backup", str(tmp_path / "copy")).exit_code == 0
    assert said == [(2, f"Another backup into {tmp_path / 'copy'} is running.\n")]


@pytest.mark.skipif(KIND != "postgres", reason="SQLite needs no program and has no roles")
def test_what_postgresql_needs_is_said(lab: Caller, arwx: Command, settings: Settings, tmp_path: Path) -> None:
    done = arwx("backup", str(tmp_path / "copy"), PATH=str(tmp_path))
    assert (done.exit_code, done.output.startswith("There is no pg_dump here: install")) == (2, True)
    done = arwx("backup", str(tmp_path / "copy"), DATABASE_URL=settings.database_url)
    assert (done.exit_code, "back up with one that has BYPASSRLS" in done.output) == (2, True), done.output
    assert not (tmp_path / "copy" / DATABASE).exists()
    assert not list((tmp_path / "copy").glob(".*partial*"))


@pytest.mark.skipif(KIND != "sqlite", reason="the folder is the same on both; how it is filled is shown above")
def test_a_killed_backup_is_none_and_the_one_before_stays(tmp_path: Path) -> None:
    """Killed at instants all over its length, while a server takes points and files: what is there is always whole."""
    server = Server(tmp_path / "live").start()
    copy, chance = tmp_path / "copy", random.Random(4)
    key = server.key("admin")
    stopped = threading.Event()
    sent = threading.Thread(target=_log_and_upload, args=(server.base_url, key, stopped))
    sent.start()
    try:
        time.sleep(1)
        began = time.monotonic()
        server.run("backup", str(tmp_path / "first"))
        takes = time.monotonic() - began
        whole = 0
        for _ in range(60 if FULL else 5):
            process = subprocess.Popen([ARWX, "backup", copy], env=server.environment, stdout=subprocess.DEVNULL)
            time.sleep(takes * (0.35 + 0.7 * chance.random()))
            process.send_signal(signal.SIGKILL)
            process.wait()
            if (copy / "arwx.db").exists():
                whole += 1
                assert _fsck(server, copy, tmp_path / "restored")
        server.run("backup", str(copy))
        assert not list(copy.glob(".*partial*"))
    finally:
        stopped.set()
        sent.join()
        server.stop()
    assert _fsck(server, copy, tmp_path / "restored")
    assert _fsck(server, tmp_path / "first", tmp_path / "restored")


def _log_and_upload(base_url: str, key: str, stopped: threading.Event) -> None:
    def send(path: str, body: bytes) -> None:
        request = urllib.request.Request(base_url + path, body, {"Authorization": f"Bearer {key}"})
        if path.startswith("/v1/files"):
            request.add_header("Content-Type", "application/octet-stream")
        else:
            request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request, timeout=30).close()

    send("/v1/runs", b'{"project": "char-lm", "id": "r"}')
    seq = 0
    while not stopped.is_set():
        points = [{"step": seq + i, "metrics": {"loss": 1 / (seq + i + 1), "acc": 0.5}} for i in range(50)]
        batch = {"run_id": "r", "writer_id": "w", "epoch": "e", "first_seq": seq, "points": points}
        send("/v1/ingest", json.dumps(batch).encode())
        send(f"/v1/files/upload?project=char-lm&name=f{seq}&run_id=r", os.urandom(2000))
        seq += 50
        time.sleep(0.02)


def _fsck(server: Server, copy: Path, place: Path) -> bool:
    """Whether all is well with a server on a copy of the copy."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(copy, place)
    done = subprocess.run(
        [ARWX, "fsck"], env={**server.environment, "ARWX_DATA_DIR": str(place)}, capture_output=True, text=True
    )
    assert done.stdout == "Everything is as it was stored.\n", done.stdout + done.stderr
    return done.returncode == 0
