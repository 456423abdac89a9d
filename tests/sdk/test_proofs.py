"""The promises of delivery, proved by counting: real processes, the real server, and everything between them spoilt.

Counts are small here; `ARWX_FULL=1` runs them in full.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import arwandb
import pytest
from arwandb.http import Http, Request

from tests.sdk.conftest import SDK, Real
from tests.sdk.model import Answer
from tests.sdk.standin import StandIn

FULL = os.environ.get("ARWX_FULL") == "1"
Script = Callable[..., "subprocess.Popen[str]"]


class Relay:
    """Carries requests to the real server and keeps its own books of every delivery that the server took."""

    def __init__(self, real: Real) -> None:
        self._real = real
        self._lock = threading.Lock()
        self._mine = threading.local()
        self.points: dict[tuple[str, str, int], int] = {}
        self.delivered = 0

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> Answer:
        if not hasattr(self._mine, "http"):
            self._mine.http = Http(self._real.base_url, key)
        kind = "application/x-ndjson" if path.endswith("/stream") else "application/json"
        response = self._mine.http.send(Request(method, path, body, kind))
        if response.status == 200 and path.startswith("/v1/ingest"):
            self._note(body, is_stream=path.endswith("/stream"))
        return response.status, {"Content-Type": response.headers.get("content-type", "")}, response.body

    def _note(self, body: bytes, *, is_stream: bool) -> None:
        if is_stream:
            head, *points, _ = (json.loads(line) for line in body.splitlines())
        else:
            head = json.loads(body)
            points = head["points"]
        with self._lock:
            for index, point in enumerate(points):
                self.points[head["writer_id"], head["epoch"], head["first_seq"] + index] = len(point["metrics"])
                self.delivered += len(point["metrics"])


@pytest.fixture
def spoiler(real: Real, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StandIn, Relay]]:
    """A proxy before the real server, and what it knows of the deliveries."""
    relay = Relay(real)
    proxy = StandIn(relay)
    monkeypatch.setenv("ARWANDB_BASE_URL", proxy.base_url)
    yield proxy, relay
    proxy.stop()


def test_lost_answers_doubled_and_late_requests_of_eight_writers_leave_exact_counts(
    spoiler: tuple[StandIn, Relay], real: Real, script: Script
) -> None:
    proxy, relay = spoiler
    chance, fates = random.Random(8), {"lose": 0, "twice": 0, "late": 0, None: 0}

    def fault(method: str, path: str) -> str | None:
        lot = chance.random()
        fate = "lose" if lot < 0.2 else "twice" if lot < 0.4 else "late" if lot < 0.5 else None
        fates[fate] += 1
        return fate

    proxy.fault = fault
    entries = 6250 if FULL else 500
    body = """
arwandb.init(id="spoilt", project="proofs")
for step in range(int(sys.argv[1])):
    arwandb.log({"loss": float(step), "lr": 0.5})
    if step % 50 == 0:
        time.sleep(0.02)
arwandb.finish(timeout=150)
"""
    running = [script(body, str(entries), ARWANDB_WRITER_ID=f"rank{number}") for number in range(8)]
    for process in running:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    proxy.settle()

    receipt = real.receipt("spoilt")
    assert receipt["points_stored"] == 8 * 2 * entries
    assert receipt["points_committed"] == relay.delivered
    assert receipt["duplicates_collapsed"] == relay.delivered - sum(relay.points.values())
    assert (receipt["lost"], receipt["conflicts"], receipt["intact"]) == (0, 0, True)
    assert len(receipt["writers"]) == 8
    assert min(fates.values()) > 0
    print(f"fates {fates}, {receipt['duplicates_collapsed']} points collapsed")


# A short life with everything in it: several writes, a forced file, papers, acknowledgements, the end.
SHORT = """
run = arwandb.init(id="short", project="proofs", mode=sys.argv[1])
for step in range(300):
    arwandb.log({"loss": float(step)})
    if step % 60 == 0:
        time.sleep(0.1)
        if len(sys.argv) > 2:
            with open(sys.argv[2], "w") as file:
                file.write(str(run.status()["spooled"]))
arwandb.finish()
"""
CALLS = "write,fsync,rename,unlink,ftruncate"

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def traced(folder: Path, inject: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run SHORT while the kernel fails or kills it at a chosen call."""
    path = folder / "short.py"
    path.write_text("import os, sys, time\nimport arwandb\n" + SHORT)
    command = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={CALLS}", "-e", f"inject={inject}"]
    environ = {**os.environ, "PYTHONPATH": str(SDK), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*command, sys.executable, str(path), *arguments], env=environ, cwd=folder,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@needs_strace
