"""What `log()` takes, leaves out and counts, and how it arrives."""

import math
import os
import time
from pathlib import Path

import arwandb
import numpy as np
import pytest
from arwandb import buffer
from arwandb.disk import File

from tests.sdk.conftest import until
from tests.sdk.standin import StandIn


def test_a_plain_loop_arrives_whole_and_in_order(standin: StandIn, spool: Path) -> None:
    run = arwandb.init(project="char-lm", config={"lr": 3e-4})
    for step in range(1000):
        arwandb.log({"loss": 1.0 / (step + 1), "lr": 3e-4})
    arwandb.finish()

    points = standin.model.points(run.id)
    assert [point["step"] for point in points] == list(range(1000))
    assert standin.model.values(run.id, "loss") == [1.0 / (step + 1) for step in range(1000)]
    assert standin.model.runs[run.id]["status"] == "finished"
    assert standin.model.runs[run.id]["config"] == {"lr": 3e-4}
    assert standin.model.receipt(run.id)["intact"]
    assert standin.model.runs[run.id]["expected"][0]["points"] == 2000
    # What is delivered leaves nothing behind.
    assert [path.name for path in spool.iterdir()] == [".gitignore"]


def test_many_calls_are_few_requests_over_one_connection(standin: StandIn) -> None:
    arwandb.init()
    for step in range(20_000):
        arwandb.log({"a": step, "b": 1.5, "c": 2.5, "d": 3.5, "e": 4.5})
    start = time.monotonic()
    arwandb.finish()

    assert time.monotonic() - start < 10
    assert len(standin.model.entries) == 20_000
    assert len(standin.model.requests) < 150
    assert standin.connections == 1


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (True, 1), (7, 7), (2.5, 2.5), (np.float32(0.5), 0.5), (np.float64(1e-300), 1e-300), (np.int64(-3), -3), (np.bool_(True), 1),
        (np.array(2.0), 2.0), (np.array([4.0]), 4.0), (-0.0, -0.0), (5e-324, 5e-324), (2**53 - 1, 2**53 - 1), (2**70, float(2**70)),
    ],
)  # fmt: skip
def test_numbers_of_every_kind_arrive_bit_for_bit(standin: StandIn, given: object, stored: float) -> None:
    run = arwandb.init()
    arwandb.log({"x": given})
    arwandb.finish()

    (value,) = standin.model.values(run.id, "x")
    assert math.copysign(1, value) == math.copysign(1, stored)
    assert value == stored


@pytest.mark.parametrize(
    "given",
    [
        None,
        "0.5",
        b"1",
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        [1.0],
        np.array([1.0, 2.0]),
        object(),
        1j,
        np.float32("nan"),
    ],
)
def test_what_is_no_finite_number_is_left_out_and_counted(standin: StandIn, given: object) -> None:
    run = arwandb.init()
    arwandb.log({"bad": given, "good": 1.0})
    arwandb.finish()

    (point,) = standin.model.points(run.id)
    assert point["metrics"] == {"good": 1.0}
    assert point["nonfinite"] == ["bad"]
    assert run.status()["skipped"] == 1


def test_tensors_are_read_at_once(standin: StandIn) -> None:
    class Tensor:
        """As torch has them: mutable, with item() and no float in sight."""

        def __init__(self, value: float) -> None:
            self.value = value

        def item(self) -> float:
            return self.value

    run = arwandb.init()
    loss, array, inner = Tensor(1.0), np.array(1.0), {"acc": 1.0}
    metrics = {"loss": loss, "array": array, "train": inner}
    arwandb.log(metrics)
    loss.value, array[...], inner["acc"], metrics["new"] = 2.0, 2.0, 2.0, 2.0
    arwandb.finish()

    (point,) = standin.model.points(run.id)
    assert point["metrics"] == {"loss": 1.0, "array": 1.0, "train/acc": 1.0}


def test_a_dict_that_is_used_again_does_not_change_what_was_logged(standin: StandIn) -> None:
    run = arwandb.init()
    metrics = {"loss": 0.0}
    for step in range(100):
        metrics["loss"] = float(step)
        arwandb.log(metrics)
    arwandb.finish()

    assert standin.model.values(run.id, "loss") == [float(step) for step in range(100)]


