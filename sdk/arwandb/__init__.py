"""arwandb: log the metrics of a training run. The training loop never waits, and what was spooled is never lost.

    import arwandb

    run = arwandb.init(project="char-lm", config={"lr": 3e-4})
    for step in range(1000):
        arwandb.log({"loss": loss})
    arwandb.finish()

Pure standard library. `import arwandb as wandb` runs ordinary W&B scripts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import errors, life, notice
from . import standins as data_types
from .documents import Document
from .errors import Error, UsageError
from .runs import Run
from .settings import Settings as _Settings
from .standins import (
    AlertLevel,
    Api,
    Artifact,
    Audio,
    Bokeh,
    Box3D,
    Classes,
    Graph,
    Histogram,
    Html,
    Image,
    JoinedTable,
    Molecule,
    Object3D,
    Plotly,
    Settings,
    Table,
    Video,
    agent,
    controller,
    plot,
    plot_table,
    sdk,
    sweep,
    util,
)  # fmt: skip

if TYPE_CHECKING:
    from .receipts import Receipt

__version__ = "1.3.1"

__all__ = [
    "AlertLevel", "Api", "Artifact", "Audio", "Bokeh", "Box3D", "Classes", "Error", "Graph", "Histogram", "Html",
    "Image", "JoinedTable", "Molecule", "Object3D", "Plotly", "Run", "Settings", "Table", "UsageError", "Video",
    "agent", "alert", "config", "controller", "data_types", "define_metric", "errors", "finish", "init", "link_model",
    "log", "log_artifact", "log_model", "login", "mark_preempting", "plot", "plot_table", "require", "restore", "run",
    "save", "sdk", "setup", "summary", "sweep", "sync", "teardown", "termerror", "termlog", "termwarn", "unwatch",
    "use_artifact", "use_model", "util", "watch",
]  # fmt: skip


class _NoRun:
    """Stands where a run's config or summary will be."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getattr__(self, name: str) -> Any:
        raise Error(f"call arwandb.init() before arwandb.{self._name}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise Error(f"call arwandb.init() before setting arwandb.{self._name}.{name}")

    def __getitem__(self, key: str) -> Any:
        raise Error(f"call arwandb.init() before reading arwandb.{self._name}[{key!r}]")

    def __setitem__(self, key: str, value: Any) -> None:
        raise Error(f"call arwandb.init() before setting arwandb.{self._name}[{key!r}]")


run: Run | None = None
config: Document = _NoRun("config")  # type: ignore[assignment] # it says what to do when used too early
summary: Document = _NoRun("summary")  # type: ignore[assignment] # as above


def init(
    project: str | None = None, name: str | None = None, config: Any = None, *, id: str | None = None,
    resume: str | bool | None = None, tags: Any = None, group: str | None = None, job_type: str | None = None,
    notes: str | None = None, mode: str | None = None, writer_id: str | None = None, system_metrics: bool | None = None,
    system_interval: float | None = None, dir: str | None = None, reinit: Any = None, **others: Any,
) -> Run:  # fmt: skip
    """Start a run and make it the current one. Raises `UsageError` for arguments that cannot work; later calls never raise.

    Does not wait for the server: if it is away, points are spooled, and the run is registered when it is back. Only where
    `resume` is given the server is asked first, a few seconds long; a run that it has goes on with the next step, and with
    its config and summary (`run.resumed`). Keyword arguments that W&B has beyond ours
    are accepted. A run that is still open is finished first (`reinit=False` returns it instead, `"create_new"` keeps it).
    """
    global run
    unknown = set(others) - _WANDB_ARGUMENTS
    if unknown:
        raise UsageError(f"init() has no argument {sorted(unknown)[0]!r}")
    open_run = run
    if open_run is not None and not open_run.is_finished and reinit in (False, "return_previous"):
        return open_run
    mode = mode or _mode_of(others.get("settings"))
    given = {
        "project": project, "name": name, "id": id, "resume": resume, "tags": tags, "group": group, "job_type": job_type,
        "notes": notes, "mode": mode, "writer_id": writer_id, "system_metrics": system_metrics,
        "system_interval": system_interval, "dir": dir, "base_url": others.get("base_url"),
        "flush_interval": others.get("flush_interval"),
    }  # fmt: skip
    settings = _Settings(given)
    notice.mute(is_muted=settings.is_silent)
    try:
        fresh = Run(settings, config)
    except TypeError as error:
        raise UsageError(str(error)) from None
    if settings.asks_first:
        refusal = fresh.await_registration(_ASK_S, is_patient=settings.resume != "allow")
        if refusal and settings.resume != "allow":
            fresh.discard()
            raise UsageError(f"resume={settings.resume!r}: {refusal}")
        if settings.is_resuming:
            fresh.take_up()
    if open_run is not None and not open_run.is_finished and reinit != "create_new":
        open_run.finish()
    life.remember(fresh)
    _make_current(fresh)
    return fresh


# How long init() waits for the server's word where the caller asked for it.
_ASK_S = 5.0
_WANDB_ARGUMENTS = {
    "entity", "settings", "force", "anonymous", "allow_val_change", "config_exclude_keys", "config_include_keys",
    "monitor_gym", "sync_tensorboard", "save_code", "fork_from", "resume_from", "magic", "tensorboard", "base_url",
    "flush_interval",
}  # fmt: skip


def _mode_of(settings: Any) -> str | None:
    """The mode that W&B's settings ask for: a script that turns its runs off means it."""
    given = settings if isinstance(settings, Mapping) else getattr(settings, "given", {})
    return given.get("mode")


def _make_current(fresh: Run) -> None:
    global run, config, summary
    run, config, summary = fresh, fresh.config, fresh.summary


def _current(call: str) -> Run:
    if run is None:
        raise Error(f"call arwandb.init() before arwandb.{call}()")
    return run


def log(
    metrics: Mapping[str, Any] | None = None, step: int | None = None, commit: bool | None = None,
    sync: bool | None = None, *, data: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Log values of metrics to the current run. Memory only, about a microsecond; never raises once there is a run.

    `data` is what W&B calls the metrics.
    """
    if run is None:
        raise Error("call arwandb.init() before arwandb.log()")
    run.log(data if metrics is None else metrics, step, commit)


def finish(
    status: Any = "finished", timeout: float | None = None, *, exit_code: int | None = None, quiet: bool | None = None
) -> None:
    """Deliver what is left and end the current run, within `timeout` seconds (15). Without a run it does nothing."""
    global run
    if run is not None:
        run.finish(status, timeout, exit_code=exit_code, quiet=quiet)
        run = None


def sync(path: str | None = None) -> list[Receipt]:
    """Deliver what lies in the spool at `path` (that of the settings if None), any number of times. Returns the receipts."""
    from .offline import sync as deliver

    return deliver(path)


def login(key: str | None = None, **_: Any) -> bool:
    """Keep this key for the server of the settings. Without a key it only says whether there is one."""
    from .settings import store_key

    settings = _Settings()
    if key:
        try:
            store_key(settings.base_url, key)
        except OSError as error:
            notice.say(f"the key cannot be kept ({error.strerror}); it holds for this process alone")
            os.environ["ARWANDB_API_KEY"] = key
    return bool(key or settings.api_key)


def watch(*given: Any, **more: Any) -> None:
    """Accepted for W&B scripts; gradients and graphs are not recorded."""
    _current("watch").watch(*given, **more)


def unwatch(*given: Any, **more: Any) -> None:
    """Accepted for W&B scripts."""


def define_metric(*given: Any, **more: Any) -> None:
    """Accepted for W&B scripts; charts are drawn over step or time."""
    _current("define_metric").define_metric(*given, **more)


def save(*given: Any, **more: Any) -> list[str]:
    """Accepted for W&B scripts; files are not uploaded with a run."""
    return _current("save").save(*given, **more)


def log_artifact(*given: Any, **more: Any) -> Any:
    """Accepted for W&B scripts; not recorded."""
    return _current("log_artifact").log_artifact(*given, **more)


def use_artifact(*given: Any, **more: Any) -> Any:
    """Accepted for W&B scripts; not recorded."""
    return _current("use_artifact").use_artifact(*given, **more)


def restore(*given: Any, **more: Any) -> None:
    """Accepted for W&B scripts; there is nothing to restore."""
    _current("restore").restore(*given, **more)


def log_model(*given: Any, **more: Any) -> None:
    """Accepted for W&B scripts; not recorded."""
    _current("log_model").log_model(*given, **more)


def use_model(*given: Any, **more: Any) -> None:
    """Accepted for W&B scripts; not recorded."""
    _current("use_model").use_model(*given, **more)


def link_model(*given: Any, **more: Any) -> None:
    """Accepted for W&B scripts; not recorded."""
    _current("link_model").link_model(*given, **more)


def mark_preempting(*_: Any, **__: Any) -> None:
    """Accepted for W&B scripts; a run that is stopped and started again goes on under its id."""


def alert(*given: Any, **more: Any) -> None:
    """Print an alert on stderr."""
    _current("alert").alert(*given, **more)


def setup(*_: Any, **__: Any) -> None:
    """Accepted for W&B scripts; there is nothing to set up."""


def require(*_: Any, **__: Any) -> None:
    """Accepted for W&B scripts; nothing has to be switched on."""


def teardown(exit_code: int | None = None) -> None:
    """Finish the current run."""
    finish(exit_code=exit_code)


def termlog(text: str = "", *_: Any, **__: Any) -> None:
    """Print a line on stderr."""
    notice.say(text)


termerror = termwarn = termlog


def __getattr__(name: str) -> Any:
    """`arwandb.autoresearch` is loaded when it is first asked for: most runs need none of it."""
    if name == "autoresearch":
        from importlib import import_module

        return import_module(".autoresearch", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
