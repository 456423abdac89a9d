"""RESULTS.md: a section for each subject. What is not measured this time stays as it was, with its own date."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import machine
from bench.table import Row, Skipped

FILE = Path(__file__).parent / "RESULTS.md"
_HEAD = """\
# What arwx costs

Written by `make bench`, which measures arwx as it is shipped: gunicorn with 2 processes, SQLite unless a row says
otherwise, clients on the same cores. A figure is the median of several passes, with the smallest and the greatest in
brackets; what is compared was measured in turns, and every limit in the same run. A section tells when it was measured.
"""
_COLUMNS = "| what | measured | limit or rival in the same run | target | |\n|---|---|---|---|---|"


def section(title: str, rows: Sequence[Row | Skipped], load_before: float) -> str:
    """The section of one subject, measured just now."""
    when = datetime.now(UTC)
    said = (
        f"Measured {when:%Y-%m-%d %H:%M} UTC at {machine.commit()}, {machine.size()}; "
        f"load of the machine before: {load_before:.1f}"
        + (
            ", so that other work slowed every figure; what was measured in turns still compares."
            if load_before > 1.5
            else "."
        )
    )
    table = [_COLUMNS, *("| " + " | ".join(row.cells()) + " |" for row in rows)]
    return "\n".join([f"## {title}", "", said, "", *table, ""])


def keep(fresh: Mapping[str, str], titles: Sequence[str], file: Path = FILE) -> None:
    """Write the fresh sections and those that were there, in the order of `titles`."""
    old = file.read_text() if file.exists() else ""
    found = {
        part.partition("\n")[0].strip(): f"## {part}".rstrip() + "\n" for part in re.split(r"^## ", old, flags=re.M)[1:]
    }
    found |= fresh
    missing = [title for title in titles if title not in found]
    head = [_HEAD, f"Last run on {machine.describe()}", ""]
    if missing:
        head += [f"Not measured at full size yet: {', '.join(missing)}.", ""]
    file.write_text("\n".join([*head, *(found[title] for title in titles if title in found)]))
