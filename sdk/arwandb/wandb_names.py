"""What W&B scripts ask of a run, beyond what is ours: the names are there, and what is not recorded is said once."""

from __future__ import annotations

import os
from typing import Any

from . import notice
from .settings import Settings

_NOT_RECORDED = {
    "watch": "gradients and graphs are not kept",
    "define_metric": "charts are drawn over step or time",
    "save": "files are not uploaded with a run",
    "log_code": "the commit and what is not committed are noted by init()",
    "log_artifact": "artifacts are made with arwandb.autoresearch",
    "use_artifact": "artifacts are fetched with arwandb.autoresearch",
    "link_artifact": "artifacts have refs, see arwandb.autoresearch",
    "restore": "files are not uploaded with a run",
    "log_model": "models are artifacts, see arwandb.autoresearch",
    "use_model": "models are artifacts, see arwandb.autoresearch",
    "link_model": "models are artifacts, see arwandb.autoresearch",
}


def _leave_out(name: str) -> None:
    notice.once(name, f"{name}() is not recorded: {_NOT_RECORDED[name]}")


def _as_artifact(given: Any, name: str | None, *, type: Any = None, **_: Any) -> Any:
    """The artifact itself; one that holds nothing for a path or a name."""
    if not isinstance(given, (str, os.PathLike)):
        return given
    from .standins import Artifact

    return Artifact(name or os.path.basename(given), type or "")


class WandbNames:
    """Base of `Run`: its attributes and methods that W&B has and arwx does not need."""

    settings: Settings
    project: str
    id: str
    started_at: float
    resumed = False
    starting_step = 0

    @property
    def entity(self) -> str:
        return ""

    @property
    def path(self) -> str:
        return f"{self.project}/{self.id}"

    @property
    def group(self) -> str | None:
        return self.settings.group

    @property
    def job_type(self) -> str | None:
        return self.settings.job_type

    @property
    def disabled(self) -> bool:
        return self.settings.mode == "disabled"

    @property
    def offline(self) -> bool:
        return self.settings.mode == "offline"

    @property
    def sweep_id(self) -> None:
        return None

    sweep_url = sweep_id

    @property
    def start_time(self) -> float:
        return self.started_at

    def get_sweep_url(self) -> None:
        return None

    def to_html(self, *_: Any, **__: Any) -> str:
        return ""

    def display(self, *_: Any, **__: Any) -> bool:
        return False

    def project_name(self) -> str:
        return self.project

    def watch(self, *_: Any, **__: Any) -> None:
        _leave_out("watch")

    def unwatch(self, *_: Any, **__: Any) -> None:
        pass

    def define_metric(self, *_: Any, **__: Any) -> None:
        _leave_out("define_metric")

    def save(self, *_: Any, **__: Any) -> list[str]:
        _leave_out("save")
        return []

    def restore(self, *_: Any, **__: Any) -> None:
        _leave_out("restore")

    def log_code(self, *_: Any, **__: Any) -> None:
        _leave_out("log_code")

    def log_artifact(self, artifact_or_path: Any = None, name: str | None = None, *_: Any, **more: Any) -> Any:
        _leave_out("log_artifact")
        return _as_artifact(artifact_or_path, name, **more)

    def use_artifact(self, artifact_or_name: Any = None, *_: Any, **more: Any) -> Any:
        _leave_out("use_artifact")
        return _as_artifact(artifact_or_name, None, **more)

    def link_artifact(self, *_: Any, **__: Any) -> None:
        _leave_out("link_artifact")

    def log_model(self, *_: Any, **__: Any) -> None:
        _leave_out("log_model")

    def use_model(self, *_: Any, **__: Any) -> None:
        _leave_out("use_model")

    def link_model(self, *_: Any, **__: Any) -> None:
        _leave_out("link_model")

    def alert(self, title: str = "", text: str = "", **_: Any) -> None:
        notice.say(f"alert: {title}: {text}")

    def mark_preempting(self) -> None:
        pass
