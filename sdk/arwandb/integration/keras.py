"""Keras: `model.fit(…, callbacks=[MetricsLogger()])`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import Callback, is_first_rank, run_or


class MetricsLogger(Callback):
    """Logs what Keras measures, under `epoch/…`; with `every_batches`, also each so many batches, under `batch/…`.

    Goes to the current run, or begins one with the arguments of `arwandb.init`.
    """

    def __init__(self, every_batches: int | None = None, **init: Any) -> None:
        self.model: Any = None
        self.params: Any = None
        self._every, self._init = every_batches, init
        self._batches = 0

    def set_model(self, model: Any) -> None:
        """Keras gives the model that is trained."""
        self.model = model

    def set_params(self, params: Any) -> None:
        """Keras tells how many epochs there will be, and so on."""
        self.params = params

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._batches += 1
        if self._every and self._batches % self._every == 0:
            self._log("batch", logs, self._batches)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._log("epoch", logs, self._batches if self._every else epoch)

    def _log(self, prefix: str, logs: Mapping[str, Any] | None, step: int) -> None:
        if not is_first_rank():
            return
        metrics = {f"{prefix}/{name}": value for name, value in (logs or {}).items()}
        rate = _learning_rate(getattr(self.model, "optimizer", None))
        if rate is not None:
            metrics[f"{prefix}/learning_rate"] = rate
        run_or(**self._init).log(metrics, step=step)


def _learning_rate(optimizer: Any) -> float | None:
    try:
        return float(optimizer.learning_rate)
    except Exception:  # noqa: BLE001 - some optimizers have none, or one that no longer is a number
        return None
