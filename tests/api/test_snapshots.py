"""The code of experiments over /v1: attached, compared, and rebuilt by the script that the server gives out."""

import hashlib
import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from arwx import trees
from tests.make import Caller
from tests.server import Server


def experiment(caller: Caller, project: str = "char-lm", **fields: Any) -> str:
    session = caller.post("/v1/sessions", json={"project": project}).json["id"]
    return str(caller.post("/v1/experiments", json={"session_id": session, **fields}).json["id"])


def upload(caller: Caller, content: bytes) -> str:
    headers = {"Content-Type": "application/octet-stream"}
    return str(caller.post("/v1/blobs", data=content, headers=headers).json["sha"])


def entry(path: str, content: bytes, **more: Any) -> dict[str, Any]:
    return {"path": path, "sha": hashlib.sha256(content).hexdigest(), "size": len(content), **more}


def attach(caller: Caller, experiment_id: str, files: dict[str, bytes]) -> Any:
    for content in files.values():
        upload(caller, content)
    entries = [entry(path, content) for path, content in files.items()]
    answer = caller.open(f"/v1/experiments/{experiment_id}/tree", "PUT", json={"entries": entries})
    assert answer.status_code == 200, answer.text
    return answer.json


def test_a_tree_is_attached_and_read_back(ada: Caller) -> None:
    one = experiment(ada)
    assert ada.get(f"/v1/experiments/{one}/tree").status_code == 404
    put = attach(ada, one, {"src/b.py": b"b", "a.py": b"aa"})
    found = ada.get(f"/v1/experiments/{one}/tree").json

    assert [(file["path"], file["mode"]) for file in found["entries"]] == [("a.py", "100644"), ("src/b.py", "100644")]
    assert put == {"experiment_id": one, "tree_sha": found["tree_sha"], "files": 2, "size": 3, "prior": []}
    assert ada.get(f"/v1/experiments/{one}").json["tree_sha"] == found["tree_sha"]
    assert attach(ada, one, {"a.py": b"aa", "src/b.py": b"b"})["tree_sha"] == found["tree_sha"]


def test_blobs_that_are_missing_are_named_and_nothing_changes(ada: Caller) -> None:
    one = experiment(ada)
    before = attach(ada, one, {"a.py": b"aa"})["tree_sha"]
    absent = entry("b.py", b"never sent")
    answer = ada.open(f"/v1/experiments/{one}/tree", "PUT", json={"entries": [entry("a.py", b"aa"), absent]})
    assert (answer.status_code, answer.json["code"], answer.json["missing"]) == (409, "missing_blobs", [absent["sha"]])
    assert ada.get(f"/v1/experiments/{one}/tree").json["tree_sha"] == before


def test_a_size_that_is_not_that_of_the_blob_is_refused(ada: Caller) -> None:
    one = experiment(ada)
    before = attach(ada, one, {"a.py": b"aa"})["tree_sha"]
    answer = ada.open(f"/v1/experiments/{one}/tree", "PUT", json={"entries": [{**entry("a.py", b"aa"), "size": 3}]})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "a.py")
    assert ada.get(f"/v1/experiments/{one}/tree").json["tree_sha"] == before


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/x",
        "C:\\x",
        "a//b",
        "a/./b",
        "..",
        ".git/hooks/post-checkout",
        "a\nb",
        "a" * 300,
        "A",
        "a/b",
        "e\u0301",
    ],
)
def test_paths_that_cannot_be_are_refused_and_the_tree_stays(ada: Caller, path: str) -> None:
    one = experiment(ada)
    before = attach(ada, one, {"a": b"aa"})["tree_sha"]
    entries = [entry("a", b"aa"), entry(path, b"aa")]
    answer = ada.open(f"/v1/experiments/{one}/tree", "PUT", json={"entries": entries})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "entries[1].path")
    assert ada.get(f"/v1/experiments/{one}/tree").json["tree_sha"] == before


def test_the_same_tree_was_tried_before(ada: Caller) -> None:
    first, second = experiment(ada, commit="a" * 40), experiment(ada, commit="b" * 40)
    attach(ada, first, {"train.py": b"width = 1\n"})
    ada.post("/v1/projects", json={"name": "char-lm", "objective_metric": "loss"})
    ada.post(f"/v1/experiments/{first}/decision", json={"status": "drop", "score": 3.5})
    prior = attach(ada, second, {"train.py": b"width = 1\n"})["prior"]
    assert [(one["experiment_id"], one["status"], one["score"]) for one in prior] == [(first, "drop", 3.5)]


