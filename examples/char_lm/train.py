"""Train a character-level language model on Python's own reference text and log it with arwandb."""

import argparse
import math
import os
import platform
import time
from collections.abc import Iterator

# The matrices are too small to gain from threads, which would only take the cores from other runs.
# The libraries read these once, so they stand before the first import of numpy; a value set outside wins.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import arwandb  # noqa: E402
import numpy as np  # noqa: E402
import text  # noqa: E402
from model import CharModel, windows  # noqa: E402
from optimizer import AdamW, clip, learning_rate  # noqa: E402

_GRADIENT_LIMIT = 1.0
_PROMPT = "The value of "


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The settings of one run, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=_positive, default=12000, help="number of updates")
    parser.add_argument("--lr", type=float, default=3e-3, help="learning rate after the warm-up")
    parser.add_argument("--warmup", type=int, default=200, help="updates over which the learning rate rises")
    parser.add_argument("--batch-size", type=_positive, default=128, help="characters predicted per update")
    parser.add_argument("--context", type=_positive, default=10, help="characters that the model sees")
    parser.add_argument("--embedding", type=_positive, default=24, help="numbers per character of the context")
    parser.add_argument("--hidden", type=_positive, default=256, help="width of both hidden layers")
    parser.add_argument("--dropout", type=float, default=0.2, help="share of the last hidden layer hidden in training")
    parser.add_argument("--weight-decay", type=float, default=0.1, help="decay of the weights per unit of learning")
    parser.add_argument("--eval-every", type=_positive, default=500, help="updates between two looks at held-out text")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same model on the same machine")
    parser.add_argument("--name", default=None, help="name of the run")
    return parser.parse_args(argv)


def build(args: argparse.Namespace) -> CharModel:
    """An untrained model."""
    return CharModel(
        symbols=len(text.ALPHABET),
        context=args.context,
        embedding=args.embedding,
        hidden=args.hidden,
        dropout=args.dropout,
        rng=np.random.default_rng([args.seed, 0]),
    )


def train(model: CharModel, corpus: text.Corpus, args: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Update `model` `args.steps` times and yield the metrics of each update.

    `loss` is in nats a character, on the batch, with dropout. `val_bpb` is in bits a character over all held-out text,
    and comes every `args.eval_every` updates and with the last one. A character is one byte of ASCII.
    """
    contexts, targets = windows(corpus.training, model.context)
    held_out = windows(corpus.validation, model.context)
    rng = np.random.default_rng([args.seed, 1])
    optimizer = AdamW(model.parameters, weight_decay=args.weight_decay)
    for step in range(args.steps):
        started = time.perf_counter()
        rows = rng.integers(0, len(targets), args.batch_size)
        loss, gradients = model.loss_and_gradients(contexts[rows], targets[rows], rng)
        norm = clip(gradients, _GRADIENT_LIMIT)
        lr = learning_rate(step, steps=args.steps, peak=args.lr, warmup=args.warmup)
        optimizer.step(gradients, lr)
        metrics = {"loss": loss, "lr": lr, "grad_norm": norm}
        metrics["tokens_per_s"] = args.batch_size / (time.perf_counter() - started)
        if (step + 1) % args.eval_every == 0 or step + 1 == args.steps:
            metrics["val_bpb"] = model.loss(*held_out) / math.log(2)
        yield metrics


def main(argv: list[str] | None = None) -> None:
    """Train, log, and end with the score and a sample of what the model writes."""
    args = arguments(argv)
    corpus = text.load()
    model = build(args)
    config = vars(args) | {"parameters": model.size, "text": corpus.digest[:12], "python": platform.python_version()}
    with arwandb.init(project="char-lm", name=args.name, config=config) as run:
        print(f"{model.size:,} parameters, {len(corpus.training):,} characters to learn from", flush=True)
        for step, metrics in enumerate(train(model, corpus, args)):
            run.log(metrics, step=step)
            if "val_bpb" in metrics:
                print(f"step {step + 1:6}  loss {metrics['loss']:.3f}  val_bpb {metrics['val_bpb']:.4f}", flush=True)
        run.summary["val_bpb"] = metrics["val_bpb"]
        print(f"val_bpb: {metrics['val_bpb']:.6f}")
        if math.isfinite(metrics["val_bpb"]):
            print(text.decode(model.sample(text.encode(_PROMPT), 400, np.random.default_rng([args.seed, 2]))))


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


if __name__ == "__main__":
    main()
