"""The server for agents, spoken to by the official client, and by bare lines that no client would send."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from arwandb import autoresearch as ar
from arwandb import mcp as ours
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.sdk.conftest import SDK, Real
from tests.sdk.research.conftest import Repository, get

Call = Callable[..., Any]


def with_agent(repo: Repository, story: Callable[[Call, ClientSession], Any], **environ: str) -> None:
    """Let the official client start the server in the repository, and tell the story."""
    names = (
        "ARWANDB_BASE_URL",
        "ARWANDB_API_KEY",
        "ARWANDB_PROJECT",
        "ARWANDB_DIR",
        "GIT_CONFIG_NOSYSTEM",
        "HOME",
        "PATH",
    )
    environment = {**{name: os.environ[name] for name in names}, "PYTHONPATH": str(SDK), **environ}
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "arwandb", "mcp"], env=environment, cwd=repo.path
    )

    async def run() -> None:
        async with stdio_client(server) as (reading, writing), ClientSession(reading, writing) as session:
            started = await session.initialize()
            assert started.server_info.name == "arwx"
            assert started.protocol_version == "2025-11-25"

            async def call(tool: str, **arguments: Any) -> Any:
                found = await session.call_tool(tool, arguments)
                assert not found.is_error, found.content
                return found.structured_content or found.content[0].text

            await story(call, session)

    # In a thread of its own: the browser tests keep a loop running in this one.
    with ThreadPoolExecutor(1) as apart:
        apart.submit(asyncio.run, asyncio.wait_for(run(), 60)).result()


def test_an_agent_does_the_whole_loop(real: Real, repo: Repository) -> None:
    async def story(call: Call, session: ClientSession) -> None:
        await session.send_ping()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools) >= {
            "context", "frontier", "list_experiments", "get_experiment", "list_runs", "get_run", "record_experiment",
            "decide", "log_artifact", "promote",
        }  # fmt: skip
        assert tools["frontier"].annotations.read_only_hint is True

        opened = await call("open_session", tag="by an agent")
        base = await call("record_experiment", note="baseline")
        assert (base["index"], base["session_id"]) == (1, opened["id"])
        await call("decide", experiment_id=base["id"], status="keep", score=2.6)

        repo.write("train.py", "lr = 2\n")
        exp = await call("record_experiment", note="lr 2", config={"lr": 2}, snapshot=True, parent_id=base["id"])
        assert "diff" not in exp
        assert exp["diff_sha"]
        await call("decide", experiment_id=exp["id"], status="keep", score=2.4, note="measured")
        again = await call("record_experiment", note="lr 2", config={"lr": 2})
        assert [one["experiment_id"] for one in again["prior"]] == [exp["id"]]

        shown = await call("get_experiment", experiment_id=exp["id"])
        assert "+lr = 2" in shown["diff"]
        assert shown["decisions"][0]["score"] == 2.4
        assert [one["id"] for one in (await call("list_experiments", limit=2))["items"]] == [again["id"], exp["id"]]
        assert (await call("frontier"))["best"]["experiment_id"] == exp["id"]

        repo.write("out/m.bin", "weights")
        told = await call("context", max_chars=2000)
        assert "2.4" in told
        assert len(told) <= 2000
        v = await call("log_artifact", name="m", paths=["out/m.bin"], type="model", produced_by=exp["id"])
        await call("promote", name="m", ref="winner", version=v["version"])
        assert (await call("list_artifacts"))["items"][0]["refs"]["winner"] == v["version"]

    ar.goal("val_bpb", lower_is_better=True, target=2.3)
    with_agent(repo, story)
    project = os.environ["ARWANDB_PROJECT"]
    assert get(real, f"/v1/projects/{project}/progress")["counts"]["keep"] == 2


def test_an_agent_reads_runs_and_their_curves(real: Real, repo: Repository) -> None:
    import arwandb

    run = arwandb.init(config={"lr": 1})
    for step in range(100):
        arwandb.log({"loss": 1 / (step + 1)})
    arwandb.finish()

    async def story(call: Call, _: ClientSession) -> None:
        assert [one["id"] for one in (await call("list_runs", q="config.lr = 1"))["items"]] == [run.id]
        found = await call("get_run", run_id=run.id, keys=["loss"], points=10)
        steps = [point["step"] for point in found["history"]]
        assert steps == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99]

    with_agent(repo, story)


def test_what_goes_wrong_is_told_to_the_agent(real: Real, repo: Repository) -> None:
    async def story(_: Call, session: ClientSession) -> None:
        async def told(tool: str, **arguments: Any) -> str:
            found = await session.call_tool(tool, arguments)
            assert found.is_error
            return str(found.content[0].text)

        assert "No such experiment" in await told("decide", experiment_id="exp_x", status="keep", score=1)
        assert "needs experiment_id" in await told("decide", status="keep")
        assert "one of keep, drop, crash" in await told("decide", experiment_id="e", status="maybe")
        assert "has no argument 'scoer'" in await told("decide", experiment_id="e", status="keep", scoer=1)
        assert "must be of the type number" in await told("decide", experiment_id="e", status="keep", score="1")
        assert "to keep an experiment takes its score" in await told("decide", experiment_id="e", status="keep")
        assert "there is no /nowhere" in await told("log_artifact", name="m", paths=["/nowhere"])
        assert "at least 1" in await told("list_runs", limit=0)
        assert "there is no folder" in await told("record_experiment", note="x", folder="/nowhere")
        with pytest.raises(Exception, match="there is no tool"):
            await session.call_tool("rm", {})

    with_agent(repo, story)

    async def locked(_: Call, session: ClientSession) -> None:
        found = await session.call_tool("frontier", {})
        assert found.is_error
        assert "ARWANDB_API_KEY" in found.content[0].text

    with_agent(repo, locked, ARWANDB_API_KEY="arwx_live_" + "x" * 30)


def spoken(*lines: bytes) -> list[Any]:
    """What the server answers to these lines, and that it ends with its input."""
    process = subprocess.run(
        [sys.executable, "-m", "arwandb", "mcp"], input=b"".join(lines), capture_output=True, timeout=30, check=True,
        env={**os.environ, "PYTHONPATH": str(SDK)},
    )  # fmt: skip
    return [json.loads(line) for line in process.stdout.splitlines()]


def test_bare_lines_get_the_errors_of_the_protocol() -> None:
    answers = spoken(
        b"no json\n",
        b"\n",
        b'"text"\n',
        b"[]\n",
        b'{"jsonrpc":"1.0","id":1,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":2,"method":"resources/list"}\n',
        b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"nothing"}}\n',
        b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":[1]}\n',
        b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"context","arguments":7}}\n',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}\n',
        b'{"jsonrpc":"2.0","id":6,"result":{}}\n',
        b'[{"jsonrpc":"2.0","id":7,"method":"ping"},{"jsonrpc":"2.0","method":"x"}]\n',
        b'{"jsonrpc":"2.0","id":"eight","method":"initialize","params":{"protocolVersion":"2024-11-05"}}\n',
        b'{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"protocolVersion":"1999-01-01"}}\n',
        b"\xff\xfe\n",
        b'{"jsonrpc":"2.0","id":10,"method":"ping"}',
    )
    seen = [(one.get("id"), one.get("error", {}).get("code")) for one in answers if isinstance(one, dict)]
    assert seen == [
        (None, -32700), (None, -32600), (None, -32600), (1, -32600), (2, -32601), (3, -32602), (4, -32602), (5, -32602),
        (None, -32600), ("eight", None), (9, None), (None, -32700), (10, None),
    ]  # fmt: skip
    assert [one for one in answers if isinstance(one, list)] == [[{"jsonrpc": "2.0", "id": 7, "result": {}}]]
    versions = [
        one["result"]["protocolVersion"] for one in answers if isinstance(one, dict) and one.get("id") in {"eight", 9}
    ]
    assert versions == ["2024-11-05", ours.VERSIONS[0]]


def test_a_line_that_never_ends_is_refused_and_the_next_one_served(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(ours, "_MAX_LINE", 1000)
    sink = io.BytesIO()
    source = io.BytesIO(b"x" * 5000 + b"\n" + b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
    assert ours.serve(source, sink) == 0
    answers = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert [(one["id"], one.get("error", {}).get("code")) for one in answers] == [(None, -32600), (1, None)]


@pytest.mark.parametrize("name", sorted(ours._TOOLS))
def test_every_tool_says_what_it_takes(name: str) -> None:
    described = ours._described(name)
    schema = described["inputSchema"]
    assert described["description"].endswith(".")
    assert set(schema["required"]) <= set(schema["properties"])
    accepted = set(ours._TOOLS[name][0].__code__.co_varnames[: ours._TOOLS[name][0].__code__.co_argcount])
    assert set(schema["properties"]) == accepted
