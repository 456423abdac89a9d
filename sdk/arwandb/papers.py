"""The papers of a run: everything but its points, kept beside the spool so that a later `sync` can deliver it."""

from __future__ import annotations

import json
import threading
from typing import Any
from zlib import crc32

from .disk import Disk

Document = dict[str, Any]
# The ending of the file that holds the uncommitted changes.
PATCH = ".diff"


def save(disk: Disk, path: str, document: Document, *, is_synced: bool = True) -> None:
    """Write the document whole or not at all, with a checksum behind it."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    disk.replace(path, text + b"\n%08x\n" % crc32(text), is_synced=is_synced)


def load(disk: Disk, path: str) -> Document | None:
    """The document, or None if it is missing or damaged: what cannot be trusted is as good as absent."""
    try:
        data = disk.read(path, 0, 64 << 20)
        text, crc, rest = data.rsplit(b"\n", 2)
        if rest or int(crc, 16) != crc32(text):
            return None
        document = json.loads(text)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


class Papers:
    """Registration, config, summary and end of one run, as one process knows them. Safe to use from every thread.

    `profile` (name, notes, tags), `config` and `summary` hold what must still be told to the server after registration; a
    version counts their changes.
    """

    def __init__(self, registration: Document, *, base_url: str = "", document: Document | None = None) -> None:
        self._lock = threading.Lock()
        document = document or {}
        self.registration: Document = document.get("run") or registration
        self.base_url: str = document.get("base_url") or base_url
        self.profile: Document = document.get("profile") or {}
        self.config: Document = document.get("config") or {}
        self.summary: Document = document.get("summary") or {}
        self.finish: Document | None = document.get("finish")
        self.patch: str | None = None  # the uncommitted changes, until the server has them; beside the papers in a file
        self.version = 1 if self.profile or self.config or self.summary else 0

    def describe(self, more: Document, patch: str | None = None) -> None:
        """Add what was found out about the run before it was registered, and the changes whose hash is in there."""
        with self._lock:
            self.patch = patch
            self.registration = {**self.registration, **more}
            self.version += 1

    def update_profile(self, field: str, value: Any) -> None:
        """Remember what the name, the notes or the tags are from now on."""
        with self._lock:
            self.profile = {**self.profile, field: value}
            self.version += 1

    def update_config(self, changes: Document) -> None:
        """Remember changed keys of the config."""
        with self._lock:
            self.config = {**self.config, **changes}
            self.version += 1

    def update_summary(self, changes: Document) -> None:
        """Remember changed keys of the summary."""
        with self._lock:
            self.summary = {**self.summary, **changes}
            self.version += 1

    def end(self, finish: Document) -> None:
        """Remember how the run ended: the body of `POST /v1/runs/:id/finish`."""
        with self._lock:
            self.finish = finish
            self.version += 1

    def changes(self) -> tuple[int, Document]:
        """The version and the body of a PATCH that tells the server of what changed after registration."""
        with self._lock:
            body = {name: part for name, part in (("config", self.config), ("summary", self.summary)) if part}
            return self.version, {**self.profile, **body}

    def document(self) -> tuple[int, Document]:
        """The version and all of it, to be saved."""
        with self._lock:
            return self.version, {
                "format": 1,
                "base_url": self.base_url,
                "run": self.registration,
                "profile": self.profile,
                "config": self.config,
                "summary": self.summary,
                "finish": self.finish,
            }
