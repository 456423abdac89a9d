"""Other trackers, each from its own venv, in turns with arwx: what their servers take in, draw, and what their `log()` costs.

Nothing of them is used but their public commands, HTTP addresses and Python calls. What does not install here is skipped
by name.
"""

import os
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench import data, host, load, sdk, venvs, wire
from bench.ingest import json_batches
from bench.reading import http_chart
from bench.session import Session
from bench.table import Row, Skipped, timed
from bench.units import MEGABYTES, MILLISECONDS, RATE, SECONDS, TIMES

MLFLOW, TRACKIO, WANDB, TENSORBOARDX = "mlflow==3.17.2", "trackio==0.43.0", "wandb==0.31.0", "tensorboardX==2.6.5"

_PASSES = 3
_BATCHES = 200  # of 500 entries × 5 keys into arwx; the others get fewer, since they take longer
# trackio's client sends what was logged in half a second as one request.
_TRACKIO_BATCHES = ((data.ENTRIES, 80, "1,000"), (5, 120, "10"))
_MLFLOW_ENTRIES = 200  # 1,000 metrics, the most that one of its requests may hold


def measure(session: Session) -> Iterator[Row | Skipped]:
    """Ingest by 1 and 4 clients, charts, and the latency of `log()`, beside arwx in the same run."""
    if not session.with_peers:
        yield Skipped("other trackers", "`make bench PEERS=1` installs and measures them")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with host.arwx(folder / "arwx") as ours:
            json_batches(ours, "warm", 4, 40)
            parts: dict[str, Callable[[], Iterator[Row]]] = {
                "trackio server": lambda: _of_trackio(ours, folder),
                "mlflow server and client": lambda: _of_mlflow(session, ours, folder),
                "trackio, local": lambda: _latency(folder, ours, "trackio, local", "trackio", TRACKIO),
                "wandb, offline": lambda: _latency(folder, ours, "wandb, offline", "wandb", WANDB),
                "tensorboardX": lambda: _latency(folder, ours, "tensorboardX", "tensorboardx", TENSORBOARDX),
            }
            for what, rows in parts.items():
                try:
                    yield from rows()
                except (venvs.DoesNotInstall, OSError, RuntimeError, sqlite3.Error, subprocess.TimeoutExpired) as error:
                    yield Skipped(what, str(error).strip().splitlines()[-1][:200])


@dataclass(frozen=True)
class _Peer:
    """A running server of another tracker, and its name for a row."""

    name: str
    port: int
    folder: Path


def _of_trackio(ours: host.Arwx, folder: Path) -> Iterator[Row]:
    with _trackio(folder / "trackio") as peer:
        for clients in (1, 4):
            yield from _own_clients(ours, peer, folder, clients)
        for entries, requests, pace in _TRACKIO_BATCHES:
            requests_of = f"trackio server, requests of {entries} entries (its client's at {pace} log() a second)"

            def send(peer: _Peer, turn: int, clients: int, entries: int = entries, requests: int = requests) -> float:
                return _to_trackio(peer, turn, clients, entries, requests)

            yield from _ingest(ours, peer, send, 8, requests_of, entries)


def _own_clients(ours: host.Arwx, peer: _Peer, folder: Path, clients: int) -> Iterator[Row]:
    """From the first `log()` to the end of `finish()`: each client into its own server, as users have them."""
    told = {"BENCH_TRACKIO": f"http://127.0.0.1:{peer.port}/?write_token={_TOKEN}", **_QUIET}
    points = clients * sdk.TIGHT * len(data.KEYS)
    mine, theirs = [], []
    for _ in range(_PASSES):
        before = _trackio_entries(peer)
        place = tempfile.mkdtemp(dir=folder)
        environment = sdk.environment(folder, "http://127.0.0.1:9", "x", TRACKIO_DIR=place, HOME=place, **told)
        theirs.append(points / _together(venvs.python(TRACKIO), "trackio", clients, [environment] * clients))
        if (kept := _trackio_entries(peer) - before) != clients * sdk.TIGHT:
            raise RuntimeError(f"trackio's server kept {kept:,} of {clients * sdk.TIGHT:,} entries")
        environments = [sdk.environment(folder, ours.base_url, ours.secret) for _ in range(clients)]
        mine.append(points / _together(venvs.sdk(), "arwandb", clients, environments))
    name = f"{clients} client{'s' * (clients > 1)}"
    yield Row(
        f"{sdk.TIGHT:,} log() of 5 floats until its server has them, {name}: trackio",
        theirs,
        RATE,
        f"arwandb into arwx in turns {RATE.text(statistics.median(mine))}",
    )
    ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
    yield Row(f"– arwx over trackio, {name}", ratios, TIMES, at_least=8)


