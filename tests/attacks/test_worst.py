"""The most expensive charts that anybody can ask for, all at once, beside a training that logs: nobody waits for all of them."""

import os
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, g, has_request_context, request

from arwx import points
from arwx.turns import EXPENSIVE
from tests.access.test_matrix import address, routes
from tests.access.world import CANARY, World, build, keyed, signed_in
from tests.make import point
from tests.server import Server
from tests.test_deploy import call

FULL = bool(os.environ.get("ARWX_FULL"))
RUNS, POINTS, AT_ONCE, LASTS_S = (50, 20_000, 50, 20.0) if FULL else (6, 4000, 12, 2.0)
PATIENCE_S = 1.0  # about the length of one such chart on a busy machine; it was the sum of all
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
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("world"))


@pytest.fixture
def live(world: World, tmp_path: Path) -> Iterator[Flask]:
    app = world.app(tmp_path)
    ada = keyed(app, world.keys["admin"])
    assert ada.post("/v1/runs", json={"project": world.names["projects.name"], "id": "twin"}).status_code == 201
    sent = {"run_id": "twin", "points": [point(step, **{f"{CANARY}/loss": 1.0}) for step in range(5)]}
    assert ada.post("/v1/ingest", json=sent).status_code == 200
    yield app
    app.extensions["arwx.db"].engine.dispose()


def ask_everything(app: Flask, world: World, endpoints: frozenset[str] | None = None) -> list[Callable[[], int]]:
    """A call for each address that only reads, by who may read it; of these endpoints, if they are named."""
    found = []
    for rule, method in routes():
        if method == "GET":
            is_api = rule.startswith("/v1")
            who = keyed(app, world.keys["admin"]) if is_api else signed_in(app, world.cookies["owner"])
            path = address(rule, world.names)
            query = {} if is_api else {"key": f"{CANARY}/loss", "runs": f"{world.names['run_id']},twin"}
            if endpoints is None or app.url_map.bind("").match(path, method)[0] in endpoints:
                found.append(lambda who=who, path=path, query=query: who.get(path, query_string=query).status_code)
    return found


