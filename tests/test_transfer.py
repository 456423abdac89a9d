"""`arwx export` and `arwx import`: all of a project or nothing, bit for bit, and never twice."""

import hashlib
import io
import json
import os
import random
import signal
import struct
import subprocess
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select, text

from arwx import cli, clock, create_app, points, runs, schema, transfer
from arwx.config import Settings
from arwx.db import Database
from arwx.models import Base
from tests.conftest import KIND, SECRET_KEY
from tests.make import Caller, Maker, point
from tests.postgres import Postgres, admit_application, as_application
from tests.server import ARWX

FULL = bool(os.environ.get("ARWX_FULL"))
DIFF = "diff --git a/train.py b/train.py\n+lr = 3e-4\n"
ODD = [-0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, -1e-300, 2.0**53 + 2]


class Place:
    """A server with its operator: commands, and somebody with a key."""

    def __init__(self, url: str, folder: Path, org: str = "Ada's lab") -> None:
        blobs = (folder / "blobs").as_uri()
        self.app = create_app(Settings(url, folder, SECRET_KEY, blob_url=blobs))
        self.app.testing = False
        self.database: Database = self.app.extensions["arwx.db"]
        self.caller = Maker(self.app).caller(org, scope="admin")
        self.environment = {
            "DATABASE_URL": url,
            "ARWX_DATA_DIR": str(folder),
            "SECRET_KEY": SECRET_KEY,
            "ARWX_BLOB_URL": blobs,
        }

    def arwx(self, *arguments: object) -> Result:
        done = CliRunner().invoke(cli.main, list(map(str, arguments)), env=self.environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        return done

    def done(self, *arguments: object) -> str:
        """What a command says that succeeds."""
        result = self.arwx(*arguments)
        assert result.exit_code == 0, result.output
        return result.output

    def story(self, path: str, **query: str) -> Any:
        answer = self.caller.get(path, query_string=query)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        return answer.json

    def rows(self, *, but: tuple[str, ...] = ("alembic_version",)) -> dict[str, int]:
        """How many rows the organization has in each table."""
        found = {}
        with self.database.reading(self.caller.org_id) as session:
            for table in Base.metadata.sorted_tables:
                if "org_id" in table.c and table.name not in but and table.info["dist"] in {"org_id", "run_id"}:
                    counted = select(func.count()).select_from(table).where(table.c.org_id == self.caller.org_id)
                    if "run_id" in table.c and table.info["dist"] == "run_id":
                        counted = text(f"SELECT count(*) FROM {table.name} WHERE org_id = {self.caller.org_id}")  # type: ignore[assignment]
                    found[table.name] = session.execute(counted).scalar_one()
        return found

    def close(self) -> None:
        self.database.engine.dispose()


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[..., Place]]:
    """Makes servers, empty but for somebody with a key."""
    made: list[Place] = []

    def new(kind: str = KIND, org: str = "Ada's lab") -> Place:
        folder = tmp_path_factory.mktemp("place")
        url = f"sqlite:///{folder / 'arwx.db'}"
        if kind == "postgres":
            postgres: Postgres = request.getfixturevalue("postgres")
            url = postgres.create(f"place_{random.randrange(10**12)}")
        database = Database(url)
        schema.upgrade(database)
        database.engine.dispose()
        if kind == "postgres":
            admit_application(url)
            url = as_application(url)
        made.append(Place(url, folder, org))
        return made[-1]

    yield new
    for one in made:
        one.close()


@pytest.fixture
def home(place: Callable[..., Place]) -> Place:
    """Where the project comes from: a little of everything that a project can have."""
    home = place()
    fill(home.caller)
    return home


@pytest.fixture
def file(home: Place, tmp_path: Path) -> Path:
    said = home.done("export", "char-lm", tmp_path / "char-lm.zip")
    assert said.startswith(f"{tmp_path / 'char-lm.zip'} has the project char-lm: 4 runs, ")
    return tmp_path / "char-lm.zip"


