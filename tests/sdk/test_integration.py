"""Loggers for frameworks, called as the frameworks call them. None of the frameworks is installed here."""

import pickle
from types import SimpleNamespace
from typing import Any

import arwandb
import pytest
from arwandb.integration.keras import MetricsLogger
from arwandb.integration.lightning import ArwandbLogger
from arwandb.integration.transformers import ArwandbCallback

from tests.sdk.standin import StandIn


def fit(callback: Any, *, epochs: int, batches: int) -> None:
    """As Keras: every hook of a fit, in its order."""
    callback.set_params({"epochs": epochs})
    callback.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=0.25)))
    callback.on_train_begin(None)
    for epoch in range(epochs):
        callback.on_epoch_begin(epoch, None)
        for batch in range(batches):
            callback.on_train_batch_begin(batch, logs=None)
            callback.on_train_batch_end(batch, logs={"loss": float(epoch * batches + batch)})
        callback.on_test_begin(None)
        callback.on_epoch_end(epoch, {"loss": float(epoch), "val_loss": 0.5})
    callback.on_train_end(None)


def test_keras_epochs_and_batches_arrive(standin: StandIn) -> None:
    run = arwandb.init(id="k")
    fit(MetricsLogger(every_batches=2), epochs=2, batches=4)
    run.finish()

    found = [(point["step"], point["metrics"]) for point in standin.model.points("k")]
    rate = {"batch/learning_rate": 0.25}
    assert found == [
        (2, {"batch/loss": 1.0, **rate}), (4, {"batch/loss": 3.0, **rate}),
        (4, {"epoch/loss": 0.0, "epoch/val_loss": 0.5, "epoch/learning_rate": 0.25}),
        (6, {"batch/loss": 5.0, **rate}), (8, {"batch/loss": 7.0, **rate}),
        (8, {"epoch/loss": 1.0, "epoch/val_loss": 0.5, "epoch/learning_rate": 0.25}),
    ]  # fmt: skip


def test_keras_begins_a_run_of_its_own_where_there_is_none(standin: StandIn) -> None:
    fit(MetricsLogger(id="k", project="digits"), epochs=3, batches=1)
    arwandb.finish()

    assert standin.model.runs["k"]["project"] == "digits"
    assert [point["step"] for point in standin.model.points("k")] == [0, 1, 2]
    assert standin.model.values("k", "epoch/loss") == [0.0, 1.0, 2.0]


def test_a_hook_that_is_no_hook_is_not_there() -> None:
    with pytest.raises(AttributeError):
        MetricsLogger().model_dump  # noqa: B018


def test_lightning_metrics_and_hyperparameters_arrive(standin: StandIn) -> None:
    logger = ArwandbLogger(project="digits", id="l", prefix="fold1")
    assert (logger.name, logger.version) == ("digits", "l")
    logger.log_hyperparams(SimpleNamespace(lr=0.1), metrics=None)
    logger.log_hyperparams({"layers": 2})
    for step in (10, 20):
        logger.log_metrics({"loss": float(step), "epoch": 0}, step=step)
    logger.log_graph(object())
    logger.after_save_checkpoint(object())
    logger.save()
    logger.finalize("success")
    logger.log_metrics({"test": 1.0}, step=20)  # a Trainer tests after it was fit
    arwandb.finish()

    assert standin.model.runs["l"]["config"] == {"lr": 0.1, "layers": 2}
    assert standin.model.values("l", "fold1/loss") == [10.0, 20.0]
    assert standin.model.values("l", "fold1/test") == [1.0]
    assert standin.model.runs["l"]["status"] == "finished"


def test_a_failed_lightning_fit_ends_the_run_as_failed(standin: StandIn) -> None:
    logger = ArwandbLogger(id="l")
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("failed")
    assert standin.model.runs["l"]["status"] == "failed"


def test_only_the_first_rank_logs_for_lightning(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    logger = ArwandbLogger(id="l")
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("failed")
    assert logger.experiment is None
    assert arwandb.run is None


def test_a_copy_of_a_lightning_logger_goes_on_with_its_run(standin: StandIn) -> None:
    logger = ArwandbLogger(project="digits")
    first = logger.experiment
    assert first is not None
    first.finish()
    copy = pickle.loads(pickle.dumps(logger))
    assert copy.experiment.id == first.id


def test_what_a_hugging_face_trainer_logs_arrives(standin: StandIn) -> None:
    callback = ArwandbCallback(project="text", id="h")
    args = SimpleNamespace(to_sanitized_dict=lambda: {"learning_rate": 5e-5, "seed": 42})
    state, control = SimpleNamespace(is_world_process_zero=True, global_step=0), object()
    callback.on_init_end(args, state, control)
    callback.on_train_begin(args, state, control, model=None)
    for step in (50, 100):
        state.global_step = step
        callback.on_step_end(args, state, control)
        callback.on_log(args, state, control, logs={"loss": 1 / step, "grad_norm": 0.5, "epoch": 0.1})
    callback.on_log(args, state, control, logs={"eval_loss": 0.75, "eval_runtime": 3.0})
    callback.on_log(
        args, state, control, logs={"train_runtime": 12.5, "train_loss": 0.5, "total_flos": 1e9, "epoch": 1.0}
    )
    callback.on_train_end(args, state, control)

    run = standin.model.runs["h"]
    assert run["config"] == {"learning_rate": 5e-5, "seed": 42}
    assert run["summary"] == {"train_runtime": 12.5, "train_loss": 0.5, "total_flos": 1e9}
    assert run["status"] == "finished"
    assert standin.model.values("h", "train/loss") == [1 / 50, 1 / 100]
    assert standin.model.values("h", "eval/loss") == [0.75]
    assert {point["step"] for point in standin.model.points("h")} == {50, 100}


def test_a_run_that_was_open_before_the_trainer_stays_open(standin: StandIn) -> None:
    run = arwandb.init(id="h")
    callback = ArwandbCallback()
    state = SimpleNamespace(is_world_process_zero=True, global_step=1)
    callback.on_train_begin(SimpleNamespace(seed=1), state, object())
    callback.on_train_end(SimpleNamespace(), state, object())
    assert not run.is_finished
    other = SimpleNamespace(is_world_process_zero=False, global_step=1)
    ArwandbCallback().on_log(None, other, object(), logs={"loss": 1.0})
    run.finish()
    assert standin.model.points("h") == []
    assert standin.model.runs["h"]["config"] == {"seed": 1}


def test_frameworks_may_log_into_a_disabled_run() -> None:
    arwandb.init(mode="disabled")
    current = arwandb.run
    fit(MetricsLogger(), epochs=2, batches=2)
    assert arwandb.run is current
