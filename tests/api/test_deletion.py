"""The end of projects and organizations: gone from every list at once, and nothing of them anywhere after the job."""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from flask import Flask

from arwx import blobstore, cli, clock, config, members, organizations, people, points, sweep
from arwx.blobstore import Store
from arwx.db import Database
from arwx.models import Base
from tests.make import Caller, Maker, point
from tests.postgres import as_operator
from tests.ui.conftest import PASSWORD, at_home

CANARY = "canary-7b1f"


@pytest.fixture
def worker(settings: config.Settings) -> Iterator[Database]:
    """The database as the job sees it: with the second lock in place, where there is one."""
    worker = Database(settings.database_url)
    yield worker
    worker.engine.dispose()


@pytest.fixture
def store(settings: config.Settings, worker: Database) -> Store:
    return blobstore.open_store(settings.blobs_at, worker)


def fill(caller: Caller, project: str, word: str) -> dict[str, str]:
    """One of everything in a project, all of it with the word in it. Answers their addresses."""

    def made(answer: Any) -> Any:
        assert answer.status_code in {200, 201}, answer.text
        return answer.json

    made(caller.post("/v1/projects", json={"name": project, "description": word, "objective_metric": f"{word}/loss"}))
    run = caller.run(project, id=f"{word}-run", name=word, config={word: word}, tags=[word], notes=word)
    made(caller.ingest(run["id"], [point(n, **{f"{word}/loss": 1.0 / (n + 1)}) for n in range(50)], first_seq=0))
    session = made(caller.post("/v1/sessions", json={"project": project, "tag": word}))
    experiment = made(
        caller.post(
            "/v1/experiments",
            json={"session_id": session["id"], "note": word, "diff": f"+{word}", "run_id": run["id"]},
        )
    )
    made(
        caller.post(f"/v1/experiments/{experiment['id']}/decision", json={"status": "keep", "score": 1.5, "note": word})
    )
    data = f"{word} in a blob of {project}".encode()
    sha = made(caller.post("/v1/blobs", data=data, headers={"Content-Type": "application/octet-stream"}))["sha"]
    entry = {"path": f"{word}.txt", "sha": sha, "size": len(data), "mode": "100644"}
    file = made(caller.post("/v1/files", json={"project": project, "name": word, "uri": f"https://{word}.example/x"}))
    upload = f"/v1/files/upload?project={project}&name={word}.bin&run_id={run['id']}"
    made(
        caller.post(
            upload, data=f"{word} uploaded to {project}".encode(), headers={"Content-Type": "application/octet-stream"}
        )
    )
    version = made(
        caller.post(
            "/v1/artifacts/log",
            json={"project": project, "name": f"{word}-model", "entries": [entry], "produced_by": experiment["id"]},
        )
    )
    ref = f"/v1/artifacts/{version['name']}/refs/winner?project={project}"
    made(caller.open(ref, "PUT", json={"version": 1}))
    return {
        "run": f"/v1/runs/{run['id']}",
        "metrics": f"/v1/runs/{run['id']}/metrics",
        "project": f"/v1/projects/{project}",
        "progress": f"/v1/projects/{project}/progress",
        "session": f"/v1/sessions/{session['id']}",
        "experiment": f"/v1/experiments/{experiment['id']}",
        "diff": f"/v1/experiments/{experiment['id']}/diff",
        "artifact": f"/v1/artifacts/{word}-model",
        "content": f"/v1/files/{file['id']}/content",
        "blob": f"/v1/blobs/{sha}",
    }


def everything_kept(settings: config.Settings) -> bytes:
    """All bytes of the database, freed pages included, and of the folder with the blobs."""
    database = Database(as_operator(settings.database_url))
    if database.is_sqlite:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("BEGIN")
        kept = Path(settings.database_url.removeprefix("sqlite:///")).read_bytes()
    else:
        rows = []
        with database.engine.connect() as connection:
            for table in Base.metadata.sorted_tables:
                rows += [repr(tuple(row)) for row in connection.exec_driver_sql(f'SELECT * FROM "{table.name}"')]
        kept = "\n".join(rows).encode()
    database.engine.dispose()
    for path in (settings.data_dir / "blobs").rglob("*"):
        kept += path.name.encode() + (path.read_bytes() if path.is_file() else b"")
    return kept


