"""What processes take of the machine, read from /proc."""

import os
from pathlib import Path


def pss(group: int) -> float:
    """Bytes of memory of a process group, what is shared counted once."""
    return sum(_kilobytes(process / "smaps_rollup", "Pss:") for process in _members(group)) * 1024.0


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
