"""Two organizations with everything in them, made once: Ada's is full of canaries, Mallory's is empty.

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

from arwx import config, create_app, invitations, people, schema
from arwx.access import Scope
from arwx.db import Database
from arwx.models import User
from tests.make import Caller, Maker, point

CANARY = "CANARY"
SECRET_KEY = "only-for-tests-" + "x" * 32
PASSWORD = "correct horse battery"
RAW = b"CANARY bytes"
SHA = hashlib.sha256(RAW).hexdigest()
ROLES = ("viewer", "member", "owner")


@dataclass
class World:
    """What was made: the folder, keys by their scope, cookies by their owner, and the names of Ada's things."""

    folder: Path
    keys: dict[str, str]
    cookies: dict[str, str]
    names: dict[str, str]

    def app(self, folder: Path) -> Flask:
        """An application over a fresh copy of the world."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return application(folder)


def application(folder: Path) -> Flask:
    settings = config.Settings(
        database_url=f"sqlite:///{folder / 'arwx.db'}", data_dir=folder, secret_key=SECRET_KEY, signup="open"
    )
    app = create_app(settings)
    app.testing = False
    return app


def build(folder: Path) -> World:
    schema.upgrade(Database(f"sqlite:///{folder / 'arwx.db'}"))
    app = application(folder)
    make = Maker(app)
    ada, mallory = make.caller("Ada's lab", scope="admin"), make.caller("Elsewhere", scope="admin")
    names = furnish(ada)
    mallory.run("hers", id="run_hers")
    keys = {"stranger": mallory.key, **{scope: ada_key(ada, scope) for scope in ("read", "write", "admin", "revoked")}}
    names["key_id"] = ada.get("/v1/keys").json["items"][0]["id"]
    cookies = {}
    with make.database.writing() as session:
        lab = people.organization(session, "Ada's lab")
        for role in ROLES:
            user = account(session, role)
            people.join(session, user, lab, role)
        invitation = invitations.make(
            Scope(session, lab.id, "admin", f"user:{user.id}"), "canary@example.org", "member"
        )
        names["user_id"] = str(user.id)  # the owner, the last of the roles
        names["invitation_id"] = invitation.id
        names["invitations.token"] = invitations.token(SECRET_KEY, invitation)
        names["reset.token"] = people.reset_token(SECRET_KEY, user)
        people.join(session, account(session, "stranger"), people.organization(session, "Elsewhere"), "owner")
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
    return World(folder, keys, cookies, names)


def account(session: Any, name: str) -> User:
    return people.add_user(session, f"{name}@example.org", PASSWORD)


def ada_key(ada: Caller, scope: str) -> str:
    made = ada.post(
        "/v1/keys", json={"name": f"CANARY {scope}", "scope": "write" if scope == "revoked" else scope}
    ).json
    if scope == "revoked":
        assert ada.delete(f"/v1/keys/{made['id']}").status_code == 204
    return str(made["key"])


def furnish(ada: Caller) -> dict[str, str]:
    """Everything that an organization can hold, each text of it with the word in it."""

    def send(method: str, path: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
        answer = ada.open(path, method, json=body, **options)
        assert answer.status_code in {200, 201}, f"{path}: {answer.text}"
        return dict(answer.json)

    project = "CANARY project"
    send(
        "POST",
        "/v1/projects",
        {"name": project, "objective_metric": "CANARY/loss", "target": 0.1, "description": "CANARY words"},
    )
    text = {"name": "CANARY run", "group": "CANARY group", "job_type": "CANARY job", "notes": "CANARY notes"}
    send(
        "POST",
        "/v1/runs",
        {"project": project, "id": "run_CANARY", "config": {"CANARY": "CANARY"}, "tags": ["CANARY"], **text}
        | {"host": {"hostname": "CANARY"}, "commit": "CANARY"},
    )
    sent = ada.ingest(
        "run_CANARY", [point(step, **{"CANARY/loss": 1.0 / (step + 1)}) for step in range(5)], first_seq=0
    )
    assert sent.status_code == 200
    send("POST", "/v1/sessions", {"project": project, "id": "ses_CANARY", "tag": "CANARY", "branch": "CANARY"})
    for number in (1, 2):
        send(
            "POST",
            "/v1/experiments",
            {"session_id": "ses_CANARY", "id": f"exp_CANARY{number}", "note": "CANARY", "diff": f"+CANARY {number}\n"}
            | {"config": {"CANARY": number}, "run_id": "run_CANARY"},
        )
        verdict = {"status": "keep", "score": 1.0 / number, "note": "CANARY"}
        send("POST", f"/v1/experiments/exp_CANARY{number}/decision", verdict)
    assert ada.post("/v1/blobs", data=RAW, content_type="application/octet-stream").status_code == 201
    version = {
        "project": project,
        "name": "CANARY artifact",
        "type": "CANARY",
        "entries": [{"path": "CANARY.txt", "sha": SHA, "size": len(RAW)}],
        "metadata": {"CANARY": True},
        "produced_by": "exp_CANARY1",
    }
    send("POST", "/v1/artifacts/log", version)
    send("PUT", f"/v1/artifacts/CANARY artifact/refs/CANARY-ref?project={project}", {"version": 1})
    where = {"project": project, "name": "CANARY.bin", "run_id": "run_CANARY"}
    file = ada.post("/v1/files/upload", query_string=where, data=RAW)
    assert file.status_code == 201, file.text
    return {
        "projects.name": project,
        "p.name": project,
        "artifacts.name": "CANARY artifact",
        "run_id": "run_CANARY",
        "session_id": "ses_CANARY",
        "experiment_id": "exp_CANARY1",
        "file_id": file.json["id"],
        "sha": SHA,
        "ref": "CANARY-ref",
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
