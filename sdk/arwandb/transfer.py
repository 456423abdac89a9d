"""Bytes to the server and back: only what is missing, streamed, verified by hash, and never outside of its folder."""

from __future__ import annotations

import hashlib
import io
import os
import queue
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from . import trees
from .errors import Error
from .http import Request
from .server import PATIENCE_S, ApiError, Server, Sink
from .trees import Changed, File

ASK_AT_ONCE = 1000
_CONNECTIONS = 4
_EVERY_S = 0.1
_AFTER_S = 0.5
_WIDTH = 24
_HAS_FOLDER_FDS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")

try:
    import fcntl
except ImportError:  # Windows, where nothing is downloaded
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")


class Damaged(Error):
    """What came does not have the hash that it should have."""


# Up.


def upload(server: Server, files: Iterable[File], title: str, *, patience: float = PATIENCE_S) -> int:
    """Send those of the files that the server does not have; how many bytes that were. Raises `Changed` when one of them
    is not what it was when it was hashed.
    """
    by_sha = {file.sha: file for file in files}
    missing = [by_sha[sha] for sha in _missing(server, list(by_sha), patience) if sha in by_sha]
    total = sum(file.size for file in missing)
    with Bar(f"uploading {title}", total) as bar:
        _each(server, missing, lambda one, file: _send(one, file, bar, patience))
    return total


def _missing(server: Server, shas: Sequence[str], patience: float) -> Iterator[str]:
    for start in range(0, len(shas), ASK_AT_ONCE):
        asked = {"shas": shas[start : start + ASK_AT_ONCE]}
        found = server.send("POST", "/v1/blobs/missing", asked, patience=patience).get("missing")
        yield from found if isinstance(found, list) else []


def _send(server: Server, file: File, bar: Bar, patience: float) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        bar.add(-sent)
        sent = 0
        for piece in trees.pieces(file):
            sent += len(piece)
            bar.add(len(piece))
            yield piece

    def prepare() -> tuple[Request, None]:
        request = Request("POST", "/v1/blobs", body(), "application/octet-stream", size=file.size)
        request.headers["X-Content-SHA256"] = file.sha
        return request, None

    try:
        server.exchange(prepare, patience=patience)
    except ApiError as error:
        if "X-Content-SHA256" in error.fields:
            raise Changed(f"{file.source} was changed while it was sent") from None
        raise


def _each(server: Server, items: Sequence[T], work: Callable[[Server, T], None]) -> None:
    """Do the work for each item, on a few connections at once; the first failure ends it and is raised."""
    if len(items) < 3:
        for item in items:
            work(server, item)
        return
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    failures: list[BaseException] = []

    def run() -> None:
        own = server.again()
        try:
            while not failures:
                work(own, waiting.get_nowait())
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - raised below, on the caller's thread
            failures.append(error)
        finally:
            own.close()

    threads = [
        threading.Thread(target=run, name="arwandb-transfer", daemon=True) for _ in range(min(_CONNECTIONS, len(items)))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException as error:
        failures.append(error)
        raise
    if failures:
        raise failures[0]


# Down.


def download(server: Server, entries: object, folder: str, title: str) -> int:
    """Put the files of a manifest into `folder`, each whole or not at all; how many bytes came over the wire.

    A manifest that leads out of the folder is refused before anything is written, and links in the folder are not
    followed. Files that are there with the right hash are left alone, and a cut transfer goes on where it ended.
    """
    checked = trees.check_manifest(entries)
    if not _HAS_FOLDER_FDS:
        raise Error("download needs a system with openat() and O_NOFOLLOW: Linux, macOS or a BSD")
    os.makedirs(folder, exist_ok=True)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    came: list[int] = []
    try:
        with Bar(f"downloading {title}", sum(entry["size"] for entry in checked)) as bar:
            _each(server, checked, lambda one, entry: _put(one, entry, root, bar, came))
    finally:
        os.close(root)
    return sum(came)


def _put(server: Server, entry: Mapping[str, Any], root: int, bar: Bar, came: list[int]) -> None:
    *parts, name = str(entry["path"]).split("/")
    folder = _inner(root, parts, entry["path"])
    try:
        if _has(folder, name, entry):
            bar.add(entry["size"])
        else:
            came.append(_fetch(server, entry, folder, name, bar))
        if entry.get("mode") == "100755":
            _make_program(folder, name)
    except OSError as error:
        raise Error(f"{entry['path']} cannot be written: {error.strerror or error}") from error
    finally:
        os.close(folder)


def _inner(root: int, parts: Sequence[str], path: str) -> int:
    """The descriptor of a folder below the root, made on the way. No part of the way may be a link."""
    number = os.dup(root)
    for part in parts:
        above = number
        try:
            try:
                os.mkdir(part, dir_fd=above)
            except FileExistsError:
                pass
            number = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        except OSError:
            raise Error(f"{path} cannot be written: {part} is a link or no folder") from None
        finally:
            os.close(above)
    return number


def _has(folder: int, name: str, entry: Mapping[str, Any]) -> bool:
    """Whether the very file is there already."""
    try:
        number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return False
    with os.fdopen(number, "rb", buffering=0) as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_size != entry["size"]:
            return False
        return bool(_hashed(file).hexdigest() == entry["sha"])


def _hashed(file: Any) -> Any:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(trees.PIECE))
    while count := file.readinto(buffer):
        digest.update(buffer[:count])
    return digest


