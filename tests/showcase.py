"""A project as it looks after a week of work: what the pages are shown and tried with.

`python -m tests.showcase FOLDER` fills a data folder for `ARWX_DATA_DIR=FOLDER arwx serve`; everything goes through the
front door, with the clock turned back.
"""

import hashlib
import math
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flask import Flask

from arwx import clock, config, create_app, members, organizations, people, schema
from tests.make import Caller, Maker

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
OPTIMIZERS = ("adamw", "muon", "sgd")
NOTES = (
    "baseline", "warm up for 200 steps", "cosine decay to a tenth", "drop weight decay on norms", "double the width",
    "muon on matrices", "clip gradients at 0.5", "rotary positions", "tie the embeddings", "squared relu", "bigger batch",
    "longer context", "init by depth", "value residual", "softcap the logits", "fewer heads",
)  # fmt: skip
DIFF = """diff --git a/train.py b/train.py
index 83db48f..bf2a1c7 100644
--- a/train.py
+++ b/train.py
@@ -41,7 +41,8 @@ def main() -> None:
     model = Transformer(settings)
-    optimizer = AdamW(model.parameters(), lr=settings.lr)
+    # Matrices go to muon; norms, biases and embeddings stay with adamw.
+    optimizer = Muon(matrices(model), lr=settings.lr, momentum=0.95)
     for step in range(settings.steps):
         loss = model(batch(step))
"""


def fill(app: Flask, runs: int = 40, steps: int = 3000, *, with_account: bool = True) -> Caller:
    """A project char-lm with a goal, runs in every state, and the experiments that led to the best of them."""
    now = clock.now()
    ada = Maker(app).caller("Ada's lab", scope="admin")
    if with_account:
        with app.extensions["arwx.db"].writing() as session:
            user = people.add_user(session, EMAIL, PASSWORD)
            members.join(session, user, organizations.named(session, "Ada's lab"), "owner")
    goal = {"name": "char-lm", "objective_metric": "val/bpb", "lower_is_better": True, "target": 1.05}
    with at(now - timedelta(days=6)):
        ada.post("/v1/projects", json={**goal, "description": "Small transformers on characters."})
        session_id = ada.post("/v1/sessions", json={"project": "char-lm", "tag": "week 12"}).json["id"]
        diff_sha = ada.post("/v1/blobs", data=DIFF.encode()).json["sha"]
    best = math.inf
    for number in range(runs):
        chance = random.Random(number)
        begun = now - timedelta(minutes=(runs - number) * 190 if number < runs - 4 else (runs - number) * 9)
        state = _state(number, runs)
        run = _run(ada, number, begun, chance, diff_sha)
        score = _log(ada, run, number, begun, steps, chance, state)
        if number % 2 == 0 and state == "finished":
            with at(begun + timedelta(minutes=95)):
                is_better = score < best
                best = min(best, score)
                _experiment(ada, session_id, run["id"], number, score, is_better=is_better)
    return ada


def at(moment: datetime) -> Any:
    """As if it were then."""
    return patch.object(clock, "now", lambda: moment)


def _state(number: int, runs: int) -> str:
    if number >= runs - 2:
        return "running"
    return {runs - 3: "silent", 7: "failed", 19: "crashed", 26: "killed"}.get(number, "finished")


def _run(ada: Caller, number: int, begun: datetime, chance: random.Random, diff_sha: str) -> dict[str, Any]:
    settings = {
        "lr": chance.choice([1e-4, 3e-4, 1e-3, 3e-3]),
        "batch_size": chance.choice([32, 64, 128]),
        "model": {"depth": chance.choice([4, 6, 8]), "width": chance.choice([256, 384, 512]), "heads": 8},
        "optimizer": {"name": OPTIMIZERS[number % 3], "weight_decay": 0.1},
        "seed": number % 3,
        "dataset": "tinystories",
    }
    words = NOTES[number % len(NOTES)]
    with at(begun):
        return ada.run(
            "char-lm",
            id=f"run_{int(begun.timestamp()):x}{number:03d}",
            name=words.replace(" ", "-") + (f"-{number // len(NOTES) + 1}" if number >= len(NOTES) else ""),
            config=settings,
            tags=[["baseline"], ["sweep", "lr"], ["sweep"], []][number % 4],
            group="sweep" if number % 4 in {1, 2} else None,
            notes="Loss spikes after step 2000; look at the clipping." if number == 7 else None,
            host={"hostname": f"gpu-{number % 4}", "python": "3.12.4", "gpu": "H100 80GB", "cpu_count": 64},
            commit=hashlib.sha1(words.encode()).hexdigest(),
            diff_sha=diff_sha if number % 3 == 1 else None,
        )


