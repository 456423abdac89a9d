"""The real thing: the shipped gunicorn configuration in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARWX = Path(sys.executable).parent / "arwx"


class Server:
    """`arwx serve` on a free port of 127.0.0.1, with its own data folder. It can be killed and started again.

    `through` is a command that becomes another one: it makes the place in which the server is started.
    """

    def __init__(
        self, folder: Path, database_url: str | None = None, through: tuple[str, ...] = (), **environment: str
    ) -> None:
        self.folder, self._through = folder, through
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.base_url = f"http://127.0.0.1:{self.port}"
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("ARWX_", "ARWANDB_", "WANDB_", "DATABASE_"))
        }
        self.environment = {
            **inherited,
            "ARWX_DATA_DIR": str(folder),
            "PORT": str(self.port),
            "ARWX_HOST": "127.0.0.1",
            "WEB_CONCURRENCY": "2",
            "ARWX_RATE": "0",  # a test asks as fast as it can
            **({"DATABASE_URL": database_url, "SECRET_KEY": "t" * 40} if database_url else {}),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.run("migrate")

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """An `arwx` command with this server's settings; answers what it printed."""
        done = subprocess.run(
            [ARWX, *arguments], env=self.environment, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, arguments, done.stdout, done.stderr)
        return done.stdout.strip()

    def start(self) -> "Server":
        log = (self.folder / "server.log").open("ab")
        # A session of its own, so that killing the group takes the workers along.
        self.process = subprocess.Popen(
            [*self._through, ARWX, "serve"],
            env=self.environment,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"{self.base_url}/ready", timeout=5):
                    return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(self.log()) from None
                time.sleep(0.05)

    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def kill(self) -> None:
        """SIGKILL to the master and its workers, as when the machine dies."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def key(self, scope: str = "write", org: str = "Ada's lab", email: str = "ada@example.org") -> str:
        """A fresh key; the account and the organization are made when they are not there."""
        try:
            return self.run("key", "new", "--org", org, "--name", "test", "--scope", scope)
        except subprocess.CalledProcessError:
            self.run(
                "user",
                "add",
                email,
                "--org",
                org,
                "--role",
                "owner",
                "--password-stdin",
                stdin="correct horse battery\n",
            )
            return self.run("key", "new", "--org", org, "--name", "test", "--scope", scope)