def fill(ada: Caller) -> None:
    goal = {"objective_metric": "loss", "lower_is_better": True, "target": 0.01, "description": "Small transformers."}
    ok(ada.post("/v1/projects", json={"name": "char-lm", **goal}))
    ok(ada.post("/v1/sessions", json={"project": "char-lm", "id": "s", "tag": "warmup", "branch": "main"}))
    patch = ok(ada.post("/v1/blobs", data=DIFF.encode()))["sha"]
    ada.run(id="r1", config={"lr": 3e-4, "deep": {"n": [1, 2.5, None]}}, tags=["a", "ü"], notes="n", diff_sha=patch)
    ok(ada.ingest("r1", [point(s, loss=1 / (s + 1), acc=s / 2) for s in range(5000)], first_seq=0))
    # A second life begins at an earlier step; a gap; numbers that are none; a rank of its own axis.
    later = [{**point(s, loss=2 / (s + 1)), "nonfinite": ["grad"]} for s in range(4000, 4100)]
    ok(ada.ingest("r1", later, first_seq=0, epoch="e2"))
    ok(ada.ingest("r1", [point(s, **{"system/cpu": 1.5}) for s in range(50)], first_seq=7, writer_id="rank1"))
    ok(ada.ingest("r1", [point(s, odd=value) for s, value in enumerate(ODD)]))
    ok(ada.post("/v1/ingest", json=keyed(), headers={"Idempotency-Key": "k1"}))
    expected = [{"writer_id": "w1", "epoch": "e1", "points": 10000, "next_seq": 5000}]
    ok(ada.post("/v1/runs/r1/finish", json={"status": "finished", "summary": {"best": 0.1}, "expected": expected}))
    ada.run(id="r2", group="g", job_type="eval")
    ok(ada.ingest("r2", [point(s) for s in range(20)], first_seq=0))  # not compacted yet
    ok(ada.ingest("r2", [{"step": 9, "metrics": {"loss": "NaN"}}], first_seq=20))
    ada.run(id="r3")
    ok(ada.patch("/v1/runs/r3", json={"archived": True}))
    ada.run(id="r4")
    ada.run(id="gone")
    ada.delete("/v1/runs/gone")
    ada.run("elsewhere", id="far")
    tree = [entry(ada, "train.py", b"lr = 3e-4\n"), entry(ada, "bin/run", b"#!/bin/sh\n", mode="100755")]
    for number, run_id in enumerate(["r1", "r2", "far", None]):
        told = {"session_id": "s", "id": f"e{number}", "note": f"try {number}", "commit": "c" * 40, "run_id": run_id}
        config = {"lr": 10.0**-number, "seed": number}
        ok(
            ada.post(
                "/v1/experiments",
                json={**told, "diff": DIFF, "config": config, "parent_id": f"e{number - 1}" if number else None},
            )
        )
        if number < 2:
            ok(ada.open(f"/v1/experiments/e{number}/tree", "PUT", json={"entries": tree[: number + 1]}))
    for name, verdict in (("e0", ("keep", 0.9)), ("e1", ("drop", 0.5)), ("e1", ("keep", 0.4)), ("e2", ("crash", None))):
        status, score = verdict
        ok(ada.post(f"/v1/experiments/{name}/decision", json={"status": status, "score": score, "note": "because"}))
    for number in range(3):
        weights = [entry(ada, "weights.bin", random.Random(number).randbytes(3_000_000 if number == 2 else 5000))]
        version = {
            "project": "char-lm",
            "name": "model",
            "type": "model",
            "entries": weights,
            "metadata": {"n": number},
        }
        ok(ada.post("/v1/artifacts/log", json={**version, "produced_by": f"e{number % 2}"}))
        ok(ada.open("/v1/artifacts/model/refs/winner", "PUT", json={"version": number + 1}))
    ok(ada.open("/v1/artifacts/model/refs/winner", "PUT", json={"version": 1}))
    ok(ada.post("/v1/artifacts/model/v1/used_by", json={"run_id": "r2"}))
    ok(ada.post("/v1/artifacts/model/v1/used_by", json={"run_id": "far"}))
    ok(ada.post("/v1/files/upload?project=char-lm&name=a/log.txt&run_id=r1", data=b"words"))
    uri = {"project": "char-lm", "name": "data", "uri": "s3://bucket/data", "size": 10**12, "experiment_id": "e1"}
    ok(ada.post("/v1/files", json=uri))


def keyed() -> dict[str, Any]:
    return {"run_id": "r1", "writer_id": "curl", "points": [point(1, note=1.0)]}


def entry(ada: Caller, path: str, content: bytes, **more: str) -> dict[str, Any]:
    return {"path": path, "sha": ok(ada.post("/v1/blobs", data=content))["sha"], "size": len(content), **more}


def ok(answer: Any) -> Any:
    assert answer.status_code in {200, 201}, answer.text
    return answer.json