def test_nested_metrics_are_flattened(standin: StandIn) -> None:
    run = arwandb.init()
    loop: dict[str, object] = {"x": 1.0}
    loop["self"] = loop
    arwandb.log({"train": {"loss": 1.0, "deep": {"er": 2.0}}, "val": 3.0})
    arwandb.log(loop)
    arwandb.finish()

    first, second = standin.model.points(run.id)
    assert first["metrics"] == {"train/loss": 1.0, "train/deep/er": 2.0, "val": 3.0}
    assert second["metrics"]["self/x"] == 1.0


def test_steps_go_on_from_the_greatest_and_may_go_back(standin: StandIn) -> None:
    run = arwandb.init()
    for step in (None, None, 10, None, 3, None, np.int64(20), None):
        arwandb.log({"x": 1.0}, step=step)
    arwandb.finish()

    assert [point["step"] for point in standin.model.points(run.id)] == [0, 1, 10, 11, 3, 12, 20, 21]


@pytest.mark.parametrize("step", [-1, 2**53, "seven", 1.5, math.nan])
def test_a_strange_step_loses_no_point(standin: StandIn, step: object) -> None:
    run = arwandb.init()
    arwandb.log({"x": 1.0}, step=step)  # type: ignore[arg-type]
    arwandb.finish()

    assert len(standin.model.points(run.id)) == 1


def test_commit_false_gathers_until_the_next_call(standin: StandIn) -> None:
    run = arwandb.init()
    arwandb.log({"a": 1.0}, commit=False)
    arwandb.log({"b": 2.0}, commit=False)
    arwandb.log({"c": 3.0})
    arwandb.log({"d": 4.0})
    arwandb.log({"e": 5.0}, commit=False)
    arwandb.finish()

    found = [(point["step"], point["metrics"]) for point in standin.model.points(run.id)]
    assert found == [(0, {"a": 1.0, "b": 2.0, "c": 3.0}), (1, {"d": 4.0}), (2, {"e": 5.0})]


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "\ud800", "\x7f"])
def test_a_name_that_cannot_be_is_left_out(standin: StandIn, name: str) -> None:
    run = arwandb.init()
    arwandb.log({name: 1.0, "good": 2.0})
    arwandb.finish()

    assert [point["metrics"] for point in standin.model.points(run.id)] == [{"good": 2.0}]
    assert run.status()["skipped"] == 1


def test_a_name_that_has_no_text_costs_nobody_else_a_point(standin: StandIn) -> None:
    class Nameless:
        def __str__(self) -> str:
            raise RuntimeError("no name")

    run = arwandb.init()
    for step in range(100):
        arwandb.log({"loss": float(step)} if step != 50 else {Nameless(): 1.0})  # type: ignore[dict-item]
    arwandb.finish()

    assert standin.model.values(run.id, "loss") == [float(step) for step in range(100) if step != 50]
    assert run.status()["skipped"] == 1


def test_any_other_name_arrives(standin: StandIn) -> None:
    run = arwandb.init()
    metrics = {"π/loss": 1.0, 'quo"te\\': 2.0, "😀": 3.0, "x" * 255: 4.0, " ": 5.0}
    arwandb.log({**metrics, 7: 6.0})  # type: ignore[dict-item]
    arwandb.finish()

    (point,) = standin.model.points(run.id)
    assert point["metrics"] == {**metrics, "7": 6.0}


def test_a_huge_entry_is_cut_and_whole(standin: StandIn) -> None:
    run = arwandb.init()
    arwandb.log({f"m{index}": float(index) for index in range(9000)})
    arwandb.finish()

    points = standin.model.points(run.id)
    merged = {name: value for point in points for name, value in point["metrics"].items()}
    assert merged == {f"m{index}": float(index) for index in range(9000)}
    assert {point["step"] for point in points} == {0}


@pytest.mark.parametrize("given", [None, 7, "loss", [1.0], {1.0}])
def test_what_is_no_mapping_never_raises(standin: StandIn, given: object) -> None:
    arwandb.init()
    arwandb.log(given)  # type: ignore[arg-type]
    arwandb.log({})
    arwandb.finish()

    assert standin.model.entries == {}