def _together(python: Path, name: str, clients: int, environments: list[dict[str, str]]) -> float:
    """The seconds that the slowest of some clients takes to log and finish, all at once."""
    with ThreadPoolExecutor(clients) as threads:
        found = list(threads.map(lambda given: sdk.child(python, name, sdk.TIGHT, 0.0, given), environments))
    return max(float(one["loop_s"]) + float(one["finish_s"]) for one in found)


def _trackio_entries(peer: _Peer) -> int:
    file = peer.folder / "bench.db"
    if not file.exists():
        return 0
    with closing(sqlite3.connect(file, timeout=60)) as database:
        return int(database.execute("SELECT count(*) FROM metrics").fetchone()[0])


def _of_mlflow(session: Session, ours: host.Arwx, folder: Path) -> Iterator[Row]:
    with _mlflow(folder / "mlflow") as peer:
        yield from _ingest(ours, peer, _to_mlflow, 50, "mlflow server", data.ENTRIES)
        told = {"BENCH_MLFLOW": f"http://127.0.0.1:{peer.port}"}
        yield from _latency(folder, ours, "mlflow, sync", "mlflow_sync", MLFLOW, 200, **told)
        yield from _latency(folder, ours, "mlflow, async", "mlflow_async", MLFLOW, 1_000, **told)
        yield from _charts(session, peer)


def _ingest(
    ours: host.Arwx, peer: _Peer, send: Callable[[_Peer, int, int], float], factor: float, what: str, entries: int
) -> Iterator[Row]:
    """`send` into the peer in turns with requests of so many entries into arwx."""
    send(peer, -1, 1)
    requests = _BATCHES * data.ENTRIES // entries if entries >= 100 else 600
    for clients in (1, 4):
        mine, theirs = [], []
        for turn in range(_PASSES):
            theirs.append(send(peer, turn, clients))
            run_id = f"{peer.name}-{entries}-{clients}-{turn}"
            done = json_batches(ours, run_id, clients, requests // clients, entries)
            mine.append(requests * entries * len(data.KEYS) / done.seconds)
        name = f"{clients} client{'s' * (clients > 1)}"
        limit = f"arwx in turns, requests of {entries} entries, {RATE.text(statistics.median(mine))}"
        yield Row(f"ingest, {name}: {what}", theirs, RATE, limit)
        ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
        yield Row(f"– arwx over {peer.name}, {name}", ratios, TIMES, at_least=factor)


@contextmanager
def _mlflow(folder: Path) -> Iterator[_Peer]:
    python = venvs.python(MLFLOW)
    command = [python, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port"]
    with _serving("mlflow", command, folder, "/health", {}) as peer:
        time.sleep(20)  # its job workers start for a while after the first answer, and would be in the figures
        yield peer


@contextmanager
def _trackio(folder: Path) -> Iterator[_Peer]:
    python = venvs.python(TRACKIO)
    code = "import sys, trackio; trackio.show(open_browser=False, block_thread=True, server_port=int(sys.argv[1]))"
    told = {"TRACKIO_DIR": str(folder), "TRACKIO_WRITE_TOKEN": _TOKEN, "GRADIO_ANALYTICS_ENABLED": "False"}
    with _serving("trackio", [python, "-c", code], folder, "/version", told) as peer:
        yield peer


@contextmanager
def _serving(name: str, command: list[Any], folder: Path, path: str, told: dict[str, str]) -> Iterator[_Peer]:
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*map(str, command), str(port)],
            env={**os.environ, **_QUIET, **told},
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )
    try:
        host.wait_for(port, path, process, 90)
        yield _Peer(name, port, folder)
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


_TOKEN = "bench-token"
# They ask nobody elsewhere while they are measured.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    "WANDB_ERROR_REPORTING": "false",
}


def _to_mlflow(peer: _Peer, turn: int, clients: int) -> float:
    """Points a second of `log-batch`, 1,000 metrics a request, each client into a run of its own."""
    batches = 24 // clients
    work = []
    for client in range(clients):
        run_id = _mlflow_run(peer)
        work.append([_log_batch(run_id, i, (turn + 1) * 100 + client) for i in range(batches)])
    return batches * clients * _MLFLOW_ENTRIES * len(data.KEYS) / load.run(peer.port, work, b"{").seconds


def _log_batch(run_id: str, number: int, seed: int) -> bytes:
    metrics = [
        {"key": key, "value": value, "timestamp": int(entry["ts"] * 1000), "step": entry["step"]}
        for entry in data.entries(number * _MLFLOW_ENTRIES, _MLFLOW_ENTRIES, seed * 1000 + number)
        for key, value in entry["metrics"].items()
    ]
    body = msgspec.json.encode({"run_id": run_id, "metrics": metrics})
    return wire.request("POST", "/api/2.0/mlflow/runs/log-batch", {}, body)


