"""What of the code that runs is not committed, found out by another Python.

Git and all that reads it would cost the training five megabytes and some hundredths of a second of its interpreter. The
other one lives for a moment, and is spoken to through a pipe.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from .code import commit, top_of

_MOST_BYTES = 64 << 20
_LOOK_EVERY_S = 0.01
_KILL_AFTER_S = 0.5
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from arwandb.worktree import main; main(*sys.argv[2:])"


def captured(folder: str, max_bytes: int, limit: float, is_over: Callable[[], bool]) -> dict[str, Any]:
    """`commit`, `diff_sha` and `diff` of the repository around `folder`, as far as they are known; nothing outside of one.

    Gives up after `limit` seconds, and as soon as `is_over`; then, and where no other Python can be started, the commit
    alone is told. Never raises.
    """
    alone = {"commit": commit(folder)}
    if top_of(folder) is None or not _has_python():
        return alone
    try:
        return _told(folder, max_bytes, limit, is_over) or alone
    except (OSError, ValueError, NotImplementedError):
        return alone


def _has_python() -> bool:
    """Whether `sys.executable` is one: in a frozen or an embedding program it is that program, to be started once only."""
    name = os.path.basename(sys.executable or "").lower()
    return hasattr(os, "posix_spawn") and not hasattr(sys, "frozen") and name.startswith(("python", "pypy"))


def _told(folder: str, max_bytes: int, limit: float, is_over: Callable[[], bool]) -> dict[str, Any] | None:
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, home, folder, str(max_bytes), str(limit)]
    inlet, outlet = os.pipe()
    try:
        try:
            quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 2)]
            actions = [*quiet, (os.POSIX_SPAWN_DUP2, outlet, 1)]
            # A group of its own: Ctrl-C is meant for the training.
            child = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setpgroup=0)
        finally:
            os.close(outlet)
        os.set_blocking(inlet, False)
        return _listen(inlet, child, time.monotonic() + limit + 1.0, is_over)
    finally:
        os.close(inlet)


def _listen(inlet: int, child: int, deadline: float, is_over: Callable[[], bool]) -> dict[str, Any] | None:
    """What the child says before it ends; None if it must be stopped."""
    said = bytearray()
    has_ended = False
    while len(said) <= _MOST_BYTES:
        # Looked at before reading: what it said, it said before it ended. A forked process may hold the pipe open.
        has_ended = has_ended or os.waitpid(child, os.WNOHANG)[0] == child
        try:
            piece = os.read(inlet, 1 << 16)
        except BlockingIOError:
            if has_ended:
                break
            if is_over() or time.monotonic() > deadline:
                _stop(child)
                return None
            time.sleep(_LOOK_EVERY_S)
            continue
        said += piece
        if not piece and has_ended:
            break
        if not piece:
            time.sleep(0.001)
    if not has_ended:
        _stop(child)
    found = json.loads(said)
    return found if isinstance(found, dict) else None


def _stop(child: int) -> None:
    """End it, with time to clean up behind itself, and none to stay."""
    os.kill(child, signal.SIGTERM)
    end = time.monotonic() + _KILL_AFTER_S
    while os.waitpid(child, os.WNOHANG)[0] != child:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return
        time.sleep(_LOOK_EVERY_S)
