"""Hugging Face: `Trainer(…, callbacks=[ArwandbCallback()])`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import arwandb

from . import Callback, run_or

# What the Trainer says once, at the end of training.
_TOTALS = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos"}


class ArwandbCallback(Callback):
    """Logs what the Trainer logs, under `train/…`, `eval/…` and `test/…`, and its arguments as config.

    Goes to the current run, or begins one with the arguments of `arwandb.init` and ends it with the training.
    """

    def __init__(self, **init: Any) -> None:
        self._init = init
        self._run: arwandb.Run | None = None
        self._is_ours = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        run = self._begin(state)
        if run is not None:
            run.config.update(args.to_sanitized_dict() if hasattr(args, "to_sanitized_dict") else vars(args))

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        run = self._begin(state)
        if run is None or not logs:
            return
        totals = {name: value for name, value in logs.items() if name in _TOTALS}
        if totals:
            run.summary.update(totals)
        run.log({_named(name): value for name, value in logs.items() if name not in _TOTALS}, step=state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._run is not None and self._is_ours:
            self._run.finish()
        self._run = None

    def _begin(self, state: Any) -> arwandb.Run | None:
        """The run, in the one process that speaks for all."""
        if self._run is None and state.is_world_process_zero:
            before = arwandb.run
            self._run = run_or(**self._init)
            self._is_ours = self._run is not before
        return self._run


def _named(name: str) -> str:
    for part in ("eval", "test"):
        if name.startswith(f"{part}_"):
            return f"{part}/{name[len(part) + 1 :]}"
    return f"train/{name}"