def told(place: Place) -> dict[str, Any]:
    """What the API says of the project."""
    found: dict[str, Any] = {}
    project = "/v1/projects/char-lm"
    for path in ("", "/progress", "/frontier", "/charts", "/experiments", "/sessions"):
        found[path] = place.story(project + path)
    for run_id in ("r1", "r2", "r3", "r4"):
        found[run_id] = [place.story(f"/v1/runs/{run_id}{path}") for path in ("", "/metrics", "/integrity")]
        found[run_id].append(place.story(f"/v1/runs/{run_id}/metrics", keys="system/*"))
    for number in range(4):
        found[f"e{number}"] = place.story(f"/v1/experiments/e{number}")
        found[f"diff {number}"] = place.caller.get(f"/v1/experiments/e{number}/diff").text
    found["trees"] = [place.story(f"/v1/experiments/e{number}/tree") for number in range(2)]
    found["model"] = place.story("/v1/artifacts/model", project="char-lm")
    found["versions"] = [place.story(f"/v1/artifacts/model/v{number}", project="char-lm") for number in (1, 2, 3)]
    found["files"] = place.story("/v1/files", project="char-lm")
    shas = {e["sha"] for one in found["versions"] + found["trees"] for e in one["entries"]}
    for sha in shas:
        assert hashlib.sha256(place.caller.get(f"/v1/blobs/{sha}").data).hexdigest() == sha
    return _without(found)


def _without(value: Any) -> Any:
    """Without what tells where and when one asks, and accounts."""
    if isinstance(value, dict):
        passing = {"url", "checked_at", "created_by", "by", "moved_by", "decided_by", "duplicates_collapsed"}
        return {key: _without(one) for key, one in value.items() if key not in passing}
    if isinstance(value, list):
        # Ties to a run of another project do not come along.
        return [_without(one) for one in value if not (isinstance(one, dict) and "far" in one.values())]
    return value


def parts(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}


def test_a_project_comes_back_equal_through_both_databases(
    place: Callable[..., Place], home: Place, file: Path, tmp_path: Path
) -> None:
    there = place("sqlite" if KIND == "postgres" else "postgres")
    said = there.arwx("import", file)
    assert (said.exit_code, "4 runs, 10,177 points, 7 blobs" in said.output) == (0, True), said.output
    assert "2 references to other projects were left out.\n" in said.output
    there.done("export", "char-lm", tmp_path / "2.zip")
    back = place()
    assert back.done("import", tmp_path / "2.zip").startswith("char-lm is imported: 4 runs, ")
    back.done("export", "char-lm", tmp_path / "3.zip")
    assert parts(tmp_path / "2.zip") == parts(tmp_path / "3.zip")
    first, last = parts(file), parts(tmp_path / "3.zip")
    assert {name for name in first if first[name] != last[name]} == {"experiments.jsonl", "artifact_links.jsonl"}
    before, after = told(home), told(there)
    assert (before["e2"].pop("run_id"), after["e2"].pop("run_id")) == ("far", None)
    before.pop("/experiments")
    after.pop("/experiments")
    assert before == after
    assert told(back)["r1"] == before["r1"]
    assert there.done("fsck") == back.done("fsck") == "Everything is as it was stored.\n"
    assert b'"odd":-0.0' in last["points/r1.jsonl"]


