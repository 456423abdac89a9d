"""Bytes by their SHA-256: taken in and given out in pieces, never whole in memory, and verified on the way out.

There are three places to keep them: a folder, an S3 bucket, or the database. This package knows organizations only as
numbers that keep their bytes apart; who may see what is decided in `arwx.blobs`.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from arwx.aside import aside
from arwx.blobstore._files import Files, folder
from arwx.blobstore._rows import Rows
from arwx.blobstore._store import BLOCK, Lost, Store
from arwx.db import Database
from arwx.errors import Damaged, Invalid, invalid

__all__ = ["BLOCK", "Content", "Store", "folder", "open_store", "read", "receive"]

_TAG = 16  # bytes of the hash that is kept of each block
_log = logging.getLogger("arwx.error")


@dataclass(frozen=True)
class Content:
    """What is known of stored bytes: their SHA-256, their number, and a short hash of each block of a mebibyte."""

    sha: str
    size: int
    blocks: bytes


def open_store(url: str, database: Database) -> Store:
    """The store at this address: `file:///folder`, `s3://bucket/prefix` or `db:`. Nothing is touched until it is used."""
    if url == "db:":
        return Rows(database)
    if url.startswith("s3://"):
        # Only here: it costs memory and time that a server with a disk does not need to spend.
        from arwx.blobstore._s3 import Bucket

        return Bucket(url)
    return Files(url)


def receive(store: Store, org_id: int, pieces: Iterator[bytes], declared: str | None = None) -> Content:
    """Keep the bytes and answer what they are. They are readable from here on, whole, or not at all.

    `Invalid` when they are not those of the `declared` SHA-256; then, and after any other failure, nothing stays.
    """
    whole = hashlib.sha256()
    size, tags = 0, bytearray()

    def count(block: bytes) -> bytes:
        whole.update(block)
        return hashlib.sha256(block).digest()[:_TAG]

    upload = store.begin(org_id, declared)
    try:
        for block in _in_blocks(pieces):
            tags += aside(count, block)
            size += len(block)
            upload.write(block)
        sha = whole.hexdigest()
        if declared not in {None, sha}:
            raise _mismatch(sha)
        upload.publish(sha)
    except BaseException:
        upload.abandon()
        raise
    return Content(sha, size, bytes(tags))


def read(store: Store, org_id: int, content: Content, start: int, stop: int) -> Iterator[bytes]:
    """The bytes from `start` up to `stop`, each block verified before any of it is given out.

    `Damaged` when they are not those that were stored; what was given out before is right, but incomplete.
    """
    at = start - start % BLOCK
    while at < stop:
        end = min(at + store.reach, content.size, stop + -stop % BLOCK)
        try:
            found = store.read(org_id, content.sha, at, end)
        except Lost as error:
            raise _damaged(org_id, content) from error
        if len(found) != end - at or not aside(_is_right, content, at, found):
            raise _damaged(org_id, content)
        yield found[max(start - at, 0) : min(stop, end) - at]
        at = end


def _is_right(content: Content, at: int, found: bytes) -> bool:
    view = memoryview(found)
    first = at // BLOCK
    return all(
        hashlib.sha256(view[i * BLOCK : (i + 1) * BLOCK]).digest()[:_TAG]
        == content.blocks[(first + i) * _TAG : (first + i + 1) * _TAG]
        for i in range(-(-len(found) // BLOCK))
    )


def _in_blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of exactly `BLOCK`, but for the last."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= BLOCK:
            yield bytes(held[:BLOCK])
            del held[:BLOCK]
    if held:
        yield bytes(held)


def _mismatch(sha: str) -> Invalid:
    return invalid("X-Content-SHA256", f"is not the hash of the bytes that came, which is {sha}")


def _damaged(org_id: int, content: Content) -> Damaged:
    _log.error("blob damaged", extra={"fields": {"org": org_id, "sha": content.sha}})
    return Damaged("The stored bytes are damaged or gone. Upload them again.")
