"""Recording without a server, and delivering later: any number of times, and while the writer still writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arwandb
import pytest
from arwandb import cli, offline

from tests.sdk.conftest import Real, until
from tests.sdk.standin import StandIn


def test_an_offline_run_is_delivered_with_all_its_papers(
    real: Real, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = arwandb.init(project="char-lm", mode="offline", name="later", config={"lr": 1e-3}, tags=["a"])
    run.config.layers = 4
    for step in range(500):
        arwandb.log({"loss": float(step), "bad": float("nan")})
    run.summary["best"] = 0.25
    arwandb.finish("failed")
    assert "python -m arwandb sync" in capsys.readouterr().err

    (receipt,) = arwandb.sync()
    assert receipt.is_intact
    assert receipt.delivered == 500
    assert receipt.server["points_stored"] == 500
    assert receipt.server["skipped_nonfinite"] == 500
    stored = real.run(run.id)
    assert (stored["status"], stored["name"], stored["tags"]) == ("failed", "later", ["a"])
    assert stored["config"] == {"lr": 1e-3, "layers": 4}
    assert stored["summary"] == {"best": 0.25}

    (again,) = arwandb.sync(str(spool / run.id))
    assert again.is_intact
    assert again.delivered == 0
    assert again.server["duplicates_collapsed"] == 0


def test_a_copied_spool_is_delivered_twice_and_stored_once(real: Real, spool: Path, tmp_path: Path) -> None:
    import shutil

    run = arwandb.init(mode="offline")
    for step in range(300):
        arwandb.log({"loss": float(step)})
    arwandb.finish()
    shutil.copytree(spool / run.id, tmp_path / "copy" / run.id)

    (first,) = arwandb.sync(str(spool))
    (second,) = arwandb.sync(str(tmp_path / "copy"))
    assert first.is_intact
    assert second.is_intact
    assert second.server["points_stored"] == 300
    assert second.server["duplicates_collapsed"] == 300


def test_sync_beside_a_live_writer_delivers_what_is_there(standin: StandIn, spool: Path) -> None:
    run = arwandb.init(mode="offline")
    rounds = 500 if offline.os.environ.get("ARWX_FULL") == "1" else 40
    for number in range(rounds):
        for step in range(50):
            arwandb.log({"loss": float(number * 50 + step)})
        run._engine._wake_writer.set()
        receipts = arwandb.sync(str(spool / run.id)) if any(spool.glob("*/*.spool")) else []
        assert all(not receipt.faults and receipt.damaged_bytes == 0 for receipt in receipts)
    arwandb.finish()
    (receipt,) = arwandb.sync(str(spool / run.id))

    assert receipt.is_intact
    assert standin.model.values(run.id, "loss") == [float(step) for step in range(rounds * 50)]
    assert standin.model.duplicates == 0


def test_a_long_sync_shows_how_far_it_is_where_somebody_looks(
    standin: StandIn, spool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = arwandb.init(mode="offline")
    standin.model.max_entries = 1000  # so that it takes several requests
    for step in range(3000):
        arwandb.log({"loss": float(step)})
    arwandb.finish(quiet=True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert cli.main(["sync"]) == 0
    said = capsys.readouterr()
    shown = [int(part.partition("/")[0].rpartition(" ")[2]) for part in said.err.split("\r") if "/3000" in part]
    assert shown == sorted(shown)
    assert len(shown) >= 3
    assert shown[-1] == 3000
    assert said.out == f"run {run.id}: 3000 points stored, 0 resent, 0 lost, 3000 entries delivered now, intact\n"


def test_two_syncs_at_once_keep_apart(standin: StandIn, spool: Path) -> None:
    run = arwandb.init(mode="offline")
    arwandb.log({"loss": 1.0})
    arwandb.finish()
    (one,) = offline.streams(str(spool / run.id))
    lock = one.disk.open(one.reader.path(".lock"))
    assert lock.lock()
    (receipt,) = arwandb.sync()
    assert not receipt.is_intact
    assert "another process" in str(receipt)
    lock.close()
    assert arwandb.sync()[0].is_intact


def test_what_an_online_run_could_not_deliver_is_synced_later(
    standin: StandIn, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standin.stop()
    run = arwandb.init(config={"lr": 1.0})
    for step in range(100):
        arwandb.log({"loss": float(step)})
    arwandb.finish(timeout=0.3)
    assert "100 of 100 entries are kept, not delivered yet" in capsys.readouterr().err
    standin.restart()

    assert cli.main(["status"]) == 1
    assert cli.main(["verify"]) == 1
    assert cli.main(["sync", str(spool)]) == 0
    assert "intact" in capsys.readouterr().out
    assert cli.main(["status"]) == 0
    assert cli.main(["verify"]) == 0
    assert cli.main(["ls"]) == 0
    assert run.id in capsys.readouterr().out
    assert standin.model.runs[run.id]["status"] == "finished"
    assert standin.model.values(run.id, "loss") == [float(step) for step in range(100)]


def test_damage_is_told_and_the_exit_code_says_so(
    standin: StandIn, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = arwandb.init(mode="offline")
    for step in range(100):
        arwandb.log({"loss": float(step)})
    arwandb.finish()
    (segment,) = spool.glob("*/*.spool")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)

    assert cli.main(["sync"]) == 1
    assert "damaged bytes set aside" in capsys.readouterr().out
    assert len(standin.model.entries) == 99
    assert not standin.model.receipt(run.id)["intact"]


def test_a_server_that_is_away_makes_sync_give_up_in_time(standin: StandIn, spool: Path) -> None:
    arwandb.init(mode="offline")
    arwandb.log({"loss": 1.0})
    arwandb.finish()
    standin.stop()
    (receipt,) = offline.sync(str(spool), give_up_s=0.5)
    assert receipt.waiting == 1
    assert not receipt.is_intact
    assert "refused" in str(receipt)
    standin.restart()
    standin.fault = lambda method, path: (503, {}, b"")
    (receipt,) = offline.sync(str(spool), give_up_s=0.5)
    assert "the server answers 503" in str(receipt)
    standin.fault = lambda method, path: None
    assert arwandb.sync()[0].is_intact


def test_a_server_that_says_no_ends_a_sync_at_once(
    standin: StandIn, spool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import time

    arwandb.init(id="r", mode="offline", project="mine")
    arwandb.log({"loss": 1.0})
    arwandb.finish(quiet=True)
    start = time.monotonic()
    monkeypatch.setenv("ARWANDB_API_KEY", "arwx_live_wrong")
    assert cli.main(["sync"]) == 1
    assert "the API key is refused" in capsys.readouterr().out
    monkeypatch.setenv("ARWANDB_API_KEY", standin.key)
    standin.model.runs["r"] = {"id": "r", "project": "theirs", "config": {}, "summary": {}}
    assert cli.main(["sync"]) == 1
    assert "the run is refused: the run is there already" in capsys.readouterr().out
    assert time.monotonic() - start < 20  # of the thirty for which each of the two would go on trying
    del standin.model.runs["r"]
    assert cli.main(["sync"]) == 0


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["sync", "/nowhere/at/all"], ["sync", "a", "b"], ["sync", "--force"]]
)
def test_commands_that_cannot_start_say_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err


def test_an_empty_spool_is_fine(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sync"]) == 0
    assert "nothing" in capsys.readouterr().out


def test_login_keeps_the_key_for_this_server(standin: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ARWANDB_API_KEY")
    assert cli.main(["login", standin.key]) == 0
    path = tmp_path / "config" / "arwandb" / "credentials.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {standin.base_url: standin.key}
    run = arwandb.init()
    arwandb.log({"loss": 1.0})
    arwandb.finish()
    assert standin.model.values(run.id, "loss") == [1.0]


def test_the_module_runs_as_a_command(real: Real, script: Callable[..., Any], spool: Path) -> None:
    import subprocess
    import sys

    from tests.sdk.conftest import SDK

    arwandb.init(mode="offline")
    arwandb.log({"loss": 1.0})
    arwandb.finish()
    environ = {**offline.os.environ, "PYTHONPATH": str(SDK)}
    done = subprocess.run(
        [sys.executable, "-m", "arwandb", "sync"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1 points stored" in done.stdout
    until(lambda: True)
