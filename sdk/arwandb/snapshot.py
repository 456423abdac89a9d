"""Code snapshots: the files of a folder that are code, as a tree. Keys and passwords are never among them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from . import code, trees, worktree
from .errors import UsageError
from .ignore import Ignore, is_secret, lines_of, outer_rules
from .trees import File

# More than this is no code; somebody forgot to name a folder of data in .gitignore.
MOST_FILES = 20_000


class Snapshot(NamedTuple):
    """The files, and in words what was left out although nothing says that it should be."""

    files: list[File]
    left_out: list[str]


def take(what: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], max_file: int) -> Snapshot:
    """The snapshot of a folder, of a file, or of a list of both. Raises `UsageError` for names that are not there.

    Paths are relative to the folder; those of a list to the working directory. What a list names is taken whatever
    .gitignore says, but for keys and files over `max_file` bytes.
    """
    is_list = not isinstance(what, (str, os.PathLike))
    names = [os.fspath(name) for name in what] if not isinstance(what, (str, os.PathLike)) else [os.fspath(what)]
    if not names:
        raise UsageError("snapshot names no file")
    left_out: list[str] = []
    found: dict[str, str] = {}
    for name in names:
        full = os.path.abspath(os.path.expanduser(name))
        if os.path.isdir(full):
            prefix = _relative(full) if is_list else ""
            for path in _walk(full, left_out):
                found.setdefault(f"{prefix}/{path}" if prefix else path, os.path.join(full, path))
        elif os.path.isfile(full):
            path = _relative(full) if is_list else os.path.basename(full)
            if is_secret(path):
                left_out.append(f"{path} may hold a secret")
            else:
                found.setdefault(path, full)
        else:
            raise UsageError(f"snapshot: there is no {name}")
    return Snapshot(list(_read(found, max_file, left_out)), left_out)


def _read(found: dict[str, str], max_file: int, left_out: list[str]) -> Iterator[File]:
    side = trees.Side()
    for path, source in sorted(found.items()):
        name = unicodedata.normalize("NFC", path)
        if trouble := trees.fault(name):
            left_out.append(f"{path!r} {trouble}")
            continue
        try:
            file = trees.looked_at(name, source, may_be_link=True, largest=max_file)
        except OSError as error:
            left_out.append(f"{path} cannot be read: {error.strerror or error}")
            continue
        if file is None:
            left_out.append(f"{path} is over {max_file} bytes (ARWANDB_SNAPSHOT_MAX_FILE)")
            continue
        if side.takes(name):
            yield file
        else:
            left_out.append(f"{path} differs from another path in case alone")


def _walk(root: str, left_out: list[str]) -> list[str]:
    """The files of a folder that are code. What Git tracks is, even where .gitignore has a pattern for it."""
    top = code.top_of(root)
    tracked: set[str] = set()
    if top is not None:
        inside = os.path.relpath(os.path.realpath(root), os.path.realpath(top)).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        tracked = {name[len(prefix) :] for name in worktree.tracked(top) if name.startswith(prefix)}
    on_the_way = {folder for name in tracked for folder in _folders(name)}
    default = Ignore()
    files: list[str] = []
    waiting = [("", Ignore(outer_rules(root, top)))]
    while waiting:
        folder, ignore = waiting.pop()
        here = os.path.join(root, folder)
        try:
            with os.scandir(here) as listed:
                items = sorted(listed, key=lambda item: item.name)
        except OSError as error:
            left_out.append(f"{folder or '.'} cannot be read: {error.strerror}")
            continue
        if any(item.name == ".gitignore" for item in items):
            ignore = ignore.within(lines_of(os.path.join(here, ".gitignore")), folder)
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            if item.is_dir(follow_symlinks=False):
                is_wanted = path in on_the_way and not default.ignores(path, is_folder=True)
                if (is_wanted or not ignore.ignores(path, is_folder=True)) and not _is_environment(item.path):
                    waiting.append((path, ignore))
            elif path in tracked:
                if not default.ignores(path, is_folder=False) and _is_inside(item, root, path, left_out):
                    files.append(path)
            elif not ignore.ignores(path, is_folder=False) and _is_inside(item, root, path, left_out):
                files.append(path)
        if len(files) > MOST_FILES:
            raise UsageError(f"more than {MOST_FILES} files are no code: name folders of data in .gitignore")
    return files


def _is_inside(item: os.DirEntry[str], root: str, path: str, left_out: list[str]) -> bool:
    """Whether this is a file, or a link to a file of this tree."""
    if not item.is_symlink():
        return item.is_file(follow_symlinks=False)
    target = os.path.realpath(item.path)
    inner = os.path.relpath(target, os.path.realpath(root)).replace(os.sep, "/")
    if os.path.isfile(target) and not inner.startswith("../") and not is_secret(inner):
        return True
    left_out.append(f"{path} is a link to a folder, to what is not there, or out of the tree")
    return False


def _is_environment(folder: str) -> bool:
    """Whether the folder is a virtual environment of Python, or a spool."""
    return os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def _relative(full: str) -> str:
    """The path as the working directory sees it; what lies elsewhere goes by its last name."""
    path = os.path.relpath(full, os.getcwd()).replace(os.sep, "/")
    if path == ".":
        return ""
    return os.path.basename(full) if path.startswith("../") or path == ".." else path


def _folders(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
