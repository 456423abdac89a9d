"""Colours for diffs and files: classes alone, which the stylesheet fills in."""

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import DiffLexer, TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

_lexer = DiffLexer(stripnl=False)
_formatter = HtmlFormatter(nowrap=True)


def diff(text: str) -> Markup:
    """A unified diff as markup; everything in it is escaped."""
    return Markup(highlight(text, _lexer, _formatter))  # noqa: S704 - pygments escapes what it is given


def file(text: str, name: str) -> Markup:
    """The text of a file as markup, in the colours of the language that its name tells."""
    try:
        lexer = get_lexer_for_filename(name, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    return Markup(highlight(text, lexer, _formatter))  # noqa: S704 - pygments escapes what it is given
