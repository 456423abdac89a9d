"""The character model of examples/char_lm: right gradients, learns, repeats itself, and runs as a user runs it."""

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "char_lm"
MODULES = ("text", "model", "optimizer")


@pytest.fixture(scope="module")
def lm():
    """The example's modules, imported as its own script imports them, and forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        for name in MODULES:
            patch.delitem(sys.modules, name, raising=False)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
        for name in MODULES:
            sys.modules.pop(name, None)


def small(lm, *, dropout=0.0, dtype=np.float32):
    rng = np.random.default_rng(1)
    model = lm.model.CharModel(symbols=7, context=3, embedding=4, hidden=8, dropout=dropout, rng=rng, dtype=dtype)
    contexts, targets = rng.integers(0, 7, (12, 3)), rng.integers(0, 7, 12)
    return model, contexts, targets


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("name", ["embedding", "w1", "b1", "w2", "b2", "w3", "b3"])
def test_each_gradient_agrees_with_finite_differences(lm, name, dropout):
    model, contexts, targets = small(lm, dropout=dropout, dtype=np.float64)
    # The last layer starts near zero, which would make the gradients below it too small to tell right from wrong.
    model.parameters["w3"] *= 50

    def loss_and_gradients():
        return model.loss_and_gradients(contexts, targets, np.random.default_rng(2))  # the same dropout every time

    gradient = loss_and_gradients()[1][name]
    numeric = np.zeros_like(gradient)
    parameter, step = model.parameters[name], 1e-6
    for where in np.ndindex(parameter.shape):
        before = parameter[where]
        parameter[where] = before + step
        above = loss_and_gradients()[0]
        parameter[where] = before - step
        below = loss_and_gradients()[0]
        parameter[where] = before
        numeric[where] = (above - below) / (2 * step)

    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-8)


def test_the_two_forward_passes_agree_without_dropout(lm):
    model, contexts, targets = small(lm, dtype=np.float64)
    trained, _ = model.loss_and_gradients(contexts, targets, np.random.default_rng(2))
    assert model.loss(contexts, targets) == pytest.approx(trained, rel=1e-12)


def test_the_loss_of_many_rows_is_the_mean_over_all_of_them(lm):
    model, _, _ = small(lm, dtype=np.float64)
    rng = np.random.default_rng(3)
    contexts, targets = rng.integers(0, 7, (5000, 3)), rng.integers(0, 7, 5000)
    single = [model.loss(contexts[i : i + 1], targets[i : i + 1]) for i in range(5000)]
    assert model.loss(contexts, targets) == pytest.approx(np.mean(single), rel=1e-10)


def test_an_untrained_model_is_as_good_as_guessing(lm):
    model, contexts, targets = small(lm)
    assert model.loss(contexts, targets) == pytest.approx(math.log(7), abs=0.2)


def test_it_learns_a_short_text_by_heart(lm):
    line = "to be, or not to be, that is the question"
    symbols = lm.text.encode(line)
    contexts, targets = lm.model.windows(symbols, 8)
    model = lm.model.CharModel(
        symbols=len(lm.text.ALPHABET), context=8, embedding=8, hidden=32, rng=np.random.default_rng(0)
    )
    optimizer = lm.optimizer.AdamW(model.parameters, weight_decay=0.0)
    for _ in range(200):
        _, gradients = model.loss_and_gradients(contexts, targets, np.random.default_rng(0))
        lm.optimizer.clip(gradients, 1.0)
        optimizer.step(gradients, 5e-3)

    assert model.loss(contexts, targets) < 0.05
    continued = model.sample(symbols[:8], len(symbols) - 8, np.random.default_rng(0), temperature=0.1)
    assert lm.text.decode(continued) == line


def test_the_learning_rate_warms_up_peaks_and_falls_to_a_twentieth(lm):
    rates = [lm.optimizer.learning_rate(step, steps=100, peak=2.0, warmup=10) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == 2.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)


def test_clipping_bounds_the_common_norm_and_tells_what_it_was(lm):
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    assert lm.optimizer.clip(gradients, 10.0) == pytest.approx(5.0)
    assert gradients["b"][0, 0] == 4.0
    assert lm.optimizer.clip(gradients, 1.0) == pytest.approx(5.0)
    assert (gradients["a"][0], gradients["b"][0, 0]) == pytest.approx((0.6, 0.8))


def test_the_text_is_prose_of_some_size_and_shares_no_paragraph_with_what_is_held_out(lm):
    corpus = lm.text.load()
    training, validation = lm.text.decode(corpus.training), lm.text.decode(corpus.validation)

    assert len(training) > 200_000
    assert 0.05 < len(validation) / len(training) < 0.15
    assert "statement" in training
    assert "statement" in validation
    assert not set(validation.split("\n\n")) & set(training.split("\n\n"))
    assert lm.text.load().digest == corpus.digest


def test_encoding_keeps_what_the_alphabet_has(lm):
    assert lm.text.decode(lm.text.encode("Zeile 1\n{~} ß")) == "Zeile 1\n{~} "


def run_script(folder, *options):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ARWANDB_", "WANDB_"))}
    environment |= {"ARWANDB_MODE": "disabled", "PYTHONPATH": str(ROOT / "sdk")}
    command = [sys.executable, str(FOLDER / "train.py"), "--steps", "30", "--eval-every", "15", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_the_script_runs_without_a_server_and_repeats_itself_by_seed(tmp_path):
    first, again, other = (run_script(tmp_path, "--seed", seed) for seed in ("7", "7", "8"))

    assert first.returncode == 0, first.stderr
    score = [line for line in first.stdout.splitlines() if line.startswith("val_bpb: ")]
    assert 3 < float(score[0].split()[1]) < math.log2(96)
    assert "The value of " in first.stdout
    assert again.stdout == first.stdout
    assert other.stdout != first.stdout


def test_the_script_says_what_is_wrong_with_an_option(tmp_path):
    wrong = run_script(tmp_path, "--hidden", "0")
    assert wrong.returncode == 2
    assert "--hidden" in wrong.stderr
