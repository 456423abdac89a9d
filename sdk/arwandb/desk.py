"""The desk of a research process: what is open on it (session, experiment), and the way of its calls to the server.

Writing waits for no server for long: what cannot be told now is kept in the spool and told later, in order. Reading
needs the server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import arwandb

from . import notice
from .errors import UsageError
from .http import to_json
from .journal import Journal
from .server import PATIENCE_S, Server, Unreachable
from .settings import Settings
from .transfer import upload
from .trees import File

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REGISTER_S = 10.0
# While records are waiting, the server is tried again at each call, and not for long.
_SHORT_S = 1.0

Document = dict[str, Any]


class Desk:
    """What is open in this process."""

    def __init__(self) -> None:
        self.session: str | None = None
        self.experiment: str | None = None
        self.project: str | None = None
        self._server: tuple[tuple[str, str | None], Server] | None = None

    # What the calls are about.

    @property
    def settings(self) -> Settings:
        """As the environment says at this moment."""
        return Settings()

    @property
    def run(self) -> Any:
        """The active run; None without one, and for one that is disabled or over."""
        run = arwandb.run
        return None if run is None or run.settings.mode == "disabled" or run.is_finished else run

    @property
    def mode(self) -> str:
        """Online, offline or disabled: as the active run is, else as the environment says."""
        run = arwandb.run
        return str(self.settings.mode if run is None or run.is_finished else run.settings.mode)

    def known_project(self, given: str | None = None) -> str | None:
        """The project: the one given, that of the session or run that is open, or of the environment. None if none is named."""
        if given is not None:
            return Settings({"project": given}).project
        if self.project is not None:
            return self.project
        if self.run is not None:
            return str(self.run.project)
        settings = self.settings
        return settings.project if settings.is_project_named else None

    def the_project(self, given: str | None = None) -> str:
        """The project that is written to."""
        return self.known_project(given) or self.settings.project

    def the_session(self, given: str | None = None) -> str:
        """The session given, or the one that is open."""
        found = given or self.session or os.environ.get("ARWANDB_SESSION_ID")
        if not found:
            raise UsageError("no session is open: call autoresearch.session() first, or set ARWANDB_SESSION_ID")
        return checked_id(found, "session_id")

    @property
    def server(self) -> Server:
        """The server of the environment."""
        settings = self.settings
        address = (settings.base_url, settings.api_key)
        if self._server is None or self._server[0] != address:
            self._server = (address, Server(settings))
        return self._server[1]

    # Reading.

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Document:
        """The object at this address."""
        return self.reachable.get(path, query)

    @property
    def reachable(self) -> Server:
        """The server, for what needs its answer; `Unreachable` in a process that does not speak to one."""
        if self.mode != "online":
            raise Unreachable(f"this needs the server, and arwandb is {self.mode} (ARWANDB_MODE)")
        server = self.server
        self._catch_up(server, PATIENCE_S)
        return server

    # Writing.

    def tell(
        self, what: str, method: str, path: str, body: Document, query: Mapping[str, Any] | None = None, *,
        files: Callable[[], Iterable[File]] = tuple, token: str | None = None,
    ) -> Document | None:  # fmt: skip
        """Send a request that may be repeated, its files first. None when it is kept for later, or kept nowhere at all.

        Raises `ApiError` when the server refuses it.
        """
        mode = self.mode
        if mode == "disabled":
            return None
        body = {name: value for name, value in body.items() if value is not None}
        try:
            to_json(body)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{what} cannot be written as JSON: {error}") from None
        reason = "arwandb is offline"
        if mode == "online":
            try:
                server = self.server
                self._catch_up(server, _SHORT_S)
                self._await_run(body)
                sent = list(files())
                if sent:
                    upload(server, sent, what)
                return server.send(method, path, body, query)
            except Unreachable as error:
                reason = str(error)
        record = {
            "what": what, "method": method, "path": path, "body": body, "query": dict(query or {}), "token": token,
            "base_url": self.settings.base_url,
        }  # fmt: skip
        self._keep(record, files, reason, is_expected=mode == "offline")
        return None

    def _keep(self, record: Document, files: Callable[[], Iterable[File]], reason: str, *, is_expected: bool) -> None:
        journal = Journal(self.settings.folder)
        try:
            journal.add(record, files())
        except OSError as error:
            notice.say(
                f"{record['what']} is lost: {reason}, and {journal.folder} cannot be written to ({error.strerror})"
            )
            return
        if not is_expected:
            how = f"python -m arwandb sync {self.settings.folder}"
            notice.once("research", f"{reason}; {record['what']} and what follows is kept. Deliver it with: {how}")

    def _await_run(self, body: Document) -> None:
        """A run that the server has not heard of yet cannot be named to it."""
        run = self.run
        is_named = run is not None and run.id in {body.get("run_id"), body.get("produced_by")}
        if is_named and run.settings.mode == "online":
            run.await_registration(_REGISTER_S)
            if not run.status()["registered"]:
                raise Unreachable(f"{self.settings.base_url} did not answer to the run {run.id}")

    def _catch_up(self, server: Server, patience: float) -> None:
        """Tell first what could not be told earlier."""
        journal = Journal(self.settings.folder)
        if not len(journal):
            return
        run = self.run
        if run is not None and run.settings.mode == "online" and not run.status()["registered"]:
            raise Unreachable(f"{server.base_url} did not answer to the run {run.id}")
        done = journal.deliver(server, patience=patience, is_for=lambda address: address in {"", server.base_url})
        if done.faults:
            raise Unreachable(done.faults[0])
        if done.delivered:
            notice.say(f"{done.delivered} research records that were kept are delivered")


def checked_id(value: Any, name: str) -> str:
    """An id: a text, or an object that has one under "id"."""
    found = value.get("id") if isinstance(value, Mapping) else value
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise UsageError(f"{name} must be an id such as exp_01k…, or what was answered when it was made; not {value!r}")
    return found


def checked_text(value: Any, name: str, most: int) -> str | None:
    """A text that is not too long, or None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a text, not {type(value).__name__}")
    text = value.encode("utf-8", "replace").decode()
    if len(text) > most or "\0" in text:
        raise UsageError(f"{name} must have at most {most:,} characters and no NUL")
    return text


desk = Desk()
