"""A run, as training code sees it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import life, notice
from .buffer import Buffer
from .change import captured
from .documents import Document, Summary, as_mapping, plain
from .engine import Engine
from .errors import UsageError
from .papers import Papers
from .records import Identity
from .settings import Settings, fitting, tag_list
from .values import MAX_DEPTH, MAX_STEP, settle, whole_step
from .wandb_names import WandbNames

_now = time.time
# Types whose values cannot change behind our back: they are kept as they are and looked at later, off the training
# thread. Scalars of numpy join them when they are first seen.
_LASTING: set[type] = {float, int, bool}
# Nothing fits into this: a run whose inlet it is takes the careful way at each call.
_CLOSED = Buffer()
_CLOSED.room = 0
_STATUS = {
    "finished": "finished", "success": "finished", "completed": "finished",
    "failed": "failed", "failure": "failed", "crashed": "failed", "error": "failed",
    "killed": "killed", "aborted": "killed", "canceled": "killed", "cancelled": "killed",
}  # fmt: skip
# How long Git may take to tell what was changed.
_LOOK_S, _HURRIED_LOOK_S = 10.0, 1.0
# Nobody waits longer for the end of a run, and threads cannot wait much longer.
_LONGEST_WAIT_S = 1e6
_GLANCE_S = 0.05
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A fresh id that sorts by time: 10 characters of milliseconds, 13 that are random."""
    moment, chance = int(_now() * 1000), int.from_bytes(os.urandom(9), "big")
    digits = [_ALPHABET[(moment >> shift) & 31] for shift in range(45, -1, -5)]
    digits += [_ALPHABET[(chance >> shift) & 31] for shift in range(60, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


class Run(WandbNames):
    """One run. `log` costs the training loop about a microsecond; everything else happens on other threads."""

    def __init__(self, settings: Settings, config: Any = None) -> None:
        self.settings = settings
        self.id = settings.run_id or new_id("run")
        self.project = settings.project
        self.writer_id = settings.writer_id or new_id("w")
        self.started_at = _now()
        self._lock = threading.RLock()
        self._partial: dict[str, Any] | None = None
        self._finished = False
        self._late = 0
        self._pid = os.getpid()
        self._engine: Engine | None = None
        self._own_dir: str | None = None
        self._buffer = self._inlet = Buffer()
        self._system: Any = None
        self._stored: dict[str, Any] = {}
        self._before: dict[str, Any] = {}
        items = as_mapping(config)
        self.config = Document(self._tell_config, items)
        self.summary = Summary(self._tell_summary, self._last_values)
        self._papers = Papers(self._registration(plain(items)), base_url=settings.base_url)
        if settings.is_resuming:
            self._tell_what_is_new(plain(items))
        if settings.mode == "disabled":
            self._finished = True
            self._inlet = _CLOSED
        else:
            self._start(describe=True)

    # Logging.

    def log(
        self, metrics: Mapping[str, Any] | None = None, step: int | None = None, commit: bool | None = None,
        sync: bool | None = None, *, data: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Log values of metrics, at `step` or the one after the greatest so far. Memory only; never raises.

        `data` is what W&B calls the metrics.
        """
        try:
            if type(metrics) is dict and commit is None and (step is None or type(step) is int):
                for value in metrics.values():
                    # Most are floats, and `is` costs half of what a look into a set does.
                    if type(value) is not float and type(value) not in _LASTING:
                        break
                else:
                    buffer = self._inlet
                    if step is None or 0 <= step < 9007199254740992:
                        if len(buffer.queue) < buffer.room:
                            buffer.queue.append((metrics.copy(), step, _now()))
                            return
                        if buffer is not _CLOSED:
                            buffer.put((metrics.copy(), step, _now()))
                            return
            self._log_with_care(data if metrics is None else metrics, step, commit)
        except Exception as error:  # noqa: BLE001 - whatever was given, training goes on
            notice.once("log", f"log() could not take what it was given: {type(error).__name__}: {error}")

    def _log_with_care(self, metrics: Any, step: Any, commit: bool | None) -> None:
        """The rest of what `log` can meet: nested or foreign values, strange steps, a full buffer, a forked child."""
        if self._finished:
            self._note_late()
            return
        if not isinstance(metrics, Mapping):
            notice.once("mapping", f"log() takes a mapping of names to numbers, not {type(metrics).__name__}")
            return
        if self._engine is None:
            self._start_in_child()
        now = _now()
        for value in metrics.values():
            _remember_lasting(value)
        flat = settle(metrics)
        self._note_foreign(metrics)
        with self._lock:
            if self._partial is not None:
                flat, self._partial = {**self._partial, **flat}, None
                self._inlet = self._buffer
            if commit is False and step is None:
                # Kept until the next call, which the closed inlet brings here.
                self._partial = flat
                self._inlet = _CLOSED
                return
        if step is not None:
            whole = whole_step(step)
            if whole is None or whole != step:
                place = "the next step" if whole is None else f"step {whole}"
                notice.once("step", f"steps are whole numbers from 0 to 2^53-1; {step!r} is logged at {place}")
            step = whole
        self._buffer.put((flat, step, now))

    def _note_foreign(self, metrics: Mapping[str, Any]) -> None:
        for name, value in _leaves(metrics):
            if getattr(value, "is_not_recorded", False):
                kind = type(value).__name__
                notice.once(kind, f"{kind} is not recorded, only numbers are ({name!r}; said once)")

    def _note_late(self) -> None:
        if self.settings.mode != "disabled":
            self._late += 1
            notice.once("late", "log() was called after finish(); such points are not recorded")

    # Its parts.

    def _registration(self, config: dict[str, Any]) -> dict[str, Any]:
        settings = self.settings
        body = {
            "project": self.project, "id": self.id, "name": settings.name, "config": config, "tags": settings.tags,
            "group": settings.group, "job_type": settings.job_type, "notes": settings.notes, "resume": settings.resume,
            "host": _host(), "started_at": _rfc3339(self.started_at),
        }  # fmt: skip
        return {name: value for name, value in body.items() if value not in (None, [], {})}

    def _tell_what_is_new(self, config: dict[str, Any]) -> None:
        """A run that is there already keeps its description when it is registered again; what was given now comes on top."""
        given = {name: getattr(self.settings, name) for name in ("name", "notes", "group", "tags")}
        for name, value in given.items():
            if value:
                self._papers.update_profile(name, value)
        if config:
            self._papers.update_config(config)

    def _start(self, *, describe: bool = False, next_step: int = 0) -> None:
        """Start the machinery of this process: a writer epoch of its own."""
        identity = Identity(self.id, self.writer_id, os.urandom(16).hex())
        self._engine = Engine(
            self.settings, identity, self._papers, next_step=next_step, describe=self._describe if describe else None
        )
        self._buffer = self._inlet = self._engine.buffer
        self._engine.start()
        if describe and self.settings.has_system_metrics:
            from .system import Sampler

            self._system = Sampler(self._buffer.queue, self.settings.system_interval)
            self._system.start()

    def _describe(self, is_over: Callable[[], bool]) -> None:
        """Note which code runs. On a background thread, before the run is registered."""
        if self.settings.is_git_disabled:
            return
        # Where init() waits for the server's word on the run, it must not wait for Git.
        limit = _HURRIED_LOOK_S if self.settings.asks_first else _LOOK_S
        found = captured(os.getcwd(), self.settings.max_diff_bytes, limit, is_over)
        known = {name: found[name] for name in ("commit", "diff_sha") if found.get(name)}
        if known:
            self._papers.describe(known, found.get("diff"))

    def await_registration(self, timeout: float, *, is_patient: bool = True) -> str | None:
        """Wait until the server has answered the registration; returns its refusal, None if it took the run or is away.

        Unless it is patient, it does not wait where no server listens or where the key is refused.
        """
        engine = self._engine
        if engine is None or engine.sender is None:
            return None
        sender, deadline = engine.sender, time.monotonic() + timeout
        while not engine.registered.wait(_GLANCE_S) and time.monotonic() < deadline:
            if not is_patient and (sender.away_since is not None or sender.is_denied):
                break
        return None if sender.is_registered else sender.refusal

    def take_up(self) -> None:
        """Go on where the run stopped, if the server had it before: with the next step, its config and its summary."""
        sender = self._engine.sender if self._engine is not None else None
        if sender is None or not sender.was_known:
            return
        stored = sender.run
        known = stored.get("latest") or {}
        latest = {name: last for name, last in known.items() if not name.startswith("system/")}
        self.resumed, self._stored = True, stored
        self._before = {**{name: last["value"] for name, last in latest.items()}, **(stored.get("summary") or {})}
        self.config.recall(stored.get("config") or {})
        if latest:
            self.starting_step = min(max(int(last["step"]) for last in latest.values()) + 1, MAX_STEP)
            self._buffer.encoder.next_step = self.starting_step

    def discard(self) -> None:
        """Give up a run that was refused before anything was logged."""
        self._finished, self._inlet = True, _CLOSED
        life.forget(self)
        if self._system is not None:
            self._system.stop()
        if self._engine is not None:
            self._engine.discard()

    def _tell_config(self, changes: dict[str, Any]) -> None:
        if not self._finished:
            self._papers.update_config(changes)

    def _tell_summary(self, changes: dict[str, Any]) -> None:
        if not self._finished:
            self._papers.update_summary(changes)

    def _tell_profile(self, field: str, value: Any) -> None:
        if not self._finished:
            self._papers.update_profile(field, value)

    def _last_values(self) -> dict[str, Any]:
        if self._engine is not None and not self._finished and self._buffer.queue:
            self._engine.settle(0.5)
        return {**self._before, **self._buffer.encoder.last}

    # What one may ask.

    @property
    def is_finished(self) -> bool:
        """Whether the run was ended. A disabled one never is."""
        return self._finished and self.settings.mode != "disabled"

    @property
    def url(self) -> str:
        """The page of this run."""
        given = self._server_run().get("url")
        return str(given) if given else f"{self.project_url}/runs/{self.id}"

    @property
    def project_url(self) -> str:
        """The page of its project."""
        from urllib.parse import quote

        return f"{self.settings.base_url}/p/{quote(self.project)}"

    def get_url(self) -> str:
        """The same as `url`, as W&B calls it."""
        return self.url

    def get_project_url(self) -> str:
        """The same as `project_url`, as W&B calls it."""
        return self.project_url

    @property
    def name(self) -> str:
        """The name of the run, which can be set; the server makes one up if none was given."""
        told = self._papers.profile.get("name")
        return str(told or self._server_run().get("name") or self.settings.name or self.id)

    @name.setter
    def name(self, name: Any) -> None:
        self._tell_profile("name", fitting("" if name is None else name, "name"))

    @property
    def notes(self) -> str | None:
        """The notes on the run, which can be set."""
        return self._papers.profile.get("notes", self.settings.notes or self._stored.get("notes"))

    @notes.setter
    def notes(self, notes: Any) -> None:
        self._tell_profile("notes", None if notes is None else fitting(notes, "notes"))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the run, which can be set."""
        return tuple(self._papers.profile.get("tags", self.settings.tags or self._stored.get("tags") or ()))

    @tags.setter
    def tags(self, tags: Any) -> None:
        self._tell_profile("tags", tag_list(tags))

    @property
    def step(self) -> int:
        """The step that the next `log()` without one will take, as far as the background has come."""
        if self._engine is not None and not self._finished and self._buffer.queue:
            self._engine.settle(0.5)
        return self._buffer.encoder.next_step

    @property
    def dir(self) -> str:
        """A folder for what a script keeps beside its run: that of its spool, a temporary one if it has none."""
        if self._engine is not None:
            return self._engine.folder
        if self._own_dir is None:
            import tempfile

            self._own_dir = tempfile.mkdtemp(prefix="arwandb-")
        return self._own_dir

    def _server_run(self) -> dict[str, Any]:
        sender = self._engine.sender if self._engine is not None else None
        return sender.run if sender is not None else {}

    def status(self) -> dict[str, Any]:
        """How far the points of this process are on their way, in entries (`log()` calls) of each level of safety.

        `logged` are in memory at least, `spooled` survive a kill, `synced` a power cut, `stored` the loss of this machine.
        """
        engine = self._engine
        if engine is None:
            return {"mode": self.settings.mode, "logged": 0, "spooled": 0, "synced": 0, "stored": 0}
        spool = engine.spool
        return {
            "mode": self.settings.mode, "folder": engine.folder,
            "logged": spool.next_seq + len(self._buffer.queue), "spooled": max(spool.spooled_seq, spool.acked),
            "synced": max(spool.synced_seq, spool.acked), "stored": spool.acked, "points": spool.points,
            "skipped": self._buffer.encoder.skipped, "dropped": spool.dropped + self._buffer.dropped,
            "quarantined": spool.quarantined, "registered": bool(engine.sender and engine.sender.is_registered),
        }  # fmt: skip

    # Its end.

    def finish(
        self,
        status: Any = "finished",
        timeout: float | None = None,
        *,
        exit_code: int | None = None,
        quiet: bool | None = None,
    ) -> None:
        """Deliver what is left, at most `timeout` seconds long, and end the run. What remains stays in the spool.

        Without a timeout it takes `ARWANDB_FINISH_TIMEOUT` (15) at most, and two or three seconds where no server listens.
        """
        is_patient = timeout is not None
        try:
            seconds = self.settings.finish_timeout if timeout is None else max(0.0, float(timeout))
        except (TypeError, ValueError, OverflowError):
            seconds = self.settings.finish_timeout
            notice.once("timeout", f"finish() waits for a number of seconds, not {timeout!r}; it waits for {seconds:g}")
        seconds = min(seconds, _LONGEST_WAIT_S)
        self.end(status, seconds, exit_code=exit_code, is_quiet=bool(quiet), is_patient=is_patient)

    def end(
        self, status: Any, seconds: float, *, exit_code: int | None = None, is_quiet: bool = False, is_patient: bool = False
    ) -> None:  # fmt: skip
        """As `finish`; only if patient it waits all that time for a server that is not there."""
        if isinstance(status, int):  # W&B's finish(exit_code)
            status, exit_code = "finished", int(status)
        elif status is None:
            status = "finished"
        word = "failed" if exit_code else _STATUS.get(str(status).lower(), "")
        if not word:
            notice.once("status", f"a run ends as finished, failed or killed, not {status!r}; noted as finished")
            word = "finished"
        with self._lock:
            if self._finished:
                return
            if self._partial is not None:
                self.log({}, commit=True)
            self._finished = True
            self._inlet = _CLOSED
            engine = self._engine
        life.closing(self)
        try:
            self._close(engine, word, seconds, exit_code, is_quiet=is_quiet, is_patient=is_patient)
        finally:
            life.forget(self)

    def _close(
        self, engine: Engine | None, word: str, seconds: float, exit_code: int | None, *, is_quiet: bool, is_patient: bool
    ) -> None:  # fmt: skip
        if engine is None:
            return
        if self._system is not None:
            self._system.stop()
        end: dict[str, Any] | None = {"status": word, "summary": self._papers.summary}
        if exit_code is not None and end is not None:
            end["exit_code"] = exit_code
        if os.getpid() != self._pid:
            end = None  # a forked child delivers its points; the run is its parent's to end
        deadline = time.monotonic() + seconds
        is_delivered = engine.close(end, seconds, is_patient=is_patient)
        if is_delivered and life.has_forked() and os.path.isdir(engine.folder):
            self._deliver_children(engine.folder, deadline - time.monotonic())
        if not is_quiet:
            self._report(engine, is_delivered=is_delivered)

    def _deliver_children(self, folder: str, seconds: float) -> None:
        """What children wrote and could not send before they ended."""
        from .offline import deliver_children

        try:
            deliver_children(folder, self.settings, seconds)
        except Exception as error:  # noqa: BLE001 - it is kept, and a sync delivers it
            notice.once("children", f"what child processes left in {folder} is not delivered: {error}")

    def await_end(self, seconds: float) -> None:
        """Wait for an end that is on its way, at most so long."""
        if self._engine is not None:
            self._engine.await_close(seconds)

    def _report(self, engine: Engine, *, is_delivered: bool) -> None:
        spool = engine.spool
        if spool.dropped or self._buffer.dropped:
            notice.say(f"run {self.id}: {spool.dropped + self._buffer.dropped} points were dropped for lack of memory")
        if is_delivered:
            return
        lost = len(self._buffer.queue) + spool.unwritten
        if lost:
            notice.say(f"run {self.id}: {lost} entries could be neither written nor delivered in time and are lost")
        if self.settings.mode == "offline":
            notice.say(
                f"run {self.id} is recorded in {engine.folder}; deliver it with: python -m arwandb sync {engine.folder}"
            )
        else:
            notice.say(
                f"run {self.id}: {spool.backlog - spool.unwritten} of {spool.next_seq} entries are kept, not delivered yet. "
                f"Deliver them with: python -m arwandb sync {engine.folder}"
            )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.finish()
        else:
            self.finish("killed" if kind is KeyboardInterrupt else "failed")

    # Life in a forked child.

    def after_fork(self) -> None:
        """In the child: nothing of the parent's machinery is used, its locks may be held by threads that are not here."""
        inherited, self._engine = self._engine, None
        if inherited is not None:
            inherited.abandon()
        self._lock = threading.RLock()
        self._system = None
        self._papers = Papers({**self._papers.registration, "resume": "allow"}, base_url=self.settings.base_url)
        buffer, self._buffer = self._buffer, Buffer()
        self._buffer.encoder.next_step = buffer.encoder.next_step
        self._inlet = _CLOSED  # brings the first log() to _start_in_child

    def _start_in_child(self) -> None:
        with self._lock:
            if self._engine is None:
                self._start(next_step=self._buffer.encoder.next_step)
                life.remember(self)


def _leaves(metrics: Mapping[Any, Any], depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """What was logged, out of nested mappings too; of a list, as media are often given, the first."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, depth + 1) if depth < MAX_DEPTH else ()
        elif isinstance(value, (list, tuple)) and value:
            yield name, value[0]
        else:
            yield name, value


def _remember_lasting(value: Any) -> None:
    """Scalars of numpy cannot change; they need not be looked at on the training thread again."""
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__.startswith(("float", "int", "uint", "bool")):
        _LASTING.add(kind)


def _host() -> dict[str, Any]:
    names = os.uname() if hasattr(os, "uname") else None
    import sys

    host: dict[str, Any] = {"python": sys.version.split()[0], "pid": os.getpid(), "cpus": os.cpu_count()}
    if names is not None:
        host.update(hostname=names.nodename, os=names.sysname, release=names.release, machine=names.machine)
    return host


def _rfc3339(moment: float) -> str:
    whole = int(moment)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((moment - whole) * 1e6):06d}Z"


__all__ = ["Run", "UsageError", "new_id"]
