"""What init() notes of the code that runs: the commit, and what is changed and not committed."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arwandb
import pytest
from arwandb import change
from arwandb.http import Http, Request, Response

from tests.sdk.conftest import Real, until

Script = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, and a change that is not in it. Scripts of tests run in it."""
    setting = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    (tmp_path / ".gitignore").write_text("script*\nspool\nconfig\nserver\n")
    (tmp_path / "train.py").write_text("lr = 1\n")
    for arguments in (["init", "-q"], ["add", "train.py", ".gitignore"], ["commit", "-qm", "x"]):
        subprocess.run(["git", *setting, *arguments], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "train.py").write_text(f"lr = 2  # {tmp_path.name}\n")  # a change that no other test has
    (tmp_path / "new.py").write_text("depth = 6\n")
    return tmp_path


@pytest.fixture
def script(script: Script, monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.delenv("ARWANDB_DISABLE_GIT")
    return script


def never() -> bool:
    return False


def ran(script: Script, body: str, **environ: str) -> str:
    done = script(body, **environ)
    _, said = done.communicate(timeout=60)
    assert done.returncode == 0, said
    return said


# The server is shared: each test has a run of its own, named like its folder.
ONE = 'run = arwandb.init(project="p", id=os.path.basename(os.getcwd())); run.log({"a": 1}); run.finish()'


def blob(real: Real, sha: str) -> Response:
    return Http(real.base_url, real.key).send(Request("GET", f"/v1/blobs/{sha}"))


def test_a_run_has_its_commit_and_the_diff_is_on_the_server(real: Real, repository: Path, script: Script) -> None:
    assert ran(script, ONE) == ""
    run = real.run(repository.name)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert run["commit"] == head
    diff = blob(real, run["diff_sha"]).body.decode()
    assert "-lr = 1\n+lr = 2  #" in diff
    assert "+depth = 6\n" in diff
    assert list((repository / "spool").glob("*/*")) == [], "nothing is left behind"


def test_a_clean_tree_has_a_commit_alone(real: Real, repository: Path, script: Script) -> None:
    subprocess.run(["git", "checkout", "-q", "train.py"], cwd=repository, check=True)
    (repository / "new.py").unlink()
    assert ran(script, ONE) == ""
    run = real.run(repository.name)
    assert run["commit"]
    assert run["diff_sha"] is None


def test_what_is_recorded_offline_brings_its_diff_with_the_sync(real: Real, repository: Path, script: Script) -> None:
    ran(script, ONE, ARWANDB_MODE="offline")
    assert len(list((repository / "spool" / repository.name).glob("*.diff"))) == 1
    receipts = arwandb.sync(str(repository / "spool"))
    assert [receipt.is_intact for receipt in receipts] == [True]
    run = real.run(repository.name)
    assert "+lr = 2" in blob(real, run["diff_sha"]).body.decode()
    assert not list((repository / "spool" / repository.name).glob("*.diff"))


def test_a_diff_over_the_cap_is_known_by_its_hash_alone(real: Real, repository: Path, script: Script) -> None:
    ran(script, ONE, ARWANDB_MAX_DIFF_BYTES="0")
    run = real.run(repository.name)
    assert len(run["diff_sha"]) == 64
    assert blob(real, run["diff_sha"]).status == 404


@pytest.mark.parametrize("name", ["ARWANDB_DISABLE_GIT", "WANDB_DISABLE_GIT"])
def test_who_wants_no_git_is_left_alone(real: Real, repository: Path, script: Script, name: str) -> None:
    ran(script, ONE, **{name: "true"})
    run = real.run(repository.name)
    assert (run["commit"], run["diff_sha"]) == (None, None)


def test_nothing_of_the_repository_is_started_and_nothing_in_it_is_written(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    trap = tmp_path_factory.mktemp("trap") / "sprung"
    (repository / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    for setting in ("core.fsmonitor", "filter.evil.clean", "diff.evil.textconv", "diff.external", "core.sshCommand"):
        subprocess.run(["git", "config", setting, f"touch {trap}"], cwd=repository, check=True)
    before = {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")}
    found = change.captured(str(repository), 1 << 20, 10.0, never)
    assert "train.py" in found["diff"]
    assert hashlib.sha256(found["diff"].encode()).hexdigest() == found["diff_sha"]
    assert not trap.exists()
    assert {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")} == before


def slow_git(folder: Path) -> str:
    program = folder / "git"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(30)\n")
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_git_that_hangs_is_told_as_such_and_holds_nothing_up(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", slow_git(tmp_path_factory.mktemp("bin")))
    begun = time.monotonic()
    found = change.captured(str(repository), 1 << 20, 0.5, never)
    assert "took too long" in found["diff"], "the page will say why it is not known"
    found = change.captured(str(repository), 1 << 20, 20.0, lambda: time.monotonic() > begun + 2)
    assert found.keys() == {"commit"}
    assert len(found["commit"]) == 40
    assert time.monotonic() < begun + 12


def test_a_short_run_is_delivered_though_git_hangs(
    real: Real, repository: Path, script: Script, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert ran(script, ONE, PATH=slow_git(tmp_path_factory.mktemp("bin"))) == ""
    run = real.run(repository.name)
    assert (run["status"], run["diff_sha"]) == ("finished", None)
    assert len(run["commit"]) == 40


@pytest.mark.parametrize("name", ["", "/opt/app/train", "/usr/bin/uwsgi"])
def test_a_program_that_is_not_python_is_not_started_again(
    repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("started")

    monkeypatch.setattr(sys, "executable", name)
    monkeypatch.setattr(os, "posix_spawn", started)
    assert change.captured(str(repository), 1 << 20, 1.0, never).keys() == {"commit"}


def test_outside_of_a_repository_no_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_spawn", None)
    assert change.captured(str(tmp_path), 1 << 20, 1.0, never) == {"commit": None}


def test_the_training_loads_none_of_it(repository: Path, script: Script) -> None:
    body = """
run = arwandb.init(project="p", id="one", mode="offline")
end = time.monotonic() + 20
while not run._papers.registration.get("diff_sha") and time.monotonic() < end: time.sleep(0.01)
assert run._papers.registration["diff_sha"]
print(*({"subprocess", "hashlib", "tempfile", "arwandb.worktree"} & set(sys.modules)))
"""
    done = script(body)
    said, trouble = done.communicate(timeout=60)
    assert (said.strip(), done.returncode) == ("", 0), trouble


def test_a_blob_that_is_refused_does_not_hold_up_the_end(
    standin: Any, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARWANDB_DISABLE_GIT")
    monkeypatch.chdir(repository)
    run = arwandb.init(project="p", id="one")  # the stand-in knows no blobs: it answers 404
    run.log({"a": 1})
    until(lambda: standin.model.runs.get("one"))
    run.finish()
    assert standin.model.runs["one"]["status"] == "finished"
