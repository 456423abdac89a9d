"""How long one `log()` of five floats takes. Runs in the venv of the SDK that it measures, and needs nothing else.

    python logging_child.py SDK CALLS PAUSE_S [FAULT]

The SDKs are set up from the environment. Prints one line of JSON. `spool stalled` is a fault of this process: every
thread but the one that trains hangs as soon as it writes, as on a network disk that is gone.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

Log = Callable[[dict[str, float], int], None]
Sdk = tuple[Log, Callable[[], None]]


def arwandb() -> Sdk:
    import arwandb

    run = arwandb.init(project="bench")
    return (lambda metrics, step: run.log(metrics, step)), arwandb.finish


def trackio() -> Sdk:
    import trackio  # type: ignore[import-not-found]

    # Into its own server when there is one, else into a file of its own.
    trackio.init(project="bench", embed=False, auto_log_gpu=False, server_url=os.environ.get("BENCH_TRACKIO"))
    return (lambda metrics, step: trackio.log(metrics, step=step)), trackio.finish


def wandb() -> Sdk:
    import wandb  # type: ignore[import-not-found]

    run = wandb.init(project="bench", mode="offline", settings=wandb.Settings(silent=True, console="off"))
    return (lambda metrics, step: run.log(metrics, step=step)), run.finish


def mlflow_sync() -> Sdk:
    return _mlflow(is_synchronous=True)


def mlflow_async() -> Sdk:
    return _mlflow(is_synchronous=False)


def tensorboardx() -> Sdk:
    from tensorboardX import SummaryWriter  # type: ignore[import-not-found]

    writer = SummaryWriter(os.environ["BENCH_FOLDER"])

    def log(metrics: dict[str, float], step: int) -> None:
        for key, value in metrics.items():
            writer.add_scalar(key, value, step)

    return log, writer.close


def floor() -> Sdk:
    """Appending a copy to a list: what no SDK can undercut."""
    kept: list[tuple[dict[str, float], int]] = []
    return (lambda metrics, step: kept.append((dict(metrics), step))), lambda: None


def _mlflow(*, is_synchronous: bool) -> Sdk:
    import mlflow  # type: ignore[import-not-found]

    mlflow.set_tracking_uri(os.environ["BENCH_MLFLOW"])
    mlflow.set_experiment("bench")
    mlflow.start_run()

    def finish() -> None:
        if not is_synchronous:
            mlflow.flush_async_logging()
        mlflow.end_run()

    return (lambda metrics, step: mlflow.log_metrics(metrics, step=step, synchronous=is_synchronous)), finish


SDKS: dict[str, Callable[[], Sdk]] = {
    "arwandb": arwandb,
    "trackio": trackio,
    "wandb": wandb,
    "mlflow_sync": mlflow_sync,
    "mlflow_async": mlflow_async,
    "tensorboardx": tensorboardx,
    "floor": floor,
}


def measure(sdk: str, calls: int, pause_s: float, fault: str) -> dict[str, object]:
    """Set up, log, and, when nothing is broken, finish. All times in seconds, memory in bytes."""
    rss_before = _status("VmRSS")
    started = time.perf_counter()
    log, finish = SDKS[sdk]()
    init_s = time.perf_counter() - started
    if fault == "spool stalled":
        _stall()
    values = [0.1 * i for i in range(97)]
    took = [0] * calls
    clock = time.perf_counter_ns
    loop = time.perf_counter()
    for step in range(calls):
        at = step % 90
        metrics = {
            "loss": values[at], "lr": values[at + 1], "grad_norm": values[at + 2], "val_bpb": values[at + 3],
            "tokens_per_s": values[at + 4],
        }  # fmt: skip
        before = clock()
        log(metrics, step)
        took[step] = clock() - before
        if pause_s:
            time.sleep(pause_s)
    loop = time.perf_counter() - loop
    found: dict[str, object] = {
        "init_s": init_s,
        "loop_s": loop,
        "threads": int(_status("Threads")),
        "rss_added": (_status("VmRSS") - rss_before) * 1024,
        "processes": 1 + _children(),
    }
    if not fault:
        started = time.perf_counter()
        finish()
        found["finish_s"] = time.perf_counter() - started
    took.sort()
    found |= {"median": took[calls // 2] / 1e9, "p99": took[calls * 99 // 100] / 1e9, "max": took[-1] / 1e9}
    return found


def _stall() -> None:
    training = threading.get_ident()
    never = threading.Event()

    def hanging(plain: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **more: object) -> object:
            if threading.get_ident() != training:
                never.wait()
            return plain(*given, **more)

        return call

    for name in ("write", "pwrite", "writev", "fsync", "fdatasync"):
        setattr(os, name, hanging(getattr(os, name)))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def _children() -> int:
    """Processes below this one, all generations."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
    found, seen = [os.getpid()], 0
    while found:
        parent = found.pop()
        below = [child for child, its in parents.items() if its == parent]
        seen += len(below)
        found += below
    return seen


if __name__ == "__main__":
    sdk, calls, pause_s, *fault = sys.argv[1:]
    found = measure(sdk, int(calls), float(pause_s), fault[0] if fault else "")
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    if fault:
        os._exit(0)  # a thread that hangs would keep the process
