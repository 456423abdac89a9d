"""A file of a tree, opened in the page: its text in colours, or why there is none to show."""

from dataclasses import dataclass

from flask import g, request
from markupsafe import Markup

from arwx import blobs, downloads
from arwx.errors import NotFound
from arwx.trees import Entry
from arwx.ui import highlight


@dataclass(frozen=True)
class Opened:
    """The file that the address asks for. Without `text` it is binary or too big."""

    entry: Entry
    text: Markup | None


def opened(entries: list[Entry]) -> Opened | None:
    """What `?file=` names among these; `NotFound` when it is not one of them."""
    path = request.args.get("file")
    if not path:
        return None
    entry = find(entries, path)
    text = blobs.texts(g.scope, downloads.store())(entry)
    return Opened(entry, None if text is None else highlight.file(text, path))


def find(entries: list[Entry], path: str) -> Entry:
    """The file with this path."""
    entry = next((entry for entry in entries if entry.path == path), None)
    if entry is None:
        raise NotFound("No such file.")
    return entry
