"""Run the benchmarks, print the table, and keep bench/RESULTS.md current."""

import argparse
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import ingest, reading
from bench.table import Row

RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    """Measure everything, at the size that `--scale` says (1 is full: a million points)."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="less than 1 for a quick look, which is not written down"
    )
    scale = parser.parse_args().scale
    rows: list[Row] = []
    for part in (ingest.measure, reading.measure):
        for row in part(scale):
            print(row.line(), flush=True)
            rows.append(row)
    if scale == 1.0:
        RESULTS.write_text(_document(rows))
    return 0


def _document(rows: list[Row]) -> str:
    cores = len([line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")])
    packages = ", ".join(
        f"{name} {version(name)}"
        for name in ("flask", "gunicorn", "gevent", "msgspec", "numpy", "sqlalchemy", "zstandard")
    )
    return "\n".join(
        [
            "# What arwx costs",
            "",
            f"Measured {datetime.now(UTC):%Y-%m-%d} by `make bench` on {cores} cores, {platform.system()} {platform.machine()}, Python "
            f"{platform.python_version()}, {packages}, SQLite. Charts and "
            "receipts are medians of several rounds, ingest is one pass; limits are measured in the same run.",
            "",
            "| what | measured | limit in the same run | target |",
            "|---|---|---|---|",
            *[row.markdown() for row in rows],
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
