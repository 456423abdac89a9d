"""The disk as the spool sees it: a dozen verbs, so that a simulator can stand in for them."""

from __future__ import annotations

import io
import os

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows has no flock; two syncs at once are then kept apart by the server alone.
    flock = None  # type: ignore[assignment]

# How a file can be opened: fresh, to append, for its owner only.
_FLAGS = os.O_CREAT | os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class File:
    """An open file. The object, not a bare number, is kept: after a fork its descriptor is known to be valid or -1."""

    def __init__(self, path: str, flags: int) -> None:
        self._raw = io.FileIO(path, "a+", opener=lambda name, _: os.open(name, flags, 0o600))

    def write(self, data: memoryview | bytes) -> int:
        """Write at the end; returns how much was taken, which may be less than was given."""
        return self._raw.write(data) or 0

    def sync(self) -> None:
        """Force to the device. After a failure the file must not be trusted again (the kernel forgets the error)."""
        os.fsync(self._raw.fileno())

    def truncate(self, size: int) -> None:
        self._raw.truncate(size)

    def lock(self) -> bool:
        """Take the exclusive lock without waiting; False if another process has it."""
        if not callable(flock):
            return True  # type: ignore[unreachable] # not on the platform that types are checked for
        try:
            flock(self._raw.fileno(), LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def close(self) -> None:
        self._raw.close()


class Disk:
    """The real disk. Every verb raises OSError and nothing else."""

    def make_folder(self, path: str) -> None:
        """Make the folder and its parents, readable by the owner only. Fails if it cannot be written to."""
        os.makedirs(path, mode=0o700, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", path)

    def create(self, path: str) -> File:
        """A new file; fails if the name is taken."""
        return File(path, _FLAGS | os.O_EXCL)

    def open(self, path: str, *, is_made: bool = True) -> File:
        """The file of this name, made if it is missing and `is_made` says so."""
        return File(path, _FLAGS if is_made else _FLAGS & ~os.O_CREAT)

    def rename(self, path: str, other: str) -> None:
        os.replace(path, other)

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        with io.FileIO(path) as file:
            file.seek(offset)
            parts = []
            while size > 0:
                part = file.read(size)
                if not part:
                    break
                parts.append(part)
                size -= len(part)
            return b"".join(parts)

    def size(self, path: str) -> int:
        return os.stat(path).st_size

    def names(self, folder: str) -> list[str]:
        """What the folder holds, sorted; nothing if there is no such folder."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def replace(self, path: str, data: bytes, *, is_synced: bool = True) -> None:
        """Put `data` under this name whole or not at all. Synced, it survives a power cut as well."""
        fresh = f"{path}.{os.getpid()}.tmp"
        file = File(fresh, (_FLAGS | os.O_TRUNC) & ~os.O_APPEND)
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            if is_synced:
                file.sync()
        except OSError:
            file.close()
            self.remove(fresh)
            raise
        file.close()
        os.replace(fresh, path)
        if is_synced:
            self.sync_folder(os.path.dirname(path))

    def remove(self, path: str) -> None:
        """Remove the file; a file that is gone already is fine."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def remove_folder(self, path: str) -> None:
        """Remove the folder if it is empty; otherwise leave it."""
        try:
            os.rmdir(path)
        except OSError:
            pass

    def sync_folder(self, path: str) -> None:
        """Make names that were created or removed in the folder survive a power cut."""
        if os.name == "nt":
            return  # Windows opens no folders, and writes their names by itself
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
