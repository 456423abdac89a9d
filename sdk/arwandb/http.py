"""HTTP/1.1 over one kept-alive connection: no redirects, TLS verified, proxies from the environment.

Written on sockets: `http.client` alone would take most of the memory that the SDK allows itself, since it loads TLS and
the mail parser whether they are needed or not.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .late import loading

_MAX_BODY = 8 << 20
_MAX_LINE = 64 << 10
_MAX_HEADERS = 100
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}


class Broken(OSError):
    """The connection broke or the answer was no HTTP: whether the request was carried out is not known."""


class Response:
    """An answer: status, headers by lower-case name, the whole body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> dict[str, Any]:
        """The body as an object; empty if it is anything else."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def is_problem(self) -> bool:
        """Whether this is the refusal of an arwx server, and not of something that stands in between."""
        kind = self.headers.get("content-type", "")
        return kind.startswith("application/problem+json") and "status" in self.json()


class Request:
    """What is to be sent. A body that is not bytes is sent as it is produced: `size` bytes of it, or in chunks."""

    __slots__ = ("body", "headers", "method", "path", "size")

    def __init__(
        self, method: str, path: str, body: bytes | Iterable[bytes] = b"", kind: str = "application/json",
        *, size: int | None = None,
    ) -> None:  # fmt: skip
        self.method, self.path, self.body, self.size = method, path, body, size
        self.headers = {"Content-Type": kind} if method != "GET" else {}


def to_json(document: Any) -> bytes:
    """The document as a request body."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


