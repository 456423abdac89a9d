"""Spools on disk, seen from outside the process that wrote them: finding, counting and delivering them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import journal
from . import papers as papers_
from .disk import Disk
from .http import Http, Request
from .papers import Papers
from .receipts import Receipt
from .records import Identity, NewerFormat
from .sender import NEVER, Sender
from .settings import Settings
from .stream import SpoolReader

_FILE = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9a-f]{32})\.(?:run|(?:\d+)\.spool)$")
# How long a sync goes on without progress, and without anybody listening.
_GIVE_UP_S, _ABSENT_S = 60.0, 5.0

Progress = Callable[[str, int, int], None]


class Spooled:
    """One writer epoch in a run's folder: who wrote it, what is left of it, its papers."""

    def __init__(self, disk: Disk, folder: str, identity: Identity) -> None:
        self.disk, self.folder, self.identity = disk, folder, identity
        ack = papers_.load(disk, f"{folder}/{identity.stem}.ack") or {}
        document = papers_.load(disk, f"{folder}/{identity.stem}.run")
        self.has_papers = document is not None
        self.project = str((document or {}).get("run", {}).get("project") or "")
        self.base_url = str((document or {}).get("base_url") or "")
        self.papers = Papers({"id": identity.run, "project": self.project}, document=document)
        self.papers.patch = _patch(disk, f"{folder}/{identity.stem}{papers_.PATCH}")
        acked = ack.get("next_seq")
        self.reader = SpoolReader(disk, folder, identity, acked if isinstance(acked, int) else 0)
        self.fault: str | None = None

    def scan(self) -> None:
        """Read the files once, to know what is waiting. What cannot be read is told in `fault`."""
        try:
            self.reader.scan_all()
        except (OSError, NewerFormat) as error:
            self.fault = str(error)


def _patch(disk: Disk, path: str) -> str | None:
    """The uncommitted changes that are kept there. Damaged ones have another hash, and the server's answer shows it."""
    try:
        return disk.read(path, 0, 64 << 20).decode()
    except (OSError, ValueError):
        return None


def run_folders(path: str, disk: Disk | None = None) -> list[str]:
    """The run folders at this path: a whole spool, one run's folder, or a file in it."""
    disk = disk or Disk()
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isfile(path):
        path = os.path.dirname(path)
    if any(_FILE.fullmatch(name) for name in disk.names(path)):
        return [path]
    folders = []
    for name in disk.names(path):
        folder = f"{path}/{name}"
        if os.path.isdir(folder) and any(_FILE.fullmatch(inner) for inner in disk.names(folder)):
            folders.append(folder)
    return folders


def streams(folder: str, disk: Disk | None = None) -> list[Spooled]:
    """The writer epochs in one run's folder."""
    disk = disk or Disk()
    found: dict[tuple[str, str], None] = {}
    for name in disk.names(folder):
        match = _FILE.fullmatch(name)
        if match:
            found[match[1], match[2]] = None
    run = folder.rstrip("/").rpartition("/")[2]
    return [Spooled(disk, folder, Identity(run, writer, epoch)) for writer, epoch in found]


def sync(path: str | None = None, *, progress: Progress | None = None, give_up_s: float = _GIVE_UP_S) -> list[Receipt]:
    """Deliver every spool at `path` (that of the settings if None) and fetch the receipt of each run; then what research
    calls left there, if any.

    May run any number of times, and while writers still write; spools that another process delivers are left to it.
    """
    settings = Settings()
    spool = settings.folder if path is None else os.path.abspath(os.path.expanduser(path))
    receipts = [_sync_run(folder, settings, progress, give_up_s) for folder in run_folders(spool)]
    # The runs come first: experiments name them.
    research = journal.sync(spool, Settings())
    return receipts if research is None else [*receipts, research]


def deliver_children(folder: str, settings: Settings, seconds: float) -> None:
    """Deliver what ended children of this process left in the folder of its run, at most about `seconds` long.

    What another process still writes or delivers is left to it.
    """
    until = time.monotonic() + seconds
    http = Http(settings.base_url, settings.api_key)
    for one in streams(folder):
        lock = one.disk.open(one.reader.path(".lock"))
        try:
            if lock.lock():
                receipt = Receipt(one.identity.run, one.project)
                _sync_stream(one, receipt, settings, http, None, seconds, until)
                if not (receipt.faults or receipt.waiting or receipt.quarantined or receipt.damaged_bytes):
                    _forget(one)
        finally:
            lock.close()
    http.close()


