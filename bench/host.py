"""Servers to measure: arwx as it is shipped, and the bare path beside it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import wire
from tests.server import ROOT, Server

_WORKERS = 2
_REST_S = 1.5


class Arwx(Server):
    """`arwx serve` in two processes, with a key that may do everything."""

    def __init__(self, folder: Path, database_url: str | None = None, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, database_url, **environment)
        self.secret = self.key("admin")
        self.headers = {"Authorization": f"Bearer {self.secret}"}

    def start_all(self) -> int:
        """Start, and wait for more than the first answer: until both workers are there and have come to rest.

        Answers the process group.
        """
        self.start()
        assert self.process is not None
        deadline = time.monotonic() + 30
        while len(self.workers()) < _WORKERS:
            if time.monotonic() > deadline:
                raise RuntimeError(self.log())
            time.sleep(0.02)
        time.sleep(_REST_S)
        return self.process.pid

    def request(self, method: str, path: str, body: bytes = b"", kind: str = "application/json", **more: str) -> bytes:
        """A whole request with the key, to send now or later."""
        return wire.request(method, path, {**self.headers, **more}, body, kind)

    def call(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json", **more: str
    ) -> wire.Answer:
        """Send one request over a connection of its own; anything but a success is an error."""
        with wire.Connection(self.port) as connection:
            answer = connection.send(self.request(method, path, body, kind, **more))
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:500]!r}")
        return answer

    def get(self, path: str) -> Any:
        return self.call("GET", path).json()

    def make_run(self, project: str, run_id: str) -> None:
        self.call("POST", "/v1/runs", f'{{"project":"{project}","id":"{run_id}"}}'.encode())

    def finish(self, run_id: str) -> None:
        """Finish the run, which moves the last of its points to their place, and ask for its receipt."""
        self.call("POST", f"/v1/runs/{run_id}/finish", b"{}")
        receipt = self.get(f"/v1/runs/{run_id}/integrity")
        if not receipt["intact"]:
            raise RuntimeError(f"the receipt of {run_id} is not intact: {receipt}")


@contextmanager
def arwx(folder: Path, database_url: str | None = None, **environment: str) -> Iterator[Arwx]:
    """Serve arwx on a free port, and stop it at the end."""
    server = Arwx(folder, database_url, **environment)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def bare(folder: Path) -> Iterator[int]:
    """The bare path under the same gunicorn with as many processes; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "gunicorn", "--config", os.devnull, "-k", "gevent", "-w", "2"]
    with (folder / "bare.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "-b", f"127.0.0.1:{port}", "bench.bare:app"],
            env={**os.environ, "BARE_DB": str(folder / "bare.db")},
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
    try:
        wait_for(port, "/ready", process)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int, path: str, process: "subprocess.Popen[bytes]", timeout_s: float = 60) -> None:
    """Until the server answers `path` with 200."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with wire.Connection(port, 5) as connection:
                if connection.send(wire.request("GET", path, {})).status == 200:
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no answer from port {port}{path}")
        time.sleep(0.02)