def sweep_later(worker: Database, store: Store) -> sweep.Swept:
    """The job, when the day is over in which a deletion can be taken back."""
    now = clock.now()
    with patch.object(clock, "now", lambda: now + timedelta(hours=24, minutes=1)):
        return sweep.everything(worker, store)


def test_a_deleted_project_is_gone_from_every_list_and_address_at_once(ada: Caller, ben: Caller) -> None:
    addresses = fill(ada, "doomed", CANARY)
    kept = fill(ada, "kept", "other")
    assert all(ada.get(path).status_code == 200 for name, path in addresses.items() if name != "content")
    assert ada.delete("/v1/projects/doomed").status_code == 204
    for name, path in addresses.items():
        assert ada.get(path).status_code == (200 if name == "blob" else 404), name
    assert all(ada.get(path).status_code == 200 for name, path in kept.items() if name != "content")
    for listed in ("/v1/projects", "/v1/artifacts", "/v1/bootstrap", "/v1/agent/context?project=kept"):
        assert CANARY not in ada.get(listed).text
    assert ada.delete("/v1/projects/doomed").status_code == 404
    late = {"session_id": addresses["session"].rsplit("/", 1)[1], "note": "too late"}
    assert ada.post("/v1/experiments", json=late).status_code == 404
    assert ada.post(f"{addresses['run']}/finish", json={}).status_code == 404


def test_the_name_of_a_deleted_project_is_free_again(ada: Caller) -> None:
    fill(ada, "phoenix", CANARY)
    ada.delete("/v1/projects/phoenix")
    assert ada.run("phoenix")["project"] == "phoenix"
    assert ada.get("/v1/projects/phoenix/runs").json["items"][0]["name"] != CANARY
    assert ada.get("/v1/projects/phoenix/progress").json["items"] == []


@pytest.mark.parametrize("who", ["ben", "mallory"])
def test_only_an_admin_key_of_the_organization_deletes_a_project(
    ada: Caller, who: str, request: pytest.FixtureRequest
) -> None:
    ada.run("precious")
    other: Caller = request.getfixturevalue(who)
    assert other.delete("/v1/projects/precious").status_code == (403 if who == "ben" else 404)
    assert ada.get("/v1/projects/precious").status_code == 200


def test_after_the_job_nothing_of_the_project_is_left_and_all_of_the_others(
    ada: Caller, settings: config.Settings, database: Database, worker: Database, store: Store
) -> None:
    addresses = fill(ada, "doomed", CANARY)
    kept = fill(ada, "kept", "other")
    before = {name: ada.get(path).get_data() for name, path in kept.items() if name not in {"content", "project"}}
    assert CANARY.encode() in everything_kept(settings)
    ada.delete("/v1/projects/doomed")
    assert sweep.everything(worker, store) == sweep.Swept()  # for a day it can be taken back
    swept = sweep_later(worker, store)
    assert (swept.projects, swept.runs, swept.organizations) == (1, 1, 0)
    for table in ("runs", "experiments", "decisions", "sessions", "files", "artifacts", "artifact_links", "streams"):
        with database.reading() as db:
            rows = db.connection().exec_driver_sql(f'SELECT * FROM "{table}"').all()
        assert rows, table
        assert CANARY not in repr(rows), table
    after = {name: ada.get(path).get_data() for name, path in kept.items() if name not in {"content", "project"}}
    assert {name for name in before if strip(before[name]) != strip(after[name])} == set()
    assert ada.get(f"{kept['run']}/integrity").json["intact"]
    assert sweep_later(worker, store) == sweep.Swept()
    assert ada.get(addresses["run"]).status_code == 404


def strip(answer: bytes) -> Any:
    """The answer without what tells when it was asked for."""
    try:
        found = json.loads(answer)
    except ValueError:
        return answer
    return {key: value for key, value in found.items() if key != "checked_at"} if isinstance(found, dict) else found