def _forget(one: Spooled) -> None:
    """Remove what a delivered stream leaves behind."""
    for ending in (".run", ".ack", ".lock"):
        one.disk.remove(one.reader.path(ending))
    one.disk.remove_folder(one.folder)


def connection(settings: Settings, base_url: str) -> Http:
    """The connection for a spool that was recorded for `base_url`; what the environment names comes first."""
    is_given = os.environ.get("ARWANDB_BASE_URL") or os.environ.get("WANDB_BASE_URL")
    url = settings.base_url if is_given or not base_url else base_url
    settings.base_url = url
    return Http(url, settings.api_key)


def _sync_run(folder: str, settings: Settings, progress: Progress | None, give_up_s: float) -> Receipt:
    found = streams(folder)
    receipt = Receipt(found[0].identity.run, next((one.project for one in found if one.project), settings.project))
    http = connection(settings, next((one.base_url for one in found if one.base_url), ""))
    for one in found:
        lock = one.disk.open(one.reader.path(".lock"))
        try:
            if not lock.lock():
                receipt.faults.append(f"writer {one.identity.writer} is delivered by another process")
                continue
            _sync_stream(one, receipt, settings, http, progress, give_up_s)
        except OSError as error:
            receipt.faults.append(f"{folder}: {error}")
        finally:
            lock.close()
    receipt.server = fetch_receipt(http, receipt)
    http.close()
    return receipt


def _sync_stream(
    one: Spooled, receipt: Receipt, settings: Settings, http: Http, progress: Progress | None, give_up_s: float,
    until: float = NEVER,
) -> None:  # fmt: skip
    # The acknowledgements were read before the lock was ours: read them again.
    one = Spooled(one.disk, one.folder, one.identity)
    one.scan()
    reader = one.reader
    if not one.papers.registration.get("project"):
        one.papers.registration["project"] = receipt.project
    # How to resume was said to the training process. Here it would reopen a run that ended, or refuse a second attempt.
    one.papers.registration.pop("resume", None)
    start, total = reader.acked, reader.entries
    sender = Sender(reader, one.papers, http.send, is_registered=reader.acked > 0, has_beat=False)
    sender.is_closing = True
    sender.hurry()
    last_progress, acked, tick = time.monotonic(), reader.acked, 0.0
    while not sender.is_done and one.fault is None and (now := time.monotonic()) < until:
        due = sender.step(now)
        if reader.acked != acked:
            acked, last_progress = reader.acked, now
            if now >= tick or not reader.backlog:
                tick = now + 0.2
                _save_ack(one)
            if progress is not None:
                progress(one.identity.run, min(total, reader.acked - start), total)
        if (fault := _fatal(sender, now, last_progress, give_up_s)) is not None:
            receipt.faults.append(fault)
            break
        time.sleep(min(max(0.0, due - time.monotonic()), 1.0) if not sender.is_done else 0.0)
    _save_ack(one)
    if one.papers.patch is None:
        one.disk.remove(one.reader.path(papers_.PATCH))
    if one.fault is not None:
        receipt.faults.append(one.fault)
    receipt.delivered += reader.acked - start
    receipt.waiting += reader.backlog
    receipt.damaged_bytes += reader.damaged_bytes
    receipt.quarantined += reader.quarantined


def _fatal(sender: Sender, now: float, last_progress: float, give_up_s: float) -> str | None:
    """Why it makes no sense to go on, if so: the server says no, nobody listens, or nothing moves for too long."""
    if sender.refusal is not None:
        return f"the run is refused: {sender.refusal}"
    patience = give_up_s
    if sender.away_since is not None:
        patience = min(_ABSENT_S, give_up_s)
    if sender.is_denied or now - last_progress > patience:
        return sender.trouble or "the server does not answer"
    return None


def _save_ack(one: Spooled) -> None:
    papers_.save(one.disk, one.reader.path(".ack"), {"next_seq": one.reader.acked}, is_synced=False)


def fetch_receipt(http: Http, receipt: Receipt) -> dict[str, Any]:
    """The server's account of a run; empty, with a fault noted, if it has none."""
    try:
        response = http.send(Request("GET", f"/v1/runs/{receipt.run_id}/integrity"))
    except OSError as error:
        receipt.faults.append(f"no receipt: {error}")
        return {}
    document = response.json()
    if response.status != 200 or document.get("run_id") != receipt.run_id:
        receipt.faults.append(f"no receipt: the server answers {response.status}")
        return {}
    return document


def waiting(path: str) -> Iterator[tuple[str, list[Spooled]]]:
    """Each run folder at `path` with its scanned streams."""
    for folder in run_folders(path):
        found = streams(folder)
        for one in found:
            one.scan()
        yield folder, found