def test_what_differs_between_two_trees(ada: Caller) -> None:
    before, after = experiment(ada), experiment(ada)
    same = {"same.py": b"same\n"}
    attach(ada, before, {**same, "gone.py": b"1", "train.py": b"a\nwidth = 1\nb\n", "model.bin": b"\x00\x01"})
    attach(ada, after, {**same, "new.py": b"1", "train.py": b"a\nwidth = 2\nb\n", "model.bin": b"\x00\x02"})
    found = ada.get(f"/v1/experiments/{before}/diff/{after}").json

    assert (found["added"], found["removed"]) == (["new.py"], ["gone.py"])
    changed = {file["path"]: file["diff"] for file in found["modified"]}
    assert changed["model.bin"] is None
    assert changed["train.py"] == ("--- a/train.py\n+++ b/train.py\n@@ -1,3 +1,3 @@\n a\n-width = 1\n+width = 2\n b\n")
    assert ada.get(f"/v1/experiments/{before}/diff/{before}").json == {"added": [], "removed": [], "modified": []}
    assert ada.get(f"/v1/experiments/{before}/diff/{experiment(ada)}").status_code == 404


def test_strangers_see_no_code_and_cannot_use_a_hash_that_they_know(ada: Caller, mallory: Caller) -> None:
    one, hers = experiment(ada), experiment(mallory)
    attach(ada, one, {"train.py": b"secret\n"})
    nothing = mallory.get("/v1/experiments/exp_none/tree")
    for path in ("tree", "reproduce", f"diff/{hers}"):
        answer = mallory.get(f"/v1/experiments/{one}/{path}")
        assert answer.status_code == 404
    assert {**mallory.get(f"/v1/experiments/{one}/tree").json, "request_id": 0} == {**nothing.json, "request_id": 0}
    stolen = mallory.open(f"/v1/experiments/{hers}/tree", "PUT", json={"entries": [entry("train.py", b"secret\n")]})
    assert stolen.status_code == 409


def test_reading_needs_no_more_than_a_read_key_and_writing_does(ada: Caller, make: Any) -> None:
    one = experiment(ada)
    attach(ada, one, {"a.py": b"a"})
    reader = make.caller("Ada's lab", scope="read")
    assert reader.get(f"/v1/experiments/{one}/tree").status_code == 200
    assert reader.open(f"/v1/experiments/{one}/tree", "PUT", json={"entries": []}).status_code == 403


def test_a_tree_without_files_is_refused(ada: Caller) -> None:
    answer = ada.open(f"/v1/experiments/{experiment(ada)}/tree", "PUT", json={"entries": []})
    assert (answer.status_code, answer.json["errors"]) == (
        422,
        [{"field": "entries", "message": "must have at least one item"}],
    )


@pytest.mark.parametrize("commit", ["--detach", "-f", "a b", "a\nb", "a\u202eb", "x" * 65])
def test_a_commit_is_none_that_git_would_take_for_something_else(ada: Caller, commit: str) -> None:
    ada.post("/v1/sessions", json={"project": "char-lm", "id": "s"})
    for path, body, field in [
        ("/v1/experiments", {"session_id": "s", "commit": commit}, "commit"),
        ("/v1/experiments", {"session_id": "s", "parent": commit}, "parent"),
        ("/v1/runs", {"project": "char-lm", "commit": commit}, "commit"),
    ]:
        answer = ada.post(path, json=body)
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)
    for good in ["baseline", "HEAD~2", "feature/größe", "v1.0+dirty", "0" * 40]:
        assert ada.post("/v1/experiments", json={"session_id": "s", "commit": good}).json["commit"] == good