def test_who_reads_points_has_a_turn(live: Flask, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address whose answer is made of points, however many there are, is one of those that take turns."""
    readers: dict[str, bool] = {}

    def noted(work: Callable[..., Any]) -> Callable[..., Any]:
        def reads(*given: Any, **more: Any) -> Any:
            if has_request_context():  # what is sent as it is read gives way instead
                readers[request.endpoint or ""] = bool(g.get("has_turn"))
            return work(*given, **more)

        return reads

    for name in ("series", "history", "receipt", "export"):
        monkeypatch.setattr(points, name, noted(getattr(points, name)))
    for ask in ask_everything(live, world):
        ask()
    assert readers == dict.fromkeys(readers, True)
    assert set(readers) == EXPENSIVE - {"ui.chart_csv"}


def test_expensive_answers_are_made_one_at_a_time_and_others_in_between(live: Flask, world: World) -> None:
    """All expensive addresses at once: no two are ever at work together. Meanwhile the others are served."""
    meeting, first, go_on = threading.Barrier(2), threading.Event(), threading.Event()
    met: list[str] = []

    def slowly(endpoint: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        def work(**arguments: Any) -> Any:
            first.set()
            go_on.wait(60)
            try:
                meeting.wait(0.1)
                met.append(endpoint)
            except threading.BrokenBarrierError:
                meeting.reset()
            return handler(**arguments)

        return work

    for endpoint in EXPENSIVE:
        live.view_functions[endpoint] = slowly(endpoint, live.view_functions[endpoint])
    answers: list[int] = []
    asks = ask_everything(live, world, EXPENSIVE)
    threads = [threading.Thread(target=lambda ask=ask: answers.append(ask())) for ask in asks]
    for thread in threads:
        thread.start()
    assert first.wait(60)
    # One is at work, the others wait for it. Who wants something else does not.
    key = keyed(live, world.keys["admin"])
    batch = {"run_id": world.names["run_id"], "writer_id": "w", "epoch": "e", "first_seq": 0, "points": [point(9)]}
    assert key.post("/v1/ingest", json=batch).status_code == 200
    assert key.get("/v1/projects").status_code == 200
    assert signed_in(live, world.cookies["owner"]).get("/").status_code == 200
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert met == []
    assert set(answers) == {200}
    assert len(answers) == len(asks) >= len(EXPENSIVE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    workers = {} if FULL else {"WEB_CONCURRENCY": "1"}
    server = Server(tmp_path_factory.mktemp("worst"), **workers).start()
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


def costly(key: str, query: str) -> str:
    """The request for such a chart."""
    runs = ",".join(f"r{number}" for number in range(RUNS))
    path = f"/v1/projects/big/charts?keys={','.join(KEYS)}&runs={runs}&{query}"
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"


@pytest.mark.skipif(FULL, reason="the full run measures it")
def test_who_logs_is_served_between_expensive_charts(server: Server, key: str) -> None:
    """One process, twelve expensive charts, then a batch: it is taken before most of the charts are made."""
    for number in range(3):
        crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(AT_ONCE)]
        for other, connection in enumerate(crowd):
            connection.sendall(costly(key, f"samples={2000 + 100 * number + other}").encode())
        body = {"run_id": "live", "writer_id": "w", "epoch": "e", "first_seq": number, "points": [point(number)]}
        assert call(server, key, "POST", "/v1/ingest", body)[0] == 200
        made = len(select.select(crowd, [], [], 0)[0])
        for connection in crowd:
            with connection, connection.makefile("rb") as answer:
                assert answer.readline().startswith(b"HTTP/1.1 200 ")
        print(f"{made} of {AT_ONCE} charts were made before the batch was taken")
        assert made <= AT_ONCE // 2


@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/csv"])
def test_who_logs_is_served_beside_a_history_that_is_fetched_quickly(server: Server, key: str, kind: str) -> None:
    """A client that reads as fast as the server writes: a batch is taken before all of what it fetches is there."""
    run_id, entries = f"long-{kind[-3:]}", 160_000
    assert call(server, key, "POST", "/v1/runs", {"project": "big", "id": run_id})[0] == 201
    for first in range(0, entries, 10_000):
        noise = [point(step, loss=step * 0.7371 % 1) for step in range(first, first + 10_000)]
        body = {"run_id": run_id, "writer_id": "w", "epoch": "e", "first_seq": first, "points": noise}
        assert call(server, key, "POST", "/v1/ingest", body)[0] == 200
    began, got = threading.Event(), [0]

    def fetch() -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            head = f"GET /v1/runs/{run_id}/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {kind}\r\n"
            connection.sendall(f"{head}Authorization: Bearer {key}\r\nConnection: close\r\n\r\n".encode())
            held = bytearray(1 << 18)
            while size := connection.recv_into(held):
                got[0] += size
                began.set()

    reader = threading.Thread(target=fetch)
    reader.start()
    assert began.wait(60)
    body = {"run_id": "live", "writer_id": "w", "epoch": kind, "first_seq": 0, "points": [point(0)]}
    assert call(server, key, "POST", "/v1/ingest", body)[0] == 200
    by_then = got[0]
    reader.join()
    print(f"{by_then:,} of {got[0]:,} bytes of {kind} were there before the batch was taken")
    assert got[0] > entries * 20
    assert by_then < got[0] * 0.75


@pytest.mark.skipif(not FULL, reason="it measures time: ARWX_FULL=1")
@pytest.mark.parametrize("query", ["samples=2000", "samples=500&x=relative"])
def test_expensive_charts_hold_nobody_up(server: Server, key: str, query: str) -> None:
    request = costly(key, query)
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
