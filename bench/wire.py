"""One kept-alive HTTP connection that costs its process next to nothing: whole requests out, whole answers in."""

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec


@dataclass(frozen=True)
class Answer:
    """What came back, and how soon it began to come. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    first_byte_s: float
    cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def server_s(self) -> float:
        """The seconds that the server itself counted (`Server-Timing: app`)."""
        return float(self.headers["server-timing"].partition("app;dur=")[2].partition(",")[0]) / 1000


def request(
    method: str, path: str, headers: dict[str, str], body: bytes = b"", kind: str = "application/json"
) -> bytes:
    """A whole request, made beforehand so that sending it is one call."""
    given = {"Host": "127.0.0.1", **headers}
    if body or method in {"POST", "PUT", "PATCH"}:
        given |= {"Content-Type": kind, "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """To a port of 127.0.0.1, kept alive over many requests."""

    def __init__(self, port: int, timeout_s: float = 300) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb", buffering=256 * 1024)

    def send(self, whole_request: bytes) -> Answer:
        """Send one request and read its answer to the end."""
        started = time.perf_counter()
        self._socket.sendall(whole_request)
        return self._answer(started)

    def upload(self, head: bytes, parts: Iterable[bytes]) -> Answer:
        """Send a request whose body is made while it is sent, in chunks, and read the answer to the end."""
        started = time.perf_counter()
        self._socket.sendall(head)
        for part in parts:
            self._socket.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        self._socket.sendall(b"0\r\n\r\n")
        return self._answer(started)

    def lines(self, whole_request: bytes) -> int:
        """Send one request, and count the lines of an answer that is too long to keep."""
        self._socket.sendall(whole_request)
        status_line = self._reader.readline()
        while self._reader.readline() not in {b"\r\n", b""}:
            pass  # headers
        if b" 200 " not in status_line:
            raise RuntimeError(f"{status_line!r}")
        count = 0
        while size := int(self._reader.readline().split(b";")[0], 16):
            count += self._reader.read(size).count(b"\n")
            self._reader.readline()
        self._reader.readline()
        return count

    def _answer(self, started: float) -> Answer:
        status_line = self._reader.readline()
        first_byte_s = time.perf_counter() - started
        if not status_line:
            raise ConnectionError("the server hung up")
        headers: dict[str, str] = {}
        cookies = []
        while (line := self._reader.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
            if name.lower() == "set-cookie":
                cookies.append(value.strip())
        is_chunked = headers.get("transfer-encoding") == "chunked"
        body = self._chunks() if is_chunked else self._reader.read(int(headers.get("content-length", 0)))
        return Answer(int(status_line.split()[1]), headers, body, first_byte_s, tuple(cookies))

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self._reader.readline().split(b";")[0], 16):
            parts.append(self._reader.read(size))
            self._reader.readline()
        while self._reader.readline() not in {b"\r\n", b""}:
            pass  # trailers
        return b"".join(parts)
