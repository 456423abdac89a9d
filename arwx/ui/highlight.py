"""Colours for diffs and files: classes alone, which the stylesheet fills in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

_formatter = HtmlFormatter(nowrap=True)
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_TOLD = "# arwandb: "  # how the client tells of files that are not in its diff


@dataclass
class Patch:
    """What a diff changes in one file. The path is empty where the diff names none."""

    path: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)

    def count(self, kind: str) -> int:
        return sum(one == kind for one, _ in self.lines)

    @property
    def added(self) -> int:
        return self.count("gi")

    @property
    def removed(self) -> int:
        return self.count("gd")

    @property
    def markup(self) -> Markup:
        """Its lines, each with what it does as a class: `gi` adds, `gd` takes away, `gu` and `gh` tell where."""
        said = (
            f'<span class="{kind}">{escape(text)}</span>\n' if kind else f"{escape(text)}\n"
            for kind, text in self.lines
        )
        return Markup("".join(said))  # noqa: S704 - every line is escaped


def patches(text: str) -> list[Patch]:
    """A unified diff, file by file."""
    found = [Patch()]
    for kind, line, begins in _read(text):
        if begins and found[-1].lines:
            found.append(Patch())
        found[-1].lines.append((kind, line))
        if kind == "gh" and (named := _named(line)):
            found[-1].path = named
    return found


def _read(text: str) -> Iterator[tuple[str, str, bool]]:
    """Every line with its kind, and whether a file begins with it.

    A hunk says how many lines it has: within it, `--- x` is the loss of a line `-- x`, and no head.
    """
    old = new = 0
    is_head = is_told = False  # within the lines before the first hunk of a file, or after the last one
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("\\"):  # no newline at the end
            yield "gh", line, False
        elif hunk := _HUNK.match(line):
            old, new = (int(number or 1) for number in hunk.groups())
            is_head = False
            yield "gu", line, False
        elif old > 0 or new > 0:
            old, new = old - (line[:1] != "+"), new - (line[:1] != "-")
            yield {"+": "gi", "-": "gd"}.get(line[:1], ""), line, False
        elif line.startswith("diff --git ") or (line.startswith("--- ") and not is_head):
            is_head = True
            yield "gh", line, True
        elif is_head:
            yield "gh", line, False
        elif line.startswith(_TOLD):
            yield "gh", line, not is_told
            is_told = True
        else:
            yield {"+": "gi", "-": "gd"}.get(line[:1], "gh"), line, False


def _named(line: str) -> str:
    """The path in a head of a file, without the letter that says on which side it stands."""
    if line.startswith("diff --git "):
        return line.rpartition(" b/")[2].strip('"')
    if line.startswith(("--- ", "+++ ")) and not line.startswith("/dev/null", 4):
        return re.sub(r'\A"?[ab]/', "", line[4:].partition("\t")[0]).strip('"')
    return ""


def file(text: str, name: str) -> Markup:
    """The text of a file as markup, in the colours of the language that its name tells."""
    try:
        lexer = get_lexer_for_filename(name, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    return Markup(highlight(text, lexer, _formatter))  # noqa: S704 - pygments escapes what it is given
