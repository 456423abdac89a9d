"""The guide tells the truth: what it names exists, what it shows to type works."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from arwx import criteria
from arwx.cli import main
from arwx.errors import ArwxError
from arwx.ui.docs import ADDRESS, CHAPTERS
from tests.server import ROOT, Server
from tests.ui.conftest import Visitor

TEXTS = {slug: (ROOT / "arwx" / "guide" / f"{slug}.md").read_text() for slug in CHAPTERS}
ALL = "\n".join(TEXTS.values())


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def source(*patterns: str) -> str:
    return "\n".join(path.read_text() for pattern in patterns for path in sorted(ROOT.glob(pattern)))


@pytest.fixture
def reader(app: Flask) -> Visitor:
    """Anybody: the guide asks for no login."""
    return Visitor(app)


def test_every_chapter_shows_the_address_of_the_server(reader: Visitor) -> None:
    for slug in CHAPTERS:
        page = reader.get(f"/docs/{slug}")
        assert page.status_code == 200
        assert ADDRESS not in page.text
    assert "pip install --upgrade arwandb --find-links http://localhost/sdk/" in re.sub(
        r"<[^>]+>", "", reader.get("/docs").text
    )
    assert reader.get("/docs/nothing").status_code == 404


def test_an_unchanged_chapter_is_not_sent_again(reader: Visitor) -> None:
    for path in ("/docs", "/docs/api"):
        etag = reader.get(path).headers["ETag"]
        assert reader.get(path, headers={"If-None-Match": etag}).status_code == 304


def test_links_lead_somewhere(reader: Visitor) -> None:
    for slug in CHAPTERS:
        for target in re.findall(r'href="(/[^"]*|#[^"]*)"', reader.get(f"/docs/{slug}").text):
            path, _, anchor = target.partition("#")
            page = reader.get(path or f"/docs/{slug}")
            assert page.status_code in {200, 302}, target
            assert not anchor or f'id="{anchor}"' in page.text, target


def test_the_reference_tells_every_operation(reader: Visitor) -> None:
    document = json.loads(reader.get("/v1/openapi.json").text)
    shown = reader.get("/docs/api").text
    operations = [told["operationId"] for methods in document["paths"].values() for told in methods.values()]
    assert len(operations) > 40
    assert [name for name in operations if f'id="{name}"' not in shown] == []


def test_every_address_that_the_guide_names_is_there(app: Flask) -> None:
    there = {
        (method, re.sub(r"<[^>]+>", ":", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    named = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^\s`?]*)", ALL)
    assert len(named) > 10
    assert [one for one in named if (one[0], re.sub(r":\w+", ":", one[1])) not in there] == []
    paths = {re.sub(r":\w+", ":", path) for _, path in there}
    assert [path for path in re.findall(r"`(/[\w./]+)`", ALL) if path not in paths and path != "/v1"] == []


def test_settings_of_the_server_are_all_in_the_guide_and_no_others() -> None:
    read = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', source("arwx/**/*.py", "gunicorn.conf.py")))
    read |= set(re.findall(r'_whole\(environ, "(\w+)"', source("arwx/config.py")))
    told = set(re.findall(r"^\| `(\w+)` \|", TEXTS["operate"], re.M))
    told |= set(re.findall(r"`(AWS_\w+)`", TEXTS["operate"]))
    assert read - {"FORWARDED_ALLOW_IPS", "PROMETHEUS_MULTIPROC_DIR"} <= told | {"AWS_ENDPOINT_URL_S3"}
    assert told - read == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}


def test_settings_of_the_client_are_all_in_the_guide_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "sdk"))

    class Asked(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.add(name)
            return super().get(name, default)

    asked: set[str] = set()
    settings = importlib.import_module("arwandb.settings").Settings({}, Asked())
    assert settings.api_key is None
    read = {name for name in asked if name.startswith("ARWANDB_")}
    read |= set(re.findall(r'"(ARWANDB_[A-Z_]+)"', source("sdk/arwandb/**/*.py")))
    assert read - {"ARWANDB_"} == set(re.findall(r"^\| `(ARWANDB_\w+)` \|", ALL, re.M))


def kinds(of: type[ArwxError]) -> set[type[ArwxError]]:
    return {of}.union(*(kinds(one) for one in of.__subclasses__()))


def test_codes_of_failures_are_all_in_the_guide_and_no_others() -> None:
    given = (
        {"method_not_allowed"}
        | {one.code for one in kinds(ArwxError)}
        | set(re.findall(r', code="(\w+)"', source("arwx/**/*.py")))
    )
    told = re.findall(r"^\| (`[a-z_`, ]+) \| [45]\d\d", TEXTS["guarantees"], re.M)
    assert given == {code for line in told for code in re.findall(r"`(\w+)`", line)}
    statuses = {one.status for one in kinds(ArwxError)} | {405}
    assert statuses <= {int(status) for status in re.findall(r"\b([45]\d\d)\b", TEXTS["guarantees"])}


def test_filters_that_the_guide_shows_are_understood_and_its_fields_are_all() -> None:
    examples = fences(TEXTS["dashboard"], "text")[0].splitlines()
    assert len(examples) > 4
    for line in examples:
        criteria.condition(line)
    fields = re.search(r"Fields are `([a-z_ ]+)`", TEXTS["dashboard"])
    assert fields is not None
    assert set(fields[1].split()) == set(criteria.FIELDS)


def test_shortcuts_that_the_guide_names_are_those_of_the_pages() -> None:
    told = {
        key
        for keys in re.findall(r"^\| (`.+`) \| .+ \|$", TEXTS["dashboard"], re.M)
        for key in re.findall(r"`([^`]+)`", keys)
    }
    assert told == set(re.findall(r'data-key="([^"{]+)"', source("arwx/templates/**/*.html")))


def test_commands_that_the_guide_names_exist() -> None:
    for words in re.findall(r"`arwx ([a-z -]+)", ALL):
        command: Any = main
        for word in words.split():
            if word.startswith("-") or not hasattr(command, "commands"):
                break
            assert word in command.commands, words
            command = command.commands[word]
    for word in set(re.findall(r"python -m arwandb (\w+)", ALL)):
        done = subprocess.run(
            [sys.executable, "-m", "arwandb", word, "--help"], capture_output=True, check=False, env=client(ROOT)
        )
        assert done.returncode == 0, (word, done.stderr)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield server
    server.stop()


def client(home: Path, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ARWANDB_", "WANDB_"))}
    return {**inherited, "PYTHONPATH": str(ROOT / "sdk"), "HOME": str(home), **more}


def test_what_the_guide_shows_to_type_works(server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "out" / "model").mkdir(parents=True)
    (home / "out" / "model" / "weights.bin").write_bytes(b"weights")
    (home / "train.py").write_text("width = 256\n")
    for command in (["init", "-q"], ["add", "train.py"], ["commit", "-qm", "baseline"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *command], cwd=home, check=True)
    key = server.key("admin")
    environment = client(
        home, ARWANDB_BASE_URL=server.base_url, ARWANDB_API_KEY=key, ARWANDB_PROJECT="char-lm", RANK="0"
    )

    script = "\n".join(block for text in TEXTS.values() for block in fences(text, "python"))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "arwandb: cannot" not in done.stderr
    assert (home / "restored" / "weights.bin").read_bytes() == b"weights"

    calls = [block for text in TEXTS.values() for block in fences(text, "sh") if block.startswith("curl -s ")]
    assert len(calls) >= 3
    for call in calls:
        typed = call.replace(ADDRESS, server.base_url).replace("curl -s ", "curl -sf ")
        done = subprocess.run(["bash", "-c", typed], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (call, done.stdout, done.stderr)
        json.loads(done.stdout)
