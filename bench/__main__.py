"""Run the benchmarks, print their rows, and keep bench/RESULTS.md current."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator

from bench import dashboard, growth, ingest, machine, memory, peers, postgres, reading, research, results, sdk, server
from bench.scale import Scale
from bench.session import Session
from bench.table import Row, Skipped

SUBJECTS: dict[str, tuple[str, Callable[[Session], Iterator[Row | Skipped]]]] = {
    "server": ("Server at rest", server.measure),
    "ingest": ("Ingest on SQLite", ingest.measure),
    "postgres": ("Ingest on PostgreSQL", postgres.measure),
    "reading": ("Reading", reading.measure),
    "memory": ("Memory of long streams", memory.measure),
    "growth": ("Growth", growth.measure),
    "dashboard": ("The dashboard", dashboard.measure),
    "research": ("Research", research.measure),
    "sdk": ("The SDK", sdk.measure),
    "peers": ("Other trackers", peers.measure),
}


def main() -> int:
    """Measure every subject, or those of `--only`. At full scale RESULTS.md is brought up to date, subject by subject."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("--only", default="", help=f"subjects, with commas between: {', '.join(SUBJECTS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="less than 1: a quick look, not written down")
    parser.add_argument("--peers", action="store_true", help="other trackers too, each in a venv of its own")
    given = parser.parse_args()
    wanted = [name for name in given.only.split(",") if name]
    if not wanted:
        wanted = [name for name in SUBJECTS if given.peers or name != "peers"]
    if unknown := set(wanted) - set(SUBJECTS):
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")
    # A kind request to stop must end the servers too, which run in sessions of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Session(Scale(given.scale), with_peers=given.peers) as session:
        for name in wanted:
            _subject(name, session)
    return 0


def _subject(name: str, session: Session) -> None:
    title, measure = SUBJECTS[name]
    print(f"\n{title}", flush=True)
    load_before = machine.load()
    rows: list[Row | Skipped] = []

    def keep(*more: Skipped) -> None:
        if session.scale.is_full:
            fresh = results.section(title, [*rows, *more], load_before)
            results.keep({title: fresh}, [title for title, _ in SUBJECTS.values()])

    for row in measure(session):
        what, measured, limit, target, verdict = row.cells()
        print(f"  {what:<66} {measured:<34} {target:<18} {verdict:<16} {limit}", flush=True)
        rows.append(row)
        keep(Skipped("the rest", "the run was stopped here"))
    keep()


if __name__ == "__main__":
    sys.exit(main())
