"""The life of the training process: every way to end, forks, ranks, threads, and Python versions."""

import glob
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arwandb
import pytest

from tests.sdk.conftest import SDK, Real, until
from tests.sdk.model import Answer
from tests.sdk.standin import StandIn

FULL = os.environ.get("ARWX_FULL") == "1"
Script = Callable[..., "subprocess.Popen[str]"]

LOOP = """
run = arwandb.init(id="the-run")
for step in range(200):
    arwandb.log({"loss": float(step)})
"""


def ended(process: "subprocess.Popen[str]", seconds: float = 30) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [
        ("", 0, "finished"), ("raise ValueError('boom')", 1, "failed"), ("sys.exit(3)", 3, "failed"), ("sys.exit()", 0, "finished"),
        ("exit(3)", 3, "failed"), ("quit('no')", 1, "failed"), ("exit()", 0, "finished"),
        ("raise KeyboardInterrupt", -2, "killed"), ("os.kill(os.getpid(), 2); time.sleep(9)", -2, "killed"),
        ("os.kill(os.getpid(), 15); time.sleep(9)", -15, "killed"),
        ("arwandb.finish(exit_code=1)", 0, "failed"), ("arwandb.finish(1)", 0, "failed"), ("arwandb.finish('KILLED')", 0, "killed"),
    ],
)  # fmt: skip
def test_every_end_delivers_and_leaves_the_exit_code_alone(
    standin: StandIn, script: Script, end: str, code: int, status: str
) -> None:
    found, _, err = ended(script(LOOP + end))
    assert found == code, err
    assert len(standin.model.points("the-run")) == 200
    assert standin.model.runs["the-run"]["status"] == status
    assert standin.model.receipt("the-run")["intact"]


def test_with_notes_how_the_block_ended(standin: StandIn) -> None:
    with arwandb.init(id="good") as run:
        run.log({"loss": 1.0})
    with pytest.raises(ZeroDivisionError), arwandb.init(id="bad"):
        arwandb.log({"loss": 1 / 0})
    with pytest.raises(SystemExit), arwandb.init(id="left"):
        sys.exit(3)
    with pytest.raises(KeyboardInterrupt), arwandb.init(id="stopped"):
        raise KeyboardInterrupt
    statuses = {name: run["status"] for name, run in standin.model.runs.items()}
    assert statuses == {"good": "finished", "bad": "failed", "left": "failed", "stopped": "killed"}


def test_a_handler_of_sigterm_stays(standin: StandIn, script: Script) -> None:
    body = (
        "import signal\nsignal.signal(15, lambda *_: sys.exit(7))\n" + LOOP + "os.kill(os.getpid(), 15); time.sleep(9)"
    )
    assert ended(script(body))[0] == 7
    assert len(standin.model.points("the-run")) == 200


def test_os_exit_loses_at_most_a_tenth_of_a_second(standin: StandIn, script: Script, spool: Path) -> None:
    standin.stop()
    assert ended(script(LOOP + "time.sleep(1)\nos._exit(9)"))[0] == 9
    standin.restart()
    (receipt,) = arwandb.sync()
    assert receipt.delivered == 200
    assert receipt.is_intact


