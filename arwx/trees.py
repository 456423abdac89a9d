"""Trees: manifests of files by path and content. Their rules, their hash and their differences, as pure functions."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from msgspec import Struct

from arwx import textdiff
from arwx.errors import invalid

MAX_ENTRIES = 100_000
MAX_PART_BYTES, MAX_PATH_BYTES = 255, 1024
FILE, PROGRAM = "100644", "100755"

_SHA = re.compile(r"[0-9a-f]{64}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DRIVE = re.compile(r"[A-Za-z]:")
_OCTAL = re.compile(r"[0-7]{3,6}\Z")
_KIND, _REGULAR, _EXECUTABLE = 0o170000, 0o100000, 0o111


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a tree: its path, the SHA-256 of its bytes, their number, and whether it is a program.

    `mode` is a number or octal digits as `stat` and Git know them; after `check` it is "100644" or "100755".
    """

    path: str
    sha: str
    size: int
    mode: int | str | None = None


@dataclass(frozen=True)
class Modified:
    """A file that differs between two trees. `diff` is None where it cannot be shown as text."""

    path: str
    diff: str | None


@dataclass(frozen=True)
class TreeDiff:
    """What leads from one tree to another, each list in the order of paths."""

    added: list[str]
    removed: list[str]
    modified: list[Modified]


def check(entries: Sequence[Entry]) -> list[Entry]:
    r"""The entries in the order of their paths, modes in their one form; or `Invalid`, which names the entry.

    A tree can be written into an empty folder on any system: relative paths in NFC without `..`, `\`, control
    characters or `.git`, at most 255 bytes a part and 1,024 in all; no two paths that differ in case alone, none that
    is both a file and a folder; no links.
    """
    if len(entries) > MAX_ENTRIES:
        raise invalid("entries", f"must have at most {MAX_ENTRIES:,} items")
    checked = [_checked(entry, f"entries[{number}]") for number, entry in enumerate(entries)]
    taken: dict[str, int] = {}
    for number, entry in enumerate(checked):
        first = taken.setdefault(_folded(entry.path), number)
        if first != number:
            raise invalid(f"entries[{number}].path", f"is the same as that of entry {first}, or differs in case alone")
    for number, entry in enumerate(checked):
        folder = _folded(entry.path)
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            if folder in taken:
                raise invalid(f"entries[{number}].path", f"lies in entry {taken[folder]}, which is a file")
    return sorted(checked, key=_order)


def check_path(path: str, field: str = "path") -> str:
    """The path itself, or `Invalid`: what may name a file in a tree."""
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        raise invalid(field, "must be Unicode text without lone surrogates") from None
    if not raw or len(raw) > MAX_PATH_BYTES:
        raise invalid(field, f"must have 1 to {MAX_PATH_BYTES:,} bytes of UTF-8")
    if "\\" in path or _CONTROL.search(path) or _DRIVE.match(path):
        raise invalid(field, "must be relative, with / between its parts, and without control characters")
    if not unicodedata.is_normalized("NFC", path):
        raise invalid(field, "must be in the Unicode normal form NFC")
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            raise invalid(field, "must be relative, without empty parts and without . or ..")
        if len(part.encode()) > MAX_PART_BYTES:
            raise invalid(field, f"must have at most {MAX_PART_BYTES} bytes a part")
        # Some systems drop blanks and dots at the end of a name.
        if part.rstrip(". ").casefold() == ".git":
            raise invalid(field, "must not lead into .git")
    return path


def is_sha(text: str) -> bool:
    """Whether the text is a SHA-256 as it is written everywhere here: 64 digits of lower-case hexadecimal."""
    return _SHA.match(text) is not None


def digest(entries: Iterable[Entry]) -> str:
    """The SHA-256 of a checked tree: equal for equal paths, contents and modes, in whatever order they came.

    The canonical form has a line `mode SP sha SP size SP path LF` for each entry, ordered by the bytes of the path.
    """
    canonical = hashlib.sha256()
    for entry in sorted(entries, key=_order):
        canonical.update(f"{entry.mode} {entry.sha} {entry.size} {entry.path}\n".encode())
    return canonical.hexdigest()


def diff(a: Iterable[Entry], b: Iterable[Entry], read_text: Callable[[Entry], str | None]) -> TreeDiff:
    """What leads from tree `a` to tree `b`, both checked.

    `read_text` gives the content of an entry, or None when it is no text or too big to be compared. A file whose mode
    alone changed is modified, with an empty diff.
    """
    before, after = {entry.path: entry for entry in a}, {entry.path: entry for entry in b}
    common = sorted(before.keys() & after.keys(), key=str.encode)
    return TreeDiff(
        added=sorted(after.keys() - before.keys(), key=str.encode),
        removed=sorted(before.keys() - after.keys(), key=str.encode),
        modified=[
            Modified(path, _text_diff(before[path], after[path], read_text))
            for path in common
            if (before[path].sha, before[path].mode) != (after[path].sha, after[path].mode)
        ],
    )


@dataclass(frozen=True)
class Folder:
    """A folder of a tree: what lies in it and below."""

    name: str
    path: str
    files: int
    size: int


def listing(entries: Iterable[Entry], folder: str) -> tuple[list[Folder], list[Entry]]:
    """What lies right in a folder ("" is the root): its folders and its files, each in the order of their names."""
    inside = f"{folder}/" if folder else ""
    below: dict[str, list[Entry]] = {}
    files = []
    for entry in entries:
        if entry.path.startswith(inside):
            first, slash, _ = entry.path[len(inside) :].partition("/")
            if slash:
                below.setdefault(first, []).append(entry)
            else:
                files.append(entry)
    folders = [
        Folder(name, inside + name, len(found), sum(entry.size for entry in found))
        for name, found in sorted(below.items())
    ]
    return folders, sorted(files, key=_order)


def _text_diff(old: Entry, new: Entry, read_text: Callable[[Entry], str | None]) -> str | None:
    if old.sha == new.sha:
        return ""
    was = read_text(old)
    now = read_text(new) if was is not None else None
    if was is None or now is None:
        return None
    return textdiff.unified(was, now, f"a/{old.path}", f"b/{new.path}")


def _checked(entry: Entry, where: str) -> Entry:
    check_path(entry.path, f"{where}.path")
    if not is_sha(entry.sha):
        raise invalid(f"{where}.sha", "must be a SHA-256: 64 digits of lower-case hexadecimal")
    if not 0 <= entry.size < 2**53:
        raise invalid(f"{where}.size", "must be a number of bytes")
    return Entry(entry.path, entry.sha, entry.size, _mode(entry.mode, f"{where}.mode"))


def _mode(given: int | str | None, field: str) -> str:
    if given is None:
        return FILE
    if isinstance(given, str) and not _OCTAL.match(given):
        raise invalid(field, "must be octal digits such as 100644")
    mode = int(given, 8) if isinstance(given, str) else given
    if not 0 <= mode < 2**16 or mode & _KIND not in {0, _REGULAR}:
        raise invalid(field, "must be that of a regular file: a tree has no links, folders or devices")
    return PROGRAM if mode & _EXECUTABLE else FILE


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path.casefold())


def _order(entry: Entry) -> bytes:
    return entry.path.encode()
