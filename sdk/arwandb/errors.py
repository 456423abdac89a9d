"""What is raised for wrong use; what a server refuses is in `arwandb.autoresearch`."""

from __future__ import annotations


class Error(Exception):
    """Something cannot be done as it was asked for, such as `log()` before `init()`."""


class UsageError(Error, ValueError):
    """A call was given something that cannot work; the message is one plain line."""


class CommError(Error):
    """Never raised: it is here for W&B scripts that catch it. No call fails because a server is away."""