def _mlflow_run(peer: _Peer) -> str:
    body = msgspec.json.encode({"experiment_id": "0", "start_time": int(time.time() * 1000)})
    with wire.Connection(peer.port) as connection:
        answer = connection.send(wire.request("POST", "/api/2.0/mlflow/runs/create", {}, body))
    if answer.status != 200:
        raise RuntimeError(f"mlflow: {answer.status} {answer.body[:200]!r}")
    return str(answer.json()["run"]["info"]["run_id"])


def _to_trackio(peer: _Peer, turn: int, clients: int, entries: int, requests: int) -> float:
    """Points a second of `bulk_log`, so many entries × 5 keys a request, each client into a run of its own."""
    each = requests // clients
    work = []
    for client in range(clients):
        run = f"run-{entries}-{clients}-{turn}-{client}"
        bodies = []
        for i in range(each):
            logs = [
                {"project": "bench", "run": run, "metrics": entry["metrics"], "step": entry["step"], "config": None}
                for entry in data.entries(i * entries, entries, client * 1000 + i)
            ]
            bodies.append(msgspec.json.encode({"logs": logs, "hf_token": None}))
        work.append([wire.request("POST", f"/api/bulk_log?write_token={_TOKEN}", {}, body) for body in bodies])
    before = _trackio_entries(peer)
    found = each * clients * entries * len(data.KEYS) / load.run(peer.port, work, b"data").seconds
    if (kept := _trackio_entries(peer) - before) != each * clients * entries:
        raise RuntimeError(f"trackio kept {kept:,} of {each * clients * entries:,} entries")
    return found


def _charts(session: Session, peer: _Peer) -> Iterator[Row]:
    """A chart over HTTP: mlflow's points are put in by SQL, since sending a million would take minutes."""
    filled = session.filled
    for what, runs, points, project in (
        ("1 M points", 1, session.scale.count(1_000_000), filled.long()),
        ("50 runs × 20,000 points", 50, session.scale.count(20_000), filled.fifty()),
    ):
        run_ids = [_mlflow_run(peer) for _ in range(runs)]
        _put(peer.folder / "mlflow.db", run_ids, points)
        asked = "&".join(f"run_ids={run_id}" for run_id in run_ids)
        path = f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{asked}&metric_key=loss&max_results=500"
        with wire.Connection(peer.port) as connection:
            whole = wire.request("GET", path, {})
            if (first := connection.send(whole)).status != 200:
                raise RuntimeError(f"mlflow's chart: {first.status} {first.body[:200]!r}")
            theirs = [timed(lambda: connection.send(whole)) for _ in range(_PASSES)]  # noqa: B023 - called at once
        ours = http_chart(filled, project)
        limit = f"arwx, server time {MILLISECONDS.text(statistics.median(ours))}"
        yield Row(f"chart of {what}: mlflow server, answer", theirs, MILLISECONDS, limit)


def _put(file: Path, run_ids: list[str], points: int) -> None:
    rows = (
        ("loss", (step * 7919 % 10_007) / 10_007, 1_764_000_000_000 + step * 50, run_id, step, 0)
        for run_id in run_ids
        for step in range(points)
    )
    with closing(sqlite3.connect(file, timeout=60)) as database, database:
        database.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)", rows
        )


def _latency(
    folder: Path, server: host.Arwx, what: str, name: str, requirement: str, calls: int = sdk.TIGHT, **told: str
) -> Iterator[Row]:
    """`log()` of five floats as this SDK has it, in turns with ours."""
    python = venvs.python(requirement)
    theirs, ours = [], []
    for _ in range(_PASSES):
        place = tempfile.mkdtemp(dir=folder)
        places = {"TRACKIO_DIR": place, "WANDB_DIR": place, "BENCH_FOLDER": place, "HOME": place, **_QUIET}
        theirs.append(
            sdk.child(python, name, calls, 0.0, sdk.environment(folder, "http://127.0.0.1:9", "x", **places, **told))
        )
        ours.append(
            sdk.child(venvs.sdk(), "arwandb", calls, 0.0, sdk.environment(folder, server.base_url, server.secret))
        )
    beside = {
        field: statistics.median(sdk.each(ours, field)) for field in ("median", "init_s", "finish_s", "rss_added")
    }
    yield from sdk.latency(what, theirs, f"arwandb in turns {beside['median'] * 1e6:.2f} µs", None, None)
    finish = f"arwandb in turns {SECONDS.text(beside['finish_s'])}"
    yield Row(f"– finish after {calls:,} calls, {what}", sdk.each(theirs, "finish_s"), SECONDS, finish)
    init = f"arwandb in turns {SECONDS.text(beside['init_s'])}"
    yield Row(f"– import and init, {what}", sdk.each(theirs, "init_s"), SECONDS, init)
    processes, threads = (int(max(sdk.each(theirs, field))) for field in ("processes", "threads"))
    memory = f"arwandb in turns {MEGABYTES.text(beside['rss_added'])}; {what}: {processes} processes, {threads} threads"
    yield Row(f"– memory added to its own process, {what}", sdk.each(theirs, "rss_added"), MEGABYTES, memory)
