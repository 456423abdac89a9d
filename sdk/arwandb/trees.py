"""Trees of files as the server keeps them: which paths they may have, and files read without being fooled."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

from .errors import Error

MAX_PART_BYTES, MAX_PATH_BYTES, MAX_ENTRIES = 255, 1024, 100_000
PIECE = 1 << 20
_SHA = re.compile(r"[0-9a-f]{64}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DRIVE = re.compile(r"[A-Za-z]:")


class Changed(Error):
    """A file was changed, cut or taken away while it was read."""


class File(NamedTuple):
    """A file on this disk (`source`) and what a tree says of it."""

    path: str
    source: str
    sha: str
    size: int
    is_program: bool

    @property
    def entry(self) -> dict[str, Any]:
        """The line of a manifest."""
        mode = "100755" if self.is_program else "100644"
        return {"path": self.path, "sha": self.sha, "size": self.size, "mode": mode}


def fault(path: object) -> str | None:
    """What is wrong with the path of a tree; None if it may stand in one. The same rules as the server's."""
    if not isinstance(path, str):
        return "is no text"
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return "is no Unicode text"
    if not 1 <= length <= MAX_PATH_BYTES:
        return "is empty or too long"
    if "\\" in path or _CONTROL.search(path) or _DRIVE.match(path):
        return "has a backslash, a control character or a drive"
    if not unicodedata.is_normalized("NFC", path):
        return "is not in the Unicode form NFC"
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            return "is not a plain relative path"
        if len(part.encode()) > MAX_PART_BYTES:
            return "has a part that is too long"
        if part.rstrip(". ").casefold() == ".git":
            return "leads into .git"
    return None


class Side:
    """Paths that can stand side by side in a folder of any system: none the same but for case, none in a file."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def takes(self, path: str) -> bool:
        """Whether the path fits beside those that were taken; if so it is taken too."""
        folded = unicodedata.normalize("NFC", path.casefold())
        above = list(_folders(folded))
        if folded in self._files or folded in self._folders or any(folder in self._files for folder in above):
            return False
        self._files.add(folded)
        self._folders.update(above)
        return True


def _folders(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def check_manifest(entries: object) -> list[dict[str, Any]]:
    """The entries of a manifest that came from elsewhere, or `Error`: nothing of a wrong one is ever written."""
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise Error("the manifest is no list of files")
    side = Side()
    for entry in entries:
        sha, size = (entry.get("sha"), entry.get("size")) if isinstance(entry, dict) else (None, None)
        if not isinstance(sha, str) or not _SHA.match(sha) or type(size) is not int or size < 0:
            raise Error("the manifest has an entry that is none")
        if trouble := fault(entry.get("path")):
            raise Error(f"the manifest has a path that {trouble}: {entry.get('path')!r}")
        if entry.get("mode") not in {None, "100644", "100755"}:
            raise Error(f"the manifest has an entry that is no plain file: {entry['path']!r}")
        if not side.takes(entry["path"]):
            raise Error(f"the manifest has two entries that cannot stand side by side: {entry['path']!r}")
    return entries


def opened(source: str, *, may_be_link: bool) -> int:
    """The descriptor of a regular file, for reading; OSError for everything else, at once."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    number = os.open(source, flags if may_be_link else flags | getattr(os, "O_NOFOLLOW", 0))
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(f"{source} is no regular file")
    return number


def looked_at(path: str, source: str, *, may_be_link: bool = False, largest: int | None = None) -> File | None:
    """The file with its hash, read in pieces; None if it has more than `largest` bytes. Raises OSError."""
    with os.fdopen(opened(source, may_be_link=may_be_link), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if largest is not None and found.st_size > largest:
            return None
        digest, size = hashlib.sha256(), 0
        buffer = memoryview(bytearray(PIECE if found.st_size >= PIECE else max(4096, found.st_size + 1)))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            size += count
            if largest is not None and size > largest:
                return None
        return File(path, source, digest.hexdigest(), size, bool(found.st_mode & 0o111))


def pieces(file: File) -> Iterator[bytes]:
    """The bytes of the file, exactly as many as were there; raises `Changed` if it has others by now."""
    left = file.size
    try:
        with os.fdopen(opened(file.source, may_be_link=True), "rb", buffering=0) as source:
            while left:
                piece = source.read(min(PIECE, left))
                if not piece:
                    break
                left -= len(piece)
                yield piece
            is_longer = bool(source.read(1))
    except OSError as error:
        raise Changed(f"{file.source} cannot be read any more: {error}") from error
    if left or is_longer:
        raise Changed(f"{file.source} was changed while it was read")
