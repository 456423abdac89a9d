"""What W&B scripts make and log beside numbers. It exists, does nothing, and is said once not to be recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import IO, Any

from .runs import Run, new_id


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


class Bokeh(_StandIn):
    """Stands in for `wandb.Bokeh`."""


class Classes(_StandIn):
    """Stands in for `wandb.Classes`."""


class Box3D(_StandIn):
    """Stands in for `wandb.Box3D`."""


class JoinedTable(_StandIn):
    """Stands in for `wandb.JoinedTable`."""


class Artifact(_StandIn):
    """Stands in for `wandb.Artifact`: it can be described and filled, and holds nothing. What it should give cannot be had."""

    def __init__(
        self, name: str = "", type: str = "", description: Any = None, metadata: Any = None, **more: Any
    ) -> None:
        super().__init__(**more)
        self.name, self.type, self.description = str(name), str(type), description
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.aliases: list[str] = []
        self.tags: list[str] = []
        self.version = "latest"

    def new_file(self, name: str, mode: str = "w", encoding: str | None = None) -> IO[Any]:
        """A file to write into, which is not kept."""
        return open(os.devnull, mode, encoding=None if "b" in mode else encoding or "utf-8")

    def wait(self, timeout: float | None = None) -> Artifact:
        """There is nothing to wait for."""
        return self

    def download(self, *_: Any, **__: Any) -> str:
        """It has no files; a script that needs them cannot go on."""
        raise NotImplementedError(
            f"arwandb has no files of {self.name!r}: log artifacts with arwandb.autoresearch.artifact(), and fetch them with "
            "arwandb.autoresearch.get_artifact(name, ref).download(folder)"
        )

    file = get = get_entry = get_path = checkout = download


class Settings(_StandIn):
    """Stands in for `wandb.Settings`; of it the mode counts. All else stands in `init()` and in the environment."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.given = given


class Table(_StandIn):
    """Stands in for `wandb.Table`; keeps its rows, so that scripts that read them back work."""

    def __init__(
        self, columns: Any = None, data: Any = None, rows: Any = None, dataframe: Any = None, **more: Any
    ) -> None:
        super().__init__(**more)
        if dataframe is not None:
            columns, data = dataframe.columns, dataframe.values.tolist()
        data = rows if data is None else data
        self.columns = [] if columns is None else list(columns)
        self.data = [] if data is None else [list(row) for row in data]

    def add_data(self, *row: Any) -> None:
        """Add a row."""
        self.data.append(list(row))

    def add_column(self, name: str, data: Any, **_: Any) -> None:
        """Add a column."""
        self.columns.append(name)
        self.data = [[*row, value] for row, value in zip(self.data or [[] for _ in data], data, strict=False)]

    def get_column(self, name: str, convert_to: Any = None) -> list[Any]:
        """The values of a column."""
        return [row[self.columns.index(name)] for row in self.data]

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """The rows with their numbers."""
        return enumerate(self.data)


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


agent = controller = sweep


class _Util:
    """Stands in for the one function of `wandb.util` that scripts call."""

    @staticmethod
    def generate_id(length: int = 8) -> str:
        """A random id for a run, of at most 13 characters."""
        return new_id("run")[-max(1, min(length, 13)) :]


util = _Util()


class Plot(_StandIn):
    """Stands in for what the functions of `wandb.plot` make."""


class _Plots:
    """Stands in for `wandb.plot`: each of its functions gives a value that is not recorded."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Plot


plot = _Plots()
plot_table = plot.table

# What scripts name of W&B's insides: the type of a run, and how ids are made.
sdk = SimpleNamespace(wandb_run=SimpleNamespace(Run=Run), lib=SimpleNamespace(runid=util))
