"""PyTorch Lightning: `Trainer(logger=ArwandbLogger(project="char-lm"))`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import arwandb

from ..documents import as_mapping
from ..settings import Settings
from . import is_first_rank, run_or


class ArwandbLogger:
    """A logger for the Trainer, of `lightning` and of `pytorch_lightning` alike: metrics and hyperparameters of the first rank.

    Goes to the current run, or begins one with the arguments of `arwandb.init` when the first thing is logged. The run
    ends with the process, or by `arwandb.finish()`: a Trainer may go on to test after it was fit.
    """

    group_separator = "/"

    def __init__(self, project: str | None = None, name: str | None = None, *, prefix: str = "", **init: Any) -> None:
        self._init = {"project": project, "name": name, **init}
        self._prefix = f"{prefix}/" if prefix else ""
        self._run: arwandb.Run | None = None

    @property
    def experiment(self) -> arwandb.Run | None:
        """The run; None in processes of other ranks."""
        if self._run is None and is_first_rank():
            self._run = run_or(**self._init)
            self._init["id"] = self._run.id  # a copy of this logger in another process goes on with the same run
        return self._run

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics at the Trainer's step."""
        if (run := self.experiment) is not None:
            run.log({self._prefix + name: value for name, value in metrics.items()}, step=step)

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Add hyperparameters, a mapping or a namespace, to the run's config."""
        if (run := self.experiment) is not None:
            run.config.update(as_mapping(params))

    def log_graph(self, *_: Any, **__: Any) -> None:
        """Graphs are not recorded."""

    def after_save_checkpoint(self, _: Any) -> None:
        """Checkpoints are not uploaded."""

    def save(self) -> None:
        """Nothing to do: what was logged is on its way."""

    def finalize(self, status: str) -> None:
        """A failed training ends the run."""
        if status == "failed" and self._run is not None:
            self._run.finish("failed")

    @property
    def name(self) -> str:
        """The project, which is how Lightning names the folder of checkpoints."""
        return Settings({"project": self._init["project"]}).project if self._run is None else self._run.project

    @property
    def version(self) -> str | None:
        """The id of the run, once there is one."""
        return self._run.id if self._run is not None else self._init.get("id")

    # Lightning puts checkpoints into its own default folder if a logger names none.
    save_dir = root_dir = log_dir = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_run": None}