def test_the_points_of_a_deleted_run_go_and_its_experiment_stays(
    ada: Caller, database: Database, worker: Database, store: Store
) -> None:
    addresses = fill(ada, "kept", "other")
    run_id = addresses["run"].rsplit("/", 1)[1]
    assert ada.delete(addresses["run"]).status_code == 204
    assert sweep.everything(worker, store).runs == 1
    assert ada.get(addresses["experiment"]).json["run_id"] is None
    with database.reading() as db:
        assert points.live(db, ada.org_id, [run_id]) == {}
    assert ada.ingest(run_id, [point(1)]).status_code == 404


def test_the_job_may_be_stopped_anywhere_and_run_again(
    ada: Caller,
    settings: config.Settings,
    database: Database,
    worker: Database,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(ada, "doomed", CANARY)
    fill(ada, "kept", "other")
    ada.delete("/v1/projects/doomed")
    real = worker.writing
    for survives in range(60):
        left = [survives]

        def writing(*org_id: int) -> Any:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*org_id)

        monkeypatch.setattr(worker, "writing", writing)
        try:
            sweep_later(worker, store)
        except KeyboardInterrupt:
            continue
        break
    else:
        raise AssertionError("it never came to an end")
    assert survives > 3
    monkeypatch.undo()
    with database.reading() as db:
        assert CANARY not in repr(db.connection().exec_driver_sql("SELECT * FROM runs").all())
    assert ada.get("/v1/runs/other-run/integrity").json["intact"]


def test_blobs_go_a_day_later_when_nothing_else_refers_to_them(
    ada: Caller,
    settings: config.Settings,
    database: Database,
    worker: Database,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doomed, kept = fill(ada, "doomed", CANARY), fill(ada, "kept", "other")
    shared = f"{CANARY} shared".encode()
    for project in ("doomed", "kept"):
        path = f"/v1/files/upload?project={project}&name=shared.bin"
        assert ada.post(path, data=shared, headers={"Content-Type": "application/octet-stream"}).status_code == 201
    ada.delete("/v1/projects/doomed")
    assert sweep.everything(worker, store).blobs == 0
    assert ada.get(doomed["blob"]).status_code == 200
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=25))
    swept = sweep.everything(worker, store)
    assert swept.blobs == 2
    assert ada.get(doomed["blob"]).status_code == 404
    assert ada.get(kept["blob"]).status_code == 200
    assert ada.get(f"/v1/blobs/{hashlib.sha256(shared).hexdigest()}").get_data() == shared
    everything = everything_kept(settings)
    assert f"{CANARY} in a blob of doomed".encode() not in everything
    assert f"{CANARY} uploaded to doomed".encode() not in everything
    assert b"other in a blob of kept" in everything or store.reach != 4 * 2**20
    assert sweep.everything(worker, store) == sweep.Swept()


def test_a_blob_that_somebody_was_told_of_or_has_named_again_stays(
    ada: Caller, database: Database, worker: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    shas = [ada.post("/v1/blobs", data=f"bytes {n}".encode(), headers=octets).json["sha"] for n in range(3)]
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=25))
    assert ada.post("/v1/blobs/missing", json={"shas": [shas[0]]}).json["missing"] == []
    entry = {"path": "a.txt", "sha": shas[1], "size": 7}
    ada.run("kept")
    made = ada.post("/v1/artifacts/log", json={"project": "kept", "name": "a", "entries": [entry]})
    assert made.status_code == 201
    assert sweep.everything(worker, store).blobs == 1
    assert [ada.get(f"/v1/blobs/{sha}").status_code for sha in shas] == [200, 200, 404]
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=51))
    assert sweep.everything(worker, store).blobs == 1
    assert [ada.get(f"/v1/blobs/{sha}").status_code for sha in shas] == [404, 200, 404]