def _log(
    ada: Caller, run: dict[str, Any], number: int, begun: datetime, steps: int, chance: random.Random, state: str
) -> float:
    lr, width = run["config"]["lr"], run["config"]["model"]["width"]
    floor = 1.04 + 0.12 * abs(math.log10(lr / 1e-3)) + 40 / width + 0.1 * chance.random() - 0.002 * number
    share = {"failed": 0.55, "crashed": 0.7, "silent": 0.6, "running": 0.45, "killed": 0.4}.get(state, 1.0)
    end = int(steps * share)
    pace = 95 * 60 / steps
    points, bpb = [], 0.0
    for step in range(0, end, 10):
        decay = math.exp(-step / (steps / 5))
        noise = chance.gauss(0, 0.02)
        loss = floor * 0.69 + 3.1 * decay + noise + (1.6 if state == "failed" and step > end * 0.8 else 0)
        metrics = {
            "train/loss": loss,
            "train/accuracy": 1 - loss / 5.2,
            "lr": lr * min(1, (step + 1) / 200) * (0.1 + 0.9 * math.cos(step / steps * math.pi / 2)),
            "grad_norm": math.exp(chance.gauss(0, 0.3)) * (1 + 4 * decay),
            "throughput/tokens_per_s": 182_000 + chance.gauss(0, 2500) * 2,
        }
        if step % 100 == 0:
            bpb = floor + 2.4 * decay + chance.gauss(0, 0.004)
            metrics |= {"val/loss": bpb * 0.69, "val/bpb": bpb}
        if step % 50 == 0:
            metrics |= {"system/cpu": 30 + chance.random() * 20, "system/gpu0/memory": 62.0 + chance.random()}
        entry = {"step": step, "ts": begun.timestamp() + step * pace, "metrics": metrics}
        if state == "failed" and step > end * 0.95:
            entry |= {"metrics": {k: v for k, v in metrics.items() if k != "grad_norm"}, "nonfinite": ["grad_norm"]}
        points.append(entry)
    heard = {"silent": timedelta(minutes=6), "running": timedelta(seconds=2)}.get(state)
    last = begun + timedelta(seconds=end * pace) if heard is None else datetime.now(UTC) - heard
    with at(last):
        for first in range(0, len(points), 1000):
            ada.ingest(run["id"], points[first : first + 1000], first_seq=first, writer_id="rank0", epoch="e1")
        if state in {"finished", "failed", "killed"}:
            end_fields = {"status": state, "exit_code": 0 if state == "finished" else 1}
            ada.post(f"/v1/runs/{run['id']}/finish", json={**end_fields, "summary": {"best": round(bpb, 4)}})
    return bpb


def _experiment(ada: Caller, session_id: str, run_id: str, number: int, score: float, *, is_better: bool) -> None:
    note = NOTES[number % len(NOTES)]
    told = {"session_id": session_id, "note": note, "run_id": run_id, "commit": hashlib.sha1(note.encode()).hexdigest()}
    fields = {
        **told,
        "diff": DIFF if number % 3 == 1 else "",
        "config": {"lr": 0.0003 * (1 + number % 4), "seed": number},
    }
    made = ada.post("/v1/experiments", json=fields).json
    code = {
        "train.py": f"# {note}\nwidth = {128 + 32 * number}\nsteps = 3000\n".encode(),
        "model/transformer.py": b"class Transformer:\n    pass\n",
        "model/attention.py": f"heads = {1 + number % 8}\n".encode(),
        "README.md": b"# char-lm\n",
    }
    ada.open(f"/v1/experiments/{made['id']}/tree", "PUT", json={"entries": _upload(ada, code)})
    if number == 12:
        ada.post(f"/v1/experiments/{made['id']}/decision", json={"status": "crash", "note": "out of memory at step 40"})
        return
    verdict = {"status": "keep" if is_better else "drop", "score": round(score, 4)}
    ada.post(f"/v1/experiments/{made['id']}/decision", json=verdict)
    if is_better:
        weights = random.Random(number).randbytes(40_000)
        files = _upload(ada, {"weights.bin": weights, "config.json": b'{"layers": 6}', "tokenizer/vocab.txt": b"a b c"})
        version = {"project": "char-lm", "name": "model", "type": "model", "entries": files, "produced_by": made["id"]}
        logged = ada.post("/v1/artifacts/log", json={**version, "metadata": {"val/bpb": score}}).json
        ada.open("/v1/artifacts/model/refs/winner", "PUT", json={"version": logged["version"]})
        ada.post(f"/v1/artifacts/model/v{logged['version']}/used_by", json={"run_id": run_id})


def _upload(ada: Caller, files: dict[str, bytes]) -> list[dict[str, Any]]:
    shas = {path: ada.post("/v1/blobs", data=content).json["sha"] for path, content in files.items()}
    return [{"path": path, "sha": shas[path], "size": len(content)} for path, content in files.items()]


def main(folder: str) -> None:
    settings = config.from_environment({"ARWX_DATA_DIR": folder})
    app = create_app(settings)
    schema.upgrade(app.extensions["arwx.db"])
    fill(app)
    print(f"Log in as {EMAIL} with the password {PASSWORD}")


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    main(sys.argv[1])
