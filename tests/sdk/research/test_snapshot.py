"""Code snapshots: what is code goes along, what is none stays here, and no trouble breaks an experiment."""

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from arwandb import autoresearch as ar
from arwandb import snapshot, transfer
from arwandb.http import Http, Request
from arwandb.server import Server
from arwandb.settings import Settings

from tests.sdk.conftest import Real
from tests.sdk.research.conftest import Repository, get


def paths(found: snapshot.Snapshot) -> list[str]:
    return [file.path for file in found.files]


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"this is {name}\n")
    return folder


CODE = [
    "train.py",
    "src/pkg/__init__.py",
    "src/pkg/data/load.py",
    "configs/a.yaml",
    "notes.md",
    "data/prepare.py",
    "env/cartpole.py",
]
NO_CODE = [
    "__pycache__/train.cpython-311.pyc",
    "src/.mypy_cache/x.json",
    ".venv/lib/site.py",
    "myenv/pyvenv.cfg",
    "myenv/lib/x.py",
    "node_modules/x/index.js",
    "data/train.txt",
    "datasets/a/b.json",
    "model.pt",
    "out/last.ckpt",
    "x.npz",
    "tokens.parquet",
    "arwandb-spool/run_1/a.run",
    "wandb/run-1/x.txt",
    "train.log",
    ".env",
    "deploy/.env.prod",
    "id_rsa",
    "certs/tls.pem",
    "config/credentials.json",
    ".aws/config",
    "results.tsv",
    ".git/config",
    "vendor/lib/.git",
]


def test_code_is_taken_and_caches_data_weights_and_secrets_are_not(tmp_path: Path) -> None:
    found = snapshot.take(filled(tmp_path, *CODE, *NO_CODE), 5 << 20)
    assert paths(found) == sorted(CODE)
    assert found.left_out == []


def test_gitignore_is_honoured_at_every_depth_also_from_above(repo: Repository, tmp_path: Path) -> None:
    filled(
        repo.path, "out/x.py", "deep/a.py", "deep/b.py", "deep/er/b.py", "deep/er/c.txt", "top.tmp", "deep/tracked.tmp"
    )
    repo.write(".gitignore", "out/\n*.tmp\n")
    repo.write("deep/.gitignore", "b.py\n!er/b.py\n")
    repo.git("add", "-f", "deep/tracked.tmp")
    repo.write(".git/info/exclude", "*.txt\n")
    assert paths(snapshot.take(".", 5 << 20)) == [
        ".gitignore",
        "deep/.gitignore",
        "deep/a.py",
        "deep/er/b.py",
        "deep/tracked.tmp",
        "train.py",
    ]
    assert paths(snapshot.take("deep", 5 << 20)) == [".gitignore", "a.py", "er/b.py", "tracked.tmp"]
    # Without a git program nothing but the list of tracked files is missing.
    os.environ["PATH"], path = "/nowhere", os.environ["PATH"]
    try:
        assert paths(snapshot.take("deep", 5 << 20)) == [".gitignore", "a.py", "er/b.py"]
    finally:
        os.environ["PATH"] = path


def test_a_list_is_taken_as_it_is_said_but_for_keys_and_big_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, "train.py", "tiny.npz", ".env", "configs/a.yaml", "configs/b.yaml", "other.py")
    (tmp_path / "big.py").write_text("x" * 2000)
    monkeypatch.chdir(tmp_path)
    found = snapshot.take(["train.py", Path("configs"), "tiny.npz", ".env", "big.py", "train.py"], 1000)
    assert paths(found) == ["configs/a.yaml", "configs/b.yaml", "tiny.npz", "train.py"]
    assert found.left_out == [".env may hold a secret", "big.py is over 1000 bytes (ARWANDB_SNAPSHOT_MAX_FILE)"]
    assert paths(snapshot.take("train.py", 1000)) == ["train.py"]
    with pytest.raises(ar.UsageError, match=r"there is no missing\.py"):
        snapshot.take(["missing.py"], 1000)
    with pytest.raises(ar.UsageError, match="names no file"):
        snapshot.take([], 1000)


