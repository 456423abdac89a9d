"""The most expensive charts that anybody can ask for, all at once, beside a training that logs: nobody waits for them."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.make import point
from tests.server import Server
from tests.test_deploy import call

FULL = bool(os.environ.get("ARWX_FULL"))
RUNS, POINTS, AT_ONCE, LASTS_S = (50, 20_000, 50, 20.0) if FULL else (6, 4000, 8, 2.0)
PATIENCE_S = 1.0 if FULL else 10.0  # about the length of one such chart on a busy machine; it was the sum of all
CROWD = """
import socket, sys, threading, time
port, count, lasts, request = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].encode()
ends = time.monotonic() + lasts
def ask():
    held = bytearray(1 << 18)
    while time.monotonic() < ends:
        with socket.create_connection(("127.0.0.1", port), timeout=90) as connection:
            connection.sendall(request)
            first = connection.recv(1 << 16)
            while connection.recv_into(held):
                pass
            print(first[9:12].decode(), flush=True)
for thread in [threading.Thread(target=ask) for _ in range(count)]:
    thread.start()
"""
KEYS = ("loss", "acc", "lr", "norm")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("worst")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    """The key of a project in which every chart is as large as it can be."""
    key = server.key()
    for number in range(RUNS):
        run_id = f"r{number}"
        assert call(server, key, "POST", "/v1/runs", {"project": "big", "id": run_id})[0] == 201
        for first in range(0, POINTS, 2000):
            steps = range(first, first + 2000)
            points = [point(s, **dict.fromkeys(KEYS, (s * 7919 + number) % 1000 / 7)) for s in steps]
            body = {"run_id": run_id, "writer_id": "w", "epoch": "e", "first_seq": first, "points": points}
            assert call(server, key, "POST", "/v1/ingest", body)[0] == 200
    assert call(server, key, "POST", "/v1/runs", {"project": "big", "id": "live"})[0] == 201
    return key


@pytest.mark.parametrize("query", ["samples=2000", "samples=500&x=relative"])
def test_dear_charts_hold_nobody_up(server: Server, key: str, query: str) -> None:
    runs = ",".join(f"r{number}" for number in range(RUNS))
    path = f"/v1/projects/big/charts?keys={','.join(KEYS)}&runs={runs}&{query}"
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    # In a process of its own: whoever measures must not stand behind those who ask.
    arguments = [str(server.port), str(AT_ONCE), str(LASTS_S), request]
    crowd = subprocess.Popen([sys.executable, "-c", CROWD, *arguments], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    health, ingest = list[float](), list[float]()
    seq = 0
    ends = time.monotonic() + LASTS_S - 0.5
    while time.monotonic() < ends:
        began = time.monotonic()
        assert call(server, "", "GET", "/health")[0] == 200
        health.append(time.monotonic() - began)
        body = {"run_id": "live", "writer_id": "w", "epoch": query, "first_seq": seq, "points": [point(seq)]}
        began = time.monotonic()
        assert call(server, key, "POST", "/v1/ingest", body)[0] == 200
        ingest.append(time.monotonic() - began)
        seq += 1
        time.sleep(0.05)
    answers = crowd.communicate(timeout=120)[0].split()
    print(
        f"{AT_ONCE} charts of {RUNS} runs × {POINTS:,} points × {len(KEYS)} keys, {query}: {len(answers)} answered; "
        f"health median {statistics.median(health) * 1000:.0f} ms, p99 {_p99(health) * 1000:.0f} ms; "
        f"ingest median {statistics.median(ingest) * 1000:.0f} ms, p99 {_p99(ingest) * 1000:.0f} ms ({len(ingest)} each)"
    )
    assert set(answers) == {"200"}
    assert len(answers) >= AT_ONCE
    assert _p99(ingest) <= PATIENCE_S
    assert _p99(health) <= PATIENCE_S


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]
