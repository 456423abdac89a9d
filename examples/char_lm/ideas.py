"""What the scripted researcher tries, in order: a sentence why, and what to change in the working tree."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Where the search starts: plain settings, nothing tuned.
BASELINE = {
    "lr": 1e-3,
    "warmup": 100,
    "batch_size": 128,
    "context": 6,
    "embedding": 16,
    "hidden": 128,
    "dropout": 0.2,
    "weight_decay": 0.1,
}

Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Idea:
    """One change. A change of `adds_code` must gain more than chance can: the simpler code wins a tie."""

    session: str
    note: str
    edit: Edit
    adds_code: bool = False


def setting(**changes: float | Callable[[float], float]) -> Edit:
    """Change settings in config.json, to a value or by a function of the present one."""

    def edit(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        for name, change in changes.items():
            value = change(config[name]) if callable(change) else change
            config[name] = type(config[name])(value)
        path.write_text(json.dumps(config, indent=2) + "\n")

    return edit


def source(name: str, *replacements: tuple[str, str]) -> Edit:
    """Replace text in a source file; each must be there."""

    def edit(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        for old, new in replacements:
            if old not in text:
                raise LookupError(f"{name} has no {old!r} any more")
            text = text.replace(old, new)
        path.write_text(text)

    return edit


def constant(name: str, variable: str, value: float) -> Edit:
    """Give a constant of a source file another value, whatever it has."""

    def edit(folder: Path) -> None:
        path = folder / name
        text, count = re.subn(rf"^{variable} = [\d.]+", f"{variable} = {value}", path.read_text(), flags=re.MULTILINE)
        if count != 1:
            raise LookupError(f"{name} has no {variable} any more")
        path.write_text(text)

    return edit


def nothing(_: Path) -> None:
    """Run what is there once more: only chance differs."""


def times(factor: float) -> Callable[[float], float]:
    return lambda value: value * factor


IDEAS = [
    Idea("baseline", "baseline: nothing tuned", nothing),
    Idea("baseline", "baseline again: how far does chance go?", nothing),
    Idea("baseline", "baseline a third time", nothing),
    Idea("optimizer", "loss falls slowly all the way; learning rate 3x", setting(lr=times(3))),
    Idea("optimizer", "still no sign of trouble; learning rate 2x more", setting(lr=times(2))),
    Idea("optimizer", "and once more 3x", setting(lr=times(3))),
    Idea("optimizer", "find the edge: learning rate 30", setting(lr=30.0)),
    Idea("optimizer", "few updates in the budget; batch of 64 gives twice as many", setting(batch_size=64)),
    Idea("optimizer", "even more updates: batch of 32", setting(batch_size=32)),
    Idea("optimizer", "early steps are wasted; warm-up of 30", setting(warmup=30)),
    Idea("optimizer", "no warm-up at all", setting(warmup=0)),
    Idea(
        "optimizer",
        "short run, second moment lags: beta2 0.95",
        source("optimizer.py", ("beta2: float = 0.99", "beta2: float = 0.95")),
    ),
    Idea(
        "optimizer",
        "noise at the end: decay the rate to zero",
        constant("optimizer.py", "_FINAL_SHARE", 0.0),
    ),
    Idea(
        "optimizer",
        "cosine spends long near the top; linear decay",
        source("optimizer.py", ("(1 + math.cos(math.pi * progress)) / 2", "(1 - progress)")),
    ),
    Idea(
        "optimizer",
        "gradient is clipped at every step; limit 3",
        constant("train.py", "_GRADIENT_LIMIT", 3.0),
    ),
    Idea("optimizer", "or clip harder: limit 0.3", constant("train.py", "_GRADIENT_LIMIT", 0.3)),
    Idea("optimizer", "what is best so far, again: luck?", nothing),
    Idea("optimizer", "and once more", nothing),
    Idea("regularization", "one look at each text, nothing to overfit: dropout 0.05", setting(dropout=0.05)),
    Idea("regularization", "then none at all", setting(dropout=0.0)),
    Idea("regularization", "dropout 1.0, to see what it does", setting(dropout=1.0)),
    Idea("regularization", "weight decay is for long runs; 0.01", setting(weight_decay=0.01)),
    Idea("regularization", "more weight decay instead: 0.5", setting(weight_decay=0.5)),
    Idea("architecture", "six characters are half a word; context 10", setting(context=10)),
    Idea("architecture", "a whole phrase: context 20", setting(context=20)),
    Idea("architecture", "wider layers: hidden 256", setting(hidden=256)),
    Idea("architecture", "wider still: hidden 512", setting(hidden=512)),
    Idea("architecture", "as wide as memory allows: hidden 6000", setting(hidden=6000)),
    Idea("architecture", "richer characters: embedding 32", setting(embedding=32)),
    Idea(
        "architecture",
        "second layer twice as wide",
        source("model.py", ('"w2": normal(hidden, hidden,', '"w2": normal(hidden, 2 * hidden,')),
    ),
    Idea(
        "architecture",
        "embeddings start too loud; scale 0.3",
        source("model.py", ("normal(symbols, embedding, 1.0)", "normal(symbols, embedding, 0.3)")),
    ),
    Idea(
        "architecture",
        "output layer starts too quiet; scale 0.05",
        source("model.py", ("normal(hidden, symbols, 0.01)", "normal(hidden, symbols, 0.05)")),
    ),
    Idea("architecture", "half precision should be faster", source("model.py", ("= np.float32,", "= np.float16,"))),
    Idea(
        "architecture",
        "residual branch starts at nothing, so that it only helps",
        source(
            "model.py",
            (
                '"w2": normal(hidden, hidden, 1 / math.sqrt(hidden))',
                '"w2": normal(hidden, hidden, 0.1 / math.sqrt(hidden))',
            ),
        ),
        adds_code=True,
    ),
    Idea("fine", "with the new shape, learning rate 1.5x", setting(lr=times(1.5))),
    Idea("fine", "or 0.7x", setting(lr=times(0.7))),
    Idea("fine", "updates again: half the batch", setting(batch_size=times(0.5))),
    Idea("fine", "context 14 for the wider layers", setting(context=14)),
    Idea(
        "fine",
        "a slower first moment: beta1 0.95",
        source("optimizer.py", ("beta1: float = 0.9,", "beta1: float = 0.95,")),
        adds_code=True,
    ),
    Idea("fine", "the winner, again: luck?", nothing),
    Idea("fine", "and once more", nothing),
]

# The same in small, for a look: a baseline twice, something good, something bad, something that breaks.
SHORT = [IDEAS[number] for number in (0, 1, 3, 7, 6, 20, 23, 25)]
