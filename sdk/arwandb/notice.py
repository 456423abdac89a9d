"""What the SDK says on stderr: one line a kind, and never an exception into training."""

from __future__ import annotations

import sys

_said: set[str] = set()
_muted = False


def mute(*, is_muted: bool) -> None:
    """Silence everything but what the caller asked for by name (`sync`, `status`)."""
    global _muted
    _muted = is_muted


def say(text: str) -> None:
    """Print one line on stderr. A closed or broken stderr is no reason to disturb training."""
    if _muted:
        return
    try:
        sys.stderr.write(f"arwandb: {text}\n")
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110 - there is nobody left to tell
        pass


def once(kind: str, text: str) -> None:
    """Say it, unless a line of this kind was said before in this process."""
    if kind in _said:
        return
    _said.add(kind)
    say(text)
