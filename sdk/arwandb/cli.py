"""The commands: `python -m arwandb sync|verify|status|ls|login|context|frontier|mcp`.

Exit codes: 0 all is well, 1 something is not delivered or not intact, 2 the command cannot start.
"""

from __future__ import annotations

import os
import sys

from .errors import Error, UsageError
from .journal import Journal
from .offline import connection, fetch_receipt, sync, waiting
from .receipts import Receipt
from .settings import Settings, store_key

_USAGE = """usage: python -m arwandb COMMAND [PATH | KEY | PROJECT]

  sync [PATH]         deliver what is spooled, and print the receipt of each run
  verify [PATH]       check spools and the server's receipts, deliver nothing
  status [PATH]       say what is waiting to be delivered
  ls [PATH]           list the runs of a spool
  login [KEY]         keep an API key for ARWANDB_BASE_URL (asked for, if not given)
  context [PROJECT]   say where the research stands: goal, best, last decisions, dead ends
  frontier [PROJECT]  list the experiments that moved the running best
  mcp                 serve the research loop to an agent, as a Model Context Protocol server on stdin and stdout

PATH is a spool, the folder of one run, or a file in it; the default is ARWANDB_DIR or ./arwandb-spool."""


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    commands = {
        "sync": _sync, "verify": _verify, "status": _status, "ls": _ls, "login": _login, "context": _context,
        "frontier": _frontier, "mcp": _mcp,
    }  # fmt: skip
    if {"-h", "--help"} & set(arguments) or arguments[:1] == ["help"]:
        print(_USAGE)  # noqa: T201
        return 0
    if not arguments or arguments[0] not in commands or len(arguments) > 2 or arguments[-1].startswith("-"):
        return _cannot(_USAGE)
    try:
        return commands[arguments[0]](arguments[1] if len(arguments) > 1 else None)
    except Error as error:
        return _cannot(f"arwandb: {error}")
    except KeyboardInterrupt:
        return _cannot("arwandb: interrupted; what was delivered is kept, start again at any time")


def _cannot(text: str) -> int:
    print(text, file=sys.stderr)  # noqa: T201
    return 2


def _folder(path: str | None) -> str:
    folder = path or Settings().folder
    if path is not None and not os.path.exists(os.path.expanduser(path)):
        raise UsageError(f"there is no {path}")
    return folder


def _sync(path: str | None) -> int:
    folder = _folder(path)
    is_shown = sys.stderr.isatty()

    def show(run: str, done: int, total: int) -> None:
        filled = 24 * done // max(1, total)
        sys.stderr.write(f"\r{run} [{'#' * filled}{'.' * (24 - filled)}] {done}/{total}\033[K")
        if done >= total:
            sys.stderr.write("\r\033[K")
        sys.stderr.flush()

    return _print_receipts(sync(folder, progress=show if is_shown else None))


def _print_receipts(receipts: list[Receipt]) -> int:
    for receipt in receipts:
        print(receipt)  # noqa: T201
    if not receipts:
        print("nothing is spooled here")  # noqa: T201
    return 0 if all(receipt.is_intact for receipt in receipts) else 1


def _verify(path: str | None) -> int:
    settings, receipts = Settings(), []
    for _, found in waiting(_folder(path)):
        receipt = Receipt(found[0].identity.run, found[0].project)
        for one in found:
            receipt.waiting += one.reader.entries
            receipt.damaged_bytes += one.reader.damaged_bytes
            if one.fault:
                receipt.faults.append(one.fault)
        http = connection(settings, next((one.base_url for one in found if one.base_url), ""))
        receipt.server = fetch_receipt(http, receipt)
        http.close()
        receipts.append(receipt)
    return _print_receipts(receipts)


def _status(path: str | None) -> int:
    entries = points = damaged = runs = 0
    for folder, found in waiting(spool := _folder(path)):
        left = sum(one.reader.entries for one in found)
        runs += 1
        entries += left
        points += sum(one.reader.points for one in found)
        damaged += sum(one.reader.damaged_bytes for one in found)
        if left:
            print(f"{folder}: {left} entries to deliver")  # noqa: T201
    print(f"{runs} runs, {entries} entries with {points} points to deliver, {damaged} damaged bytes")  # noqa: T201
    records = len(Journal(spool))
    if records:
        print(f"{records} records of research to deliver")  # noqa: T201
    return 1 if entries or damaged or records else 0


def _ls(path: str | None) -> int:
    for folder, found in waiting(_folder(path)):
        is_live = any(one.reader.is_live for one in found)
        end = next((one.papers.finish for one in found if one.papers.finish), None)
        state = "live" if is_live else str((end or {}).get("status") or "unfinished")
        left = sum(one.reader.entries for one in found)
        project = next((one.project for one in found if one.project), "?")
        name = folder.rpartition("/")[2]
        print(f"{name}  {project}  {state}  {len(found)} writers  {left} entries to deliver")  # noqa: T201
    return 0


def _login(key: str | None) -> int:
    settings = Settings()
    if key is None:
        import getpass

        key = getpass.getpass(f"API key for {settings.base_url}: ").strip()
    if not key or any(character.isspace() for character in key):
        return _cannot("arwandb: that is no API key")
    try:
        path = store_key(settings.base_url, key)
    except OSError as error:
        return _cannot(f"arwandb: the key cannot be kept: {error}")
    print(f"kept for {settings.base_url} in {path}")  # noqa: T201
    return 0


def _context(project: str | None) -> int:
    from . import autoresearch

    print(autoresearch.context(project, format="markdown").rstrip("\n"))  # noqa: T201
    return 0


def _frontier(project: str | None) -> int:
    from . import autoresearch

    found = autoresearch.frontier(project=project)
    goal, best = found.get("goal") or {}, found.get("best")
    direction = "lower" if goal.get("lower_is_better", True) else "higher"
    target = "" if goal.get("target") is None else f", target {goal['target']:g}"
    print(f"{found.get('project')}: {goal.get('metric') or 'no goal yet'} ({direction} is better{target})")  # noqa: T201
    for step in found.get("items") or []:
        gain = "" if step.get("gain") is None else f"{step['gain']:+.6g}"
        note = " ".join(str(step.get("note") or "").split())[:80]
        print(f"  #{step['index']:<5} {step['score']:<12.6g} {gain:<12} {note}")  # noqa: T201
    counts = ", ".join(f"{count} {word}" for word, count in (found.get("counts") or {}).items())
    print(f"{counts}; best {best['score']:g} at #{best['index']}" if best else counts)  # noqa: T201
    return 0


def _mcp(extra: str | None) -> int:
    from .mcp import serve

    if extra is not None:
        raise UsageError("mcp takes no argument; it reads ARWANDB_BASE_URL, ARWANDB_API_KEY and ARWANDB_PROJECT")
    return serve()
