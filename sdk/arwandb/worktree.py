"""The code that runs: commit, parent and every change that is not committed, of the Git repository around a folder.

A repository is data that somebody else may have written. So no program that its configuration names is ever started
(file system monitors, hooks, filters, external diffs, text converters, transports), nothing in it is written or locked,
nothing outside of it is read, and ten seconds are enough.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from .code import branch, git_folder, top_of
from .code import commit as commit_of
from .ignore import Ignore, is_secret, outer_rules

LIMIT_S = 10.0
# The server takes no more than this, whatever ARWANDB_MAX_DIFF_BYTES says.
LARGEST_DIFF = 8 << 20
MARK = "# arwandb: "
# Untracked files up to here are part of the diff when they are text; bigger ones, up to the next, by their hash.
_WHOLE_BYTES = 256 << 10
_HASHED_BYTES = 32 << 20
_MOST_UNTRACKED = 5000
_MAX_OUTPUT = 64 << 20
_EMPTY_BLOB = {
    40: "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
    64: "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
}
_EMPTY_TREE = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
_DIFF = [
    "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-relative", "--unified=3",
    "--inter-hunk-context=0", "--diff-algorithm=myers", "--ws-error-highlight=none", "-O/dev/null",
    "--ignore-submodules=dirty", "--submodule=short",
]  # fmt: skip


class Failed(Exception):
    """The changes cannot be told; the message says why."""


class Captured(NamedTuple):
    """What was found. `diff` is None where nothing is changed; `trouble` says what went wrong, if anything did."""

    commit: str | None = None
    parent: str | None = None
    branch: str | None = None
    diff: str | None = None
    diff_sha: str | None = None
    trouble: str | None = None


def capture(
    folder: str, max_bytes: int, *, base: str | None = None, with_diff: bool = True, limit: float = LIMIT_S
) -> Captured:
    """What runs in `folder`, compared with its commit (or with the commit `base`). Never raises.

    A diff over `max_bytes` is replaced by a line that says so; `diff_sha` is the SHA-256 of the whole either way. Changes
    that could not be told are a line that says why, different each time, so that nobody takes two of them for the same.
    """
    top = top_of(folder)
    if top is None:
        return Captured(commit=base)
    try:
        with _Git(top, time.monotonic() + limit) as git:
            commit, parent = git.commit(base)
            if not with_diff or (base is not None and commit is None):
                return Captured(commit or base, parent, branch(top))
            text = _Text(max(0, min(max_bytes, LARGEST_DIFF)))
            for piece in git.changes(commit):
                text.add(piece)
            diff, sha = text.end()
            return Captured(commit, parent, branch(top), diff, sha)
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        reason = str(error) or type(error).__name__
    mark = f"{MARK}the uncommitted changes could not be told ({reason}) [{os.urandom(8).hex()}]\n"
    return Captured(base or commit_of(top), None, branch(top), mark, _sha(mark), reason)


def tracked(top: str, limit: float = LIMIT_S) -> list[str]:
    """The files that Git knows, relative to `top`; none when it cannot be asked."""
    try:
        with _Git(top, time.monotonic() + limit) as git:
            return git.names("ls-files", "--cached", "-z")
    except (Failed, OSError, ValueError, subprocess.SubprocessError):
        return []


class _Text:
    """A diff as it comes: all of it is hashed, the first `cap` bytes are kept. It is made UTF-8 without NUL."""

    def __init__(self, cap: int) -> None:
        self._cap, self._size, self._kept = cap, 0, bytearray()
        self._hash = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, piece: bytes, *, is_last: bool = False) -> None:
        text = self._decoder.decode(piece, is_last).replace("\0", "\ufffd").encode("utf-8", "replace")
        self._hash.update(text)
        self._size += len(text)
        if self._size <= self._cap:
            self._kept += text
        else:
            self._kept.clear()

    def end(self) -> tuple[str | None, str | None]:
        """The text, or the line that stands for it, and the hash of the whole text; nothing for no changes."""
        self.add(b"", is_last=True)
        if not self._size:
            return None, None
        sha = self._hash.hexdigest()
        if self._size > self._cap:
            mark = (
                f"a diff of {self._size} bytes is over the cap of {self._cap} (ARWANDB_MAX_DIFF_BYTES) and is not kept"
            )
            return f"{MARK}{mark}; its SHA-256 is {sha}\n", sha
        return self._kept.decode(), sha


class _Git:
    """Git in one working tree, with every program of its configuration switched off, on a copy of the index."""

    def __init__(self, top: str, deadline: float) -> None:
        self.top, self._deadline = top, deadline
        self._folder = tempfile.mkdtemp(prefix="arwandb-")
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self._environ.update(
            GIT_OPTIONAL_LOCKS="0", GIT_NO_REPLACE_OBJECTS="1", GIT_NO_LAZY_FETCH="1", GIT_ALLOW_PROTOCOL="none",
            GIT_TERMINAL_PROMPT="0", GIT_PAGER="cat", GIT_WORK_TREE=top, LC_ALL="C",
            GIT_INDEX_FILE=os.path.join(self._folder, "index"),
        )  # fmt: skip

    def __enter__(self) -> _Git:
        try:
            git = git_folder(self.top)
            index = os.path.join(git or "", "index")
            if git and os.path.isfile(index):
                # With its times: Git looks closer at files that are as young as the index.
                shutil.copy2(index, self._environ["GIT_INDEX_FILE"])
            self._switch_off_filters()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def commit(self, base: str | None) -> tuple[str | None, str | None]:
        """The commit and its first parent; no commit when there is none yet, or when Git does not know `base`."""
        name = f"{base or 'HEAD'}^{{commit}}"
        found = self._output("rev-parse", "--verify", "--quiet", "--end-of-options", name, is_lenient=True).strip()
        if not found:
            return None, None
        line = self._output("rev-list", "--parents", "--max-count=1", found.decode(), "--").decode().split()
        return line[0], line[1] if len(line) > 1 else None

    def names(self, *arguments: str, given: bytes = b"") -> list[str]:
        """What a command lists between NUL characters."""
        listed = self._output(*arguments, given=given).decode("utf-8", "surrogateescape")
        return [name for name in listed.split("\0") if name]

    def changes(self, commit: str | None, inside: str = "") -> Iterator[bytes]:
        """The diff against the commit: of what is tracked, with untracked text as new files, then what is told by its hash
        alone. `inside` is the path of a submodule.
        """
        width = len(commit) if commit else self._width()
        known, told = self._untracked(width, inside)
        if known:
            self._output("update-index", "-z", "--index-info", given=b"".join(known))
        start = commit or _EMPTY_TREE[width]
        changed = self.names(*_DIFF, "--name-only", "-z", start, "--")
        left_out, lines = self._left_out(changed, inside)
        if len(changed) > len(left_out):
            hidden = [f":(top,exclude,literal){name}" for name in left_out]
            prefixes = [f"--src-prefix=a/{inside}", f"--dst-prefix=b/{inside}"]
            yield from self._stream(*_DIFF, "--patch", "--binary", "--full-index", *prefixes, start, "--", *hidden)
        yield from [*lines, *told]
        for path in self._submodules():
            with _Git(os.path.join(self.top, path), self._deadline) as git:
                own, _ = git.commit(None)
                yield from git.changes(own, f"{inside}{path}/")

    def _untracked(self, width: int, inside: str) -> tuple[list[bytes], list[bytes]]:
        """What Git does not know yet: small texts as entries for the index, the rest as lines with name, size and hash."""
        ignore = Ignore(outer_rules(self.top, self.top))
        names = sorted(name for name in self.names("ls-files", "--others", "--exclude-standard", "-z"))
        names = [name for name in names if name.endswith("/") or not ignore.ignores_deep(name)]
        if len(names) > _MOST_UNTRACKED:
            raise Failed(f"{len(names)} files are untracked: list data and outputs in .gitignore")
        known, told = [], []
        for name in names:
            found = None if name.endswith("/") else self._looked_at(name)
            if found is not None and found[2]:
                mode = "100755" if found[3] else "100644"
                known.append(f"{mode} {_EMPTY_BLOB[width]}\t{name}\0".encode("utf-8", "surrogateescape"))
            elif found is not None:
                told.append(_line("untracked", inside + name, f"{found[0]} bytes {found[1] or 'not hashed'}"))
            elif name.endswith("/"):
                commit = commit_of(os.path.join(self.top, name))
                told.append(_line("untracked", inside + name, f"a repository at {commit}"))
        return known, told

    def _looked_at(self, name: str) -> tuple[int, str | None, bool, bool] | None:
        """Size, hash, whether it is a small text, whether a program. None for what is no file; links are not followed."""
        try:
            number = os.open(os.path.join(self.top, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        with os.fdopen(number, "rb") as file:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode):
                return None
            if found.st_size > _HASHED_BYTES:
                return found.st_size, None, False, False
            data = file.read(_HASHED_BYTES)
        self._left()
        is_text = len(data) <= _WHOLE_BYTES and b"\0" not in data and _is_utf8(data)
        return len(data), _sha(data), is_text, bool(found.st_mode & 0o111)

    def _left_out(self, changed: list[str], inside: str) -> tuple[list[str], list[bytes]]:
        """Of the changed files those that are not shown: secrets, and what a filter stores in another form than it has."""
        given = "\0".join(changed).encode("utf-8", "surrogateescape")
        answer = self.names("check-attr", "-z", "--stdin", "filter", given=given) if changed else []
        filtered = {
            name
            for name, value in zip(answer[::3], answer[2::3], strict=False)
            if value not in {"unspecified", "unset"}
        }
        lines = []
        for name in changed:
            if is_secret(name):
                lines.append(_line("secret", inside + name, "not read"))
            elif name in filtered:
                found = self._looked_at(name)
                told = f"{found[0]} bytes {found[1] or 'not hashed'}" if found else "gone"
                lines.append(_line("filtered", inside + name, told))
        return [name for name in changed if is_secret(name) or name in filtered], lines

    def _submodules(self) -> list[str]:
        """The paths of submodules that are checked out."""
        if not os.path.isfile(os.path.join(self.top, ".gitmodules")):
            return []
        paths = [name.split("\t", 1)[1] for name in self.names("ls-files", "--stage", "-z") if name[:7] == "160000 "]
        top = os.path.realpath(self.top)
        return [
            path
            for path in paths
            if os.path.lexists(os.path.join(self.top, path, ".git"))
            and os.path.realpath(os.path.join(self.top, path)) == os.path.join(top, path)
        ]

    def _width(self) -> int:
        """How long the names of objects are in a repository without a commit."""
        return len(self._output("hash-object", "-t", "tree", "--stdin").strip())

    def _switch_off_filters(self) -> None:
        """Filters have names of the repository's own: each is switched off by its name."""
        named = self._output("config", "-z", "--name-only", "--get-regexp", r"^filter\.", is_lenient=True)
        filters = sorted(
            {name.rpartition(".")[0] for name in named.decode("utf-8", "surrogateescape").split("\0") if name}
        )
        settings = [(f"{one}.{verb}", "") for one in filters for verb in ("clean", "smudge", "process")]
        settings += [(f"{one}.required", "false") for one in filters]
        self._environ["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (key, value) in enumerate(settings):
            self._environ[f"GIT_CONFIG_KEY_{number}"], self._environ[f"GIT_CONFIG_VALUE_{number}"] = key, value

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Failed("Git took too long")
        return left

    def _start(self, arguments: tuple[str, ...], *, has_input: bool) -> subprocess.Popen[bytes]:
        self._left()
        command = [
            "git", "-C", self.top, "--no-pager", "-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null",
            "-c", "core.quotePath=true", "-c", "core.untrackedCache=false", "-c", "core.alternateRefsCommand=",
            "-c", "diff.external=", "-c", "diff.autoRefreshIndex=true", *arguments,
        ]  # fmt: skip
        try:
            return subprocess.Popen(  # noqa: S603 - Git, by its name
                command, env=self._environ, stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise Failed("there is no git program") from None

    def _stream(self, *arguments: str, given: bytes = b"", is_lenient: bool = False) -> Iterator[bytes]:
        """What Git writes. It is killed, with all that it started, when the time is over or the caller turns away."""
        process = self._start(arguments, has_input=bool(given))
        was_late: list[bool] = []
        watch = threading.Timer(max(0.0, self._deadline - time.monotonic()), _end_of_time, (process, was_late))
        watch.daemon = True
        watch.start()
        complaint = bytearray()
        helpers = [threading.Thread(target=_keep, args=(process.stderr, complaint), daemon=True)]
        if given:
            helpers.append(threading.Thread(target=_feed, args=(process.stdin, given), daemon=True))
        try:
            for helper in helpers:
                helper.start()
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            while piece := process.stdout.read1(1 << 18):  # type: ignore[attr-defined]
                yield piece
        finally:
            watch.cancel()
            if process.poll() is None and process.stdout is not None and not process.stdout.closed:
                _wait_or_kill(process)
            for helper in helpers:
                helper.join(1.0)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        if was_late:
            raise Failed("Git took too long")
        if process.returncode and not is_lenient:
            reason = complaint.decode("utf-8", "replace").strip().split("\n")[0][:300]
            raise Failed(reason or f"git {arguments[0]} ended with {process.returncode}")

    def _output(self, *arguments: str, given: bytes = b"", is_lenient: bool = False) -> bytes:
        parts, size = [], 0
        for piece in self._stream(*arguments, given=given, is_lenient=is_lenient):
            parts.append(piece)
            size += len(piece)
            if size > _MAX_OUTPUT:
                raise Failed("the repository lists too many files")
        return b"".join(parts)


def _end_of_time(process: subprocess.Popen[bytes], was_late: list[bool]) -> None:
    if process.poll() is None:
        was_late.append(True)
        _kill(process)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    """Its output has ended, so it should be about to; if it is not, it has no say."""
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    import signal

    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()


def _keep(pipe: object, kept: bytearray) -> None:
    try:
        while piece := pipe.read1(4096):  # type: ignore[attr-defined]
            if len(kept) < 4096:
                kept += piece
    except (OSError, ValueError):
        pass


def _feed(pipe: object, data: bytes) -> None:
    try:
        pipe.write(data)  # type: ignore[attr-defined]
        pipe.close()  # type: ignore[attr-defined]
    except (OSError, ValueError):
        pass


def _line(kind: str, path: str, told: str) -> bytes:
    """A line of the diff about a file that is not shown in it."""
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return f"{MARK}{kind} {shown!r}: {told}\n".encode()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _sha(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def main(folder: str, max_bytes: str, limit: str) -> None:
    """Tell on standard output what `capture` finds: for a process that does not want to load all this.

    The diff is told when it is whole, or says why there is none: then it has the hash by which it is known.
    """
    import json
    import signal
    import sys

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves nothing behind
    found = capture(folder, int(max_bytes), limit=float(limit))
    is_whole = found.diff is not None and _sha(found.diff) == found.diff_sha
    told = {"commit": found.commit, "diff_sha": found.diff_sha, "diff": found.diff if is_whole else None}
    sys.stdout.write(json.dumps(told))
