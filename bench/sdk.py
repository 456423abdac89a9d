"""The SDK as a training script has it: what `log()` costs, healthy and under each fault, and what importing it adds."""

import json
import os
import socket
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import host, venvs
from bench.session import Session
from bench.table import Row, Skipped, timed
from bench.units import COUNT, KILOBYTES, MEGABYTES, MICROSECONDS, MILLISECONDS, SECONDS, SHARE

CHILD = Path(__file__).parent / "logging_child.py"
TIGHT, PACED = 20_000, 2_000
_PAUSE_S = 0.001
_REST_S = 46.0  # three samples of the system metrics at the default interval


def measure(session: Session) -> Iterator[Row | Skipped]:
    """`log()` of five floats, tight and paced; faults; import, init, memory, threads, wheel; finish; system metrics."""
    python = venvs.sdk()
    with tempfile.TemporaryDirectory() as name, host.arwx(Path(name) / "server") as server:
        folder = Path(name)
        resting = {is_on: _rest(python, server, folder, is_on=is_on) for is_on in (True, False)}
        yield from _footprint(python, session)
        yield from _healthy(python, server, folder, session)
        yield from _faults(python, server, folder, session)
        yield from _system_metrics(resting)


def environment(folder: Path, base_url: str, key: str, **more: str) -> dict[str, str]:
    """What a training script is given: a server, and a spool of its own."""
    spool = tempfile.mkdtemp(dir=folder, prefix="spool-")
    given = {k: v for k, v in os.environ.items() if not k.startswith(("ARWX_", "ARWANDB_", "WANDB_", "PYTHON"))}
    told = {"ARWANDB_BASE_URL": base_url, "ARWANDB_API_KEY": key, "ARWANDB_DIR": spool, "ARWANDB_SILENT": "true"}
    return {**given, **told, **more}


def child(python: Path, sdk: str, calls: int, pause_s: float, env: dict[str, str], fault: str = "") -> dict[str, Any]:
    """One pass of `logging_child.py`."""
    command = [python, "-I", CHILD, sdk, str(calls), str(pause_s), *([fault] if fault else [])]
    return _told(command, env)


def each(found: list[dict[str, Any]], field: str) -> list[float]:
    """One figure of every pass."""
    return [float(one[field]) for one in found]


