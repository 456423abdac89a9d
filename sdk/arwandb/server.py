"""The server, asked directly: one call, one answer. Trouble on the way is met with patience that ends."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from .errors import Error
from .http import Http, Request, Response, to_json
from .settings import Settings

# What may go away by itself: a proxy without its server, a limit for now, a server that is just being replaced.
_PASSING = {408, 425, 429, 500, 502, 503, 504}
PATIENCE_S = 20.0
_LONGEST_PAUSE_S = 5.0
_MAX_ANSWER = 256 << 20

Sink = Callable[[bytes], object]
Prepare = Callable[[], "tuple[Request, Sink | None]"]


class ApiError(Error):
    """The server refused a call. `status` and `code` say why, `fields` which fields were wrong, `document` all of it.

    `is_about_caller` says that it was not what was asked, but who asked or where: another key, or the right address,
    would get another answer to the same call.
    """

    def __init__(self, response: Response, call: str, base_url: str, *, has_key: bool) -> None:
        self.status = response.status
        self.document = response.json()
        self.code = str(self.document.get("code") or "")
        self.detail = str(self.document.get("detail") or self.document.get("title") or "")
        self.is_about_caller = self.status in {401, 403} or not response.is_problem
        errors = self.document.get("errors")
        self.fields = {str(one.get("field")): str(one.get("message")) for one in errors or [] if isinstance(one, dict)}
        super().__init__(f"{self._reason(response, base_url, has_key)} ({response.status} for {call})")

    def _reason(self, response: Response, base_url: str, has_key: bool) -> str:
        if self.status == 401:
            trouble = f"{base_url} does not know the key" if has_key else f"there is no key for {base_url}"
            return f"{trouble}: set ARWANDB_API_KEY, or run python -m arwandb login"
        if 300 <= self.status < 400:
            return f"{base_url} points to {response.headers.get('location')}: set ARWANDB_BASE_URL to where arwx is"
        if not response.is_problem:
            return f"what answers at {base_url} is no arwx server: check ARWANDB_BASE_URL"
        return self.detail or self.code


class NotFound(ApiError):
    """There is no such thing, or not for this key."""


class Unreachable(Error):
    """The server could not be asked: it is away, or this process is offline. What became of the call is not known."""


class Server:
    """Calls to one server over one kept-alive connection; one at a time, from any thread, and after a fork as well.

    Every call must be safe to repeat. It raises `ApiError` when the server refuses, and `Unreachable` when there was no
    answer for `patience` seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.base_url = settings, settings.base_url
        self._lock = threading.Lock()
        self._http, self._pid = self._connection(), os.getpid()

    def again(self) -> Server:
        """A second one beside this, with a connection of its own."""
        return Server(self.settings)

    def get(self, path: str, query: Mapping[str, Any] | None = None, *, patience: float = PATIENCE_S) -> dict[str, Any]:
        """The object at this address."""
        found = json.loads(self.read(path, query, patience=patience) or b"{}")
        return found if isinstance(found, dict) else {}

    def read(self, path: str, query: Mapping[str, Any] | None = None, *, patience: float = PATIENCE_S) -> bytes:
        """What is at this address, as it is."""
        body = bytearray()

        def take(piece: bytes) -> None:
            body.extend(piece)
            if len(body) > _MAX_ANSWER:
                raise Error(f"{self.base_url}{path} is too long to be held in memory")

        def prepare() -> tuple[Request, Sink]:
            body.clear()
            return Request("GET", target(path, query)), take

        self.exchange(prepare, patience=patience)
        return bytes(body)

    def send(
        self, method: str, path: str, document: Mapping[str, Any], query: Mapping[str, Any] | None = None,
        *, patience: float = PATIENCE_S,
    ) -> dict[str, Any]:  # fmt: skip
        """Send a document; what the server answers."""
        body = to_json(document)
        return self.exchange(lambda: (Request(method, target(path, query), body), None), patience=patience).json()

    def exchange(self, prepare: Prepare, *, patience: float = PATIENCE_S) -> Response:
        """The answer to the request that `prepare` makes, afresh for each try; its bytes go to the sink that it gives."""
        deadline, pause = time.monotonic() + patience, 0.1
        while True:
            request, sink = prepare()
            response, trouble = self._try(request, sink)
            if response is not None and response.status not in _PASSING:
                break
            asked = _seconds(response.headers.get("retry-after")) if response is not None else 0.0
            wait = max(asked, pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads tries, guards nothing
            if time.monotonic() + wait > deadline:
                break
            time.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        if response is None:
            raise Unreachable(f"{self.base_url} cannot be reached: {trouble}")
        if 200 <= response.status < 300:
            return response
        if response.status in _PASSING:
            detail = response.json().get("detail")
            raise Unreachable(f"{self.base_url} answers {response.status}{f': {detail}' if detail else ''}")
        call = f"{request.method} {request.path.partition('?')[0]}"
        kind = NotFound if response.status == 404 else ApiError
        raise kind(response, call, self.base_url, has_key=bool(self._http.key))

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._http.close()

    def _try(self, request: Request, sink: Sink | None) -> tuple[Response | None, str]:
        with self._lock:
            if self._pid != os.getpid():  # the parent goes on using its connection
                self._http, self._pid = self._connection(), os.getpid()
            try:
                return self._http.send(request, sink), ""
            except OSError as error:
                return None, str(error) or type(error).__name__
            except BaseException:
                self._http.close()  # it stands in the middle of something
                raise

    def _connection(self) -> Http:
        return Http(self.base_url, self.settings.api_key)


def target(path: str, query: Mapping[str, Any] | None = None) -> str:
    """The path with its query; what is None is left out."""
    from urllib.parse import urlencode

    pairs = [(name, value) for name, value in (query or {}).items() if value is not None]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def quoted(name: str) -> str:
    """A name as one part of a path."""
    from urllib.parse import quote

    return quote(name, safe="")


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdigit() else 0.0
