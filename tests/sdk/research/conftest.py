"""Research: a Git repository to work in, and a desk on which nothing is open."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from arwandb import desk as desks
from arwandb.http import Http, Request

from tests.sdk.conftest import Real


class Repository:
    """A Git repository that tests do things to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, given: bytes = b"") -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "protocol.file.allow=always"]
        done = subprocess.run(["git", *who, *arguments], cwd=self.path, input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            self.write(name.replace("__", "."), text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def files(self) -> dict[str, bytes]:
        """All files, but for those of Git."""
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and not path.is_symlink() and ".git" not in path.relative_to(self.path).parts
        }


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is open, the project is of this test alone, and nobody's configuration of Git is read."""
    for name in ("session", "experiment", "project", "_server"):
        monkeypatch.setattr(desks.desk, name, None)
    monkeypatch.setenv("ARWANDB_PROJECT", f"p-{os.urandom(4).hex()}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository with one commit, the working directory."""
    repo = Repository(tmp_path / "work")
    repo.commit(train__py="lr = 1\n", __gitignore="out/\n")
    monkeypatch.chdir(repo.path)
    return repo


def get(real: Real, path: str) -> dict[str, Any]:
    """What the server has at this address."""
    found = Http(real.base_url, real.key).send(Request("GET", path))
    assert found.status == 200, found.body
    return found.json()
