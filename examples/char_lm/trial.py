"""One experiment of the loop: record it, train, and leave the model in out/. It runs inside the scratch repository.

Every run has another seed, which is in no config: repeats of one setting show how far chance goes.
"""

import json
import math
import os
import sys
from pathlib import Path

import arwandb
from arwandb import autoresearch as ar

CPU_SECONDS = 60
_SETTINGS = ("lr", "warmup", "batch_size", "context", "embedding", "hidden", "dropout", "weight_decay")


def main() -> None:
    note, experiment_id, characters = sys.argv[1], sys.argv[2], int(sys.argv[3])
    limit_cpu()
    config = json.loads(Path("config.json").read_text())
    steps = max(1, characters // config["batch_size"])
    with arwandb.init(name=note[:60], config={**config, "characters": characters}, notes=note) as run:
        # Before the code is even imported: what breaks is an experiment too.
        ar.experiment(note=note, snapshot=".", id=experiment_id)

        import train  # before numpy: it keeps the matrices to one thread

        seed = int.from_bytes(os.urandom(4), "big")
        run.summary["seed"] = seed
        flags = [f"--{name.replace('_', '-')}={config[name]}" for name in _SETTINGS]
        args = train.arguments([*flags, f"--steps={steps}", f"--eval-every={max(1, steps // 5)}", f"--seed={seed}"])
        model = train.build(args)
        score = math.nan
        for step, metrics in enumerate(train.train(model, train.text.load(), args)):
            run.log(metrics, step=step)
            score = metrics.get("val_bpb", score)
            if not math.isfinite(metrics["loss"]):
                raise FloatingPointError(f"the loss is {metrics['loss']} at step {step}")
        run.summary["val_bpb"] = score
        keep_model(model, config, score)
    print(f"val_bpb: {score:.6f}")


def limit_cpu() -> None:
    """No experiment may take for ever; the limit counts computing, not waiting."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))


def keep_model(model: object, config: dict[str, object], score: float) -> None:
    import numpy as np

    out = Path("out/model")
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "parameters.npz", **model.parameters)
    (out / "config.json").write_text(json.dumps({**config, "val_bpb": score}, indent=2) + "\n")


if __name__ == "__main__":
    main()
