"""The SDK as it is shipped, an environment without surprises, and a server that can be made to fail."""

import os
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
        )  # fmt: skip

    return start


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for a condition; fail if it does not come."""
    import time

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