class _Full(Error):
    """The disk took no more. Not an OSError, which would be taken for trouble of the network."""


class _Complete(Exception):
    """All bytes are here; only the end of the answer was missed."""


class _Part:
    """A file that is still coming: what is there of it, and the hash of that."""

    def __init__(self, folder: int, name: str, path: str, size: int, bar: Bar) -> None:
        self.name, self._path, self._size, self._bar = name, path, size, bar
        self._file = self._opened(folder)
        self.came = 0
        self.digest = _hashed(self._file)
        self.at = self._file.tell()
        bar.add(self.at)
        if self.at > size:
            self.restart()

    def restart(self) -> None:
        """Begin again with nothing."""
        self._bar.add(-self.at)
        self.digest, self.at = hashlib.sha256(), 0
        self._file.seek(0)
        self._file.truncate()

    def take(self, piece: bytes) -> None:
        """The next bytes."""
        if self.at + len(piece) > self._size:
            raise Damaged(f"{self._path}: the server sends more than the {self._size} bytes of the manifest")
        try:
            view = memoryview(piece)
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError as error:
            raise _Full(f"{self._path} cannot be written: {error.strerror or error}") from error
        self.digest.update(piece)
        self.at += len(piece)
        self.came += len(piece)
        self._bar.add(len(piece))

    def close(self) -> None:
        self._file.close()

    def remove(self, folder: int) -> None:
        """Take it away."""
        try:
            os.unlink(self.name, dir_fd=folder)
        except FileNotFoundError:
            pass

    def _opened(self, folder: int) -> io.FileIO:
        """What an earlier attempt left, if it is ours alone: no link, no second name, nobody else at work on it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = self._file_of(os.open(self.name, flags, 0o666, dir_fd=folder))
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and _locked(file):
                return file
            file.close()
        except OSError:
            pass
        self.name = f".arwandb-{os.urandom(12).hex()}.part"
        return self._file_of(os.open(self.name, flags | os.O_EXCL, 0o666, dir_fd=folder))

    @staticmethod
    def _file_of(number: int) -> io.FileIO:
        return io.FileIO(number, "r+")


def _locked(file: io.FileIO) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _fetch(server: Server, entry: Mapping[str, Any], folder: int, name: str, bar: Bar) -> int:
    """Fetch the bytes under a temporary name and give them theirs when the hash is right."""
    sha, size, path = entry["sha"], entry["size"], str(entry["path"])
    # The temporary name is that of the bytes and their place, so that a later attempt goes on where this one ended.
    place = hashlib.sha256(f"{sha} {path}".encode()).hexdigest()[:24]
    part = _Part(folder, f".arwandb-{place}.part", path, size, bar)

    def prepare() -> tuple[Request, Sink]:
        if part.at == size:
            raise _Complete
        request = Request("GET", f"/v1/blobs/{sha}")
        if part.at:
            request.headers["Range"] = f"bytes={part.at}-"
        return request, part.take

    try:
        for is_last in (False, True):
            trouble = f"{path}: what came does not have the hash of the manifest"
            try:
                server.exchange(prepare)
            except _Complete:
                pass
            except Damaged as error:
                trouble = str(error)
            if part.at == size and part.digest.hexdigest() == sha:
                break
            # What an earlier attempt left may be wrong, or the server may know no ranges: once more, from the start.
            part.restart()
            if is_last:
                raise Damaged(trouble)
        os.replace(part.name, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException as error:
        # What is there of it is kept for a later attempt, unless that would end as this one did.
        if not part.at or isinstance(error, OSError):
            part.remove(folder)
        raise
    finally:
        part.close()
    return part.came


def _make_program(folder: int, name: str) -> None:
    """Let those execute the file who may read it."""
    number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        mode = stat.S_IMODE(os.fstat(number).st_mode)
        os.fchmod(number, mode | (mode & 0o444) >> 2)
    finally:
        os.close(number)


# Shown.


class Bar:
    """Counts bytes from any thread, and shows them on stderr when that is a terminal and it takes longer than a moment."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._next = self._start + _AFTER_S
        self._is_seen = _is_terminal()
        self._was_shown = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._was_shown:
            self._write("\r\033[K")

    def add(self, count: int) -> None:
        """So many more are through; a negative number takes some back, for a transfer that begins again."""
        with self._lock:
            self.done += count
            now = time.monotonic()
            if not self._is_seen or now < self._next:
                return
            self._next = now + _EVERY_S
        self._was_shown = True
        filled = min(_WIDTH, _WIDTH * self.done // max(1, self.total))
        rate = self.done / max(0.001, now - self._start)
        line = f"{self.title} [{'#' * filled}{'.' * (_WIDTH - filled)}] {readable(self.done)}/{readable(self.total)}"
        self._write(f"\r{line}  {readable(rate)}/s\033[K")

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            pass


def readable(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False
