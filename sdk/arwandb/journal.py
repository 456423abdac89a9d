"""What the research calls could not tell the server yet: kept in the spool, in order, and delivered later.

Each record is one request that may be repeated, with copies of the files that it needs. Version numbers are the server's
to give: where a later record needs one, a token stands for it until the first is delivered.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from typing import Any

from . import notice, papers
from .disk import Disk
from .engine import keep_out_of_git
from .errors import Error
from .receipts import JournalReceipt
from .server import ApiError, Server, Unreachable
from .settings import Settings
from .transfer import upload
from .trees import Changed, File, looked_at, pieces

FOLDER = "research"
TOKEN = "pending-"  # noqa: S105 - stands for a version
_last = [0]


class Journal:
    """The records in one spool."""

    def __init__(self, spool: str) -> None:
        self._disk = Disk()
        self.folder = os.path.join(spool, FOLDER)

    def __len__(self) -> int:
        return len(self._names())

    def add(self, record: dict[str, Any], files: Iterable[File] = ()) -> None:
        """Keep a record and copies of its files. Raises OSError, and `Changed` for a file that is not what it was."""
        self._disk.make_folder(os.path.join(self.folder, "blobs"))
        keep_out_of_git(os.path.dirname(self.folder))
        kept = []
        for file in files:
            self._copy(file)
            kept.append([file.sha, file.size])
        # In order, also for two records of one moment.
        _last[0] = max(_last[0] + 1, time.time_ns() // 1000)
        name = f"{_last[0]:017d}-{os.urandom(4).hex()}.record"
        papers.save(self._disk, os.path.join(self.folder, name), {"format": 1, **record, "blobs": kept})

    def deliver(self, server: Server, *, patience: float, is_for: Callable[[str], bool] = bool) -> JournalReceipt:
        """Send the records in order, until one cannot be sent, be it for want of the right key. What the server refuses
        is put aside, and said.

        `is_for` tells from the address that a record was made for whether it is to go to this server.
        """
        if not len(self):
            return JournalReceipt(0, 0, [], None)
        lock = self._disk.open(os.path.join(self.folder, ".lock"))
        try:
            if not lock.lock():
                return JournalReceipt(0, len(self), [], "they are delivered by another process")
            return self._deliver(server, patience, is_for)
        finally:
            lock.close()

    def _deliver(self, server: Server, patience: float, is_for: Callable[[str], bool]) -> JournalReceipt:
        delivered, refused, trouble = 0, [], None
        known = papers.load(self._disk, self._path("versions")) or {}
        for name in self._names():
            record = papers.load(self._disk, self._path(name))
            if record is None or record.get("format") != 1:
                refused.append(self._put_aside(name, "a record is damaged or of a newer arwandb"))
                continue
            if not is_for(str(record.get("base_url") or "")):
                continue
            try:
                answer = self._send(server, record, known, patience)
            except Error as error:
                if isinstance(error, Unreachable) or (isinstance(error, ApiError) and error.is_about_caller):
                    trouble = str(error)
                    break
                refused.append(self._put_aside(name, f"{record.get('what')} was refused: {error}"))
                continue
            if record.get("token"):
                known[record["token"]] = answer.get("version")
                papers.save(self._disk, self._path("versions"), known)
            self._disk.remove(self._path(name))
            delivered += 1
        left = len(self)
        if not left:
            shutil.rmtree(self._path("blobs"), ignore_errors=True)
            self._disk.remove(self._path("versions"))
        return JournalReceipt(delivered, left, refused, trouble)

    def _send(self, server: Server, record: dict[str, Any], known: dict[str, Any], patience: float) -> dict[str, Any]:
        files = [File(sha, self._path(f"blobs/{sha}"), sha, size, False) for sha, size in record.get("blobs") or []]
        if files:
            upload(server, files, str(record.get("what")), patience=patience)
        body, path = dict(record["body"]), str(record["path"])
        for token in [body.get("version"), *path.split("/")]:
            if isinstance(token, str) and token.startswith(TOKEN):
                if token not in known:
                    raise Changed("the version it is about was not delivered")
                path = path.replace(token, str(known[token]))
                body = {**body, "version": known[token]} if body.get("version") == token else body
        return server.send(record["method"], path, body, record.get("query"), patience=patience)

    def _copy(self, file: File) -> None:
        """A copy of the bytes that were hashed, and of no others."""
        path = self._path(f"blobs/{file.sha}")
        if os.path.exists(path):
            return
        fresh = f"{path}.{os.getpid()}.tmp"
        try:
            with open(fresh, "wb") as copy:
                for piece in pieces(file):
                    copy.write(piece)
            found = looked_at("", fresh)
            if found is None or found.sha != file.sha:
                raise Changed(f"{file.source} was changed while it was copied")
            os.replace(fresh, path)
        finally:
            self._disk.remove(fresh)

    def _put_aside(self, name: str, reason: str) -> str:
        aside = self._path("refused")
        self._disk.make_folder(aside)
        self._disk.rename(self._path(name), os.path.join(aside, name))
        notice.say(f"{reason}; it is kept in {aside}")
        return reason

    def _names(self) -> list[str]:
        return [name for name in self._disk.names(self.folder) if name.endswith(".record")]

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)


def sync(spool: str, settings: Settings) -> JournalReceipt | None:
    """Deliver what the spool holds, to the server of the environment or the one that it was recorded for; None if nothing."""
    journal = Journal(spool)
    if not len(journal):
        return None
    addresses = {
        str((papers.load(Disk(), os.path.join(journal.folder, name)) or {}).get("base_url") or "")
        for name in journal._names()
    }
    if os.environ.get("ARWANDB_BASE_URL") or os.environ.get("WANDB_BASE_URL"):
        return journal.deliver(Server(settings), patience=20.0)
    done, refused, faults = 0, [], []
    for address in sorted(addresses):
        own = Settings({"base_url": address or settings.base_url})
        found = journal.deliver(Server(own), patience=20.0, is_for=address.__eq__)
        done += found.delivered
        refused += found.refused
        faults += found.faults
    return JournalReceipt(done, len(journal), refused, "; ".join(faults) or None)
