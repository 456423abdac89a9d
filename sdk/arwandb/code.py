"""The Git repository around a folder: where it is, its commit and its branch, read from its files.

No Git program is started, so no configuration of the repository can make one do anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MAX_LINKS = 5


def commit(folder: str) -> str | None:
    """The commit that is checked out in the repository around `folder`; None if there is none that can be read."""
    try:
        found = git_folder(folder)
        return None if found is None else _resolve(found, "HEAD", 0)
    except (OSError, ValueError):
        return None


def branch(folder: str) -> str | None:
    """The branch that is checked out there; None when there is none."""
    try:
        found = git_folder(folder)
        head = _read(os.path.join(found, "HEAD")).strip() if found else ""
    except OSError:
        return None
    name = head.removeprefix("ref: refs/heads/")
    return name if name != head and name != ".invalid" else None


def top_of(folder: str) -> str | None:
    """The folder in or above this one that has a `.git`; None outside of every repository."""
    return next((one for one in _upwards(folder) if os.path.lexists(os.path.join(one, ".git"))), None)


def git_folder(folder: str) -> str | None:
    """The folder of Git's own files; None outside of every repository."""
    for one in _upwards(folder):
        path = os.path.join(one, ".git")
        if os.path.isdir(path):
            return path
        if os.path.isfile(path):  # a worktree or a submodule
            target = _read(path).removeprefix("gitdir:").strip()
            return os.path.normpath(os.path.join(one, target))
    return None


def _upwards(folder: str) -> Iterator[str]:
    """The folder, and each one above it."""
    folder = os.path.abspath(folder)
    yield folder
    while (above := os.path.dirname(folder)) != folder:
        yield (folder := above)


def _resolve(git: str, name: str, links: int) -> str | None:
    """The commit that a ref stands for; refs that a worktree does not have of its own are those of its repository."""
    common = git
    if os.path.isfile(os.path.join(git, "commondir")):
        common = os.path.normpath(os.path.join(git, _read(os.path.join(git, "commondir")).strip()))
    for base in (git, common):
        if os.path.isfile(os.path.join(base, name)):
            text = _read(os.path.join(base, name)).strip()
            if text.startswith("ref: ") and links < _MAX_LINKS:
                return _resolve(git, text[5:].strip(), links + 1)
            return text if _SHA.fullmatch(text) else None
    packed = os.path.join(common, "packed-refs")
    if os.path.isfile(packed):
        for line in _read(packed).splitlines():
            sha, _, ref = line.partition(" ")
            if ref == name and _SHA.fullmatch(sha):
                return sha
    return None


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(16 << 20)