def test_a_deleted_organization_leaves_nothing_and_nobody_behind(
    make: Maker,
    app: Flask,
    mallory: Caller,
    settings: config.Settings,
    database: Database,
    worker: Database,
    store: Store,
) -> None:
    lab = make.caller(CANARY, scope="admin")
    owner = at_home(app, lab, CANARY, f"{CANARY}@example.org", "owner")
    both = at_home(app, lab, CANARY, "both@example.org", "member")
    with database.writing() as db:
        user = people.find(db, "both@example.org")
        assert user is not None
        members.join(db, user, organizations.named(db, "Elsewhere"), "viewer")
    fill(lab, "doomed", CANARY)
    kept = fill(mallory, "kept", "other")
    picture = "/" + lab.post("/v1/projects/doomed/embeds", json={"kind": "badge"}).json["url"].split("/", 3)[3]
    assert app.test_client().get(picture).status_code == 200
    owner.send("/settings/members", "/settings/members/invite", email=f"{CANARY}2@example.org", role="member")
    for typed, password in ((CANARY, "wrong"), ("canary", PASSWORD), ("", PASSWORD)):
        form = {"typed": typed, "current": password}
        assert owner.send("/settings/organization", "/settings/organization/delete", **form).status_code == 422
    assert lab.get("/v1/projects").status_code == 200
    form = {"typed": CANARY, "current": PASSWORD}
    assert owner.send("/settings/organization", "/settings/organization/delete", **form).status_code == 302
    assert lab.get("/v1/projects").status_code == 401
    assert app.test_client().get(picture).status_code == 404
    assert owner.get("/settings").status_code == 302
    assert both.get("/settings").status_code == 302
    assert owner.log_in(f"{CANARY}@example.org").status_code == 401
    assert both.log_in("both@example.org").status_code == 302
    assert CANARY not in both.get("/").text

    assert sweep.everything(worker, store) == sweep.Swept()
    swept = sweep_later(worker, store)
    assert (swept.organizations, swept.accounts, swept.runs, swept.blobs) == (1, 1, 1, 2)
    everything = everything_kept(settings)
    assert CANARY.encode() not in everything
    for data in (f"{CANARY} in a blob of doomed", f"{CANARY} uploaded to doomed"):
        assert hashlib.sha256(data.encode()).hexdigest().encode() not in everything
    with database.reading() as db:
        for table in Base.metadata.sorted_tables:
            if "org_id" in table.c:
                left = (
                    db.connection().exec_driver_sql(f'SELECT * FROM "{table.name}" WHERE org_id = {lab.org_id}').all()
                )
                assert left == [], table.name
        assert people.find(db, "both@example.org")
    assert mallory.get(kept["blob"]).status_code == 200
    assert mallory.get(f"{kept['run']}/integrity").json["intact"]
    assert sweep.everything(worker, store) == sweep.Swept()


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_only_owners_end_an_organization(ada: Caller, app: Flask, role: str) -> None:
    visitor = at_home(app, ada, "Ada's lab", "ben@example.org", role)
    form = {"typed": "Ada's lab", "current": PASSWORD}
    assert visitor.send("/settings/organization", "/settings/organization/delete", **form).status_code == 403
    assert visitor.get("/p/char-lm/delete").status_code == 403
    assert "Delete the organization" not in visitor.get("/settings/organization").text
    assert ada.get("/v1/projects").status_code == 200


def test_a_project_is_deleted_from_its_page_when_its_name_was_typed(ada: Caller, app: Flask) -> None:
    owner = at_home(app, ada, "Ada's lab", "ada@example.org", "owner")
    ada.run("doomed")
    assert owner.send("/p/doomed/delete", "/p/doomed/delete", typed="dommed").status_code == 422
    assert ada.get("/v1/projects/doomed").status_code == 200
    assert (
        owner.send("/p/doomed/delete", "/p/doomed/delete", typed="doomed").headers["Location"]
        == "/settings/organization#deleted"
    )
    assert ada.get("/v1/projects/doomed").status_code == 404
    assert owner.get("/p/doomed").status_code == 404
    assert owner.get("/p/doomed/delete").status_code == 404


