"""The places for bytes: all of them keep the same promises."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pytest
from flask import Flask
from sqlalchemy import select, update

from arwx import blobstore
from arwx.blobstore import BLOCK, Content, Store
from arwx.db import Database
from arwx.errors import Damaged, Invalid, Unavailable
from arwx.models import BlobChunk, BlobContent
from tests.make import Maker
from tests.s3 import BUCKET, s3_server

ORG = 1
SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK, 9 * BLOCK + 17, 20 * BLOCK]
LATER = datetime.now(UTC) + timedelta(days=1)
LONG_AGO = datetime.now(UTC) - timedelta(days=1)


def some(size: int) -> bytes:
    return hashlib.shake_128(str(size).encode()).digest(size)


def pieces(raw: bytes, size: int = 65_536) -> Iterator[bytes]:
    return (raw[at : at + size] for at in range(0, len(raw), size))


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture(params=["file", "s3", "db"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, app: Flask, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> Store:
    assert make.caller("Ada's lab").org_id == ORG
    database: Database = app.extensions["arwx.db"]
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        return blobstore.open_store(f"s3://{BUCKET}/{tmp_path.name}", database)
    return blobstore.open_store((tmp_path / "a b/blobs").as_uri() if request.param == "file" else "db:", database)


def receive(store: Store, raw: bytes, declared: str | None = None) -> Content:
    return blobstore.receive(store, ORG, pieces(raw), declared)


def read(store: Store, content: Content, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(blobstore.read(store, ORG, content, start, content.size if stop is None else stop))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_declared", [True, False])
def test_what_goes_in_comes_out(store: Store, size: int, is_declared: bool) -> None:
    raw = some(size)
    sha = hashlib.sha256(raw).hexdigest()
    content = receive(store, raw, sha if is_declared else None)
    assert (content.sha, content.size, len(content.blocks)) == (sha, size, 16 * -(-size // BLOCK))
    assert read(store, content) == raw
    assert store.sweep(LATER) == 0


def test_any_part_comes_out(store: Store) -> None:
    raw = some(9 * BLOCK + 17)
    content = receive(store, raw)
    edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 9 * BLOCK, len(raw) - 1, len(raw)]
    for start in edges:
        for stop in edges:
            assert start > stop or read(store, content, start, stop) == raw[start:stop]


@pytest.mark.parametrize("size", [10, 20 * BLOCK])
def test_other_bytes_than_declared_leave_nothing(store: Store, size: int) -> None:
    raw, declared = some(size), "0" * 64
    with pytest.raises(Invalid):
        receive(store, raw, declared)
    for sha in (declared, hashlib.sha256(raw).hexdigest()):
        with pytest.raises(Damaged):
            read(store, Content(sha, size, blobstore.receive(store, 2, pieces(raw)).blocks))
    assert store.sweep(LATER) == 0


@pytest.mark.parametrize("size", [10, 20 * BLOCK])
def test_a_body_that_breaks_leaves_nothing(store: Store, size: int) -> None:
    def broken() -> Iterator[bytes]:
        yield from pieces(some(size))
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        blobstore.receive(store, ORG, broken(), None)
    with pytest.raises(Damaged):
        read(store, Content(hashlib.sha256(some(size)).hexdigest(), size, b""))
    assert store.sweep(LATER) == 0


def test_the_same_bytes_at_once_are_kept_once(store: Store) -> None:
    raw = some(5 * BLOCK)
    failures: list[BaseException] = []

    def send() -> None:
        try:
            assert read(store, receive(store, raw)) == raw
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert failures == []
    content = receive(store, raw)
    assert store.sweep(LATER) == 0
    assert store.erase(ORG, content.sha, LATER)
    assert not store.erase(ORG, content.sha, LATER)
    with pytest.raises(Damaged):
        read(store, content)


def test_organizations_are_kept_apart(store: Store) -> None:
    content = receive(store, some(100))
    with pytest.raises(Damaged):
        b"".join(blobstore.read(store, 2, content, 0, 100))
    assert not store.erase(2, content.sha, LATER)


def test_bytes_that_were_sent_again_meanwhile_are_not_erased(store: Store) -> None:
    content = receive(store, some(100))
    assert not store.erase(ORG, content.sha, LONG_AGO)
    assert read(store, content) == some(100)


def test_what_an_upload_left_is_swept_when_it_is_old(store: Store) -> None:
    upload = store.begin(ORG, None)
    for piece in pieces(some(10 * BLOCK), BLOCK):
        upload.write(piece)
    assert store.sweep(LONG_AGO) == 0
    # In a bucket unfinished parts are no objects: the bucket's own rule removes them.
    assert store.sweep(LATER) == (0 if "Bucket" in type(store).__name__ else 1)
    assert store.sweep(LATER) == 0
    assert read(store, receive(store, some(10 * BLOCK))) == some(10 * BLOCK)


@pytest.mark.parametrize("at", [0, 4 * BLOCK + 3, 9 * BLOCK + 16])
def test_a_flipped_bit_is_never_given_out(store: Store, at: int, tmp_path: Path, database: Database) -> None:
    raw = some(9 * BLOCK + 17)
    content = receive(store, raw)
    flip(store, content, at, tmp_path, database)
    got = b""
    try:
        for part in blobstore.read(store, ORG, content, 0, content.size):
            got += part
        pytest.fail("it was given out whole")
    except Damaged:
        pass
    assert len(got) <= at - at % BLOCK
    assert got == raw[: len(got)]
    with pytest.raises(Damaged):
        read(store, content, at, at + 1)
    assert read(store, receive(store, raw)) == raw  # sent again, it is whole again


def flip(store: Store, content: Content, at: int, folder: Path, database: Database) -> None:
    path = f"{ORG}/{content.sha[:2]}/{content.sha}"
    if type(store).__name__ == "Files":
        file = folder / "a b/blobs" / path
        raw = bytearray(file.read_bytes())
        raw[at] ^= 1
        file.write_bytes(raw)
    elif type(store).__name__ == "Bucket":
        objects = store.objects  # type: ignore[attr-defined]
        raw = bytearray(obstore.get(objects, path).bytes())
        raw[at] ^= 1
        obstore.put(objects, path, bytes(raw))
    else:
        with database.writing() as session:
            upload_id = session.scalar(
                select(BlobContent.upload_id).where(BlobContent.org_id == ORG, BlobContent.sha == content.sha)
            )
            of = (
                BlobChunk.org_id == ORG,
                BlobChunk.upload_id == upload_id,
                BlobChunk.number == at // BLOCK,
            )
            raw = bytearray(session.scalar(select(BlobChunk.data).where(*of)) or b"")
            raw[at % BLOCK] ^= 1
            session.execute(update(BlobChunk).where(*of).values(data=bytes(raw)))


def test_a_truncated_file_is_damaged(tmp_path: Path, app: Flask) -> None:
    store = blobstore.open_store(tmp_path.as_uri(), app.extensions["arwx.db"])
    content = receive(store, some(100))
    file = tmp_path / f"{ORG}/{content.sha[:2]}/{content.sha}"
    assert file.stat().st_mode & 0o777 == 0o600
    os.truncate(file, 99)
    with pytest.raises(Damaged):
        read(store, content)


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path, app: Flask) -> None:
    store = blobstore.open_store(tmp_path.as_uri(), app.extensions["arwx.db"])
    content = receive(store, some(100))
    file = tmp_path / f"{ORG}/{content.sha[:2]}/{content.sha}"
    (tmp_path / "elsewhere").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Damaged):
        read(store, content)


def test_no_path_is_made_of_anything_but_a_hash(store: Store) -> None:
    for sha in ("../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", ""):
        if type(store).__name__ != "Rows":
            with pytest.raises(ValueError):
                store.read(ORG, sha, 0, 1)


_KILLED = """
import os, sys, pathlib
from arwx import blobstore

