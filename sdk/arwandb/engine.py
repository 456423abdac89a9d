"""The machinery of one run in one process: a thread that writes the spool, and one that sends from it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from . import notice
from . import papers as papers_
from .buffer import Buffer
from .disk import Disk, File
from .http import Http, Request, Response
from .papers import Papers
from .records import Identity
from .sender import NEVER, Sender
from .settings import Settings
from .spool import Spool

WRITE_EVERY_S = 0.08
SYNC_EVERY_S = 1.0
_SAVE_EVERY_S = 1.0
_TRIES_TO_CLOSE = 3
# How long the end of a run waits for a server that is not there, unless it was told how long: enough for a restart.
_ABSENT_S = 2.0
_LONGEST_LOOK_S = 3.0
_GLANCE_S = 0.02
_NO_KEY = b'{"detail":"there is none; set ARWANDB_API_KEY or run: python -m arwandb login"}'


class Engine:
    """Takes what was logged from the buffer to disk and to the server. Nothing here raises into the caller."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        papers: Papers,
        *,
        next_step: int = 0,
        describe: Callable[[Callable[[], bool]], None] | None = None,
    ) -> None:
        self.settings, self.identity, self.papers = settings, identity, papers
        self.disk = Disk()
        self.folder, self._has_disk = self._make_folder()
        self.buffer = Buffer(next_step)
        self.spool = Spool(self.disk if self._has_disk else None, self.folder, identity)
        self.sender: Sender | None = None
        self._describe = describe
        self._http: Http | None = None
        if settings.mode == "online":
            self._http = Http(settings.base_url, settings.api_key)
            self.sender = Sender(self.spool, papers, self._send, flush_interval=settings.flush_interval)
        self._lock_file: File | None = None
        self._wake_writer, self._wake_sender = threading.Event(), threading.Event()
        self.drained = threading.Event()
        self.registered = threading.Event()
        self._end: dict[str, Any] | None = None
        self._is_closing = False
        self._give_up_at = NEVER
        self._is_stopped = False
        self._describe_until = NEVER
        self._described = threading.Event()
        self._saved_version = -1
        self._has_patch_file = False
        self._saved_at = self._synced_at = NEVER * -1
        self._acked_saved = 0
        self._ack_due = 0.0
        self._writer = threading.Thread(target=self._write_forever, name="arwandb-spool", daemon=True)
        self._courier = threading.Thread(target=self._send_forever, name="arwandb-send", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        self._save_papers(time.monotonic())
        self._writer.start()
        self._courier.start()

    def _make_folder(self) -> tuple[str, bool]:
        """The folder of this run: where it was asked for, else a fresh temporary one, else nowhere."""
        wanted = f"{self.settings.folder}/{self.identity.run}"
        try:
            self.disk.make_folder(wanted)
            keep_out_of_git(self.settings.folder)
            return wanted, True
        except OSError as error:
            reason = error.strerror
        try:
            import tempfile

            folder = f"{tempfile.mkdtemp(prefix='arwandb-')}/{self.identity.run}"
            self.disk.make_folder(folder)
            notice.once("folder", f"cannot write to {self.settings.folder} ({reason}); spooling to {folder}")
            return folder, True
        except OSError:
            notice.once(
                "folder",
                f"cannot write to {self.settings.folder} ({reason}); points are kept in memory alone until sent",
            )
            return wanted, False

    # The writer.

    def _write_forever(self) -> None:
        is_more, failures = False, 0
        while failures < _TRIES_TO_CLOSE:
            if not is_more:
                self._wake_writer.wait(WRITE_EVERY_S)
                self._wake_writer.clear()
            is_closing = self._is_closing
            try:
                is_more = self._write(time.monotonic())
                if is_closing and not is_more:
                    self._close_spool(time.monotonic())
                    return
            except Exception as error:  # noqa: BLE001 - a bug of ours must not end the spooling
                notice.once("writer", f"spooling has trouble: {type(error).__name__}: {error}")
                is_more = False
                failures += is_closing

    def _write(self, now: float) -> bool:
        """One round: take over what was logged, write it, each second force it to the device. True if more is waiting."""
        points = self.spool.points
        is_more = self.buffer.drain(self.spool)
        self.spool.commit(now)
        if self.spool.points != points:
            self._wake_sender.set()
        if now - self._synced_at >= SYNC_EVERY_S:
            self._synced_at = now
            self.spool.sync(now)
        if self.papers.version != self._saved_version and now - self._saved_at >= _SAVE_EVERY_S:
            self._save_papers(now)
            self._wake_sender.set()
        self._report()
        if not is_more:
            self.drained.set()
        return is_more

    def _close_spool(self, now: float) -> None:
        """The last round: everything to the device, then the end of the run, then tell the sender that this was all."""
        self.spool.close(now)
        if self._end is not None:
            who = self.identity
            expected = {
                "writer_id": who.writer, "epoch": who.epoch,
                "points": self.spool.points + self.buffer.dropped, "next_seq": self.spool.next_seq,
            }  # fmt: skip
            self.papers.end({**self._end, "expected": [expected]})
        self._save_papers(now)
        self._report()
        if self.sender is not None:
            self.sender.is_closing = True
            self.sender.hurry()
            self._wake_sender.set()

    def _report(self) -> None:
        if self.spool.fault is not None:
            notice.once(
                "disk", f"cannot write to {self.folder} ({self.spool.fault}); points are kept in memory until sent"
            )
        if self.spool.dropped:
            notice.once(
                "memory",
                "neither disk nor server take points and memory for them is full: new points are dropped and counted",
            )
        if self.buffer.encoder.unfit_name is not None:
            notice.once(
                "name",
                f"metric names have 1 to 255 characters and no control characters; skipping {self.buffer.encoder.unfit_name[:80]!r}",
            )

    def _save_papers(self, now: float) -> None:
        if not self._has_disk:
            return
        version, document = self.papers.document()
        self._saved_at = now
        try:
            papers_.save(self.disk, self.spool.path(".run"), document)
            self._saved_version = version
        except (OSError, ValueError) as error:
            notice.once("disk", f"cannot write to {self.folder} ({error})")

    def _save_patch(self) -> None:
        """Keep the uncommitted changes for a later sync."""
        if self.papers.patch is None or not self._has_disk:
            return
        try:
            self.disk.replace(self.spool.path(papers_.PATCH), self.papers.patch.encode(), is_synced=False)
            self._has_patch_file = True
        except OSError as error:
            notice.once("disk", f"cannot write to {self.folder} ({error})")

    def _forget_patch(self) -> None:
        if self._has_patch_file and self.papers.patch is None:
            self._has_patch_file = False
            try:
                self.disk.remove(self.spool.path(papers_.PATCH))
            except OSError:
                pass  # sent again by a later sync; that is harmless

    # The sender.

    def _send(self, request: Request) -> Response:
        assert self._http is not None  # noqa: S101 - there is no sender without it
        if self._http.key is None:
            self._http.key = self.settings.api_key
            if self._http.key is None:
                return Response(401, {}, _NO_KEY)
        response = self._http.send(request)
        if response.status == 401:
            self._http.key = self.settings.api_key  # perhaps there was a login in the meantime
        return response

    def _send_forever(self) -> None:
        try:
            if self._describe is not None:
                self._describe(lambda: time.monotonic() >= self._describe_until)
                self._save_patch()
        except Exception as error:  # noqa: BLE001 - a description is welcome, not needed
            notice.once("describe", f"the code version could not be read: {error}")
        self._described.set()
        sender = self.sender
        if sender is None:
            self.registered.set()
            return
        self._take_lock()
        while not self._is_stopped:
            now = time.monotonic()
            try:
                due = sender.step(now)
            except Exception as error:  # noqa: BLE001 - a bug of ours must not end the sending
                notice.once("sender", f"sending has trouble: {type(error).__name__}: {error}")
                due = now + 5.0
            if sender.is_registered or sender.refusal is not None:
                self.registered.set()
            self._save_ack(now)
            self._forget_patch()
            if sender.is_done or self._is_hopeless(now):
                break
            delay = due - time.monotonic()
            if delay > 0:
                self._wake_sender.wait(min(delay, 60.0))
                self._wake_sender.clear()
        self._save_ack(NEVER)
        if self._http is not None:
            self._http.close()
        if self._lock_file is not None:
            self._lock_file.close()

    def _is_hopeless(self, now: float) -> bool:
        """Whether the run ends, all of it is safe on disk, and it will not be taken: nobody is there, or the server says no
        to the key or to the run.
        """
        if now < self._give_up_at or self.sender is None or self._writer.is_alive() or self.spool.unwritten:
            return False
        sender = self.sender
        return sender.away_since is not None or sender.is_denied or sender.refusal is not None

    def _take_lock(self) -> None:
        if not self._has_disk:
            return
        try:
            self._lock_file = self.disk.open(self.spool.path(".lock"))
            self._lock_file.lock()
        except OSError:
            self._lock_file = None

    def _save_ack(self, now: float) -> None:
        acked = self.spool.acked
        if acked == self._acked_saved or now < self._ack_due or not self._has_disk:
            return
        self._ack_due = now + 1.0
        try:
            papers_.save(self.disk, self.spool.path(".ack"), {"next_seq": acked}, is_synced=False)
            self._acked_saved = acked
        except OSError:
            pass  # without it, a later sync sends again what the server has; that is harmless

    # What others ask of it.

    def settle(self, timeout: float) -> None:
        """Wait until what was logged so far has been looked at, at most `timeout` seconds."""
        self.drained.clear()
        self._wake_writer.set()
        self.drained.wait(timeout)

    def close(self, end: dict[str, Any] | None, timeout: float, *, is_patient: bool = True) -> bool:
        """Write everything, send everything, and end the threads; True if the server has it all.

        Takes at most about `timeout` seconds; what is not sent then stays in the spool. Unless it is patient, it soon
        gives up where no server listens or takes it.
        """
        now = time.monotonic()
        deadline = now + timeout
        # What the code is, is worth a part of the time that is left.
        look = min(_LONGEST_LOOK_S, timeout * 0.4)
        self._describe_until = now + look
        self._described.wait(look + 0.6)
        self._end = end
        if not is_patient:
            self._give_up_at = now + _ABSENT_S
        self._is_closing = True
        self._wake_writer.set()
        self._writer.join(max(0.05, timeout))
        if self.sender is not None:
            self._courier.join(max(0.0, deadline - time.monotonic()))
        self._is_stopped = True
        self._wake_sender.set()
        if self._courier.is_alive():
            if self._http is not None:
                self._http.abort()
            self._courier.join(0.5)
        return self._is_delivered()

    def await_close(self, timeout: float) -> bool:
        """What a `close` that was called elsewhere comes to, at most `timeout` seconds from now. True if the server has it all."""
        deadline = time.monotonic() + timeout
        # Not by joining them: this may be a signal handler, and what it interrupted is joining them.
        while (self._writer.is_alive() or self._courier.is_alive()) and time.monotonic() < deadline:
            time.sleep(_GLANCE_S)
        return self._is_delivered()

    def _is_delivered(self) -> bool:
        is_delivered = self.sender is not None and self.sender.is_done and not self._writer.is_alive()
        if is_delivered and not self._courier.is_alive():
            self._tidy()
        return is_delivered

    def discard(self) -> None:
        """End the threads and leave nothing behind: nobody has logged anything."""
        self.close(None, 0.5)
        self._tidy()

    def _tidy(self) -> None:
        """Remove what a delivered stream leaves behind."""
        try:
            for ending in (".run", ".ack", ".lock", papers_.PATCH):
                self.disk.remove(self.spool.path(ending))
            self.disk.remove_folder(self.folder)
        except OSError:
            pass

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files and connection, without touching what is in them."""
        self.spool.abandon()
        if self._lock_file is not None:
            self._lock_file.close()
        if self._http is not None:
            self._http.close()


def keep_out_of_git(folder: str) -> None:
    """Let Git ignore the spool, wherever it lies."""
    path = f"{folder}/.gitignore"
    if not os.path.exists(path):
        with open(path, "w", encoding="ascii") as file:
            file.write("*\n")
