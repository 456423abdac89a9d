"""The research loop as scripts use it, against the real server; and what becomes of it when the server is away."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arwandb
import pytest
from arwandb import autoresearch as ar
from arwandb import desk as desks
from arwandb.http import Http, Request
from arwandb.journal import Journal
from hypothesis import given, settings
from hypothesis import strategies as st

from arwx import experiments as servers
from tests.sdk.conftest import Real
from tests.sdk.research.conftest import Repository, get
from tests.sdk.standin import StandIn


def test_the_whole_story_from_goal_to_winner(real: Real, repo: Repository) -> None:
    project = os.environ["ARWANDB_PROJECT"]
    goal = ar.goal(metric="val_bpb", lower_is_better=True, target=2.45)
    assert (goal["name"], goal["objective_metric"], goal["target"]) == (project, "val_bpb", 2.45)
    session = ar.session(tag="tune-warmup")
    assert (session["tag"], session["branch"], session["project"]) == ("tune-warmup", "main", project)

    base = ar.experiment(note="baseline")
    assert (base["index"], base["diff_sha"], base["prior"]) == (1, None, [])
    assert ar.decision(experiment_id=base["id"], status="keep", score=2.6)["metric"] == "val_bpb"

    repo.write("train.py", "lr = 2\n")
    exp = ar.experiment(note="lr too cold", config={"lr": 2})
    assert (exp["commit"], exp["session_id"]) == (repo.git("rev-parse", "HEAD"), session["id"])
    stored = Http(real.base_url, real.key).send(Request("GET", f"/v1/experiments/{exp['id']}/diff")).body.decode()
    assert "-lr = 1\n+lr = 2\n" in stored
    assert hashlib.sha256(stored.encode()).hexdigest() == exp["diff_sha"]
    ar.decision(experiment_id=exp, status="keep", score=2.41, metric="val_bpb")
    repeat = ar.experiment(note="again", config={"lr": 2})
    assert [one["experiment_id"] for one in repeat["prior"]] == [exp["id"]]
    assert repeat["repro_key"] == exp["repro_key"]
    ar.decision(repeat["id"], "crash")

    assert [step["experiment_id"] for step in ar.frontier()["items"]] == [base["id"], exp["id"]]
    assert ar.progress()["counts"] == {"keep": 2, "drop": 0, "crash": 1, "undecided": 0}
    assert ar.progress(session["id"])["best"]["score"] == 2.41
    assert ar.progress()["target_reached"] is True

    repo.write("out/model/weights.bin", "w" * 100)
    repo.write("out/model/config.json", "{}")
    v = ar.artifact("char-lm", "out/model", type="model", produced_by=exp["id"])
    assert (v["version"], v["deduped"], v["score"]) == (1, False, 2.41)
    assert ar.artifact("char-lm", "out/model", type="model")["deduped"] is True
    ar.promote("char-lm", "winner", version=v["version"])
    found = ar.get_artifact("char-lm", "winner")
    assert (found["version"], found["refs"]) == (1, ["latest", "winner"]) or "winner" in found["refs"]
    assert [one["name"] for one in ar.artifacts(type="model")] == ["char-lm"]
    folder = found.download("got")
    assert (Path(folder) / "config.json").read_text() == "{}"
    assert found.used_by(experiment_id=repeat["id"])["used_by"] == [{"kind": "experiment", "id": repeat["id"]}]
    assert ar.download("char-lm", "v1", "got2").endswith("got2")


def test_the_active_run_gives_its_id_and_config(real: Real, repo: Repository) -> None:
    ar.session()
    with arwandb.init(config={"lr": 0.1, "layers": [1, 2], "big": 2**70, "nan": float("nan")}) as run:
        exp = ar.experiment(note="in a run")
        v = ar.artifact("m", {"a/b.txt": "train.py"})
        assert ar.used_by("m")["used_by"] == [{"kind": "run", "id": run.id}]
    assert exp["run_id"] == run.id
    assert exp["config"] == {"lr": 0.1, "layers": [1, 2], "big": str(2**70), "nan": "nan"}
    assert v["produced_by"] == [{"kind": "run", "id": run.id}]


def test_a_child_process_joins_the_session_of_the_environment(
    real: Real, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ar.session(tag="s")
    code = "from arwandb import autoresearch as ar; print(ar.experiment(note='child')['session_id'])"
    environ = {**os.environ, "ARWANDB_SESSION_ID": session["id"], "PYTHONPATH": str(Path(arwandb.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == session["id"]


def test_what_a_run_makes_waits_until_the_server_knows_the_run(real: Real, repo: Repository) -> None:
    for _ in range(3):
        with arwandb.init() as run:
            v = ar.artifact("m", {"id.txt": str(repo.write("out/id.txt", run.id))})
            assert v["produced_by"] == [{"kind": "run", "id": run.id}]


def test_the_project_is_that_of_the_session_then_the_run_then_the_environment(
    real: Real, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, own = os.environ["ARWANDB_PROJECT"], [f"q-{os.urandom(4).hex()}" for _ in range(2)]
    assert ar.goal("loss")["name"] == environment
    with arwandb.init(project=own[0]):
        assert ar.goal("loss")["name"] == own[0]
        ar.session(project=own[1])
        assert ar.goal("loss")["name"] == own[1]
    assert ar.progress()["project"] == own[1]
    assert ar.progress(project=environment)["project"] == environment


def test_the_context_is_read_as_json_as_markdown_and_by_the_command(
    real: Real, repo: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    ar.goal("val_bpb", target=2.0)
    ar.session()
    exp = ar.experiment(note="first")
    ar.decision(exp, "keep", 3.0)
    found = ar.context()
    assert found["project"] == os.environ["ARWANDB_PROJECT"]
    assert exp["id"] in json.dumps(found)
    told = ar.context(format="markdown", max_chars=500)
    assert "val_bpb" in told
    assert len(told) <= 500
    assert arwandb_cli("context") == 0
    assert "val_bpb" in capsys.readouterr().out


def test_the_command_lists_the_frontier(real: Real, repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    ar.goal("val_bpb", target=2.0)
    ar.session()
    for note, status, score in (("first\nline", "keep", 3.0), ("worse", "drop", 4.0), ("better", "keep", 2.5)):
        ar.decision(ar.experiment(note=note), status, score)
    assert arwandb_cli("frontier") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{os.environ['ARWANDB_PROJECT']}: val_bpb (lower is better, target 2)"
    assert [line.split() for line in said[1:3]] == [["#1", "3", "first", "line"], ["#3", "2.5", "+0.5", "better"]]
    assert said[3] == "2 keep, 1 drop, 0 crash, 0 undecided; best 2.5 at #3"
    assert arwandb_cli("frontier", "no-such-project") == 2
    assert "No such project" in capsys.readouterr().err
    assert arwandb_cli("mcp", "now") == 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ar.goal(""), "metric"),
        (lambda: ar.goal("loss", target=float("nan")), "finite"),
        (lambda: ar.goal("loss", project="a/b"), "project"),
        (lambda: ar.experiment(note="x"), "no session is open"),
        (lambda: ar.experiment(note=7, session_id="s"), "note must be a text"),
        (lambda: ar.experiment(session_id="not an id"), "session_id"),
        (lambda: ar.experiment(session_id="s", config=3), "config"),
        (lambda: ar.decision("e", "maybe", 1), "keep, drop or crash"),
        (lambda: ar.decision("e", "keep"), "score"),
        (lambda: ar.decision("e", "keep", float("inf")), "finite"),
        (lambda: ar.decision("e", "keep", "2.4"), "finite"),
        (lambda: ar.decision("e", "crash", 2.4), "no score"),
        (lambda: ar.decision({"no": "id"}, "drop"), "experiment_id"),
        (lambda: ar.artifact("m", "nowhere.bin"), "there is no nowhere.bin"),
        (lambda: ar.artifact("m", []), "no file"),
        (lambda: ar.artifact("a/b", "x"), "name must be"),
        (lambda: ar.artifact("m", {"../x": __file__}), "plain relative"),
        (lambda: ar.artifact("m", {"a": __file__, "A": __file__}), "case"),
        (lambda: ar.artifact("m", 7), "paths"),
        (lambda: ar.promote("m", "winner", None), "version"),
        (lambda: ar.used_by("m"), "run_id or an experiment_id"),
        (lambda: ar.context(format="xml"), "json or markdown"),
    ],
)
def test_wrong_use_is_said_before_anything_is_sent(
    call: Callable[[], object], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARWANDB_BASE_URL", "http://127.0.0.1:1")
    with pytest.raises((ar.UsageError, TypeError), match=says):
        call()


def test_what_the_server_refuses_is_an_error_with_its_words(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ar.NotFound, match="No such"):
        ar.decision("exp_nowhere", "keep", 1.0)
    with pytest.raises(ar.NotFound):
        ar.get_artifact("nothing", "winner")
    ar.session()
    with pytest.raises(ar.ApiError, match="another") as found:
        ar.session(id=desks.desk.session, project="other-project")
    assert (found.value.status, found.value.code) == (409, "conflict")
    monkeypatch.setenv("ARWANDB_API_KEY", "arwx_live_" + "x" * 30)
    with pytest.raises(ar.ApiError, match="ARWANDB_API_KEY"):
        ar.progress()


def test_a_repeat_with_the_same_id_is_the_same_experiment(real: Real, repo: Repository) -> None:
    ar.session()
    first = ar.experiment(note="x", id="mine-" + os.urandom(4).hex())
    again = ar.experiment(note="x", id=first["id"])
    assert (again["id"], again["index"]) == (first["id"], first["index"])


def test_offline_the_same_script_is_recorded_and_delivered_in_order(
    real: Real, repo: Repository, monkeypatch: pytest.MonkeyPatch, spool: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARWANDB_MODE", "offline")
    ar.goal(metric="loss", lower_is_better=True)
    ar.session(tag="away")
    run = arwandb.init(config={"lr": 1})
    arwandb.log({"loss": 0.5})
    repo.write("train.py", "lr = 3\n")
    repo.write("out/model.bin", "weights")
    exp = ar.experiment(note="off", snapshot=".")
    assert (exp["index"], exp["spooled"], exp["run_id"]) == (None, True, run.id)
    ar.decision(experiment_id=exp["id"], status="keep", score=0.5)
    v = ar.artifact("m", "out/model.bin", type="model", produced_by=exp["id"])
    ar.promote("m", "winner", version=v["version"])
    repo.write("out/model.bin", "overwritten since")
    arwandb.finish()
    with pytest.raises(ar.Unreachable, match="offline"):
        ar.progress()
    with pytest.raises(arwandb.Error, match="offline"):
        v.download("x")
    assert arwandb_cli("status") == 1
    assert "records of research to deliver" in capfd.readouterr().out

    monkeypatch.delenv("ARWANDB_MODE")
    for _ in range(2):  # any number of times
        assert arwandb_cli("sync") == 0, capfd.readouterr()
    assert len(Journal(str(spool))) == 0

    stored = get(real, f"/v1/experiments/{exp['id']}")
    assert (stored["note"], stored["run_id"], stored["repro_key"]) == ("off", run.id, exp["repro_key"])
    assert stored["decision"]["score"] == 0.5
    winner = ar.get_artifact("m", "winner")
    assert (Path(winner.download("got")) / "model.bin").read_text() == "weights"
    assert winner["produced_by"] == [{"kind": "experiment", "id": exp["id"]}]


def arwandb_cli(*arguments: str) -> int:
    from arwandb.cli import main

    return main(list(arguments))


def test_a_server_that_is_away_costs_time_once_and_loses_nothing(
    real: Real, repo: Repository, monkeypatch: pytest.MonkeyPatch, spool: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import time

    from arwandb import server

    monkeypatch.setattr(server.Server.send, "__kwdefaults__", {"patience": 0.5})
    monkeypatch.setenv("ARWANDB_BASE_URL", "http://127.0.0.1:9")
    start = time.monotonic()
    ar.goal("loss")
    ar.session(tag="storm")
    exp = ar.experiment(note="in the storm")
    for score in (3.0, 2.0, 1.0):
        ar.decision(exp["id"], "keep", score)
    assert time.monotonic() - start < 15
    assert len(Journal(str(spool))) == 6
    assert capfd.readouterr().err.count("python -m arwandb sync") == 1, "said once"
    # The records were made for an address that nobody knows; the environment knows better, as sync does.
    monkeypatch.setenv("ARWANDB_BASE_URL", real.base_url)
    assert arwandb_cli("sync") == 0
    assert [one["score"] for one in get(real, f"/v1/experiments/{exp['id']}")["decisions"]] == [3.0, 2.0, 1.0]


def test_the_next_call_that_gets_through_delivers_what_was_kept_first(real: Real, repo: Repository) -> None:
    server = real.base_url
    ar.goal("loss")
    ar.session(tag="s")
    os.environ["ARWANDB_MODE"] = "offline"
    try:
        exp = ar.experiment(note="kept")
    finally:
        del os.environ["ARWANDB_MODE"]
    assert server == os.environ["ARWANDB_BASE_URL"]
    ar.decision(exp["id"], "drop", 1.0)
    assert get(real, f"/v1/experiments/{exp['id']}")["decision"]["status"] == "drop"


def test_what_is_refused_later_is_put_aside_and_said(
    real: Real, monkeypatch: pytest.MonkeyPatch, spool: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARWANDB_MODE", "offline")
    ar.decision("exp_that_never_was", "drop")
    ar.session(tag="good")
    monkeypatch.delenv("ARWANDB_MODE")
    assert arwandb_cli("sync") == 1
    said = capfd.readouterr()
    assert "decision on exp_that_never_was was refused: No such experiment" in said.out
    assert len(list((spool / "research" / "refused").iterdir())) == 1
    assert arwandb_cli("sync") == 0


def test_a_wrong_key_or_address_keeps_what_waits(
    real: Real, standin: StandIn, monkeypatch: pytest.MonkeyPatch, spool: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARWANDB_BASE_URL", real.base_url)
    monkeypatch.setenv("ARWANDB_API_KEY", real.key)
    monkeypatch.setenv("ARWANDB_MODE", "offline")
    ar.session(tag="patient")
    exp = ar.experiment(note="written on a train")
    ar.decision(exp["id"], "drop", metric="loss")
    monkeypatch.delenv("ARWANDB_MODE")

    reader = real.command("key", "new", "--org", "lab", "--name", "reader", "--scope", "read").strip()
    stranger = "arwx_live_" + "0" * 30
    for key, reason in ((stranger, "does not know the key"), (reader, "(403 for POST /v1/sessions)")):
        monkeypatch.setenv("ARWANDB_API_KEY", key)
        assert arwandb_cli("sync") == 1
        assert reason in capfd.readouterr().out
        assert len(Journal(str(spool))) == 3

    # Something that is no arwx server, such as the page of a hotel.
    standin.fault = lambda method, path: (404, {}, b"<h1>Welcome</h1>")
    monkeypatch.setenv("ARWANDB_API_KEY", real.key)
    monkeypatch.setenv("ARWANDB_BASE_URL", standin.base_url)
    assert arwandb_cli("sync") == 1
    assert "is no arwx server" in capfd.readouterr().out
    assert len(Journal(str(spool))) == 3

    monkeypatch.setenv("ARWANDB_BASE_URL", real.base_url)
    assert arwandb_cli("sync") == 0
    assert get(real, f"/v1/experiments/{exp['id']}")["decision"]["status"] == "drop"


def test_a_damaged_record_is_put_aside_and_the_rest_delivered(
    real: Real, monkeypatch: pytest.MonkeyPatch, spool: Path
) -> None:
    monkeypatch.setenv("ARWANDB_MODE", "offline")
    ar.goal("loss")
    session = ar.session()
    monkeypatch.delenv("ARWANDB_MODE")
    first = sorted((spool / "research").glob("*.record"))[0]
    first.write_bytes(first.read_bytes().replace(b"loss", b"lies"))
    assert arwandb_cli("sync") == 1
    assert get(real, f"/v1/sessions/{session['id']}")["id"] == session["id"]


def test_disabled_answers_and_does_nothing(monkeypatch: pytest.MonkeyPatch, repo: Repository, spool: Path) -> None:
    monkeypatch.setenv("ARWANDB_MODE", "disabled")
    monkeypatch.setenv("ARWANDB_BASE_URL", "http://127.0.0.1:9")
    ar.goal("loss")
    ar.session()
    exp = ar.experiment(note="x", snapshot=".")
    ar.decision(exp["id"], "keep", 1.0)
    assert ar.progress()["items"] == ar.artifacts() == []
    assert ar.context() == {}
    v = ar.artifact("m", "train.py")
    ar.promote("m", "winner", version=v["version"])
    assert not spool.exists()


def test_research_beside_a_disabled_run_is_disabled_too(
    monkeypatch: pytest.MonkeyPatch, repo: Repository, spool: Path
) -> None:
    monkeypatch.setenv("ARWANDB_BASE_URL", "http://127.0.0.1:9")
    arwandb.init(mode="disabled")
    ar.goal("loss")
    exp = ar.experiment(note="x", session_id="ses_x")
    ar.decision(exp["id"], "keep", 1.0)
    assert not spool.exists()

    arwandb.finish()
    ar.goal("loss")
    assert spool.exists()


def test_a_spool_that_cannot_be_written_is_said_and_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, repo: Repository, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARWANDB_DIR", str(tmp_path / "file" / "spool"))
    monkeypatch.setenv("ARWANDB_MODE", "offline")
    ar.session()
    assert "is lost" in capfd.readouterr().err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=2000 if os.environ.get("ARWX_FULL") else 100, deadline=None, derandomize=True)
@given(
    commit=st.none() | st.text(max_size=40),
    sha=st.none() | st.text(max_size=64),
    config=st.dictionaries(st.text(max_size=5), JSON, max_size=4),
)
def test_the_repro_key_is_the_one_that_the_server_finds(
    commit: str | None, sha: str | None, config: dict[str, Any]
) -> None:
    import msgspec
    from arwandb.documents import plain
    from arwandb.http import to_json

    sent = plain(config) or None
    body = to_json({"config": sent})
    arrived = msgspec.json.decode(body)["config"]
    assert ar.repro_key(commit, sha, sent) == servers.repro_key(commit, sha, arrived)


def test_the_research_layer_is_loaded_when_it_is_asked_for() -> None:
    code = (
        "import json, sys, arwandb\nbefore = sorted(sys.modules)\n"
        "arwandb.autoresearch.goal\nprint(json.dumps([before, sorted(sys.modules)]))\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(arwandb.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    own = {f"arwandb.{name}" for name in ("autoresearch", "artifacts", "desk", "journal", "transfer")}
    assert not own & set(before)
    assert own <= set(after)
    assert not {"arwandb.mcp", "arwandb.worktree", "arwandb.snapshot"} & set(after)
    assert not hasattr(arwandb, "autoresarch")
