"""The life of the process: its end in every way, and forks. Runs that are open are closed, or start anew in a child."""

from __future__ import annotations

import atexit
import builtins
import os
import signal
import sys
import threading
from typing import Any

from . import notice
from .late import loading

_EXIT_S = 5.0
_TERM_S = 2.0
_IMPORT_S = 10.0

_open: list[Any] = []
_ending: list[Any] = []
_fate = {"status": "finished"}
_installed = False
_inherited: list[Any] = []


def remember(run: Any) -> None:
    """From now on this run is closed when the process ends. The hooks are set when the first run begins."""
    if run not in _open:
        _open.append(run)
    _install()
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None and sys.modules["multiprocessing.process"].parent_process() is not None:
        # Children of multiprocessing end by os._exit; this is the hook that they run before.
        multiprocessing.Finalize(run, _finish_all, args=(os.getpid(),), exitpriority=10)


def closing(run: Any) -> None:
    """This run is being closed: the end of the process has nothing to add, and waits for it a little."""
    if run in _open:
        _open.remove(run)
        _ending.append(run)


def forget(run: Any) -> None:
    """This run is closed."""
    for runs in (_open, _ending):
        if run in runs:
            runs.remove(run)


def _install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    atexit.register(_at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )
    _watch_exceptions()
    _watch_sigterm()


def _finish_all(pid: int, timeout: float = _EXIT_S) -> None:
    if os.getpid() != pid:
        return
    for run in list(_open):
        try:
            run.end(_fate["status"], timeout)
        except Exception as error:  # noqa: BLE001 - the exit code of the program is not ours to change
            notice.once("exit", f"the run could not be closed: {error}")


def _at_exit() -> None:
    _finish_all(os.getpid())


def _watch_exceptions() -> None:
    """Note a program that ends by an exception or a non-zero exit; what was installed before still runs.

    A SystemExit that the program raises itself passes no hook on its way to the interpreter, and is not seen.
    """
    hook, leave = sys.excepthook, sys.exit

    def excepthook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        _fate["status"] = "killed" if issubclass(kind, KeyboardInterrupt) else "failed"
        hook(kind, error, trace)

    def exit(code: Any = None) -> Any:
        _note_exit(code)
        leave(code)

    sys.excepthook = excepthook
    sys.exit = exit
    for name in ("exit", "quit"):
        if (quitter := getattr(builtins, name, None)) is not None:  # not under `python -S`
            setattr(builtins, name, _Quitter(quitter))


class _Quitter:
    """The `exit` and `quit` of scripts and of the prompt."""

    def __init__(self, leave: Any) -> None:
        self._leave = leave

    def __call__(self, code: Any = None) -> Any:
        _note_exit(code)
        self._leave(code)

    def __repr__(self) -> str:
        return repr(self._leave)


def _note_exit(code: Any) -> None:
    if code not in (None, 0) and threading.current_thread() is threading.main_thread():
        _fate["status"] = "failed"


def _watch_sigterm() -> None:
    """On SIGTERM flush briefly, then die of it as the program would have without us. A handler of its own stays."""
    try:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _on_sigterm)
    except (ValueError, OSError):  # not the main interpreter
        return


def _on_sigterm(number: int, _frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)
    _fate["status"] = "killed"
    _finish_all(os.getpid(), _TERM_S)
    for run in list(_ending):
        run.await_end(_TERM_S)
    os.kill(os.getpid(), number)


# Forks. The child must not find a module half-loaded by one of our threads; nothing else is waited for.

_held, _forked = [False], [False]


def _before_fork() -> None:
    _held[0] = loading.acquire(timeout=_IMPORT_S)


def has_forked() -> bool:
    """Whether this process has children that were made by a fork."""
    return _forked[0]


def _after_fork_in_parent() -> None:
    _forked[0] = True
    if _held[0]:
        loading.release()


def _after_fork_in_child() -> None:
    if _held[0]:
        loading.release()
    runs = list(_open)
    _open.clear()
    _ending.clear()
    _forked[0] = False
    # A child may be told to end by SIGTERM while it waits for a lock that it shares with others, as the workers of a pool
    # do; a handler would sometimes not come to its turn, and the pool would wait for ever. What the child has spooled is
    # delivered by its parent.
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _fate["status"] = "finished"
    for run in runs:
        # Kept alive for ever: what the parent's threads held at this moment must not be finalized here.
        _inherited.append(run._engine)
        run.after_fork()
