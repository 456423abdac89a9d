"""Requests that the document allows and requests that it does not, by the hundred, from somebody in another organization.

No answer may be a failure of ours, none may differ from the document, none may hold a word of Ada's.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from arwx import config, create_app
from arwx.api import openapi, operation
from tests.access.test_matrix import address
from tests.access.world import CANARY, World

load_all_checks()
FULL = bool(os.environ.get("ARWX_FULL"))
NAMED = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]
UNHURRIED: dict[str, Any] = {
    "deadline": None,
    "derandomize": not FULL,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
}


@schemathesis.serializer(operation.NDJSON)
def as_lines(_: Any, value: Any) -> bytes:
    """Whatever was made up, as the bytes of a stream."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@dataclass
class Api:
    schema: Any
    world: World

    @property
    def headers(self) -> dict[str, str]:
        """Mallory's key; and no compression, which the client does not undo."""
        return {"Authorization": f"Bearer {self.world.keys['stranger']}", "Accept-Encoding": "identity"}


@pytest.fixture(scope="module")
def api(world: World, tmp_path_factory: pytest.TempPathFactory) -> Any:
    app = world.app(tmp_path_factory.mktemp("fuzzed"), "fuzzed")
    yield Api(schemathesis.openapi.from_wsgi("/v1/openapi.json", app), world)
    app.extensions["arwx.db"].engine.dispose()


def operations() -> list[tuple[str, str]]:
    app = create_app(config.Settings("sqlite://", Path("/nonexistent"), "x" * 40))
    return [(method, path) for path, methods in openapi.document(app)["paths"].items() for method in methods]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("method", "path"), operations())
def test_every_answer_is_as_documented_and_tells_nothing_of_others(
    api: Api, method: str, path: str, mode: GenerationMode
) -> None:
    described = api.schema[path][method]
    if mode == GenerationMode.NEGATIVE and not described.body and not described.query:
        return  # there is nothing to get wrong but the path, which the other mode has
    checks = [CHECKS.get_one(name) for name in NAMED]

    @settings(max_examples=200 if FULL else 12, **UNHURRIED)
    @given(case=described.as_strategy(generation_mode=mode), whose=st.sampled_from(["made up", "own", "Ada's"]))
    def ask(case: Case, whose: str) -> None:
        if whose != "made up" and case.path_parameters:
            names = api.world.own if whose == "own" else api.world.names
            case.path_parameters = parts(path, names)
        (case.headers or {}).pop("Authorization", None)
        response = case.call(headers=api.headers)
        case.validate_response(response, checks=checks)
        assert CANARY not in answered(response.content, case)
        if described.definition.raw.get("security"):
            assert case.call(headers={"Authorization": "Bearer arwx_live_" + "0" * 30}).status_code == 401

    ask()


def parts(path: str, names: dict[str, str]) -> dict[str, str]:
    """The parts of an address, of the things with these names."""
    rule = re.sub(r"\{(\w+)\}", r"<\1>", path)
    return {
        name: address(f"{rule.partition(f'<{name}>')[0]}<{name}>", names).rpartition("/")[2]
        for name in re.findall(r"\{(\w+)\}", path)
    }


def answered(content: bytes, case: Case) -> str:
    """The answer without what the caller sent."""
    text = content.decode(errors="replace")
    for value in (case.path_parameters or {}).values():
        text = text.replace(str(value), "")
    return text


def test_what_was_made_can_be_followed_through_its_life(api: Api) -> None:
    machine = api.schema.as_state_machine()
    checks: list[Callable[..., Any]] = [CHECKS.get_one(name) for name in [*NAMED, "use_after_free"]]

    class Story(machine):  # type: ignore[misc, valid-type]
        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": api.headers}

        def validate_response(self, response: Any, case: Case, **_: Any) -> None:
            case.validate_response(response, checks=checks)
            assert CANARY not in answered(response.content, case)

    Story.run(settings=settings(max_examples=200 if FULL else 10, stateful_step_count=8, **UNHURRIED))