def test_links_are_followed_inside_alone_and_odd_things_left_out(tmp_path: Path) -> None:
    filled(tmp_path / "x", "a.py", "deep/b.py", ".env")
    (tmp_path / "outside.py").write_text("private")
    for target, name in [
        ("a.py", "alias.py"),
        ("../outside.py", "out.py"),
        (".env", "env.py"),
        ("deep", "folder"),
        ("gone", "broken.py"),
    ]:
        os.symlink(target, tmp_path / "x" / name)
    os.mkfifo(tmp_path / "x" / "pipe.py")
    (tmp_path / "x" / "A.py").write_text("same but for case")
    (tmp_path / "x" / "back\\slash.py").write_text("1")
    (tmp_path / "x" / "cafe\u0301.py").write_text("1")
    found = snapshot.take(tmp_path / "x", 5 << 20)
    assert paths(found) == ["A.py", "alias.py", "caf\xe9.py", "deep/b.py"]
    assert len(found.left_out) == 6
    assert next(file for file in found.files if file.path == "alias.py").size == len("this is a.py\n")


def test_a_folder_of_data_is_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MOST_FILES", 10)
    filled(tmp_path, *(f"img/{number}.txt" for number in range(11)))
    with pytest.raises(ar.UsageError, match="gitignore"):
        snapshot.take(tmp_path, 5 << 20)


def test_a_snapshot_is_stored_and_only_what_is_new_is_sent(
    real: Real, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(repo.path, "a.py", "deep/b.py", ".env")
    repo.write("run.sh", "#!/bin/sh\n" + os.urandom(8).hex()).chmod(0o755)
    sent: list[list[str]] = []
    send = transfer._send
    monkeypatch.setattr(
        transfer, "_send", lambda server, file, *more: (sent.append(file.path), send(server, file, *more))
    )
    ar.session()
    exp = ar.experiment(note="with code", snapshot=".")
    tree = get(real, f"/v1/experiments/{exp['id']}/tree")
    assert [entry["path"] for entry in tree["entries"]] == [".gitignore", "a.py", "deep/b.py", "run.sh", "train.py"]
    assert exp["tree_sha"] == tree["tree_sha"]
    assert next(entry["mode"] for entry in tree["entries"] if entry["path"] == "run.sh") == "100755"
    sent.clear()
    repo.write("a.py", os.urandom(8).hex())
    second = ar.experiment(note="one line changed", snapshot=".")
    assert sent == ["a.py"]
    changed = get(real, f"/v1/experiments/{exp['id']}/diff/{second['id']}")
    assert [one["path"] for one in changed["modified"]] == ["a.py"]


def test_the_script_of_the_server_rebuilds_what_ran(real: Real, repo: Repository, tmp_path: Path) -> None:
    filled(repo.path, "new/module.py", "notes.txt")
    repo.write("big.csv", "1,2\n" * 100_000)
    repo.write("train.py", "lr = 7\n")
    ar.session()
    by_diff, by_tree = ar.experiment(note="diff"), ar.experiment(note="tree", snapshot=".")
    expected = {name: data for name, data in repo.files().items() if name != "big.csv"}
    for exp, arguments in ((by_diff, [str(repo.path)]), (by_tree, [])):
        script = Http(real.base_url, real.key).send(Request("GET", f"/v1/experiments/{exp['id']}/reproduce")).body
        folder = tmp_path / exp["id"]
        done = subprocess.run(
            ["sh", "-s", str(folder), *arguments],
            input=script,
            capture_output=True,
            cwd=tmp_path,
            check=False,
            env={**os.environ, "ARWANDB_BASE_URL": real.base_url, "ARWANDB_API_KEY": real.key},
        )
        assert done.returncode == 0, done.stderr
        built = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and ".git" not in path.relative_to(folder).parts
        }
        assert {**built, "big.csv": b""} == {**expected, "big.csv": b""}
    shutil.rmtree(tmp_path / by_diff["id"])


@pytest.mark.parametrize("what", ["nowhere", [], 7, ["train.py", 8], "\0"])
def test_a_snapshot_that_fails_warns_and_the_experiment_stands(
    real: Real, repo: Repository, what: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    ar.session()
    exp = ar.experiment(note="x", snapshot=what)
    assert exp["index"] == 1
    assert "no snapshot" in capfd.readouterr().err


def test_a_file_that_changes_while_it_is_sent_spoils_the_snapshot_alone(
    real: Real, repo: Repository, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    take = snapshot.take

    def take_and_change(*given: Any) -> snapshot.Snapshot:
        found = take(*given)
        repo.write("train.py", os.urandom(20).hex())
        return found

    monkeypatch.setattr(snapshot, "take", take_and_change)
    repo.write("train.py", os.urandom(20).hex())
    ar.session()
    exp = ar.experiment(note="x", snapshot="train.py")
    assert exp["index"] == 1
    assert "was changed while it was" in capfd.readouterr().err


def test_many_threads_may_ask_one_server(real: Real) -> None:
    server = Server(Settings())
    found: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: found.append(server.get("/v1/projects"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
