"""The guide and the reference of the API, for everybody, with the address of this server filled in."""

import html
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from flask import Response, abort, current_app, get_template_attribute, make_response, render_template
from markupsafe import Markup

from arwx import web
from arwx.ui import bp

_FOLDER = Path(__file__).parents[1] / "guide"
# In the order in which they are read.
CHAPTERS = ("start", "logging", "dashboard", "charts", "research", "artifacts", "agents", "guarantees", "operate")
# Stands in the guide for the address under which the reader reaches the server.
ADDRESS = "https://arwx.example.org"


METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Section:
    """A heading within a chapter."""

    id: str
    title: str


@dataclass(frozen=True)
class Chapter:
    """A page of the guide. `body` is HTML, with `ADDRESS` still in it."""

    slug: str
    title: str
    sections: tuple[Section, ...]
    body: str


@bp.get("/docs")
def docs() -> Response:
    """The first chapter of the guide."""
    return _shown(CHAPTERS[0])


@bp.get("/docs/<slug>")
def chapter(slug: str) -> Response:
    """One chapter of the guide."""
    if slug not in CHAPTERS:
        abort(404)
    return _shown(slug)


@bp.get("/docs/api")
def api_reference() -> Response:
    """Every address of the API with its fields and an example, as the OpenAPI document tells them."""
    return web.conditional(make_response(_reference(web.base_url())))


@dataclass(frozen=True)
class Operation:
    """One method of one address. Examples are ready to paste."""

    method: str
    path: str
    id: str
    summary: Markup
    words: Markup
    parameters: list[tuple[str, str, Markup]]
    call: Markup
    answer: Markup | None
    statuses: dict[str, Markup]


def _reference(address: str) -> str:
    document = msgspec.json.decode(current_app.extensions["arwx.openapi"]())
    operations: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                told = methods[method]
                operations[told["tags"][0]].append(_operation(document, address, path, method, told))
    nouns = [
        (Section(tag["name"], tag["name"].capitalize()), tag["description"], operations[tag["name"]])
        for tag in document["tags"]
        if operations[tag["name"]]
    ]
    chapter = Chapter("api", "HTTP API", tuple(section for section, _, _ in nouns), "")
    return render_template("docs/reference.html", chapter=chapter, nouns=nouns, contents=_contents())


def _operation(document: dict[str, Any], address: str, path: str, method: str, told: dict[str, Any]) -> Operation:
    answers = {status: _resolved(document, answer) for status, answer in told["responses"].items()}
    good = next((answers[status] for status in ("200", "201", "202", "204") if status in answers), {})
    content = next(iter(good.get("content", {}).items()), None)
    answer = None
    if content is not None and content[0] == "application/json" and "example" in content[1]:
        pretty = msgspec.json.format(msgspec.json.encode(content[1]["example"]), indent=2).decode()
        answer = _code(pretty, "json", f"What {told['operationId']} answers")
    return Operation(
        method.upper(),
        path,
        told["operationId"],
        _markdown(told["summary"], is_inline=True),
        _markdown(told["description"]),
        [(one["name"], one["in"], _markdown(one["description"])) for one in told["parameters"]],
        _code(_curl(address, path, method, told), "sh", f"Call {told['operationId']}"),
        answer,
        {status: _markdown(found["description"], is_inline=True) for status, found in answers.items()},
    )


def _markdown(words: str, *, is_inline: bool = False) -> Markup:
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False})
    return Markup(markdown.renderInline(words) if is_inline else markdown.render(words))  # noqa: S704 - no HTML comes through


def _resolved(document: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    name = answer.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["responses"][name] if name else answer
    return found


def _curl(address: str, path: str, method: str, told: dict[str, Any]) -> str:
    """A call as one would type it into a shell."""
    asked = []
    for parameter in told["parameters"]:
        example = str(parameter.get("example", ""))
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", example or f":{parameter['name']}")
        elif parameter["in"] == "query" and parameter["required"]:
            asked.append(f"{parameter['name']}={example}")
    query = "?" + "&".join(asked) if asked else ""
    lines = [f'curl -s{"" if method in {"get", "post"} else f" -X {method.upper()}"} "{address}{path}{query}"']
    if told["security"]:
        lines.append('-H "Authorization: Bearer $ARWANDB_API_KEY"')
    for media, content in told.get("requestBody", {}).get("content", {}).items():
        lines.append(f'-H "Content-Type: {media}"')
        example = content.get("example")
        if media == "application/json":
            text = msgspec.json.format(msgspec.json.encode(example), indent=2).decode().replace("'", "'\\''")
            lines.append(f"-d '{text}'")
        else:
            lines.append("--data-binary @FILE")
        break
    else:
        if method == "post":
            lines.append("-X POST")
    return " \\\n  ".join(lines)


def _shown(slug: str) -> Response:
    found = _chapter(slug)
    body = Markup(found.body.replace(ADDRESS, html.escape(web.base_url())))  # noqa: S704 - our own text
    return web.conditional(
        make_response(render_template("docs/page.html", chapter=found, body=body, contents=_contents()))
    )


def _contents() -> list[Chapter]:
    return [_chapter(slug) for slug in CHAPTERS]


@lru_cache(maxsize=len(CHAPTERS))
def _chapter(slug: str) -> Chapter:
    # Here and not above: who never reads the guide need not wait for its tools at the start.
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark").enable("table")
    tokens = markdown.parse((_FOLDER / f"{slug}.md").read_text())
    headings = []
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            name = re.sub(r"[^a-z0-9]+", "-", following.content.lower()).strip("-")
            token.attrSet("id", name)
            headings.append((token.tag, Section(name, following.content)))
        elif token.type == "table_open":
            token.attrSet("tabindex", "0")
        elif token.type == "fence":
            token.type, token.content = "html_block", str(_code(token.content, token.info, "Lines to copy"))
    return Chapter(
        slug,
        headings[0][1].title,
        tuple(section for tag, section in headings if tag == "h2"),
        str(markdown.renderer.render(tokens, markdown.options, {})),
    )


def _code(text: str, language: str, label: str) -> Markup:
    """Lines with their words marked by classes, for the stylesheet to colour, and a button that copies them."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    marked = highlight(text.rstrip(), get_lexer_by_name(language or "text"), HtmlFormatter(nowrap=True))
    code = get_template_attribute("macros/code.html", "code")
    return Markup(code(Markup(marked), label))  # noqa: S704 - Pygments escapes what it marks