raw = pathlib.Path(sys.argv[2]).read_bytes()
calls = 0

def counted(real, last):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == last:
            if real is os.write:  # half of it reaches the file
                real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            os.kill(os.getpid(), 9)
        return real(*arguments, **options)
    return call

def receive(folder, last):
    os.open, os.write, os.fsync, os.close = (counted(f, last) for f in (os.open, os.write, os.fsync, os.close))
    pathlib.Path.replace = counted(pathlib.Path.replace, last)
    pathlib.Path.mkdir = counted(pathlib.Path.mkdir, last)
    blobstore.receive(blobstore.open_store(folder.as_uri(), None), 1, iter([raw]))
    os._exit(0)

for number in range(1, 60):
    child = os.fork()
    if not child:
        receive(pathlib.Path(sys.argv[1], str(number)), number)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
"""


def test_killed_at_any_call_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    raw = some(3 * BLOCK + 5)
    sha = hashlib.sha256(raw).hexdigest()
    (tmp_path / "raw").write_bytes(raw)
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", _KILLED, tmp_path / "kept", tmp_path / "raw"], cwd=root, check=True)
    seen = []
    for number in range(1, 1 + len(list((tmp_path / "kept").iterdir()))):
        file = tmp_path / f"kept/{number}/1/{sha[:2]}/{sha}"
        seen.append(file.exists())
        assert not file.exists() or file.read_bytes() == raw
    # Killed before the renaming there is nothing, from then on everything; the last one was left alone.
    assert seen == sorted(seen)
    assert seen[-1]
    assert seen.count(False) > 8
    assert seen.count(True) > 4


def test_a_bucket_that_is_away_is_told_and_nothing_hangs(
    app: Flask, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    nowhere = blobstore.open_store("s3://no-such-bucket/x", app.extensions["arwx.db"])
    assert nowhere.trouble() == "The bucket of the blob store cannot be reached."
    for size in (10, 20 * BLOCK):
        with pytest.raises(Unavailable):
            receive(nowhere, some(size))
    here = blobstore.open_store(f"s3://{BUCKET}", app.extensions["arwx.db"])
    assert here.trouble() is None
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = blobstore.open_store(f"s3://{BUCKET}", app.extensions["arwx.db"])
    with pytest.raises(Unavailable):
        receive(away, some(10))


def test_a_folder_that_cannot_be_written_is_told_without_its_path(tmp_path: Path, app: Flask) -> None:
    (tmp_path / "file").touch()
    store = blobstore.open_store((tmp_path / "file/blobs").as_uri(), app.extensions["arwx.db"])
    assert store.trouble() == "The folder of the blob store cannot be written."
    with pytest.raises(Unavailable) as caught:
        receive(store, some(10))
    assert str(tmp_path) not in caught.value.message
