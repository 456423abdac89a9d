"""Clients as processes of their own, so that no interpreter lock of theirs bounds what the server can take."""

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier

from bench.wire import Connection

_processes = multiprocessing.get_context("fork")  # the bodies are shared, not copied


@dataclass(frozen=True)
class Load:
    """What the clients together saw: from the first request out to the last answer in."""

    seconds: float
    client_cpu_s: float
    slowest_s: float


def run(port: int, work: Sequence[Sequence[bytes]], wanted: bytes) -> Load:
    """Send each client's requests over its own connection. Every answer must be a success that contains `wanted`."""
    start = _processes.Barrier(len(work))
    clients = []
    for requests in work:
        ours, theirs = _processes.Pipe()
        process = _processes.Process(target=_client, args=(port, requests, wanted, start, theirs))
        process.start()
        clients.append((process, ours))
    told = []
    for process, ours in clients:
        found = ours.recv()
        process.join()
        if isinstance(found, str):
            raise RuntimeError(found)
        told.append(found)
    began, ended = min(one[0] for one in told), max(one[1] for one in told)
    return Load(ended - began, sum(one[2] for one in told), max(one[3] for one in told))


def _client(port: int, requests: Sequence[bytes], wanted: bytes, start: Barrier, tell: Pipe) -> None:
    try:
        with Connection(port) as connection:
            start.wait(60)
            began, cpu, slowest = time.perf_counter(), time.process_time(), 0.0
            for whole in requests:
                sent = time.perf_counter()
                answer = connection.send(whole)
                slowest = max(slowest, time.perf_counter() - sent)
                if answer.status not in {200, 201} or wanted not in answer.body:
                    raise RuntimeError(f"{answer.status}: {answer.body[:500]!r}")
            tell.send((began, time.perf_counter(), time.process_time() - cpu, slowest))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        start.abort()
        tell.send(f"{type(error).__name__}: {error}")
