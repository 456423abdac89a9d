"""What processes take of the machine, read from /proc."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PAUSE_S = 0.02


def pss(group: int) -> float:
    """Bytes of memory of a process group, what is shared counted once."""
    return sum(_kilobytes(process / "smaps_rollup", "Pss:") for process in _members(group)) * 1024.0


def rss(group: int) -> float:
    """Bytes of memory of a process group, as each process counts its own."""
    return sum(_kilobytes(process / "smaps_rollup", "Rss:") for process in _members(group)) * 1024.0


class Peak:
    """How far memory went up over what it was before."""

    def __init__(self, before: float) -> None:
        self.before = self.most = before

    @property
    def growth(self) -> float:
        return self.most - self.before


@contextmanager
def watched(group: int) -> Iterator[Peak]:
    """Look every 20 ms how much memory the process group has, until the end of the block."""
    peak, is_over = Peak(rss(group)), threading.Event()

    def watch() -> None:
        while not is_over.wait(_PAUSE_S):
            peak.most = max(peak.most, rss(group))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()
        peak.most = max(peak.most, rss(group))


def _members(group: int) -> list[Path]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == group:
                found.append(process)
        except OSError:
            continue  # it ended meanwhile
    return found


def _kilobytes(file: Path, field: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
