"""Bytes in an S3 bucket: `<prefix>/<organization>/<first two digits>/<sha>`.

Credentials and region come from the usual `AWS_*` variables, another server from `AWS_ENDPOINT_URL`.
"""

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from arwx.aside import aside
from arwx.blobstore._store import BLOCK, Lost
from arwx.errors import Unavailable
from arwx.trees import is_sha

T = TypeVar("T")

# Bytes of one part, and how many parts may be on their way at once: an upload holds no more than these.
_PART, _PARTS = 8 * BLOCK, 2
_UPLOADS = "uploads"
_TROUBLE_LASTS_S = 5.0
_log = logging.getLogger("arwx.error")


class Bucket:
    """A store in the bucket that an `s3://bucket/prefix` address names."""

    reach = 4 * BLOCK

    def __init__(self, url: str) -> None:
        self._url = url
        self._asked_at, self._trouble = 0.0, ""

    @cached_property
    def objects(self) -> S3Store:
        # At the first use and not before: its threads would not survive the fork of a worker.
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        return S3Store.from_url(
            self._url,
            client_options={
                "timeout": timedelta(seconds=60),
                "connect_timeout": timedelta(seconds=5),
                "allow_http": endpoint.startswith("http://"),
            },
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=15)},
            config={"endpoint": endpoint} if endpoint else None,
        )

    def begin(self, org_id: int, declared: str | None) -> "BucketUpload":
        return BucketUpload(self, org_id, declared)

    def read(self, org_id: int, sha: str, start: int, stop: int) -> bytes:
        return bytes(self.call(obstore.get_range, key(org_id, sha), start=start, end=stop))

    def erase(self, org_id: int, sha: str, before: datetime) -> bool:
        path = key(org_id, sha)
        try:
            if self.call(obstore.head, path)["last_modified"] >= before:
                return False
            self.call(obstore.delete, path)
        except Lost:
            return False
        return True

    def sweep(self, before: datetime) -> int:
        swept = 0
        for page in obstore.list(self.objects, _UPLOADS):
            for item in page:
                if item["last_modified"] < before:
                    obstore.delete(self.objects, item["path"])
                    swept += 1
        return swept

    def trouble(self) -> str | None:
        """As it is now, or was a few seconds ago: anybody may ask, and a bucket bills each question."""
        if time.monotonic() - self._asked_at > _TROUBLE_LASTS_S or not self._asked_at:
            try:
                self.call(_look)
                self._trouble = ""
            except (Unavailable, Lost):
                self._trouble = "The bucket of the blob store cannot be reached."
            self._asked_at = time.monotonic()
        return self._trouble or None

    def call(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """`work` on the bucket; its failures are `Lost` for what is not there and `Unavailable` for all others."""
        try:
            return aside(lambda: work(self.objects, *arguments, **options))
        except FileNotFoundError as error:
            raise Lost from error
        except (BaseError, OSError, ValueError) as error:
            _log.error("blob store", exc_info=error)
            raise Unavailable("The blob store is away for a moment. Send the request again.") from error


class BucketUpload:
    """Small bytes go in one piece under their hash. More go in parts: to the hash that was declared, which is checked
    before the last part makes the object visible, or else to a name of their own, from where the store copies them.
    """

    def __init__(self, bucket: Bucket, org_id: int, declared: str | None) -> None:
        self._bucket, self._org_id = bucket, org_id
        self._uploads_to = key(org_id, declared) if declared else f"{_UPLOADS}/{secrets.token_hex(16)}"
        self._held = bytearray()
        self._parts: Any = None

    def write(self, block: bytes) -> None:
        if self._parts is not None:
            self._send(lambda _: self._parts.write(block))
            return
        self._held += block
        if len(self._held) > _PART:
            self._parts = self._send(obstore.open_writer, self._uploads_to, buffer_size=_PART, max_concurrency=_PARTS)
            held, self._held = bytes(self._held), bytearray()
            self._send(lambda _: self._parts.write(held))

    def publish(self, sha: str) -> None:
        final = key(self._org_id, sha)
        if self._parts is None:
            self._send(obstore.put, final, bytes(self._held), use_multipart=False)
            return
        self._send(lambda _: self._parts.close())
        if self._uploads_to != final:
            self._send(obstore.copy, self._uploads_to, final)
            with contextlib.suppress(Unavailable):  # `sweep` finds it later
                self._send(obstore.delete, self._uploads_to)

    def abandon(self) -> None:
        # Parts without an end are no object. The bucket's own rule for unfinished uploads takes them away.
        self._parts = None
        self._held.clear()

    def _send(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        try:
            return self._bucket.call(work, *arguments, **options)
        except Lost as error:  # the bucket itself is not there
            raise Unavailable("The blob store is away for a moment. Send the request again.") from error


def key(org_id: int, sha: str) -> str:
    """Where the bytes of this hash are."""
    if not is_sha(sha):
        raise ValueError(sha)
    return f"{int(org_id)}/{sha[:2]}/{sha}"


def _look(objects: S3Store) -> None:
    next(iter(obstore.list(objects, _UPLOADS, chunk_size=1)), None)
