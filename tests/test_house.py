"""The house rules that a machine can check: who imports whom, who may come in, what is written down."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from arwx import turns, ui
from arwx.api import openapi, operation
from arwx.db import SAFE_METHODS

ROOT = Path(__file__).parents[1]

# Lower rooms first. A file may import from its own room and from those below, with the exceptions of the next rules.
ROOMS = [
    {"aside", "clock", "config", "durable", "errors", "extremes"},
    {"ids", "links"},
    {"db", "models", "pages", "prepared"},
    {"svg", "frontier", "textdiff", "patterns", "dumps"},
    {"trees", "criteria"},
    {"points", "blobstore"},
    {"access"},
    {"actors"},
    {
        "audit",
        "invitations",
        "keys",
        "logins",
        "mail",
        "members",
        "organizations",
        "passwords",
        "people",
        "quotas",
        "throttle",
    },
    {
        "projects",
        "runs",
        "experiments",
        "embeds",
        "artifacts",
        "blobs",
        "files",
        "lineage",
        "charts",
        "code",
        "deletion",
        "schema",
        "snapshots",
        "sweep",
    },
    {"backup", "fsck", "lessons", "metrics", "results", "since", "transfer"},
    {"briefing"},
    {"digest"},
    {"web", "downloads", "turns", "worker"},
    {"api", "ui", "cli"},
]
FLASK_FREE = set().union(*ROOMS[:13]) - {"db"}
PURE = {"svg", "frontier", "textdiff", "patterns", "criteria", "trees", "ids", "links", "errors", "extremes"}


def sources(folder: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path, ast.parse(path.read_text())


def imports(tree: ast.Module, path: Path) -> Iterator[str]:
    """Dotted names that the file imports, `from a import b` as `a.b`."""
    package = list(path.relative_to(ROOT).with_suffix("").parts)[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def room(part: str) -> int:
    return next(i for i, names in enumerate(ROOMS) if part in names)


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "arwx").parts[0].removesuffix(".py")


def test_imports_go_downwards_only() -> None:
    wrong = []
    for path, tree in sources("arwx"):
        part = part_of(path)
        if part.startswith("__"):
            continue
        for name in imports(tree, path):
            target = name.split(".")
            if target[0] != "arwx" or len(target) < 2 or target[1].startswith("__"):
                continue
            is_other_surface = {part, target[1]} == {"api", "ui"}
            if is_other_surface or room(target[1]) > room(part):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_only_the_metric_store_knows_its_insides() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for folder in ("arwx", "bench")
        for path, tree in sources(folder)
        if "points" not in path.parts
        for name in imports(tree, path)
        if re.match(r"arwx\.points\._", name)
    ]
    assert wrong == []


def test_the_domain_knows_no_flask_and_the_surfaces_no_sql() -> None:
    wrong = []
    for path, tree in sources("arwx"):
        part = part_of(path)
        for name in imports(tree, path):
            if part in FLASK_FREE and re.match(r"flask|werkzeug", name):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
            if part in {"api", "ui"} and name.startswith("sqlalchemy"):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
            if part in PURE and re.match(r"sqlalchemy|os\b|socket|subprocess|pathlib", name):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_the_api_reads_bodies_in_one_place() -> None:
    banned = {"get_json", "get_data", "json", "data", "form", "files", "values"}
    wrong = []
    for path, tree in sources("arwx/api"):
        for node in ast.walk(tree):
            if not (
                isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "request"
            ):
                continue
            if node.attr in banned or (node.attr == "stream" and path.name != "body.py"):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} request.{node.attr}")
    assert wrong == []


def test_nothing_unpickles_or_evaluates() -> None:
    wrong = []
    for folder in ("arwx", "sdk", "bench", "examples"):
        for path, tree in sources(folder):
            names = [n for n in imports(tree, path) if n.split(".")[0] in {"pickle", "marshal", "shelve"}]
            calls = [
                n.func.id
                for n in ast.walk(tree)
                if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in {"eval", "exec"}
            ]
            wrong += [f"{path.relative_to(ROOT)}: {name}" for name in names + calls]
    assert wrong == []


def test_the_sdk_needs_nothing_but_python() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in sources("sdk/arwandb")
        for name in imports(tree, path)
        if (name.split(".")[0] not in sys.stdlib_module_names | {"sdk", "arwandb", "numpy"}) or name.startswith("arwx")
    ]
    assert wrong == []


def test_every_address_has_an_access_decision(app: Flask) -> None:
    """Whoever brings no key and no login gets in nowhere but at the addresses that are declared public."""
    wrong = []
    for rule in app.url_map.iter_rules():
        declared = getattr(app.view_functions[rule.endpoint], "operation", None)
        if rule.endpoint in ui.PUBLIC | {"static"} or (declared and declared.level == operation.PUBLIC):
            continue
        path = re.sub(r"<(?:int:)?[^>]+>", "1", rule.rule)
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            answer = app.test_client().open(path, method=method)
            if rule.rule.startswith("/v1/"):
                is_refused = answer.status_code == 401
            else:
                is_refused = (
                    answer.status_code == 302 and answer.headers["Location"].startswith(("/login", "/signup"))
                    if method == "GET"
                    else answer.status_code in {302, 400, 403}
                )
            if not is_refused:
                wrong.append(f"{method} {rule.rule} answers {answer.status_code}")
    assert wrong == []


def test_every_address_declares_who_may_ask(app: Flask) -> None:
    """In the API also what it takes and gives (`arwx/api/operation.py`); pages are for all members unless they say more."""
    wrong = [
        f"{rule.rule} ({rule.endpoint}) has no @operation"
        for rule in app.url_map.iter_rules()
        if not hasattr(app.view_functions[rule.endpoint], "operation")
        and rule.endpoint.partition(".")[0] not in {"ui", "static"}
    ]
    wrong += [
        f"{rule.rule} ({rule.endpoint}) changes something and has no @needs"
        for rule in app.url_map.iter_rules()
        if not hasattr(app.view_functions[rule.endpoint], "level")
        and rule.endpoint.startswith("ui.")
        and rule.endpoint not in ui.PUBLIC
        and not (rule.methods or set()) <= SAFE_METHODS
    ]
    assert wrong == []
    openapi.document(app)  # every parameter that is named is explained


def test_what_takes_turns_is_there(app: Flask) -> None:
    assert app.view_functions.keys() >= turns.EXPENSIVE


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/", "/v1/runs/x/nothing", "/v1/../health"])
def test_unknown_addresses_under_v1_are_refused_too(app: Flask, path: str) -> None:
    assert app.test_client().get(path).status_code in {401, 404}
    assert app.test_client().get("/v1/nothing").status_code == 401


def test_every_setting_is_documented() -> None:
    readme = (ROOT / "README.md").read_text() + (ROOT / "sdk" / "README.md").read_text()
    code = "\n".join(path.read_text() for folder in ("arwx", "sdk/arwandb") for path in (ROOT / folder).rglob("*.py"))
    code += (ROOT / "gunicorn.conf.py").read_text()
    settings = set(
        re.findall(r"[\"'](ARWX_[A-Z_]+|ARWANDB_[A-Z_]+|DATABASE_URL|SECRET_KEY|PORT|WEB_CONCURRENCY)[\"']", code)
    )
    assert len(settings) > 8
    assert sorted(name for name in settings if name not in readme) == []
