"""The server by itself: how soon it answers, and what it keeps in memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import host
from bench.processes import pss
from bench.session import Session
from bench.table import Row, timed
from bench.units import MEGABYTES, SECONDS


def measure(session: Session) -> Iterator[Row]:
    """Start to the first answer of `/ready`, and the memory of master and workers after a rest."""
    starts, rest = [], []
    with tempfile.TemporaryDirectory() as name:
        server = host.Arwx(Path(name))
        for _ in range(session.scale.passes(5)):
            starts.append(timed(server.start))
            server.stop()
            rest.append(pss(server.start_all()))
            server.stop()
    yield Row("start of the server, 2 workers, to the first answer", starts, SECONDS, at_most=1.2)
    yield Row("memory at rest, PSS of master and 2 workers", rest, MEGABYTES, at_most=120 * 2**20)
