"""The audit log: each thing done is one row, which names who and what and no secret, and stays as it is."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from arwx import audit, clock, people
from arwx.errors import Unavailable
from arwx.models import AuditEntry
from arwx.ui.audit import KINDS, WORDS
from tests.make import Caller, point
from tests.rules import statement_problems
from tests.ui.conftest import PASSWORD, Visitor
from tests.ui.test_members import invite, member_id


def rows(app: Flask, org_id: int) -> list[tuple[str, str, str]]:
    with app.extensions["arwx.db"].reading(org_id) as db:
        query = select(AuditEntry).where(AuditEntry.org_id == org_id).order_by(AuditEntry.created_at, AuditEntry.id)
        return [(row.action, row.actor_name, row.subject) for row in db.scalars(query)]


def first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None
    return found[1]


def test_each_thing_done_is_one_row(
    ada_at_home: Visitor, ben_at_home: Visitor, ada: Caller, ben: Caller, app: Flask
) -> None:
    """One by one, everything that is recorded: through pages, through the API, and what was refused."""
    me, phone = "ada@example.org", Visitor(app)
    settings, members = "/settings", "/settings/members"
    run = ada.run("kept")
    ada.run("doomed")
    ada.ingest(run["id"], [point(1)])
    made: dict[str, Any] = {}

    def api_key() -> None:
        made.update(ada.post("/v1/keys", json={"name": "from the API"}).json)

    def ui_key(action: str) -> None:
        key_id = first(r"/settings/keys/(key_[^/]+)/revoke[^>]*rack", ada_at_home.get(settings).text)
        ada_at_home.send(settings, f"/settings/keys/{key_id}/{action}")

    def withdraw() -> None:
        invitation_id = first(r"/invitations/(inv_[^/]+)/revoke", ada_at_home.get(members).text)
        ada_at_home.send(members, f"{members}/invitations/{invitation_id}/revoke")

    def ben_id() -> str:
        return member_id(ada_at_home, "ben@example.org")

    joining = ""

    def offer() -> None:
        nonlocal joining
        joining = invite(ada_at_home, role="viewer")

    def join_by_it() -> None:
        dana = Visitor(app)
        dana.send(joining, joining, email="dana@example.org", password=PASSWORD)

    phone.log_in("ada@example.org")
    story: list[tuple[Callable[[], object], list[tuple[str, str, str]]]] = [
        (lambda: Visitor(app).log_in(me), [("login.ok", me, "")]),
        (lambda: Visitor(app).log_in(me, "wrong password"), [("login.failed", me, "")]),
        (lambda: Visitor(app).log_in("nobody@example.org"), []),
        (lambda: phone.send(settings, "/logout"), [("logout", me, "")]),
        (lambda: ada_at_home.send("/settings/account", "/settings/account/sessions/end"), [("session.ended", me, "")]),
        (
            lambda: ada_at_home.send(settings, "/settings/keys", name="rack 7", level="read"),
            [("key.made", me, "rack 7")],
        ),
        (lambda: ada_at_home.send(settings, "/settings/keys", name="", level="read"), []),
        (api_key, [("key.made", "admin key", "from the API")]),
        (lambda: ada.delete(f"/v1/keys/{made['id']}"), [("key.revoked", "admin key", "from the API")]),
        (lambda: ada.delete(f"/v1/keys/{made['id']}"), []),
        (lambda: ben.delete("/v1/projects/kept"), [("denied", "write key", "DELETE /v1/projects/kept")]),
        (lambda: ben_at_home.get("/settings/audit"), [("denied", "ben@example.org", "GET /settings/audit")]),
        (offer, [("invitation.made", me, "whoever has the link")]),
        (withdraw, [("invitation.revoked", me, "whoever has the link")]),
        (offer, [("invitation.made", me, "whoever has the link")]),
        (
            join_by_it,
            [("member.joined", "dana@example.org", "dana@example.org"), ("login.ok", "dana@example.org", "")],
        ),
        (
            lambda: ada_at_home.send(members, f"{members}/{ben_id()}/role", role="viewer"),
            [("member.role", me, "ben@example.org")],
        ),
        (lambda: ada_at_home.send(members, f"{members}/{ben_id()}/role", role="viewer"), []),
        (
            lambda: ada_at_home.send(members, f"{members}/{ben_id()}/remove"),
            [("member.removed", me, "ben@example.org")],
        ),
        (
            lambda: ada.get(f"/v1/runs/{run['id']}/metrics", headers={"Accept": "text/csv"}),
            [("export", "admin key", run["id"])],
        ),
        (lambda: ada.get(f"/v1/runs/{run['id']}/metrics"), []),
        (lambda: ada.delete(f"/v1/runs/{run['id']}"), [("run.deleted", "admin key", run["id"])]),
        (lambda: ada.delete("/v1/projects/doomed"), [("project.deleted", "admin key", "doomed")]),
        (
            lambda: ada_at_home.send("/p/kept/delete", "/p/kept/delete", typed="kept"),
            [("project.deleted", me, "kept")],
        ),
        (
            lambda: ada_at_home.send("/settings/organization", "/settings/organization", name="Ada & co"),
            [("organization.renamed", me, "Ada & co")],
        ),
        (
            lambda: ada_at_home.send(
                "/settings/account", "/settings/account/password", current=PASSWORD, password="a better battery"
            ),
            [("password.changed", me, "")],
        ),
    ]
    for number, (act, expected) in enumerate(story):
        before = len(rows(app, ada.org_id))
        act()
        assert rows(app, ada.org_id)[before:] == expected, f"step {number}"

    page = ada_at_home.get("/settings/audit").text
    for words in ("failed to sign in", "made the read key", "was refused", "changed the role from member to viewer of"):
        assert words in page
    whole = repr(rows(app, ada.org_id)) + page
    for secret in (PASSWORD, "a better battery", "wrong password", made["key"], ada.key, joining.rsplit("/", 1)[1]):
        assert secret not in whole


def test_a_reset_is_one_row(ada_at_home: Visitor, stranger: Visitor, ada: Caller, app: Flask) -> None:
    with app.extensions["arwx.db"].reading() as db:
        user = people.find(db, "ada@example.org")
        assert user is not None
        path = f"/reset/{people.reset_token(app.extensions['arwx'].secret_key, user)}"
    before = len(rows(app, ada.org_id))
    stranger.send(path, path, password="a better battery")
    assert rows(app, ada.org_id)[before:] == [("password.reset", "ada@example.org", "")]


def test_every_action_has_words_and_a_kind() -> None:
    assert set(WORDS) == audit.ACTIONS
    for action in WORDS:
        kind = action.split(".")[0]
        assert kind in KINDS or kind in {"logout", "session", "organization"}


def test_nothing_changes_or_removes_a_row() -> None:
    assert statement_problems(update(AuditEntry).where(AuditEntry.org_id == 1).values(subject="x"))
    assert statement_problems(delete(AuditEntry).where(AuditEntry.org_id == 1))


@pytest.mark.parametrize("role", ["ben", "mallory"])
def test_only_owners_of_the_organization_read_it(role: str, ada: Caller, request: pytest.FixtureRequest) -> None:
    ada.post("/v1/keys", json={"name": "canary-key"})
    visitor: Visitor = request.getfixturevalue(f"{role}_at_home")
    answer = visitor.get("/settings/audit")
    assert answer.status_code == (403 if role == "ben" else 200)
    assert "canary-key" not in answer.text


def test_a_refused_address_is_recorded_whatever_is_in_it(ben_at_home: Visitor, ben: Caller, app: Flask) -> None:
    for path in ("/p/a%00b/delete", "/p/%ff/delete", f"/p/{'x' * 2000}/delete"):
        assert ben_at_home.get(path).status_code == 403
        assert ben.delete(path.replace("/p/", "/v1/projects/").removesuffix("/delete")).status_code == 403
    assert len([row for row in rows(app, ben.org_id) if row[0] == "denied"]) == 6


def test_who_is_refused_is_refused_also_when_it_cannot_be_recorded(
    ben: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise Unavailable("The database is busy.")

    monkeypatch.setattr(audit, "record_apart", fails)
    assert ben.delete("/v1/projects/x").status_code == 403


def test_what_somebody_named_cannot_do_anything_on_the_page(ada_at_home: Visitor, ada: Caller) -> None:
    ada.post("/v1/keys", json={"name": "<script>alert(1)<b>"})
    page = ada_at_home.get("/settings/audit").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_the_page_is_read_in_parts_and_by_kind(
    ada_at_home: Visitor, ada: Caller, queries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(path: str) -> int:
        queries.clear()
        assert ada_at_home.get(path).status_code == 200
        return len(queries)

    few = asked("/settings/audit")
    real = clock.now
    for number in range(60):
        monkeypatch.setattr(clock, "now", lambda number=number: real() + timedelta(seconds=number))
        ada.post("/v1/keys", json={"name": f"key number {number}"})
    assert asked("/settings/audit") == few
    page = ada_at_home.get("/settings/audit?kind=key").text
    assert page.count("made the write key") == 50
    older = re.search(r'href="(/settings/audit\?[^"]*cursor=[^"]+)"', page)
    assert older is not None
    rest = ada_at_home.get(older[1].replace("&amp;", "&")).text
    assert "key number 0" in rest
    assert "key number 59" not in rest
    assert (
        "key" not in re.findall(r"<tbody>.*</tbody>", ada_at_home.get("/settings/audit?kind=login").text, re.DOTALL)[0]
    )
    assert ada_at_home.get("/settings/audit?cursor=nonsense").status_code == 422
