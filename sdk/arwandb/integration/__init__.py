"""Loggers for training frameworks, each a small module: `keras`, `lightning`, `transformers`.

They have the methods that their framework calls, and import none of it: any version will do.
"""

from __future__ import annotations

import os
from typing import Any

import arwandb


def run_or(**arguments: Any) -> arwandb.Run:
    """The current run, or a new one that is begun with these arguments."""
    open_run = arwandb.run
    return arwandb.init(**arguments) if open_run is None or open_run.is_finished else open_run


def is_first_rank() -> bool:
    """Whether this is the process of a distributed training that speaks for all of them."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if found := os.environ.get(name):
            return found == "0"
    return True


class Callback:
    """A callback that has every hook of its framework; those that it does not define do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):
            return _nothing
        raise AttributeError(f"{type(self).__name__} has no {name}")


def _nothing(*_: Any, **__: Any) -> None:
    return None
