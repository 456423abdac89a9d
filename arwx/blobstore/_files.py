"""Bytes in a folder: `<organization>/<first two digits>/<sha>`."""

import contextlib
import logging
import os
import secrets
import shutil
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from arwx import durable
from arwx.aside import aside
from arwx.blobstore._store import BLOCK, Lost
from arwx.errors import Unavailable
from arwx.trees import is_sha

_UPLOADS = "uploads"
_log = logging.getLogger("arwx.error")


class Files:
    """A store in the folder that a `file:///…` address names."""

    reach = 4 * BLOCK

    def __init__(self, url: str) -> None:
        self._root = folder(url)

    def begin(self, org_id: int, declared: str | None) -> "FileUpload":
        try:
            return aside(FileUpload, self._root / str(org_id))
        except OSError as error:
            raise _full(error) from error

    def read(self, org_id: int, sha: str, start: int, stop: int) -> bytes:
        return aside(_read, self._path(org_id, sha), start, stop)

    def erase(self, org_id: int, sha: str, before: datetime) -> bool:
        return _unlink_old(self._path(org_id, sha), before)

    def sweep(self, before: datetime) -> int:
        return sum(_unlink_old(path, before) for path in self._root.glob(f"*/{_UPLOADS}/*"))

    def trouble(self) -> str | None:
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_usable = os.access(self._root, os.R_OK | os.W_OK | os.X_OK) and shutil.disk_usage(self._root).free > 0
        except OSError:
            is_usable = False
        return None if is_usable else "The folder of the blob store cannot be written."

    def _path(self, org_id: int, sha: str) -> Path:
        # The one place where a path is made, and it is made of a number and hexadecimal digits alone.
        if not is_sha(sha):
            raise ValueError(sha)
        return self._root / str(int(org_id)) / sha[:2] / sha


class FileUpload:
    """Bytes under a name of their own, in the same file system, until they are complete and on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / _UPLOADS).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / _UPLOADS / secrets.token_hex(16)
        self._file: int | None = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, block: bytes) -> None:
        try:
            aside(self._write, block)
        except OSError as error:
            raise _full(error) from error

    def publish(self, sha: str) -> None:
        try:
            aside(self._publish, sha)
        except OSError as error:
            raise _full(error) from error

    def abandon(self) -> None:
        if self._file is not None:
            self._close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _write(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            view = view[os.write(self._open(), view) :]

    def _open(self) -> int:
        if self._file is None:
            raise ValueError("closed")
        return self._file

    def _close(self) -> None:
        # Once only: by the next moment the number may be that of somebody else's file.
        file, self._file = self._open(), None
        os.close(file)

    def _publish(self, sha: str) -> None:
        if not is_sha(sha):
            raise ValueError(sha)
        # First the bytes, then the name, then the folders that hold the name: after a power cut there is all or nothing.
        os.fsync(self._open())
        self._close()
        folder = self._folder / sha[:2]
        folder.mkdir(mode=0o700, exist_ok=True)
        # Also when there is such a file: it may be damaged, and its age protects it from being swept.
        self._path.replace(folder / sha)
        for holder in (folder, self._folder, self._folder.parent):
            durable.sync(holder)


def folder(url: str) -> Path:
    """The folder that a `file:///…` address names."""
    return Path(unquote(urlsplit(url).path))


def _read(path: Path, start: int, stop: int) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Lost from error
    try:
        parts = []
        while start < stop and (part := os.pread(file, stop - start, start)):
            parts.append(part)
            start += len(part)
    except OSError as error:
        raise Lost from error
    finally:
        os.close(file)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unlink_old(path: Path, before: datetime) -> bool:
    try:
        if path.stat().st_mtime >= before.timestamp():
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _full(error: OSError) -> Unavailable:
    _log.error("blob store", exc_info=error)
    return Unavailable("The blob store cannot take the bytes now. Send them again later.")
