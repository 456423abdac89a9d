"""How gunicorn serves arwx: few processes, each with many cheap connections, so that slow clients stop nobody."""

from gevent import events, monkey

# It would read 25 times what each installed package says of itself, to find plug-ins. There are none.
events.notify_and_call_entry_points = events.notify
monkey.patch_all()  # before anything opens a socket or makes a lock

import ctypes  # noqa: E402
import errno  # noqa: E402
import gc  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import socket  # noqa: E402
import time  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

gc.disable()  # what is imported stays: to look through it again and again takes a tenth of the start

import click  # noqa: E402

from arwx.config import CannotStart, Settings, from_environment  # noqa: E402

# A host that assigns a port wants to reach it from outside; on one's own machine nobody else needs to.
_host = (os.environ.get("ARWX_HOST") or ("0.0.0.0" if os.environ.get("PORT") else "127.0.0.1")).strip("[]")  # noqa: S104
bind = f"{f'[{_host}]' if ':' in _host else _host}:{os.environ.get('PORT') or 8090}"
worker_class = "arwx.worker.Worker"
worker_connections = 1000
preload_app = True

# The statement timeout of the database (20 s) is below this, this below the 30 s that routers wait.
timeout = 25
graceful_timeout = 20
keepalive = 75

limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")

# As many files as the host allows: a thousand connections are a thousand of them, and what they ask for are more.
_files, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(_files, min(_most_files, 65_536)), _most_files))

accesslog = None  # the application writes one JSON line a request
loglevel = "warning"


# How long a server that was told to end may still hold the port.
_PORT_PATIENCE_S = 3.0


def _settings() -> Settings:
    """The settings, or the end with one plain line."""
    try:
        return from_environment()
    except CannotStart as error:
        _stop(str(error))


def _stop(line: str) -> NoReturn:
    click.echo(line, err=True)
    raise SystemExit(2)


_settings_now = _settings()
workers = _settings_now.workers


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass  # somebody else's
    return True


_counted = _settings_now.data_dir / "metrics" / str(os.getpid())
if _settings_now.metrics_token and os.environ.get("PROMETHEUS_MULTIPROC_DIR") != str(_counted):
    # Each process counts in files of its own. What servers left that are gone is no count of this one; another that
    # runs on the same data goes on counting.
    for _left in _counted.parent.glob("*"):
        if _left == _counted or not _is_running(_left.name):
            shutil.rmtree(_left, ignore_errors=True)
    _counted.mkdir(parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_counted)


def on_starting(server: Any) -> None:
    """Refuse to serve a database that this code does not know, and say so in one line; else say where and what next."""
    from arwx import db, people, schema

    with db.Database(_settings_now.database_url).reading() as session:
        if trouble := schema.trouble(session, in_detail=True):
            _stop(trouble)
        is_new = people.count(session) == 0
    _refuse_taken_port()
    address = _settings_now.base_url or f"http://127.0.0.1:{_settings_now.port}"
    click.echo(f"arwx serves {address}")
    if is_new and _settings_now.signup != "closed":
        click.echo(
            f"Open {address}/signup: the first account owns the first organization. Then make a key in Settings."
        )


def _refuse_taken_port() -> None:
    """Say in one line that nobody can listen there. Who was asked to end a moment ago may still do so."""
    if "GUNICORN_FD" in os.environ or "LISTEN_FDS" in os.environ:
        return  # the socket is handed over
    ends = time.monotonic() + _PORT_PATIENCE_S
    while True:
        with socket.socket(socket.AF_INET6 if ":" in _host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_host, _settings_now.port))
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > ends:
                    reason = (error.strerror or str(error)).lower()
                    _stop(f"Port {_settings_now.port} of {_host} cannot be listened on: {reason}. Set PORT to another.")
        time.sleep(0.1)


def when_ready(server: Any) -> None:
    """What was loaded by now stays for good: workers share it, and the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.enable()


def post_worker_init(worker: Any) -> None:
    """A worker opens connections of its own, and writes its log where the host collects it."""
    from arwx import web

    # A batch makes thousands of short-lived objects without cycles, some megabytes that the next batch needs again.
    # Collecting seldom and keeping the memory halves what an ingest costs.
    gc.set_threshold(50_000, 20, 50)
    _keep_memory()
    web.log_to_stdout()
    worker.wsgi.extensions["arwx.db"].forget_connections()


def _keep_memory() -> None:
    """Tell the C library to keep freed memory, up to 64 MiB, instead of handing it back after each request."""
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl does not
    if mallopt is not None:
        mallopt(trim_threshold, 64 * 2**20)
        mallopt(top_pad, 16 * 2**20)
        mallopt(mmap_threshold, 32 * 2**20)