class _Input:
    """Reads lines and lengths from a socket. Not a file of the standard library: those carry a lock into forked children."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._held = bytearray()

    def readline(self) -> bytes:
        """The next line with its end; what there is of it if the connection ends or the line is too long."""
        start = 0
        while True:
            end = self._held.find(b"\n", start) + 1
            if end or len(self._held) > _MAX_LINE:
                return self._take(end or len(self._held))
            start = len(self._held)
            if not self._more():
                return self._take(start)

    def some(self, size: int) -> bytes:
        """At most this many bytes, as they are there; none if the connection ends."""
        if not self._held:
            self._more()
        return self._take(min(size, len(self._held)))

    def read(self, size: int) -> bytes:
        """Exactly this many bytes, or fewer if the connection ends."""
        while len(self._held) < size and self._more():
            pass
        return self._take(min(size, len(self._held)))

    def _more(self) -> bool:
        part = self._connection.recv(64 << 10)
        self._held += part
        return bool(part)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken


class Http:
    """A connection to one server. `send` raises OSError when the outcome is unknown; used by one thread at a time."""

    def __init__(self, base_url: str, key: str | None, *, timeout: float = 30.0) -> None:
        from urllib.parse import urlsplit

        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"base URL must be http:// or https:// with a host, not {base_url!r}")
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if self._is_tls else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._proxy = proxy_for(parts.scheme, self._host, os.environ)
        self.key = key
        self.timeout = timeout
        self._socket: socket.socket | None = None
        self._input: _Input | None = None
        self._tls: Any = None

    def send(self, request: Request, sink: Callable[[bytes], object] | None = None) -> Response:
        """Send the request and read the whole answer. A dead kept-alive connection is tried once more, afresh.

        That is safe since everything the SDK sends may be sent twice. With `sink`, the body of a 200 or 206 of any
        length goes there in pieces, and such a request is tried only once.
        """
        is_reused = self._socket is not None and sink is None
        try:
            return self._exchange(request, sink)
        except (OSError, ValueError) as error:
            self.close()
            if is_reused and isinstance(request.body, bytes) and not isinstance(error, TimeoutError):
                try:
                    return self._exchange(request)
                except (OSError, ValueError) as again:
                    self.close()
                    error = again
            raise error if isinstance(error, OSError) else Broken(str(error)) from error

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._socket is not None:
            try:
                self._socket.close()
            except OSError:
                pass
        self._socket = self._input = None

    def abort(self) -> None:
        """Wake up a thread that waits in `send`, from another thread; its request fails."""
        connection = self._socket
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _exchange(self, request: Request, sink: Callable[[bytes], object] | None = None) -> Response:
        connection = self._socket or self._connect()
        head, chunks = self._head(request)
        try:
            if chunks is None:
                assert isinstance(request.body, bytes)  # noqa: S101 - _head says so
                connection.sendall(head + request.body)
            elif request.size is not None:
                connection.sendall(head)
                for chunk in chunks:
                    connection.sendall(chunk)
            else:
                connection.sendall(head)
                for chunk in chunks:
                    if chunk:
                        connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                connection.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            # The server may have answered (401, 413) and closed before it had read everything.
            response = self._answer(request.method)
            self.close()
            return response
        return self._answer(request.method, sink)

    def _head(self, request: Request) -> tuple[bytes, Iterable[bytes] | None]:
        is_bare_proxy = self._proxy is not None and not self._is_tls
        target = (f"http://{self._authority}" if is_bare_proxy else "") + self._prefix + request.path
        lines = [
            f"{request.method} {target} HTTP/1.1",
            f"Host: {self._authority}",
            "User-Agent: arwandb",
            "Accept: application/json",
        ]
        if self.key:
            lines.append(f"Authorization: Bearer {self.key}")
        if is_bare_proxy and self._proxy is not None and self._proxy[2]:
            lines.append(f"Proxy-Authorization: {self._proxy[2]}")
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        chunks = None if isinstance(request.body, bytes) else request.body
        if request.size is not None:
            lines.append(f"Content-Length: {request.size}")
        elif chunks is not None:
            lines.append("Transfer-Encoding: chunked")
        elif request.method != "GET":
            lines.append(f"Content-Length: {len(request.body)}")  # type: ignore[arg-type] # bytes, as chunks is None
        if any("\r" in line or "\n" in line for line in lines):
            raise Broken("a header would hold a line break")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"), chunks

    def _connect(self) -> socket.socket:
        host, port = (self._proxy[0], self._proxy[1]) if self._proxy else (self._host, self._port)
        # As bytes, so that Python does not load its tables for international names when there is no need.
        address: Any = (_encoded(host), port)
        connection = socket.create_connection(address, self.timeout)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._is_tls:
                if self._proxy:
                    self._tunnel(connection)
                if self._tls is None:
                    with loading:
                        import ssl

                    self._tls = ssl.create_default_context()
                connection = self._tls.wrap_socket(connection, server_hostname=self._host)
        except BaseException:
            connection.close()
            raise
        self._socket = connection
        self._input = _Input(connection)
        return connection

    def _tunnel(self, connection: socket.socket) -> None:
        assert self._proxy is not None  # noqa: S101 - the caller looked
        authority = f"{self._host}:{self._port}"
        permit = f"Proxy-Authorization: {self._proxy[2]}\r\n" if self._proxy[2] else ""
        connection.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{permit}\r\n".encode("latin-1"))
        # The proxy says nothing after its answer before we do, so nothing of TLS is read here.
        status, _ = self._read_head(_Input(connection))
        if status != 200:
            raise Broken(f"the proxy answered CONNECT with {status}")

    @staticmethod
    def _read_head(lines: _Input) -> tuple[int, dict[str, str]]:
        first = lines.readline()
        words = first.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise Broken("the connection was closed" if not first else "the answer was no HTTP")
        headers: dict[str, str] = {}
        for _ in range(_MAX_HEADERS):
            line = lines.readline()
            if line in (b"\r\n", b"\n"):
                return int(words[1]), headers
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not line.endswith(b"\n"):
                raise Broken("the answer was cut off in its headers")
            headers[name.strip().lower()] = value.strip()
        raise Broken("the answer has too many headers")

    def _answer(self, method: str, sink: Callable[[bytes], object] | None = None) -> Response:
        source = self._input
        if source is None:
            raise Broken("the connection is closed")
        status, headers = self._read_head(source)
        while 100 <= status < 200:
            status, headers = self._read_head(source)
        coding = headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length")
        is_last = headers.get("connection", "").lower() == "close"
        if status in (204, 304) or method == "HEAD":
            body = b""
        elif sink is not None and status in (200, 206):
            body, is_last = b"", self._pour(source, sink, coding, length) or is_last
        elif "chunked" in coding:
            body = self._chunked(source)
        elif length is not None:
            if not length.isdigit() or int(length) > _MAX_BODY:
                raise Broken(f"the answer is too long: {length}")
            body = self._exactly(source, int(length))
        else:
            body, is_last = source.read(_MAX_BODY), True
        if is_last:
            self.close()
        return Response(status, headers, body)

    @staticmethod
    def _pour(source: _Input, sink: Callable[[bytes], object], coding: str, length: str | None) -> bool:
        """Pass a body of any length on in pieces; whether the end of the connection was its end."""
        is_chunked = "chunked" in coding
        if not is_chunked and length is not None and not length.isdigit():
            raise Broken(f"the answer has no length: {length}")
        while True:
            left = int(source.readline().split(b";")[0], 16) if is_chunked else int(length or sys.maxsize)
            if left < 0:
                raise Broken("the answer was no HTTP")
            is_end = left == 0
            while left:
                piece = source.some(left)
                if not piece:
                    if is_chunked or length is not None:
                        raise Broken("the answer was cut off")
                    return True
                sink(piece)
                left -= len(piece)
            if not is_chunked:
                return False
            if is_end:
                while source.readline() not in (b"\r\n", b"\n", b""):
                    pass
                return False
            source.read(2)

    @staticmethod
    def _exactly(source: _Input, size: int) -> bytes:
        body = source.read(size)
        if len(body) != size:
            raise Broken("the answer was cut off")
        return body

    def _chunked(self, source: _Input) -> bytes:
        parts, total = [], 0
        while True:
            size = int(source.readline().split(b";")[0], 16)
            total += size
            if size < 0 or total > _MAX_BODY:
                raise Broken("the answer is too long")
            if size == 0:
                break
            parts.append(self._exactly(source, size))
            self._exactly(source, 2)
        while source.readline() not in (b"\r\n", b"\n", b""):
            pass
        return b"".join(parts)


def is_nobody_there(error: OSError) -> bool:
    """Whether the request cannot have arrived, since nothing listens there or no way leads there."""
    return isinstance(error, (ConnectionRefusedError, socket.gaierror)) or error.errno in _NO_WAY


def _encoded(host: str) -> bytes:
    if host.isascii():
        return host.encode()
    with loading:
        return host.encode("idna")


def proxy_for(scheme: str, host: str, environ: Mapping[str, str]) -> tuple[str, int, str] | None:
    """The proxy that the environment names for this host: its host, its port, what authorizes us to use it."""
    from urllib.parse import unquote, urlsplit

    if host == "localhost" or host == "::1" or host.startswith("127."):
        return None
    found = environ.get(f"{scheme}_proxy") or environ.get("all_proxy") or environ.get("ALL_PROXY")
    # HTTP_PROXY in capitals can be set from outside in a CGI program, by a request header named Proxy.
    if not found and (scheme == "https" or "REQUEST_METHOD" not in environ):
        found = environ.get(f"{scheme.upper()}_PROXY")
    if not found or _is_excepted(host.lower(), environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    parts = urlsplit(found if "//" in found else f"//{found}")
    if not parts.hostname:
        return None
    permit = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        permit = "Basic " + b64encode(pair.encode()).decode()
    return parts.hostname, parts.port or 8080, permit


def _is_excepted(host: str, exceptions: str) -> bool:
    for name in exceptions.lower().replace(" ", "").split(","):
        name = name.lstrip("*").lstrip(".").partition(":")[0]
        if exceptions.strip() == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False
