"""One run of the benchmarks: how much of it, with whom, and what its subjects share."""

import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType

from bench import host
from bench.filled import Filled
from bench.scale import Scale


class Session:
    """Holds the filled server, which is started by the first subject that reads from it and stopped at the end."""

    def __init__(self, scale: Scale, *, with_peers: bool = False) -> None:
        self.scale = scale
        self.with_peers = with_peers
        self._ends = ExitStack()

    @cached_property
    def filled(self) -> Filled:
        folder = Path(self._ends.enter_context(tempfile.TemporaryDirectory()))
        return Filled(self._ends.enter_context(host.arwx(folder)), self.scale)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()