def test_a_kill_at_any_call_to_the_disk_loses_nothing_that_was_spooled(
    standin: StandIn, tmp_path: Path, spool: Path
) -> None:
    deaths = 0
    for call in CALLS.split(","):
        for number in range(1, 200, 1 if FULL else 3):
            shutil.rmtree(spool, ignore_errors=True)
            mark = tmp_path / "mark"
            mark.unlink(missing_ok=True)
            standin.model.entries.clear()
            standin.model.runs.clear()
            done = traced(tmp_path, f"{call}:signal=KILL:when={number}", "offline", str(mark))
            least = int(mark.read_text() or 0) if mark.exists() else 0
            receipts = arwandb.sync() if list(spool.glob("*/*.spool")) else []
            stored = standin.model.values("short", "loss") if receipts else []
            assert stored == [float(step) for step in range(len(stored))]
            assert len(stored) >= least, (call, number)
            assert all(not receipt.faults for receipt in receipts), (call, number, receipts)
            if done.returncode == 0:
                assert len(stored) == 300
                break
            assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
            deaths += 1
    assert deaths > 3
    print(f"killed at {deaths} calls")


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error_of_any_call_to_the_disk_costs_no_point_while_the_server_is_there(
    standin: StandIn, tmp_path: Path, spool: Path, error: str
) -> None:
    runs = 0
    for call in CALLS.split(","):
        # Once at the Nth call, and at each from there on.
        for number in [*range(1, 16), "1+", "2+", "5+"] if FULL else [1, 3] if error == "EIO" else ["1+", "3+"]:
            shutil.rmtree(spool, ignore_errors=True)
            standin.model.entries.clear()
            standin.model.runs.clear()
            done = traced(tmp_path, f"{call}:error={error}:when={number}", "online")
            assert done.returncode == 0, done.stderr
            assert standin.model.values("short", "loss") == [float(step) for step in range(300)], (call, number)
            assert standin.model.receipt("short")["intact"]
            assert "Traceback" not in done.stderr
            runs += 1
    print(f"{runs} runs with {error}")


def test_a_process_that_was_stopped_for_long_goes_on_where_it_was(standin: StandIn, script: Script) -> None:
    process = script("""
arwandb.init(id="stopped")
for step in range(400):
    arwandb.log({"loss": float(step)})
    time.sleep(0.003)
arwandb.finish()
""")
    time.sleep(0.8)
    process.send_signal(signal.SIGSTOP)
    time.sleep(60 if FULL else 1.5)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert standin.model.values("stopped", "loss") == [float(step) for step in range(400)]
    assert standin.model.receipt("stopped")["intact"]


def test_a_clock_that_jumps_changes_no_order_and_delays_nothing(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arwandb import runs

    year = 365 * 86400.0
    moments = [1.8e9, 1.8e9 + year, 1.8e9 - year, 0.0, 1.8e9 + 0.5]
    monkeypatch.setattr(runs, "_now", lambda: moments[0])
    run = arwandb.init()
    for number, moment in enumerate(moments):
        moments[0] = moment
        for step in range(100):
            run.log({"loss": float(number * 100 + step)})
        time.sleep(0.1)
    start = time.monotonic()
    run.finish()
    assert time.monotonic() - start < 10
    assert standin.model.values(run.id, "loss") == [float(step) for step in range(500)]
    assert {point["ts"] for point in standin.model.points(run.id)} == {
        1.8e9,
        1.8e9 + year,
        1.8e9 - year,
        0.0,
        1.8e9 + 0.5,
    }


def test_no_free_descriptor_hurts_nobody(standin: StandIn, script: Script) -> None:
    body = """
import resource
run = arwandb.init(id="fds", flush_interval=0.2)
few = len(os.listdir("/proc/self/fd")) - 1
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
for step in range(2000):
    arwandb.log({"loss": float(step)})
    if step % 200 == 0:
        time.sleep(0.1)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
arwandb.finish()
"""
    process = script(body)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert standin.model.values("fds", "loss") == [float(step) for step in range(2000)]
    assert "Traceback" not in err


MOUNTS = {
    "read-only": ("mount -t tmpfs none {0} && mount -o remount,ro {0}", "cannot write to"),
    "full from the start": ("mount -t tmpfs -o size=4k,nr_inodes=8 none {0} && head -c 4096 /dev/zero > {0}/ballast", "cannot write to"),
    "soon full": ("mount -t tmpfs -o size=64k none {0}", "cannot write to"),
}  # fmt: skip


@pytest.mark.parametrize("mount", MOUNTS)
def test_a_file_system_that_takes_nothing_costs_no_point(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script, mount: str
) -> None:
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("name spaces of mounts are not permitted here")
    place = tmp_path / "place"
    place.mkdir()
    command, warning = MOUNTS[mount]
    body = """
run = arwandb.init(id="ro", project="p")
for step in range(5000):
    arwandb.log({"loss": float(step)})
    if step % 100 == 0:
        time.sleep(0.004)
arwandb.finish()
"""
    path = tmp_path / "script.py"
    path.write_text("import os, sys, time\nimport arwandb\n" + body)
    environ = {**os.environ, "PYTHONPATH": str(SDK), "ARWANDB_DIR": str(place / "spool"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{command.format(place)} && exec {sys.executable} {path}"],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert standin.model.values("ro", "loss") == [float(step) for step in range(5000)]
    assert standin.model.receipt("ro")["intact"]
    assert done.stderr.count(warning) == 1, done.stderr


def test_a_disk_as_slow_as_a_bad_network_drive_slows_no_call(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from arwandb.disk import File

    write, sync = File.write, File.sync

    def slowly(call: Callable[..., Any]) -> Callable[..., Any]:
        def slow(self: File, *given: Any) -> Any:
            time.sleep(0.3)
            return call(self, *given)

        return slow

    monkeypatch.setattr(File, "write", slowly(write))
    monkeypatch.setattr(File, "sync", slowly(sync))
    start = time.monotonic()
    run = arwandb.init()
    calls = []
    for step in range(2000):
        before = time.perf_counter()
        run.log({"loss": float(step)})
        calls.append(time.perf_counter() - before)
        time.sleep(0.0005)
    assert sum(call > 0.1 for call in calls) < 5  # each that waited for the disk took three tenths of a second
    run.finish()
    assert time.monotonic() - start < 20
    assert standin.model.values(run.id, "loss") == [float(step) for step in range(2000)]
