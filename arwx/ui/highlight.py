"""Colours for diffs: classes alone, which the stylesheet fills in."""

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import DiffLexer

_lexer = DiffLexer(stripnl=False)
_formatter = HtmlFormatter(nowrap=True)


def diff(text: str) -> Markup:
    """A unified diff as markup; everything in it is escaped."""
    return Markup(highlight(text, _lexer, _formatter))  # noqa: S704 - pygments escapes what it is given
