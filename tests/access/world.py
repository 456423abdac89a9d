"""Two organizations with everything in them, made once: Ada's and Mallory's, word for word the same but for one word.

Whatever Ada's people wrote holds the word CANARY, so that a single search tells whether an answer to Mallory leaks.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from arwx import config, create_app, deletion, invitations, members, organizations, people, schema
from arwx.access import Scope
from arwx.db import Database
from arwx.models import User
from tests.make import Caller, Maker, point
from tests.postgres import Postgres, admit_application, as_application

CANARY = "CANARY"
SECRET_KEY = "only-for-tests-" + "x" * 32
PASSWORD = "correct horse battery"
ROLES = ("viewer", "member", "owner")


@dataclass
class World:
    """What was made: the folder, keys by their scope, cookies by their owner, and the names of Ada's things, and
    Mallory's.
    """

    folder: Path
    cluster: Postgres | None
    keys: dict[str, str]
    cookies: dict[str, str]
    names: dict[str, str]
    own: dict[str, str]

    def app(self, folder: Path, name: str = "changing") -> Flask:
        """An application over a fresh copy of the world. On PostgreSQL it takes the place of the last of this name."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        if self.cluster is None:
            return application(folder, _sqlite(folder))
        return application(folder, as_application(self.cluster.create(name, like="world")))


def application(folder: Path, database_url: str) -> Flask:
    settings = config.Settings(
        database_url=database_url,
        data_dir=folder,
        secret_key=SECRET_KEY,
        signup="open",
        blob_url=(folder / "blobs").as_uri(),
    )
    app = create_app(settings)
    app.testing = False
    return app


def build(folder: Path, cluster: Postgres | None = None) -> World:
    """Make the world, as its operator: the copies are served to a role that passes no lock."""
    url = cluster.create("world") if cluster else _sqlite(folder)
    database = Database(url)
    schema.upgrade(database)
    database.engine.dispose()
    if cluster:
        admit_application(url)
    app = application(folder, url)
    make = Maker(app)
    ada, mallory = make.caller("Ada's lab", scope="admin"), make.caller("Elsewhere", scope="admin")
    names = furnish(ada)
    own = furnish(mallory, "HERS")
    keys = {"stranger": mallory.key, **{scope: ada_key(ada, scope) for scope in ("read", "write", "admin", "revoked")}}
    names["docs.slug"] = own["docs.slug"] = "logging"
    names["key_id"] = ada.get("/v1/keys").json["items"][0]["id"]
    own["key_id"] = mallory.get("/v1/keys").json["items"][0]["id"]
    for caller, known, word in ((ada, names, CANARY), (mallory, own, "HERS")):
        doomed = f"{word} doomed"
        assert caller.post("/v1/projects", json={"name": doomed}).status_code == 201
        assert caller.delete(f"/v1/projects/{doomed}").status_code == 204
        with make.database.reading() as session:
            known["project_id"] = deletion.deleted_projects(Scope(session, caller.org_id, "admin", "test"))[0].id
    cookies = {}
    with make.database.writing() as session:
        lab = organizations.named(session, "Ada's lab")
        for role in ROLES:
            user = account(session, role)
            members.join(session, user, lab, role)
        invitation = invitations.make(
            Scope(session, lab.id, "admin", f"user:{user.id}"), "canary@example.org", "member"
        )
        names["user_id"] = str(user.id)  # the owner, the last of the roles
        names["invitation_id"] = invitation.id
        names["invitations.token"] = invitations.token(SECRET_KEY, invitation)
        names["reset.token"] = people.reset_token(SECRET_KEY, user)
        members.join(session, account(session, "stranger"), organizations.named(session, "Elsewhere"), "owner")
    for who in (*ROLES, "stranger"):
        client = app.test_client()
        page = client.get("/login").text
        token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
        client.post("/login", data={"csrf_token": token, "email": f"{who}@example.org", "password": PASSWORD})
        cookie = client.get_cookie("arwx")
        assert cookie is not None
        cookies[who] = cookie.value
        if who == "viewer":
            page = client.get("/settings/account").text
            found = re.search(r"/settings/account/sessions/([0-9a-f]+)/end", page)
            names["place_id"] = found[1] if found else "none"
    app.extensions["arwx.db"].engine.dispose()
    return World(folder, cluster, keys, cookies, names, own)


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'arwx.db'}"


def account(session: Any, name: str) -> User:
    return people.add_user(session, f"{name}@example.org", PASSWORD)