class Lab:
    """A real server, and a shell that has its key."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(folder / "server").start()
        self.key = self.server.key()
        self.folder = folder

    def call(self, method: str, path: str, body: Any) -> Any:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        request = urllib.request.Request(self.server.base_url + path, raw, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def rebuild(self, experiment_id: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        headers = {"Authorization": f"Bearer {self.key}"}
        address = f"{self.server.base_url}/v1/experiments/{experiment_id}/reproduce"
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            script = answer.read().decode()
        environment = {**os.environ, "ARWANDB_API_KEY": self.key}
        environment.pop("ARWANDB_BASE_URL", None)
        return subprocess.run(
            ["sh", "-s", "--", *arguments], input=script, cwd=self.folder, env=environment, text=True,
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    (tmp_path / "server").mkdir()
    lab = Lab(tmp_path)
    yield lab
    lab.server.stop()


def test_the_script_rebuilds_the_tree_to_the_same_hash(lab: Lab) -> None:
    files = {
        "train.py": b"print('x')\n",
        "deep/er/ data '$(touch pwned)`x`.txt": b"\x00binary",
        "-rf": b"odd",
        "run.sh": b"#!/bin/sh\n",
        "empty": b"",
    }
    session = lab.call("POST", "/v1/sessions", {"project": "it's $HOME"})["id"]
    config = {"lr": 0.0003, "note": "END OF CONFIG\n'; touch pwned"}
    one = lab.call("POST", "/v1/experiments", {"session_id": session, "config": config})["id"]
    for content in files.values():
        lab.call("POST", "/v1/blobs", content)
    entries = [entry(path, content, mode="100755" if path == "run.sh" else None) for path, content in files.items()]
    put = lab.call("PUT", f"/v1/experiments/{one}/tree", {"entries": entries})
    done = lab.rebuild(one, "again")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"tree {put['tree_sha']}"
    again = lab.folder / "again"
    found = {path.relative_to(again).as_posix(): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    assert found == files
    assert os.access(again / "run.sh", os.X_OK)
    rebuilt = trees.check(
        [trees.Entry(**entry(path, content, mode=(again / path).stat().st_mode)) for path, content in found.items()]
    )
    assert trees.digest(rebuilt) == put["tree_sha"]
    assert json.loads((lab.folder / "again.config.json").read_text()) == config
    assert not list(lab.folder.rglob("pwned"))
    assert lab.rebuild(one, "again").returncode == 1  # it never writes over what is there


def test_the_key_is_in_no_arguments(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments are for everybody on the machine to see."""
    real, tools, told = shutil.which("curl"), lab.folder / "tools", lab.folder / "arguments"
    tools.mkdir()
    (tools / "curl").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{told}\nexec {real} "$@"\n')
    (tools / "curl").chmod(0o755)
    session = lab.call("POST", "/v1/sessions", {"project": "char-lm"})["id"]
    one = lab.call("POST", "/v1/experiments", {"session_id": session})["id"]
    lab.call("POST", "/v1/blobs", b"x = 1\n")
    lab.call("PUT", f"/v1/experiments/{one}/tree", {"entries": [entry("a.py", b"x = 1\n")]})
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        assert lab.rebuild(one, "again").returncode == 0
    assert "/v1/blobs/" in told.read_text()
    assert lab.key not in told.read_text()


def test_the_script_rebuilds_a_commit_and_its_change(lab: Lab) -> None:
    clone = lab.folder / "clone"
    clone.mkdir()

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(["git", *who, *arguments], cwd=clone, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    (clone / "train.py").write_text("width = 1\n")
    git("add", ".")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD").strip()
    (clone / "train.py").write_text("width = 2\n")
    diff = git("diff")
    git("checkout", "-q", ".")
    session = lab.call("POST", "/v1/sessions", {"project": "char-lm"})["id"]
    fields = {"session_id": session, "commit": commit}
    one = lab.call("POST", "/v1/experiments", {**fields, "diff": diff})["id"]
    done = lab.rebuild(one, "again", "clone")
    assert done.returncode == 0, done.stderr
    assert (lab.folder / "again" / "train.py").read_text() == "width = 2\n"

    marker = lab.call("POST", "/v1/experiments", {**fields, "diff": "(too large)", "diff_sha": "0" * 64})["id"]
    refused = lab.rebuild(marker, "never", "clone")
    assert refused.returncode == 1
    assert "too large to be kept" in refused.stderr
    nothing = lab.call("POST", "/v1/experiments", {"session_id": session})["id"]
    assert lab.rebuild(nothing, "none").returncode == 1
