"""A server with much in it. Each project is filled through HTTP when it is first asked for, and kept for the next subject."""

from functools import cache

from bench import data, host, load
from bench.scale import Scale

METRICS = tuple(f"{section}/metric_{i:02}" for section in ("train", "val", "layer", "optim", "data") for i in range(10))
"""Fifty metrics in five sections."""
MANY_METRICS = tuple(f"block_{i:02}/{what}" for i in range(20) for what in ("grad", "max", "mean", "norm", "std"))
"""A hundred metrics in twenty sections."""

_STREAM = 100_000
_ENTRIES = 100


class Filled:
    """The server, and the names of what it holds."""

    def __init__(self, server: host.Arwx, scale: Scale) -> None:
        self.server = server
        self._scale = scale
        self.long_points = scale.count(1_000_000)
        self._is_there: set[str] = set()

    def long(self) -> str:
        """A project with one run of the same name: 1 M points of `loss`."""
        return self._project("long", ["long"], self.long_points)

    def fifty(self) -> str:
        """A project of 50 runs, each with 20,000 points of `loss`."""
        return self._project("fifty", [f"fifty-{i}" for i in range(50)], self._scale.count(20_000, at_least=100))

    def runs(self, count: int, metrics: tuple[str, ...] = METRICS) -> str:
        """A project of so many finished runs, each with 100 points of these metrics."""
        name = f"runs-{count}x{len(metrics)}"
        if name not in self._is_there:
            ids = [f"{name}-{i}" for i in range(count)]
            clients = 4
            work = [
                [whole for run_id in ids[i::clients] for whole in self._small_run(name, run_id, metrics)]
                for i in range(clients)
            ]
            load.run(self.server.port, [requests for requests in work if requests], b"run")
            self._is_there.add(name)
        return name

    def _project(self, name: str, run_ids: list[str], points: int) -> str:
        if name not in self._is_there:
            for seed, run_id in enumerate(run_ids):
                self.server.make_run(name, run_id)
                for first in range(0, points, _STREAM):
                    body = data.stream(run_id, "w", first, min(_STREAM, points - first), seed, ("loss",))
                    self.server.call("POST", "/v1/ingest/stream", body, "application/x-ndjson")
                self.server.finish(run_id)
            self._is_there.add(name)
        return name

    def _small_run(self, project: str, run_id: str, metrics: tuple[str, ...]) -> list[bytes]:
        """The requests that make the run, send its points, and finish it."""
        post = self.server.request
        return [
            post("POST", "/v1/runs", f'{{"project":"{project}","id":"{run_id}","config":{{"lr":0.001}}}}'.encode()),
            post("POST", "/v1/ingest", _small_body(metrics) % run_id.encode()),
            post("POST", f"/v1/runs/{run_id}/finish", b"{}"),
        ]


@cache
def _small_body(metrics: tuple[str, ...]) -> bytes:
    """The same points for every run; its id is filled in."""
    return data.batch("RUN", "w", 0, 0, _ENTRIES, metrics).replace(b"%", b"%%").replace(b"RUN", b"%s", 1)
