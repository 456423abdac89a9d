"""Expensive answers take turns, so that quick ones come through in between.

A worker serves all its requests in one thread. Of fifty charts that are asked for at once, each would begin as soon as
the one before it is done, and whoever only wants to log would stand behind all of them.
"""

import threading
import time
from collections.abc import Iterator
from typing import TypeVar

from flask import Flask, g, request

from arwx.errors import Unavailable

# What reads points, as many as anybody may ask for.
EXPENSIVE = frozenset(
    "api.get_charts api.get_metrics api.get_integrity ui.project ui.run ui.experiment "
    "ui.chart ui.chart_csv ui.chart_svg ui.values ui.compare ui.receipt".split()
)
# A turn that follows another one closely looks up first, so that whoever came meanwhile is let in: to wait here too, or to
# be served. Where others wait as well, it leaves this much time to everything that is not expensive.
_CLOSELY_S, _GLANCE_S, _PAUSE_S = 0.02, 0.0003, 0.004
_PATIENCE_S = 20.0
# What is sent as it is read takes no turn, but leaves time to the others after each part of it.
_PART_PAUSE_S = 0.002

Part = TypeVar("Part", str, bytes)


def init_app(app: Flask) -> None:
    """Let the expensive endpoints of this process answer one at a time. Attach it before anything that holds a connection."""
    turn, ended_at, waiting = threading.Lock(), 0.0, 0

    @app.before_request
    def wait() -> None:
        nonlocal waiting
        if request.endpoint not in EXPENSIVE:
            return
        waiting += 1
        try:
            g.has_turn = turn.acquire(timeout=_PATIENCE_S)
            if not g.has_turn:
                raise Unavailable("Too many charts are being drawn. Send the request again in a moment.")
            if time.monotonic() - ended_at < _CLOSELY_S:
                time.sleep(_GLANCE_S)
                if waiting > 1:
                    time.sleep(_PAUSE_S)
        finally:
            waiting -= 1

    @app.teardown_request
    def pass_on(_: BaseException | None) -> None:
        nonlocal ended_at
        if g.pop("has_turn", False):
            ended_at = time.monotonic()
            turn.release()


def giving_way(parts: Iterator[Part]) -> Iterator[Part]:
    """The same parts, and after each a moment for others: a client that reads quickly would never leave them one."""
    for part in parts:
        yield part
        time.sleep(_PART_PAUSE_S)