def test_a_stranger_reads_it_without_arwx(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        lines = [json.loads(line) for line in archive.read("points/r1.jsonl").splitlines()]
        blobs = [name for name in archive.namelist() if name.startswith("blobs/")]
        for part in manifest["parts"]:
            raw = archive.read(part["name"])
            assert (len(raw), hashlib.sha256(raw).hexdigest()) == (part["bytes"], part["sha256"])
    assert (manifest["format"], manifest["version"], manifest["project"]) == ("arwx project", 1, "char-lm")
    assert manifest["blobs"] == len(blobs) == 7
    entries = [line for line in lines if line["record"] == "entry"]
    assert sum(len(line["metrics"]) for line in entries) == sum(
        line["points"] for line in lines if line["record"] == "batch"
    )
    assert [value for line in entries for key, value in line["metrics"].items() if key == "odd"] == ODD
    assert [line["step"] for line in entries] == sorted(line["step"] for line in entries)


def test_what_was_sent_before_is_known_after_the_move(place: Callable[..., Place], home: Place, file: Path) -> None:
    there = place()
    there.done("import", file)
    before = there.story("/v1/runs/r1/integrity")
    again = ok(there.caller.ingest("r1", [point(s, loss=1 / (s + 1), acc=s / 2) for s in range(5000)], first_seq=0))
    assert (again["stored"], again["duplicates"], again["next_seq"]) == (0, 10000, 5000)
    later = [{**point(s, loss=2 / (s + 1)), "nonfinite": ["grad"]} for s in range(4000, 4100)]
    assert ok(there.caller.ingest("r1", later, first_seq=0, epoch="e2"))["stored"] == 0
    assert ok(there.caller.ingest("r1", [point(s, odd=value) for s, value in enumerate(ODD)]))["stored"] == 0
    assert ok(there.caller.post("/v1/ingest", json=keyed(), headers={"Idempotency-Key": "k1"}))["stored"] == 0
    assert there.caller.ingest("r1", [point(0, loss=7.0)], first_seq=3).status_code == 409
    more = ok(there.caller.ingest("r1", [point(s, loss=0.0) for s in range(4998, 5010)], first_seq=5000))
    assert (more["stored"], more["next_seq"]) == (12, 5012)
    # What was missing closes the gap.
    filled = ok(
        there.caller.ingest("r1", [point(s, **{"system/cpu": 2.0}) for s in range(7)], first_seq=0, writer_id="rank1")
    )
    assert (filled["stored"], filled["next_seq"]) == (7, 57)
    after = there.story("/v1/runs/r1/integrity")
    assert (after["points_stored"], after["lost"], after["conflicts"]) == (before["points_stored"] + 19, 0, 1)
    assert ok(there.caller.ingest("r2", [point(s) for s in range(20, 25)], first_seq=21))["stored"] == 5
    assert ok(there.caller.post("/v1/experiments", json={"session_id": "s"}))["index"] == 5


def test_the_same_file_again_changes_nothing(place: Callable[..., Place], home: Place, file: Path) -> None:
    there = place()
    there.done("import", file)
    before = there.rows()
    assert there.done("import", file).startswith("char-lm is here already: 4 runs, ")
    assert there.rows() == before
    # Where it comes from it is the same project, too.
    assert home.done("import", file).startswith("char-lm is here already: 4 runs, ")


def test_ids_that_are_taken_are_given_anew(place: Callable[..., Place], file: Path) -> None:
    there = place()
    there.caller.run("mine", id="r1", config={"mine": True})
    there.done("import", file)
    said = there.arwx("import", file, "--project", "copy")
    assert "ids are taken here and were given anew, such as run r1: r1-" in said.output
    assert there.done("import", file, "--project", "copy").startswith("copy is here already")
    assert there.story("/v1/runs/r1")["config"] == {"mine": True}
    moved = {run["config"].get("lr"): run for run in there.story("/v1/projects/char-lm/runs")["items"]}[3e-4]
    assert moved["id"] != "r1"
    first, copy = (there.story(f"/v1/projects/{name}/progress") for name in ("char-lm", "copy"))
    assert [one["score"] for one in first["items"]] == [one["score"] for one in copy["items"]]
    assert there.story(f"/v1/experiments/{first['items'][0]['experiment_id']}")["run_id"] == moved["id"]
    assert there.story(f"/v1/runs/{moved['id']}/integrity")["points_stored"] > 10_000
    assert there.done("fsck") == "Everything is as it was stored.\n"


def test_a_name_of_something_else_is_a_conflict(place: Callable[..., Place], home: Place, file: Path) -> None:
    there = place()
    there.caller.run("char-lm", id="other")
    said = there.arwx("import", file)
    assert (said.exit_code, said.output.startswith("There is another project char-lm here.")) == (1, True)
    assert there.story("/v1/projects/char-lm/runs")["items"][0]["id"] == "other"
    ok(home.caller.patch("/v1/runs/r4", json={"name": "renamed"}))
    said = home.arwx("import", file)
    assert (said.exit_code, "is here already, but not as in the file (runs). Nothing" in said.output) == (1, True)


def test_points_alone_make_a_difference(home: Place, file: Path) -> None:
    ok(home.caller.ingest("r2", [point(99)], first_seq=21))
    said = home.arwx("import", file)
    assert (said.exit_code, "(points of r2). Nothing was changed." in said.output) == (1, True)


def test_another_organization_is_named(place: Callable[..., Place], home: Place, file: Path, tmp_path: Path) -> None:
    mallory = Maker(home.app).caller("Elsewhere", scope="admin")
    assert home.arwx("export", "char-lm", tmp_path / "x.zip").output == "Say which organization: --org ORG.\n"
    assert home.arwx("export", "char-lm", tmp_path / "x.zip", "--org", "Elsewhere").output == "No such project.\n"
    home.done("import", file, "--org", "Elsewhere")
    for run_id in ("r1", "r2"):
        found = mallory.get(f"/v1/runs/{run_id}/integrity").json
        assert _without(found) == _without(home.story(f"/v1/runs/{run_id}/integrity"))
    assert not (tmp_path / "x.zip").exists()


def test_what_is_damaged_is_not_exported(home: Place, tmp_path: Path) -> None:
    runs.compact(home.database)
    sha = home.story("/v1/artifacts/model/v2", project="char-lm")["entries"][0]["sha"]
    assert home.app.extensions["arwx.blobs"].erase(home.caller.org_id, sha, clock.now() + timedelta(days=1))
    said = home.arwx("export", "char-lm", tmp_path / "x.zip")
    assert (said.exit_code, said.output) == (1, "The stored bytes are damaged or gone. Upload them again.\n")
    with home.database.writing(home.caller.org_id) as session:
        session.execute(text("DELETE FROM chunks WHERE run_id = 'r1' AND key = 'acc'"))
    said = home.arwx("export", "char-lm", tmp_path / "x.zip")
    assert (said.exit_code, "The points of run r1 are not those that were acknowledged" in said.output) == (1, True)
    assert list(tmp_path.glob("*zip*")) + list(tmp_path.glob(".*zip*")) == []


# Files from somebody who means harm ---------------------------------------------------------------------------------


class Forgery:
    """A file whose parts were changed, with a manifest that is right again."""

    def __init__(self, file: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            self.parts = {name: archive.read(name) for name in archive.namelist()}
        self.extra: list[tuple[str, bytes, int]] = []

    def lines(self, name: str, change: Callable[[dict[str, Any]], Any], number: int = 0) -> None:
        lines = [json.loads(line) for line in self.parts[name].splitlines()]
        change(lines[number])
        self.parts[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    def write(self, file: Path) -> Path:
        manifest = json.loads(self.parts["manifest.json"])
        for part in manifest["parts"]:
            raw = self.parts.get(part["name"], b"")
            part |= {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        self.parts["manifest.json"] = json.dumps(manifest).encode()
        with zipfile.ZipFile(file, "w") as archive:
            for name, raw in self.parts.items():
                archive.writestr(name, raw, zipfile.ZIP_DEFLATED if name.endswith("l") else zipfile.ZIP_STORED)
            for name, raw, kind in self.extra:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # it sees a name that comes twice
                    archive.writestr(name, raw, kind)
        return file


def _entry(lines: list[bytes]) -> int:
    return next(i for i, line in enumerate(lines) if b'"entry"' in line)


def _points(forgery: Forgery, change: Callable[[dict[str, Any]], Any]) -> None:
    name = "points/r1.jsonl"
    forgery.lines(name, change, _entry(forgery.parts[name].splitlines()) + 5)


def _swap_blob(forgery: Forgery) -> None:
    name = max(name for name in forgery.parts if name.startswith("blobs/"))
    forgery.parts[name] = bytes(len(forgery.parts[name]))


def _drop_blob(forgery: Forgery) -> None:
    del forgery.parts[max(name for name in forgery.parts if name.startswith("blobs/"))]


def _forget_blob(forgery: Forgery) -> None:
    lines = forgery.parts["blobs.jsonl"].splitlines(keepends=True)
    sha = json.loads(lines[-1])["sha"]
    forgery.parts["blobs.jsonl"] = b"".join(lines[:-1])
    del forgery.parts[f"blobs/{sha}"]


def _batch(forgery: Forgery, change: Callable[[dict[str, Any]], Any]) -> None:
    lines = forgery.parts["points/r1.jsonl"].splitlines()
    forgery.lines("points/r1.jsonl", change, next(i for i, line in enumerate(lines) if b'"batch"' in line))


def _extra(name: str, raw: bytes = b"x", kind: int = zipfile.ZIP_STORED) -> Callable[[Forgery], Any]:
    return lambda f: f.extra.append((name, raw, kind))


FORGERIES: dict[str, tuple[Callable[[Forgery], Any], str]] = {
    "a path that leads out": (_extra("../../etc/cron.d/x"), "is no part of an export"),
    "an absolute path": (_extra("/etc/passwd"), "is no part of an export"),
    "a path with a backslash": (_extra("blobs\\..\\x"), "is no part of an export"),
    "a run that leads out": (_extra("points/../x.jsonl"), "is no part of an export"),
    "a run without a row": (_extra("points/r9.jsonl"), "does not belong to the export"),
    "a blob that nobody names": (_extra(f"blobs/{'0' * 64}"), "does not belong to the export"),
    "the same name twice": (_extra("runs.jsonl"), "is in the file twice"),
    "a bomb": (_extra("points/r9.jsonl", bytes(50_000_000), zipfile.ZIP_DEFLATED), "would grow beyond measure"),
    "an unknown packing": (_extra("points/r9.jsonl", b"x", zipfile.ZIP_BZIP2), "packed in an unknown way"),
    "other bytes in a blob": (_swap_blob, "is not as it was written"),
    "a missing blob": (_drop_blob, "is missing"),
    "a blob that is not listed": (_forget_blob, "is not in the export"),
    "a missing part": (lambda f: f.parts.pop("decisions.jsonl"), "is missing"),
    "a line that is no JSON": (lambda f: f.parts.update({"runs.jsonl": b"{]\n"}), "runs.jsonl line 1: "),
    "a line without an end": (lambda f: f.parts.update({"files.jsonl": b"{}"}), "files.jsonl line 1 has no end"),
    "no project": (lambda f: f.parts.update({"project.jsonl": b""}), "must have one project"),
    "an unknown field": (lambda f: f.lines("runs.jsonl", lambda r: r.update(org_id=1)), "unknown field `org_id`"),
    "an id that is none": (lambda f: f.lines("runs.jsonl", lambda r: r.update(id="../x")), "runs.jsonl line 1: "),
    "an id twice": (lambda f: f.lines("runs.jsonl", lambda r: r.update(id="r2")), "r2 comes twice"),
    "a NUL": (lambda f: f.lines("runs.jsonl", lambda r: r.update(notes="a\0b")), "notes has a NUL"),
    "a state that is none": (lambda f: f.lines("runs.jsonl", lambda r: r.update(status="silent")), "silent"),
    "a name that is none": (lambda f: f.lines("artifacts.jsonl", lambda r: r.update(name="a/b")), "must not contain"),
    "a number too high": (lambda f: f.lines("experiments.jsonl", lambda r: r.update(index=99)), "never gave"),
    "a number twice": (lambda f: f.lines("experiments.jsonl", lambda r: r.update(index=2)), "contradict each other"),
    "another diff": (lambda f: f.lines("experiments.jsonl", lambda r: r.update(commit="d")), "does not follow from"),
    "another tree": (
        lambda f: f.lines("experiments.jsonl", lambda r: r["tree"][0].update(path="evil.py")),
        "has another hash",
    ),
    "a tree that leads out": (
        lambda f: f.lines("experiments.jsonl", lambda r: r["tree"][0].update(path="../evil.py")),
        "must be relative",
    ),
    "another digest": (
        lambda f: f.lines("artifact_versions.jsonl", lambda r: r.update(digest="0" * 64)),
        "another hash",
    ),
    "a ref to nothing": (lambda f: f.lines("artifact_refs.jsonl", lambda r: r.update(version=9)), "contradict"),
    "a session of nowhere": (
        lambda f: f.lines("experiments.jsonl", lambda r: r.update(session_id="x")),
        "not in the file",
    ),
    "a script for a URI": (
        lambda f: [f.lines("files.jsonl", lambda r: r.update(uri="javascript:alert(1)"), n) for n in range(2)],
        "uri",
    ),
    "a crash with a score": (
        lambda f: f.lines("decisions.jsonl", lambda r: r.update(status="crash", score=1.0)),
        "does not go with its status",
    ),
    "another value": (
        lambda f: _points(f, lambda r: r.update(metrics=dict.fromkeys(r["metrics"], -1.0))),
        "are not those of the batches",
    ),
    "a point more": (lambda f: _points(f, lambda r: r["metrics"].update(more=1.0)), "not as many points"),
    "a value beyond measure": (
        lambda f: _points(f, lambda r: r["metrics"].update(loss=10**400)),
        "points/r1.jsonl line",
    ),
    "a key that is none": (lambda f: _points(f, lambda r: r["metrics"].update({"a\n": 1.0})), "control characters"),
    "an entry of nobody": (lambda f: _points(f, lambda r: r.update(writer=77)), "there is no writer 77"),
    "an entry of no batch": (lambda f: _points(f, lambda r: r.update(seq=10**9)), "is in no batch"),
    "a step that falls": (lambda f: _points(f, lambda r: r.update(step=0, seq=0)), "does not follow the one before"),
    "digests cut": (lambda f: _batch(f, lambda r: r.update(digests="00")), "four digits"),
    "digests that are none": (
        lambda f: _batch(f, lambda r: r.update(digests="zz" * 2 * r["entries"])),
        "no hexadecimal",
    ),
    "a batch over another": (lambda f: _batch(f, lambda r: r.update(first_seq=100)), "the same sequence number"),
    "a batch in the past": (lambda f: _batch(f, lambda r: r.update(committed_at="2026-01-01T00:00:00")), "timezone"),
}


@pytest.fixture
def elsewhere(place: Callable[..., Place]) -> Place:
    return place()


def test_forged_files_are_refused_and_leave_nothing(elsewhere: Place, file: Path, tmp_path: Path) -> None:
    but = ("alembic_version", "blobs")  # what was uploaded is swept a day later, like every upload
    before = elsewhere.rows(but=but)
    for what, (change, said) in FORGERIES.items():
        forgery = Forgery(file)
        change(forgery)
        done = elsewhere.arwx("import", forgery.write(tmp_path / "forged.zip"))
        assert (done.exit_code, said in done.output, done.output.count("\n")) == (1, True, 1), f"{what}: {done.output}"
        assert done.output.startswith(f"{tmp_path / 'forged.zip'}: "), what
        assert elsewhere.rows(but=but) == before, what
    assert Forgery(file).write(tmp_path / "fine.zip")
    assert elsewhere.arwx("import", tmp_path / "fine.zip").exit_code == 0


def test_damaged_files_are_refused_or_harmless(
    place: Callable[..., Place], elsewhere: Place, file: Path, tmp_path: Path
) -> None:
    whole, chance = file.read_bytes(), random.Random(5)
    damaged = tmp_path / "damaged.zip"
    for cut in [0, 1, 100, len(whole) // 2, len(whole) - 23, len(whole) - 1]:
        damaged.write_bytes(whole[:cut])
        done = elsewhere.arwx("import", damaged)
        assert (done.exit_code, done.output.count("\n")) == (1, 1), done.output
    directory = whole.index(b"PK\x01\x02")
    for number in range(400 if FULL else 40):
        at = chance.randrange(len(whole)) if number % 2 else chance.randrange(directory, len(whole))
        changed = bytearray(whole)
        changed[at] ^= 1 << chance.randrange(8)
        damaged.write_bytes(changed)
        done = elsewhere.arwx("import", damaged)
        if done.exit_code == 0:  # a bit that says nothing, such as one of a date
            elsewhere.done("export", "char-lm", tmp_path / "same.zip")
            assert len(parts(tmp_path / "same.zip")) == len(parts(file))
            elsewhere = place()
        else:
            assert (done.exit_code, done.output.count("\n")) == (1, 1), done.output
            assert elsewhere.caller.get("/v1/projects/char-lm").status_code == 404


def test_other_files_are_refused(elsewhere: Place, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    for raw, said in [
        (b"", "no export of arwx"),
        (b"PK" * 100, "no export of arwx"),
        (_zip({"a": b""}), "no part of an export"),
    ]:
        other.write_bytes(raw)
        done = elsewhere.arwx("import", other)
        assert (done.exit_code, said in done.output) == (1, True), done.output
    for told, said in [
        ({"format": "else", "version": 1}, "this is no export of arwx"),
        ({"format": "arwx project", "version": 2}, "the export has the version 2, and this arwx reads 1"),
        ([], "manifest.json: "),
    ]:
        other.write_bytes(_zip({"manifest.json": json.dumps(told).encode()}))
        assert said in elsewhere.arwx("import", other).output
    assert elsewhere.arwx("import", tmp_path / "nothing.zip").exit_code == 2
    assert elsewhere.arwx("import", file, "--project", "a/b").exit_code == 1
    assert elsewhere.arwx("import", file, "--org", "nobody").exit_code == 1


def _zip(parts: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return raw.getvalue()


# Stopped, overtaken, swept ------------------------------------------------------------------------------------------


def test_a_killed_import_shows_nothing_and_the_next_one_is_whole(elsewhere: Place, file: Path) -> None:
    environment = {**os.environ, **elsewhere.environment}
    chance, began = random.Random(2), time.monotonic()
    elsewhere.arwx("import", file, "--project", "measure")
    takes = time.monotonic() - began
    for _ in range(60 if FULL else 6):
        process = subprocess.Popen([ARWX, "import", file], env=environment, stdout=subprocess.DEVNULL)
        time.sleep(0.5 + takes * chance.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        status = elsewhere.caller.get("/v1/projects/char-lm").status_code
        assert {run["project"] for run in elsewhere.story("/v1/bootstrap")["runs"]} <= (
            {"measure"} if status == 404 else {"measure", "char-lm"}
        )
        if status == 200:
            break
    elsewhere.done("import", file)
    assert elsewhere.story("/v1/runs/r1-" + _suffix(elsewhere) + "/integrity")["lost"] == 0
    assert elsewhere.done("fsck") == "Everything is as it was stored.\n"
    with elsewhere.database.reading(elsewhere.caller.org_id) as session:
        assert session.execute(text("SELECT count(*) FROM projects")).scalar_one() == 2


def _suffix(place: Place) -> str:
    return str(
        next(run["id"] for run in place.story("/v1/projects/char-lm/runs")["items"] if run["id"].startswith("r1"))[3:]
    )


def test_what_a_stopped_import_left_is_swept_later_and_not_before(
    elsewhere: Place, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, now = points.Loading.close, clock.now()
    counts: list[dict[str, int]] = []

    def swept(self: points.Loading, db: Any) -> None:
        db.rollback()
        elsewhere.done("gc")
        counts.append(elsewhere.rows())
        close(self, db)

    with monkeypatch.context() as patched:
        patched.setattr(points.Loading, "close", swept)
        elsewhere.done("import", file)
    assert len(counts) == 4
    assert elsewhere.story("/v1/runs/r1/integrity")["points_stored"] > 10_000

    def stopped(*_: object) -> None:
        os._exit(9)

    with monkeypatch.context() as patched:
        patched.setattr(points.Loading, "close", stopped)
        child = os.fork() if KIND == "sqlite" else 0
        if child == 0 and KIND == "sqlite":
            elsewhere.database.forget_connections()
            elsewhere.arwx("import", file, "--project", "half")
            os._exit(0)
    if KIND == "sqlite":
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        with elsewhere.database.reading(elsewhere.caller.org_id) as session:
            assert session.execute(text("SELECT count(*) FROM projects")).scalar_one() == 2
        assert [one["name"] for one in elsewhere.story("/v1/projects")["items"]] == ["char-lm"]
        with monkeypatch.context() as patched:
            patched.setattr(clock, "now", lambda: now + timedelta(days=2))
            assert "1 projects" in elsewhere.done("gc")
        assert elsewhere.rows()["runs"] == 4


def test_of_two_imports_at_once_one_makes_the_project(
    elsewhere: Place, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, said = points.Loading.close, []

    def overtaken(self: points.Loading, db: Any) -> None:
        db.rollback()
        monkeypatch.setattr(points.Loading, "close", close)
        said.append(elsewhere.done("import", file))
        close(self, db)

    monkeypatch.setattr(points.Loading, "close", overtaken)
    done = elsewhere.arwx("import", file)
    assert (done.exit_code, len(said)) == (1, 1), done.output
    assert elsewhere.story("/v1/runs/r1/integrity")["lost"] == 0
    assert elsewhere.done("import", file).startswith("char-lm is here already")
    assert elsewhere.done("fsck") == "Everything is as it was stored.\n"


def test_an_export_goes_beside_ingest_and_is_of_one_moment(
    home: Place, tmp_path: Path, place: Callable[..., Place]
) -> None:
    """Points that come while the file is written are in it whole or not at all."""
    unload, sent = points.unload, []

    def busy(db: Any, key: points.RunKey) -> Iterator[points.Record]:
        for record in unload(db, key):
            if len(sent) < 40:
                sent.append(ok(home.caller.ingest("r2", [point(len(sent))], first_seq=21 + len(sent))))
            yield record

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(transfer._pack.points, "unload", busy)
        home.done("export", "char-lm", tmp_path / "x.zip")
    there = place()
    there.done("import", tmp_path / "x.zip")
    assert len(sent) == 40
    found = there.story("/v1/runs/r2/integrity")
    assert (found["points_stored"], found["lost"], found["intact"]) == (20, 0, True)


def test_a_damaged_length_is_no_way_to_memory(file: Path, elsewhere: Place, tmp_path: Path) -> None:
    """A directory that promises gigabytes for the same few bytes, over and over."""
    raw = bytearray(file.read_bytes())
    at = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 4)
    raw[at + 24 : at + 28] = struct.pack("<I", 2**31)
    (tmp_path / "large.zip").write_bytes(raw)
    done = elsewhere.arwx("import", tmp_path / "large.zip")
    assert (done.exit_code, "would grow beyond measure" in done.output) == (1, True)
