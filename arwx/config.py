"""The settings of the server, read from the environment once."""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from arwx import durable

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SHORTEST_SECRET = 32
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[\w.-]+)(:[0-9]{1,5})?/*", re.ASCII | re.IGNORECASE)


class CannotStart(Exception):
    """The server cannot start; the message is one plain line that says why."""


@dataclass(frozen=True)
class Settings:
    """What the environment decides. Every field is documented in the README's table of settings."""

    database_url: str
    data_dir: Path
    secret_key: str
    base_url: str | None = None
    signup: str = "first"
    port: int = 8090
    workers: int = 2
    blob_url: str | None = None
    max_blob_bytes: int = 5 * 2**30
    proxies: int = 0
    smtp_url: str | None = None
    # Limits, 0 for none. What the environment does not say, `from_environment` decides.
    rate: int = 0
    # Whoever brings it may read /metrics; without it nothing is counted.
    metrics_token: str | None = None
    quota_bytes: int = 0
    # The names by which the server may be addressed; empty for any.
    hosts: tuple[str, ...] = ()

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")

    @property
    def blobs_at(self) -> str:
        """The address of the blob store. Hosts that come with PostgreSQL tend to lose their disk at every start."""
        return self.blob_url or ((self.data_dir / "blobs").absolute().as_uri() if self.is_sqlite else "db:")

    @property
    def is_https(self) -> bool:
        """Whether people reach the server over TLS, so that cookies can demand it."""
        return (self.base_url or "").startswith("https://")


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises `CannotStart` with a plain line for a value that cannot work."""
    data_dir = Path(environ.get("ARWX_DATA_DIR") or "data").absolute()
    database_url = _database_url(environ.get("DATABASE_URL"), data_dir)
    signup = environ.get("ARWX_SIGNUP") or "first"
    if signup not in {"first", "open", "closed"}:
        raise CannotStart(f"ARWX_SIGNUP must be first, open or closed, not {signup!r}.")
    return Settings(
        database_url=database_url,
        data_dir=data_dir,
        secret_key=_secret_key(environ.get("SECRET_KEY"), data_dir, is_sqlite=database_url.startswith("sqlite")),
        base_url=_base_url(environ.get("ARWX_BASE_URL")),
        signup=signup,
        port=_whole(environ, "PORT", 8090),
        workers=workers(environ),
        blob_url=_blob_url(environ.get("ARWX_BLOB_URL")),
        max_blob_bytes=_whole(environ, "ARWX_MAX_BLOB_BYTES", 5 * 2**30, most=2**50),
        proxies=_whole(environ, "ARWX_PROXIES", 0, least=0, most=8),
        smtp_url=_smtp_url(environ.get("ARWX_SMTP_URL")),
        rate=_whole(environ, "ARWX_RATE", 100, least=0, most=1_000_000),
        quota_bytes=_whole(environ, "ARWX_QUOTA_BYTES", 0, least=0, most=2**60),
        metrics_token=_token(environ.get("ARWX_METRICS_TOKEN")),
        hosts=_hosts(environ),
    )


def workers(environ: Mapping[str, str]) -> int:
    """How many processes serve. Raises `CannotStart`."""
    return _whole(environ, "WEB_CONCURRENCY", 2, most=1000)


def _database_url(given: str | None, data_dir: Path) -> str:
    if not given:
        return f"sqlite:///{_made(data_dir, 'ARWX_DATA_DIR') / 'arwx.db'}"
    if given.startswith("sqlite:///"):
        _made(Path(given.removeprefix("sqlite:///")).parent, "The folder of DATABASE_URL")
        return given
    for scheme in ("postgres://", "postgresql://", "postgresql+psycopg://"):
        if given.startswith(scheme):
            return "postgresql+psycopg://" + given.removeprefix(scheme)
    raise CannotStart("DATABASE_URL must begin with postgres://, postgresql:// or sqlite:///.")


def _made(folder: Path, name: str) -> Path:
    """The folder, made for nobody but this user when it is not there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"{name} cannot be used: {error.strerror}: {folder}.") from error
    return folder


def _base_url(given: str | None) -> str | None:
    if not given:
        return None
    if not _ORIGIN.fullmatch(given):
        raise CannotStart(
            "ARWX_BASE_URL must be http:// or https:// and a name, such as https://arwx.example.org, without a path."
        )
    return given.rstrip("/")


def _token(given: str | None) -> str | None:
    if given and len(given) < 16:
        raise CannotStart("ARWX_METRICS_TOKEN must have at least 16 characters.")
    return given or None


def _hosts(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names by which the server may be addressed. A page of somebody else's that resolves to this machine has none.

    Who listens on all interfaces without saying under which address may be called anything.
    """
    base_url = _base_url(environ.get("ARWX_BASE_URL"))
    is_exposed = bool(environ.get("PORT")) or (environ.get("ARWX_HOST") or "127.0.0.1").strip("[]") not in _LOOPBACK
    if base_url:
        return (urlsplit(base_url).hostname or "", *_LOOPBACK)
    return () if is_exposed else _LOOPBACK


def _blob_url(given: str | None) -> str | None:
    if not given:
        return None
    if given == "db:" or re.match(r"file:///.|s3://[a-z0-9][a-z0-9.-]+(/|\Z)", given):
        return given
    raise CannotStart("ARWX_BLOB_URL must be file:///folder, s3://bucket/prefix or db:.")


def _smtp_url(given: str | None) -> str | None:
    if not given:
        return None
    parts = urlsplit(given)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or "from=" not in parts.query:
        raise CannotStart("ARWX_SMTP_URL must be such as smtps://user:password@mail.example.org?from=arwx@example.org.")
    return given


def _secret_key(given: str | None, data_dir: Path, *, is_sqlite: bool) -> str:
    """The key that signs cookies. On SQLite it is made at the first start and kept beside the database."""
    if given is not None:
        if len(given) < _SHORTEST_SECRET:
            raise CannotStart(
                f"SECRET_KEY must have at least {_SHORTEST_SECRET} characters, such as those that `openssl rand -hex 32` prints."
            )
        return given
    if not is_sqlite:
        raise CannotStart("SECRET_KEY must be set when DATABASE_URL names a PostgreSQL server.")
    path = _made(data_dir, "ARWX_DATA_DIR") / "secret_key"
    try:
        if not path.exists():
            _make_secret_key(path)
        kept = path.read_text().strip()
        if len(kept) < _SHORTEST_SECRET:
            raise CannotStart(f"{path} is damaged. Take it away for a new one; everybody then signs in again.")
        return kept
    except OSError as error:
        raise CannotStart(f"ARWX_DATA_DIR cannot be used: {error.strerror}: {data_dir}.") from error


def _make_secret_key(path: Path) -> None:
    fresh = path.with_name(f".secret_key.{secrets.token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link fails when the name is taken: of two first starts at once, one key wins whole.
        os.link(fresh, path)
        durable.sync(path.parent)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _whole(environ: Mapping[str, str], name: str, default: int, most: int = 65535, least: int = 1) -> int:
    try:
        value = int(environ.get(name) or default)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise CannotStart(f"{name} must be a whole number from {least} to {most}, not {environ[name]!r}.")
    return value