def test_kill_9_at_any_moment_loses_nothing_that_was_spooled(real: Real, script: Script, spool: Path) -> None:
    chance, killed, recovered = random.Random(9), 0, 0
    body = """
run = arwandb.init(mode="offline", project="killed")
print(run.id, flush=True)
for step in range(50_000):
    arwandb.log({"loss": float(step), "lr": 0.5})
    if step % 500 == 0:
        os.write(1, b"%d\\n" % run.status()["spooled"])
        time.sleep(0.005)
"""
    for _ in range(200 if FULL else 6):
        process = script(body)
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        time.sleep(chance.uniform(0.02, 0.7))
        killed += process.poll() is None
        process.kill()
        rest, _ = process.communicate()
        marks = [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        found = arwandb.sync(str(spool / run))
        if found:
            (receipt,) = found
            assert not receipt.faults
            assert receipt.delivered >= max(marks, default=0)
            recovered += receipt.delivered
            server = real.receipt(run)
            assert server["points_stored"] == 2 * receipt.delivered
            assert (server["lost"], server["duplicates_collapsed"], server["intact"]) == (0, 0, True)
        else:
            assert max(marks, default=0) == 0
    assert killed > 0
    print(f"{killed} killed at work, {recovered} entries recovered")


def test_the_same_script_three_times_under_one_name_is_three_times_stored(real: Real, script: Script) -> None:
    for _ in range(3):
        code, _, err = ended(script(LOOP, ARWANDB_RUN_ID="thrice", ARWANDB_WRITER_ID="rank0", ARWANDB_PROJECT="again"))
        assert code == 0, err
    # The script names its run itself; arguments come before the environment.
    receipt = real.receipt("the-run")
    assert receipt["points_stored"] == 600
    assert receipt["intact"]
    assert [writer["writer_id"] for writer in receipt["writers"]] == ["rank0"] * 3


FORK = """
import signal, threading
signal.alarm(20)
run = arwandb.init(id="forked")
arwandb.log({"loss": -1.0})
engine = run._engine
from arwandb.late import loading
locks = [run._lock, engine.papers._lock, engine.spool._lock, engine.buffer._lock, loading, engine._wake_sender._cond, engine._wake_writer._cond]
for number in range(int(sys.argv[1])):
    lock = locks[number % len(locks)]
    held, free = threading.Event(), threading.Event()
    def hold():
        with lock:
            held.set()
            free.wait(0.02 if lock is loading else 5)
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        import gc
        gc.collect()
        if number % 3 == 0:
            arwandb.log({"loss": float(number)})
            arwandb.finish(timeout=10)
        os._exit(0)
    free.set()
    holder.join()
    _, status = os.waitpid(child, 0)
    assert status == 0, status
arwandb.log({"loss": -2.0})
arwandb.finish()
"""


def test_a_fork_with_any_lock_held_hangs_nobody(standin: StandIn, script: Script) -> None:
    count = 200 if FULL else 28
    code, _, err = ended(script(FORK.replace("alarm(20)", "alarm(120)"), str(count), python=sys.executable), 130)
    assert code == 0, err
    values = sorted(standin.model.values("forked", "loss"))
    assert values == [-2.0, -1.0, *(float(number) for number in range(0, count, 3))]
    epochs = {epoch for _, _, epoch, _ in standin.model.entries}
    assert len(epochs) == 1 + len(range(0, count, 3))
    assert standin.model.runs["forked"]["status"] == "finished"
    assert standin.model.conflicts == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing_deliver_before_they_end(standin: StandIn, script: Script, method: str) -> None:
    body = """
import multiprocessing
def work(number):
    if multiprocessing.get_start_method() != "fork":
        arwandb.init(id="many", writer_id=f"w{number}")
    for step in range(50):
        arwandb.log({"loss": float(step)})
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    arwandb.init(id="many", writer_id="main")
    arwandb.log({"loss": -1.0})
    workers = [multiprocessing.Process(target=work, args=(number,)) for number in range(3)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    arwandb.finish()
"""
    code, _, err = ended(script(body, method))
    assert code == 0, err
    assert sorted(standin.model.values("many", "loss")) == sorted([-1.0, *(3 * [float(step) for step in range(50)])])


def test_a_pool_that_is_torn_down_hangs_nobody(standin: StandIn, script: Script) -> None:
    """A pool ends its workers by SIGTERM, as they sit in a read; data loaders do the same."""
    body = """
import multiprocessing
def work(number):
    arwandb.log({"loss": float(number)})
    return number
if __name__ == "__main__":
    run = arwandb.init(id="pool")
    arwandb.log({"loss": -1.0})
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert sum(pool.imap(work, range(30))) == 435
        time.sleep(0.3)
    arwandb.finish()
"""
    code, _, err = ended(script(body))
    assert code == 0, err
    assert sorted(standin.model.values("pool", "loss")) == [-1.0, *(float(number) for number in range(30))]
    assert standin.model.runs["pool"]["status"] == "finished"


def test_what_ended_children_left_is_delivered_by_their_parent(standin: StandIn, script: Script, spool: Path) -> None:
    body = """
import signal
run = arwandb.init(id="nursery")
pids = []
for number, kind in enumerate([signal.SIGTERM, signal.SIGKILL]):
    pid = os.fork()
    if pid == 0:
        arwandb.log({"loss": float(number)})
        while not run.status()["spooled"]:
            time.sleep(0.01)
        open(f"spooled{number}", "w").close()
        time.sleep(30)
    pids.append((pid, kind))
while not (os.path.exists("spooled0") and os.path.exists("spooled1")):
    time.sleep(0.01)
for pid, kind in pids:
    os.kill(pid, kind)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -kind
arwandb.log({"loss": -1.0})
arwandb.finish()
"""
    code, _, err = ended(script(body, ARWANDB_FLUSH_INTERVAL="20"))
    assert (code, err) == (0, "")
    assert sorted(standin.model.values("nursery", "loss")) == [-1.0, 0.0, 1.0]
    assert standin.model.runs["nursery"]["status"] == "finished"
    assert not (spool / "nursery").exists()


def test_sigterm_while_finish_waits_does_not_cut_the_delivery(standin: StandIn, script: Script) -> None:
    body = """
import signal, threading
arwandb.init(id="cut")
arwandb.log({"loss": 1.0})
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
arwandb.finish()
time.sleep(10)
"""
    slow = threading.Event()

    def fault(method: str, path: str) -> Answer | None:
        if path == "/v1/ingest" and not slow.is_set():
            slow.set()
            time.sleep(1.0)
        return None

    standin.fault = fault
    code, _, err = ended(script(body))
    assert code == -signal.SIGTERM, err
    assert standin.model.values("cut", "loss") == [1.0]
    assert standin.model.runs["cut"]["status"] == "finished"


def test_several_ranks_share_one_run_while_the_server_dies_twice(real: Real, script: Script, tmp_path: Path) -> None:
    ranks, each = (32, 5000) if FULL else (4, 999)
    body = """
arwandb.init(id="shared-run", project="ranks")
count = int(sys.argv[1])
for step in range(count):
    arwandb.log({"loss": float(step)})
    if step % 50 == 0:
        time.sleep(0.01)
    if step == count // 3:
        print("a third", flush=True)
        while not os.path.exists("died"):
            time.sleep(0.02)
    if step == 2 * count // 3:
        print("two thirds", flush=True)
        while not os.path.exists("died-again"):
            time.sleep(0.02)
arwandb.finish(timeout=60)
"""
    running = [script(body, str(each), ARWANDB_WRITER_ID=f"rank{number}") for number in range(ranks)]
    for sign in ("died", "died-again"):
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline()
        real.kill()
        (tmp_path / sign).touch()
        time.sleep(0.3)
        real.start()
    for process in running:
        code, _, err = ended(process, 120)
        assert code == 0, err
    receipt = real.receipt("shared-run")
    assert receipt["points_stored"] == ranks * each
    assert receipt["intact"], receipt["problems"]
    assert len(receipt["writers"]) == ranks


def test_threads_may_log_at_once(standin: StandIn) -> None:
    import threading

    run = arwandb.init()
    threads = [
        threading.Thread(target=lambda name=name: [run.log({name: float(step)}) for step in range(2000)])
        for name in ("a", "b", "c", "d")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arwandb.finish()
    for name in ("a", "b", "c", "d"):
        assert standin.model.values(run.id, name) == [float(step) for step in range(2000)]


def test_init_again_finishes_the_run_before(standin: StandIn) -> None:
    first = arwandb.init()
    arwandb.log({"loss": 1.0})
    assert arwandb.init(reinit=False) is first
    second = arwandb.init()
    arwandb.log({"loss": 2.0})
    arwandb.finish()
    arwandb.finish()
    assert standin.model.values(first.id, "loss") == [1.0]
    assert standin.model.values(second.id, "loss") == [2.0]
    assert standin.model.runs[first.id]["status"] == "finished"


def test_log_after_finish_is_harmless(standin: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    run = arwandb.init()
    run.finish()
    for _ in range(3):
        run.log({"loss": 1.0})
    assert standin.model.entries == {}
    assert capsys.readouterr().err.count("after finish") == 1


def test_a_spool_that_cannot_be_is_replaced_by_a_temporary_one(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ARWANDB_DIR", str(tmp_path / "file"))
    run = arwandb.init()
    assert run.dir.startswith(os.environ.get("TMPDIR", "/tmp"))
    assert Path(run.dir).parent.stat().st_mode & 0o777 == 0o700
    arwandb.log({"loss": 1.0})
    arwandb.finish()
    assert standin.model.values(run.id, "loss") == [1.0]
    assert capsys.readouterr().err.count("cannot write") == 1


def test_without_any_disk_points_go_straight_to_the_server(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tempfile

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ARWANDB_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(tmp_path / "file"))
    run = arwandb.init()
    for step in range(6000):
        arwandb.log({"loss": float(step)})
    arwandb.finish()
    assert standin.model.values(run.id, "loss") == [float(step) for step in range(6000)]
    assert capsys.readouterr().err.count("\n") == 1


def test_a_full_disk_hurts_nobody(standin: StandIn, script: Script) -> None:
    """A file-size limit gives a short write first and then an error, like a disk that fills up."""
    body = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = arwandb.init(id="full")
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
for step in range(5000):
    arwandb.log({"loss": float(step)})
    if step % 100 == 0:
        time.sleep(0.005)
arwandb.finish()
"""
    code, _, err = ended(script(body))
    assert code == 0, err
    assert standin.model.values("full", "loss") == [float(step) for step in range(5000)]
    assert standin.model.receipt("full")["intact"]


def pythons() -> list[Any]:
    """The versions that are promised; those that are not installed are skipped by name."""
    found = []
    for version in ("3.10", "3.11", "3.12", "3.13"):
        paths = sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")))
        missing = pytest.mark.skip(reason=f"Python {version} is not installed")
        found.append(pytest.param(paths[-1] if paths else "", id=version, marks=[] if paths else [missing]))
    return found


@pytest.mark.parametrize("python", pythons())
def test_every_promised_python_logs_forks_and_finishes(standin: StandIn, script: Script, python: str) -> None:
    body = """
import warnings
warnings.simplefilter("error", SyntaxWarning)
run = arwandb.init(id="v", config={"lr": 1.0}, system_metrics=True, system_interval=1)
for step in range(1000):
    arwandb.log({"loss": float(step), "deep": {"er": True}})
child = os.fork()
if child == 0:
    arwandb.log({"child": 1.0})
    sys.exit(0)
os.waitpid(child, 0)
time.sleep(1.3)
"""
    code, _, err = ended(script(body, python=python))
    assert code == 0, err
    assert standin.model.values("v", "loss") == [float(step) for step in range(1000)]
    assert standin.model.values("v", "child") == [1.0]
    assert standin.model.values("v", "system/memory")
    assert standin.model.runs["v"]["status"] == "finished"
    assert "Traceback" not in err


def test_import_is_quick_and_light(script: Script) -> None:
    body = """
import json
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4
print(json.dumps({"modules": sorted(sys.modules)}))
"""
    code, out, err = ended(script(body))
    assert code == 0, err
    loaded = set(json.loads(out)["modules"])
    assert (
        not loaded
        & {"ssl", "http.client", "email", "subprocess", "urllib.request", "asyncio", "random", "numpy", "tempfile"}
        - bare()
    )


def bare() -> set[str]:
    """What this Python loads by itself."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_at_most_three_threads_are_added(standin: StandIn) -> None:
    import threading

    before = threading.active_count()
    arwandb.init(system_metrics=True)
    assert threading.active_count() - before <= 3 + len(
        [name for name in threading.enumerate() if "process_request" in name.name]
    )
    assert signal.getsignal(signal.SIGTERM) is not None
    assert SDK.exists()
    until(lambda: True)
