"""Slow calls that must not stop everybody else."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def aside(work: Callable[..., T], *arguments: object) -> T:
    """What `work(*arguments)` answers or raises.

    A gevent worker serves all its requests in one thread; there the work is done in another, so that a disk, a hash or
    a store across the network keeps nobody waiting but its own request. It must not use the database or gevent.
    """
    gevent: Any = sys.modules.get("gevent")
    if gevent is None or not sys.modules["gevent.monkey"].is_module_patched("threading"):
        return work(*arguments)
    # A failure is handed over as a value: gevent prints what is raised in its threads.
    answer, error = gevent.get_hub().threadpool.apply(_caught, (work, arguments))
    if error is not None:
        raise error
    found: T = answer
    return found


def _caught(work: Callable[..., T], arguments: tuple[object, ...]) -> tuple[T | None, Exception | None]:
    try:
        return work(*arguments), None
    except Exception as error:  # noqa: BLE001 - raised again where the answer is awaited
        return None, error