def test_points_are_on_disk_within_a_tenth_of_a_second(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = arwandb.init(mode="offline")
    arwandb.log({"x": 1.0})
    time.sleep(0.5)  # the rest is for a busy machine
    (segment,) = spool.glob("*/*.spool")
    assert b'"x":1.0' in segment.read_bytes()
    until(lambda: run.status()["synced"] == 1)


def test_files_are_for_their_owner_alone(spool: Path) -> None:
    run = arwandb.init(mode="offline")
    arwandb.log({"x": 1.0})
    arwandb.finish()

    assert (spool / run.id).stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (spool / run.id).iterdir()} == {0o600}


def test_a_link_that_was_put_in_the_way_is_not_written_through(spool: Path, tmp_path: Path) -> None:
    """Whoever can guess the names of a spool in a shared folder must not make us write elsewhere."""
    target = tmp_path / "precious"
    target.write_text("precious")
    run = arwandb.init(mode="offline", id="planted", writer_id="w")
    epoch = run._engine.identity.epoch
    for name in (f"w.{epoch}.000001.spool.new", f"w.{epoch}.run.{os.getpid()}.tmp", f"w.{epoch}.lock"):
        (spool / run.id / name).unlink(missing_ok=True)
        (spool / run.id / name).symlink_to(target)
    arwandb.log({"x": 1.0})
    run.config["lr"] = 1.0
    arwandb.finish()
    assert target.read_text() == "precious"


def test_where_nobody_drains_memory_is_bounded_and_drops_are_counted_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = arwandb.init(mode="offline")
    monkeypatch.setattr(buffer, "MAX_POINTS", 5000)
    monkeypatch.setattr(run._engine, "_write", lambda now: None)  # the spool thread is stuck
    time.sleep(0.2)
    start = time.monotonic()
    for step in range(200_000):
        run.log({"x": float(step)} if step % 2 else {"x": {"y": float(step)}})
    assert time.monotonic() - start < 10  # a call in vain costs no more than any other

    kept = len(run._buffer.queue)
    assert 5000 < kept < 8000
    assert run.status()["dropped"] + kept == 200_000
    run.finish(timeout=0.2)
    said = capsys.readouterr().err
    assert said.count("memory for them is full") == 1
    assert f"{200_000 - kept} points were dropped" in said
    assert f"{kept} entries could be neither written nor delivered" in said


def test_a_loop_that_does_nothing_but_log_is_slowed_and_loses_nothing(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer, "MAX_POINTS", 5000)
    run = arwandb.init(mode="offline")
    for step in range(60_000):
        run.log({"x": float(step)})
    run.finish()

    assert run.status()["dropped"] == 0
    assert run.status()["synced"] == 60_000


@pytest.mark.parametrize("fault", ["nobody there", "black hole", "disk full", "spool thread stopped", "server errors"])
def test_no_fault_is_felt_by_the_loop_that_logs(standin: StandIn, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are wide, since tests share their machine; the benchmarks give the figures."""
    import socket

    hole = socket.create_server(("127.0.0.1", 0), backlog=1)
    if fault == "nobody there":
        standin.stop()
    elif fault == "black hole":
        monkeypatch.setenv("ARWANDB_BASE_URL", f"http://127.0.0.1:{hole.getsockname()[1]}")
    elif fault == "server errors":
        standin.fault = lambda method, path: (503, {}, b"")
    run = arwandb.init()
    if fault == "disk full":

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(File, "write", refuse)
        standin.fault = lambda method, path: "drop"
    elif fault == "spool thread stopped":
        monkeypatch.setattr(run._engine, "_write", lambda now: None)
    calls = []
    for step in range(100_000):
        before = time.perf_counter()
        run.log({"a": step * 0.1, "b": 1.5, "c": 2.5, "d": 3.5, "e": 4.5})
        calls.append(time.perf_counter() - before)
        if step % 1000 == 0:
            time.sleep(0.001)
    calls.sort()
    hole.close()
    assert calls[len(calls) // 2] < 30e-6
    assert calls[len(calls) * 99 // 100] < 1e-3
    until(lambda: run.status()["logged"] + run.status()["dropped"] // 5 >= 100_000)
    run.finish(timeout=0.1, quiet=True)
