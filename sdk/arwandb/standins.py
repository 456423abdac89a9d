"""What W&B scripts make and log beside numbers. It exists, does nothing, and is said once not to be recorded."""

from __future__ import annotations

from typing import Any

from .runs import new_id


class _StandIn:
    """Takes any arguments and any call."""

    is_not_recorded = True

    def __init__(self, *given: Any, **more: Any) -> None:
        self._given, self._more = given, more

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing


def _nothing(*_: Any, **__: Any) -> None:
    return None


class Image(_StandIn):
    """Stands in for `wandb.Image`."""


class Audio(_StandIn):
    """Stands in for `wandb.Audio`."""


class Video(_StandIn):
    """Stands in for `wandb.Video`."""


class Html(_StandIn):
    """Stands in for `wandb.Html`."""


class Histogram(_StandIn):
    """Stands in for `wandb.Histogram`."""


class Object3D(_StandIn):
    """Stands in for `wandb.Object3D`."""


class Molecule(_StandIn):
    """Stands in for `wandb.Molecule`."""


class Plotly(_StandIn):
    """Stands in for `wandb.Plotly`."""


class Graph(_StandIn):
    """Stands in for `wandb.Graph`."""


class Artifact(_StandIn):
    """Stands in for `wandb.Artifact`."""


class Settings(_StandIn):
    """Stands in for `wandb.Settings`; of it the mode counts. All else stands in `init()` and in the environment."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.given = given


class Table(_StandIn):
    """Stands in for `wandb.Table`; keeps its rows, so that scripts that read them back work."""

    def __init__(self, columns: Any = None, data: Any = None, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.columns = list(columns or [])
        self.data = [list(row) for row in data] if isinstance(data, (list, tuple)) else []

    def add_data(self, *row: Any) -> None:
        """Add a row."""
        self.data.append(list(row))

    def add_column(self, name: str, data: Any, **_: Any) -> None:
        """Add a column."""
        self.columns.append(name)


class AlertLevel:
    """The levels of `alert()`."""

    INFO, WARN, ERROR = "INFO", "WARN", "ERROR"


class Api:
    """Reading back goes through the HTTP API of the server; there is no `Api` object."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("arwandb has no Api object; read runs from the server at /v1 (see /docs there)")


def sweep(*_: Any, **__: Any) -> str:
    """There are no sweeps; a script that needs one cannot go on."""
    raise NotImplementedError("arwandb has no sweeps; start one run for each setting, with a common group")


agent = sweep


class _Util:
    """Stands in for the one function of `wandb.util` that scripts call."""

    @staticmethod
    def generate_id(length: int = 8) -> str:
        """A random id for a run, of at most 13 characters."""
        return new_id("run")[-max(1, min(length, 13)) :]


util = _Util()


class _Plot:
    """Stands in for `wandb.plot`: each of its functions gives a value that is not recorded."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn


plot = _Plot()
