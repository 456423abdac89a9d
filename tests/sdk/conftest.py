"""The SDK as it is shipped, an environment without surprises, and a server that can be made to fail."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SDK = Path(__file__).resolve().parents[2] / "sdk"
sys.path.insert(0, str(SDK))

import arwandb  # noqa: E402 - from the sources above
from arwandb import notice  # noqa: E402

from tests.sdk.standin import StandIn  # noqa: E402


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No variable of the machine, a spool of its own, no run left open, every notice new."""
    for name in list(os.environ):
        if name.startswith(("ARWANDB_", "WANDB_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ARWANDB_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("ARWANDB_SYSTEM_METRICS", "off")
    monkeypatch.setenv("ARWANDB_DISABLE_GIT", "true")  # the repository of the tests is not what is looked at
    monkeypatch.setenv("ARWANDB_FLUSH_INTERVAL", "0.05")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(notice, "_said", set())
    yield
    arwandb.finish(timeout=0.5, quiet=True)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A strict model of the server, and the environment that points to it."""
    server = StandIn()
    monkeypatch.setenv("ARWANDB_BASE_URL", server.base_url)
    monkeypatch.setenv("ARWANDB_API_KEY", server.key)
    yield server
    server.stop()


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a training script of its own process; `arwandb` and `os` are imported."""

    def start(body: str, *arguments: str, python: str = sys.executable, **environ: str) -> subprocess.Popen[str]:
        path = tmp_path / f"script{len(list(tmp_path.glob('script*')))}.py"
        path.write_text("import os, sys, time\nimport arwandb\n" + body)
        return subprocess.Popen(
            [python, str(path), *arguments], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SDK), "PYTHONUNBUFFERED": "1", **environ},
            # Whoever runs the tests in the background may ignore Ctrl-C, and a child would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    return start


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for a condition; fail if it does not come."""
    import time

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Real:
    """The real server, in processes of its own, on SQLite. `kill` and `start` are for tests of its sudden death."""

    def __init__(self, folder: Path) -> None:
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._environ = {
            "PATH": os.environ["PATH"], "ARWX_DATA_DIR": str(folder), "PORT": str(self.port), "ARWX_HOST": "127.0.0.1",
            "WEB_CONCURRENCY": "2",
        }  # fmt: skip
        self.command("migrate")
        self.command(
            "user",
            "add",
            "ada@example.org",
            "--org",
            "lab",
            "--role",
            "owner",
            "--password-stdin",
            given="correct horse 1",
        )
        self.key = self.command("key", "new", "--org", "lab", "--name", "sdk").strip()
        self.start()

    def command(self, *arguments: str, given: str = "") -> str:
        code = "import sys; from arwx.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], input=given, env=self._environ, cwd=SDK.parent, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        from urllib.error import URLError
        from urllib.request import urlopen

        code = "import sys; from arwx.cli import main; sys.exit(main())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "serve"], env=self._environ, cwd=SDK.parent, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

        def is_ready() -> bool:
            try:
                with urlopen(self.base_url + "/ready", timeout=5) as answer:
                    return bool(answer.status == 200)
            except (URLError, OSError):
                return False

        until(is_ready, 30)

    def kill(self) -> None:
        """As the power would: master and workers at once."""
        import signal

        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def receipt(self, run: str) -> dict[str, Any]:
        from arwandb.http import Http, Request

        found = Http(self.base_url, self.key).send(Request("GET", f"/v1/runs/{run}/integrity"))
        assert found.status == 200, found.body
        return found.json()

    def run(self, run: str) -> dict[str, Any]:
        from arwandb.http import Http, Request

        return Http(self.base_url, self.key).send(Request("GET", f"/v1/runs/{run}")).json()


@pytest.fixture(scope="session")
def one_real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    server = Real(tmp_path_factory.mktemp("arwx"))
    yield server
    server.kill()


@pytest.fixture
def real(one_real: Real, monkeypatch: pytest.MonkeyPatch) -> Real:
    """The real server, and the environment that points to it. All tests share it: each has runs of its own."""
    monkeypatch.setenv("ARWANDB_BASE_URL", one_real.base_url)
    monkeypatch.setenv("ARWANDB_API_KEY", one_real.key)
    return one_real
