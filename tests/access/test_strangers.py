"""Ids of another organization where an address does not show them: in bodies, in queries, among one's own."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.access.world import CANARY, World, keyed


@pytest.fixture
def app(world: World, tmp_path: Path) -> Any:
    app = world.app(tmp_path)
    yield app
    app.extensions["arwx.db"].engine.dispose()


# Method, address, body; `{…}` are names of things: hers, or in their place those that nobody has.
REACHES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v1/ingest", {"run_id": "{run_id}", "points": [{"step": 0, "metrics": {"a": 1}}]}),
    ("POST", "/v1/experiments", {"session_id": "{session_id}"}),
    ("POST", "/v1/experiments", {"session_id": "ses_HERS", "run_id": "{run_id}"}),
    ("POST", "/v1/experiments", {"session_id": "ses_HERS", "parent_id": "{experiment_id}"}),
    ("POST", "/v1/files", {"project": "HERS project", "name": "a", "uri": "https://a/b", "run_id": "{run_id}"}),
    (
        "POST",
        "/v1/files",
        {"project": "HERS project", "name": "a", "uri": "https://a/b", "experiment_id": "{experiment_id}"},
    ),
    (
        "POST",
        "/v1/artifacts/log",
        {"project": "HERS project", "name": "b", "entries": [{"path": "a", "sha": "{sha}", "size": 12}]},
    ),
    (
        "PUT",
        "/v1/experiments/exp_HERS1/tree",
        {"entries": [{"path": "a", "sha": "{sha}", "size": 12, "mode": "100644"}]},
    ),
    ("POST", "/v1/blobs/missing", {"shas": ["{sha}"]}),
    ("PUT", "/v1/artifacts/HERS artifact/refs/x?project={projects.name}", {"version": 1}),
    ("POST", "/v1/artifacts/HERS artifact/latest/used_by", {"run_id": "{run_id}"}),
    ("POST", "/v1/artifacts/HERS artifact/latest/used_by", {"experiment_id": "{experiment_id}"}),
    ("GET", "/v1/files?run_id={run_id}", None),
    ("GET", "/v1/files?experiment_id={experiment_id}", None),
    ("GET", "/v1/files?project={projects.name}", None),
    ("GET", "/v1/artifacts?project={projects.name}", None),
    ("GET", "/v1/artifacts?type=CANARY", None),
    ("GET", "/v1/projects/HERS project/charts?runs={run_id}", None),
    ("GET", "/v1/projects/HERS project/charts?runs=run_HERS,{run_id}", None),
    ("GET", "/v1/projects/HERS project/progress?session_id={session_id}", None),
    ("GET", '/v1/projects/HERS project/runs?q=name ~ "CANARY"', None),
    ("GET", "/v1/projects/HERS project/runs?group=CANARY group", None),
    ("GET", "/v1/experiments/exp_HERS1/diff/{experiment_id}", None),
]


@pytest.mark.parametrize(
    ("method", "path", "body"), REACHES, ids=lambda value: value if isinstance(value, str) else None
)
def test_what_is_hers_is_answered_like_what_is_nobodys(
    app: Flask, world: World, method: str, path: str, body: dict[str, Any] | None
) -> None:
    mallory = keyed(app, world.keys["stranger"])

    def ask(names: dict[str, str]) -> tuple[int, str]:
        def named(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: named(one) for key, one in value.items()}
            if isinstance(value, list):
                return [named(one) for one in value]
            if isinstance(value, str):
                for name, own in names.items():
                    value = value.replace(f"{{{name}}}", own)
            return value

        answer = mallory.open(named(path), method=method, json=named(body))
        text = answer.text
        for own in names.values():  # what she sent herself
            text = text.replace(own, "…")
        return answer.status_code, "".join(text.split('"request_id"')[:1])

    hers = ask(world.names)
    nobodys = ask({name: "f" * 64 if name == "sha" else "nobodys" for name in world.names})
    assert hers == nobodys
    assert hers[0] < 500
    assert CANARY not in hers[1].replace("CANARY group", "")
    if "{" in path or ((body and "{" in str(body)) and "missing" not in path):
        assert hers[0] in {404, 409} or (method == "GET" and '"items":[]' in hers[1]), hers


def test_nothing_of_hers_was_touched(app: Flask, world: World) -> None:
    """After all of them: Ada has what she had."""
    ada, mallory = keyed(app, world.keys["admin"]), keyed(app, world.keys["stranger"])
    before = ada.get("/v1/runs/run_CANARY/integrity").json
    for method, path, body in REACHES:
        text = str(body).replace("'", '"').replace("None", "null")
        for name, own in world.names.items():
            path, text = path.replace(f"{{{name}}}", own), text.replace(f"{{{name}}}", own)
        mallory.open(path, method=method, data=text, content_type="application/json")
    after = ada.get("/v1/runs/run_CANARY/integrity").json
    assert {**after, "checked_at": 0} == {**before, "checked_at": 0}
    assert ada.get("/v1/artifacts/CANARY artifact").json["version_count"] == 1
    assert len(ada.get("/v1/projects").json["items"]) == 1