def test_a_project_is_taken_back_whole_within_a_day(
    ada: Caller, ben: Caller, app: Flask, worker: Database, store: Store
) -> None:
    owner = at_home(app, ada, "Ada's lab", "ada@example.org", "owner")
    addresses = fill(ada, "phoenix", CANARY)
    ada.run("phoenix", id="gone-before")
    ada.delete("/v1/runs/gone-before")
    before = {name: strip(ada.get(path).get_data()) for name, path in addresses.items() if name != "content"}
    assert "Deleted projects" not in owner.get("/settings/organization").text
    ada.delete("/v1/projects/phoenix")
    assert sweep.everything(worker, store) == sweep.Swept()
    page = owner.get("/settings/organization").text
    restore = re.search(r"/settings/organization/projects/prj_\w+/restore", page)
    assert restore is not None
    assert "Restore phoenix" in page
    assert owner.send("/settings/organization", restore[0]).headers["Location"] == "/p/phoenix"
    after = {name: strip(ada.get(path).get_data()) for name, path in addresses.items() if name != "content"}
    assert after == before
    assert ada.get(f"{addresses['run']}/integrity").json["intact"]
    assert ada.get("/v1/runs/gone-before").status_code == 404
    assert owner.send("/settings/organization", restore[0]).status_code == 404
    assert "took back the end of the project" in owner.get("/settings/audit").text
    swept = sweep_later(worker, store)
    assert (swept.projects, swept.runs) == (0, 1)  # the run that had been deleted by itself
    assert ada.get(addresses["blob"]).status_code == 200


def test_a_deletion_is_taken_back_by_owners_alone_and_for_a_day_alone(
    ada: Caller, mallory: Caller, app: Flask, database: Database
) -> None:
    fill(ada, "phoenix", CANARY)
    owner = at_home(app, ada, "Ada's lab", "ada@example.org", "owner")
    member = at_home(app, ada, "Ada's lab", "ben@example.org", "member")
    stranger = at_home(app, mallory, "Elsewhere", "mallory@example.org", "owner")
    ada.delete("/v1/projects/phoenix")
    page = owner.get("/settings/organization").text
    restore = re.search(r"/settings/organization/projects/prj_\w+/restore", page)
    assert restore is not None
    for other, status in ((member, 403), (stranger, 404)):
        assert CANARY not in other.get("/settings/organization").text
        assert "phoenix" not in other.get("/settings/organization").text
        assert other.send("/settings/organization", restore[0]).status_code == status
    ada.run("phoenix", id="another")
    refused = owner.send("/settings/organization", restore[0])
    assert (refused.status_code, "There is another project phoenix by now" in refused.text) == (409, True)
    assert ada.get("/v1/projects/phoenix/runs").json["items"][0]["id"] == "another"
    ada.delete("/v1/projects/phoenix")
    now = clock.now()
    with patch.object(clock, "now", lambda: now + timedelta(hours=24, minutes=1)):
        assert owner.log_in("ada@example.org").status_code == 302
        assert "Deleted projects" not in owner.get("/settings/organization").text
        assert owner.send("/settings/organization", restore[0]).status_code == 404


def test_an_organization_is_taken_back_by_the_operator(
    make: Maker, app: Flask, settings: config.Settings, worker: Database, store: Store
) -> None:
    lab = make.caller(CANARY, scope="admin")
    owner = at_home(app, lab, CANARY, f"{CANARY}@example.org", "owner")
    addresses = fill(lab, "kept", "other")
    revoked = make.caller(CANARY, scope="write")
    for key in lab.get("/v1/keys").json["items"]:
        if key["name"] == "write key":
            lab.delete(f"/v1/keys/{key['id']}")
    form = {"typed": CANARY, "current": PASSWORD}
    assert owner.send("/settings/organization", "/settings/organization/delete", **form).status_code == 302
    assert lab.get("/v1/projects").status_code == 401
    assert sweep.everything(worker, store) == sweep.Swept()
    environment = {
        "DATABASE_URL": settings.database_url,
        "ARWX_DATA_DIR": str(settings.data_dir),
        "SECRET_KEY": settings.secret_key,
    }

    def undelete(slug: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli.main, ["undelete", slug], env=environment)
        return done.exit_code, done.output

    assert undelete("nobody") == (1, "No organizations with the slug nobody were deleted within a day.\n")
    assert undelete(CANARY) == (0, f"{CANARY} ({CANARY}) is back.\n")
    assert undelete(CANARY)[0] == 1
    assert lab.get(addresses["run"]).status_code == 200
    assert revoked.get("/v1/projects").status_code == 401
    assert owner.log_in(f"{CANARY}@example.org").status_code == 302
    assert sweep_later(worker, store) == sweep.Swept()