def ada_key(ada: Caller, scope: str) -> str:
    made = ada.post(
        "/v1/keys", json={"name": f"CANARY {scope}", "scope": "write" if scope == "revoked" else scope}
    ).json
    if scope == "revoked":
        assert ada.delete(f"/v1/keys/{made['id']}").status_code == 204
    return str(made["key"])


def furnish(ada: Caller, word: str = CANARY) -> dict[str, str]:
    """Everything that an organization can hold, each text of it with the word in it."""

    def send(method: str, path: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
        answer = ada.open(path, method, json=body, **options)
        assert answer.status_code in {200, 201}, f"{path}: {answer.text}"
        return dict(answer.json)

    raw = f"{word} bytes".encode()
    sha = hashlib.sha256(raw).hexdigest()
    project = f"{word} project"
    send(
        "POST",
        "/v1/projects",
        {"name": project, "objective_metric": f"{word}/loss", "target": 0.1, "description": f"{word} words"},
    )
    text = {"name": f"{word} run", "group": f"{word} group", "job_type": f"{word} job", "notes": f"{word} notes"}
    send(
        "POST",
        "/v1/runs",
        {"project": project, "id": f"run_{word}", "config": {word: word}, "tags": [word], **text}
        | {"host": {"hostname": word}, "commit": word},
    )
    sent = ada.ingest(
        f"run_{word}", [point(step, **{f"{word}/loss": 1.0 / (step + 1)}) for step in range(5)], first_seq=0
    )
    assert sent.status_code == 200
    send("POST", "/v1/sessions", {"project": project, "id": f"ses_{word}", "tag": word, "branch": word})
    for number in (1, 2):
        send(
            "POST",
            "/v1/experiments",
            {"session_id": f"ses_{word}", "id": f"exp_{word}{number}", "note": word, "diff": f"+{word} {number}\n"}
            | {"config": {word: number}, "run_id": f"run_{word}"},
        )
        verdict = {"status": "keep", "score": 1.0 / number, "note": word}
        send("POST", f"/v1/experiments/exp_{word}{number}/decision", verdict)
    assert ada.post("/v1/blobs", data=raw, content_type="application/octet-stream").status_code == 201
    tree = {"entries": [{"path": f"{word}.txt", "sha": sha, "size": len(raw), "mode": "100644"}]}
    send("PUT", f"/v1/experiments/exp_{word}1/tree", tree)
    version = {
        "project": project,
        "name": f"{word} artifact",
        "type": word,
        "entries": [{"path": f"{word}.txt", "sha": sha, "size": len(raw)}],
        "metadata": {word: True},
        "produced_by": f"exp_{word}1",
    }
    send("POST", "/v1/artifacts/log", version)
    send("PUT", f"/v1/artifacts/{word} artifact/refs/{word}-ref?project={project}", {"version": 1})
    where = {"project": project, "name": f"{word}.bin", "run_id": f"run_{word}"}
    file = ada.post("/v1/files/upload", query_string=where, data=raw)
    assert file.status_code == 201, file.text
    # Who has the address of a picture may see it; who has that of a revoked one is told what anybody is told.
    embed = send("POST", f"/v1/projects/{project}/embeds", {"kind": "progress"})
    assert ada.delete(f"/v1/embeds/{embed['id']}").status_code == 204
    return {
        "embed_id": send("POST", f"/v1/projects/{project}/embeds", {"kind": "badge"})["id"],
        "embed.token": embed["url"].split("/")[-2],
        "kind": "progress",
        "projects.name": project,
        "p.name": project,
        "artifacts.name": f"{word} artifact",
        "artifact_name": f"{word} artifact",
        "version": "v1",
        "path": f"{word}.txt",
        "run_id": f"run_{word}",
        "session_id": f"ses_{word}",
        "experiment_id": f"exp_{word}1",
        "other_id": f"exp_{word}2",
        "file_id": file.json["id"],
        "sha": sha,
        "ref": f"{word}-ref",
        "filename": "arwx.css",
        "sdk.name": "arwandb-1.3.1-py3-none-any.whl",
    }


def keyed(app: Flask, secret: str | None) -> FlaskClient:
    client = app.test_client()
    if secret is not None:
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    return client


def signed_in(app: Flask, cookie: str | None) -> FlaskClient:
    client = app.test_client()
    if cookie is not None:
        client.set_cookie("arwx", cookie)
    return client