def import_times(python: Path, module: str, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of a whole Python that imports the module, and of a bare one, in turns."""
    bare, full = [], []
    for _ in range(rounds + 1):
        bare.append(timed(lambda: subprocess.run([python, "-I", "-c", "pass"], check=True)))
        full.append(timed(lambda: subprocess.run([python, "-I", "-c", f"import {module}"], check=True)))
    return full[1:], bare[1:]


def _footprint(python: Path, session: Session) -> Iterator[Row]:
    full, bare = import_times(python, "arwandb", session.scale.passes(9))
    added = [one - other for one, other in zip(full, bare, strict=True)]
    yield Row(
        "import, over a bare Python",
        added,
        MILLISECONDS,
        f"bare Python {MILLISECONDS.text(statistics.median(bare))}",
        at_most=0.05,
    )
    yield Row("wheel", [venvs.wheel().stat().st_size], KILOBYTES, at_most=100_000)


def _healthy(python: Path, server: host.Arwx, folder: Path, session: Session) -> Iterator[Row]:
    rounds = session.scale.passes(5)
    for name, calls, pause_s, median_at_most in (
        ("tight loop", TIGHT, 0.0, 1e-6),
        ("1 ms pauses", PACED, _PAUSE_S, 4e-6),
    ):
        ours, floor = [], []
        for _ in range(rounds):
            floor.append(child(python, "floor", calls, pause_s, environment(folder, "http://127.0.0.1:9", "x")))
            ours.append(child(python, "arwandb", calls, pause_s, environment(folder, server.base_url, server.secret)))
        yield from latency(f"{name}, healthy", ours, _floor_text(floor), median_at_most, 5e-6 if not pause_s else None)
        if not pause_s:
            yield Row("import and init", each(ours, "init_s"), SECONDS, at_most=0.06)
            yield Row("finish() after 20,000 calls, live server", each(ours, "finish_s"), SECONDS, at_most=0.5)
            yield Row("memory added after 20,000 calls without a pause", each(ours, "rss_added"), MEGABYTES)
        else:
            yield Row("memory added over bare Python, paced", each(ours, "rss_added"), MEGABYTES, at_most=6 * 2**20)
            yield Row("processes", each(ours, "processes"), COUNT, at_most=1)
            added = [threads - 1 for threads in each(ours, "threads")]
            yield Row("threads beside the training's own", added, COUNT, at_most=3)


def latency(
    name: str, found: list[dict[str, Any]], limit: str, median_at_most: float | None, p99_at_most: float | None
) -> Iterator[Row]:
    """Median and p99 of `log()` over the passes, and the slowest call of all."""
    slowest = MILLISECONDS.text(max(each(found, "max")))
    yield Row(f"log() of 5 floats, {name}: median", each(found, "median"), MICROSECONDS, limit, at_most=median_at_most)
    yield Row(
        f"log() of 5 floats, {name}: p99",
        each(found, "p99"),
        MICROSECONDS,
        f"slowest call {slowest}",
        at_most=p99_at_most,
    )


def _floor_text(floor: list[dict[str, Any]]) -> str:
    median, p99 = (MICROSECONDS.text(statistics.median(each(floor, field))) for field in ("median", "p99"))
    return f"a copy onto a list {median}, p99 {p99}"


def _faults(python: Path, server: host.Arwx, folder: Path, session: Session) -> Iterator[Row | Skipped]:
    rounds = session.scale.passes(3)
    with _black_hole() as hole:
        env = [environment(folder, hole, "arwx_live_" + "x" * 30) for _ in range(2 * rounds)]
        yield from _both(python, env, "server black-holed")
    try:
        with full_disk(folder) as spool:
            env = [
                environment(folder, server.base_url, server.secret, ARWANDB_DIR=str(spool)) for _ in range(2 * rounds)
            ]
            yield from _both(python, env, "disk full")
    except OSError as error:
        yield Skipped("log() of 5 floats, disk full", f"no small file system can be mounted here: {error}")
    env = [environment(folder, server.base_url, server.secret) for _ in range(2 * rounds)]
    yield from _both(python, env, "spool stalled")


def _both(python: Path, envs: list[dict[str, str]], fault: str) -> Iterator[Row]:
    half = len(envs) // 2
    tight = [child(python, "arwandb", TIGHT, 0.0, env, fault) for env in envs[:half]]
    yield from latency(f"tight loop, {fault}", tight, "", 1e-6, 5e-6)
    paced, floor = [], []
    for env in envs[half:]:
        floor.append(child(python, "floor", PACED, _PAUSE_S, env))
        paced.append(child(python, "arwandb", PACED, _PAUSE_S, env, fault))
    yield from latency(f"1 ms pauses, {fault}", paced, _floor_text(floor), 4e-6, None)


@contextmanager
def _black_hole() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KiB without a free byte; needs the right to mount."""
    mount = folder / "full"
    mount.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "arwx-bench", mount], check=True, capture_output=True
        )
    except subprocess.CalledProcessError as error:
        raise OSError(error.stderr.decode().strip()) from None
    try:
        with (mount / "filling").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass  # now it is full
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


_RESTING = """
import resource, sys, time, arwandb
run = arwandb.init(project="bench", system_metrics=sys.argv[1] == "True")
arwandb.log({"loss": 1.0})
time.sleep(1)
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before, began = cpu(), time.perf_counter()
time.sleep(float(sys.argv[2]))
print((cpu() - before) / (time.perf_counter() - began))
"""


def _rest(python: Path, server: host.Arwx, folder: Path, *, is_on: bool) -> "subprocess.Popen[str]":
    """A script that waits, with or without system metrics, while the other rows are measured."""
    env = environment(folder, server.base_url, server.secret)
    command = [python, "-I", "-c", _RESTING, str(is_on), str(_REST_S)]
    return subprocess.Popen([*map(str, command)], env=env, stdout=subprocess.PIPE, text=True)


def _system_metrics(resting: dict[bool, "subprocess.Popen[str]"]) -> Iterator[Row]:
    shares = {is_on: float(process.communicate(timeout=120)[0]) for is_on, process in resting.items()}
    yield Row(
        "system metrics at the default interval, share of a core",
        [max(0.0, shares[True] - shares[False])],
        SHARE,
        f"a waiting process takes {SHARE.text(shares[True])} with them, {SHARE.text(shares[False])} without",
        at_most=0.001,
    )


def _told(command: list[Any], env: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
