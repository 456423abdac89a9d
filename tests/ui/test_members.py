"""The Members page: invitations, roles, leaving; and what others than owners see of it."""

import html
import re
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from flask import Flask

from arwx import clock, invitations, members, organizations, people
from arwx.access import Scope
from tests.ui.conftest import PASSWORD, Visitor


def member_id(visitor: Visitor, email: str) -> str:
    rows = visitor.get("/settings/members").text.split("<tr>")
    [row] = [row for row in rows if f'aria-label="Remove {email}"' in row]
    return re.findall(r"/settings/members/(\d+)/remove", row)[0]


def invite(owner: Visitor, **fields: str) -> str:
    """The path of a fresh invitation link."""
    page = owner.send("/settings/members", "/settings/members/invite", **fields).text
    found = re.search(r"<code>(http://[^<]+/invitations/[^<]+)</code>", page)
    assert found is not None
    return urlsplit(html.unescape(found[1])).path


def test_a_stranger_comes_in_by_the_link_and_is_what_it_says(
    ada_at_home: Visitor, stranger: Visitor, app: Flask
) -> None:
    path = invite(ada_at_home, role="viewer")
    page = stranger.get(path)
    assert "Join Ada&#39;s lab" in page.text
    assert "as a viewer" in page.text
    assert stranger.send(path, path, email="dana@example.org", password=PASSWORD).headers["Location"] == "/"
    assert "viewer" in stranger.get("/settings/members").text
    late = Visitor(app)
    assert late.get(path).status_code == 404
    assert "This link is over" in late.get(path).text
    assert "was used or revoked" in late.get(path).text


def test_somebody_with_an_account_joins_with_it_and_goes_there(ada_at_home: Visitor, mallory_at_home: Visitor) -> None:
    path = invite(ada_at_home, role="member")
    assert "Join as mallory@example.org" in mallory_at_home.get(path).text
    assert mallory_at_home.send(path, path).status_code == 302
    assert "Ada&#39;s lab" in mallory_at_home.get("/settings/organization").text
    again = invite(ada_at_home, role="member")
    answer = mallory_at_home.send(again, again)
    assert answer.status_code == 409
    assert "already" in answer.text


def test_after_signing_in_one_comes_back_to_the_invitation(
    ada_at_home: Visitor, ben_at_home: Visitor, app: Flask
) -> None:
    path = invite(ada_at_home)
    guest = Visitor(app)
    assert f"/login?next={path}" in guest.get(path).text
    assert guest.log_in("ben@example.org", next=path).headers["Location"] == path


def test_a_link_for_somebody_else_says_for_whom(ada_at_home: Visitor, mallory_at_home: Visitor) -> None:
    path = invite(ada_at_home, email="dana@example.org")
    assert "The invitation is for dana@example.org" in mallory_at_home.get(path).text
    assert mallory_at_home.send("/", path).status_code == 403
    # The refusal is in the log of those who were refused; what would let Dana in is not.
    log = mallory_at_home.get("/settings/audit").text
    assert "POST /invitations/…" in log
    assert path.rpartition("/")[2] not in log


def test_a_withdrawn_invitation_is_over(ada_at_home: Visitor, stranger: Visitor) -> None:
    path = invite(ada_at_home)
    invitation_id = re.findall(r"/invitations/(inv_[^/]+)/revoke", ada_at_home.get("/settings/members").text)[0]
    ada_at_home.send("/settings/members", f"/settings/members/invitations/{invitation_id}/revoke")
    assert stranger.get(path).status_code == 404
    assert "Nobody is invited now" in ada_at_home.get("/settings/members").text


@pytest.mark.parametrize("fields", [{"email": "not an address"}, {"role": "emperor"}])
def test_a_wrong_invitation_is_told_beside_the_form(ada_at_home: Visitor, fields: dict[str, str]) -> None:
    answer = ada_at_home.send("/settings/members", "/settings/members/invite", **fields)
    assert answer.status_code == 422
    assert "must be" in answer.text


def test_who_is_removed_is_out_at_once_with_keys_and_all(
    ada_at_home: Visitor, ben_at_home: Visitor, app: Flask
) -> None:
    made = ben_at_home.send("/settings", "/settings/keys", name="ben's", level="write").text
    secret = re.search(r"ARWANDB_API_KEY=(arwx_live_\w+)", made)
    assert secret is not None
    user_id = member_id(ada_at_home, "ben@example.org")
    ada_at_home.send("/settings/members", f"/settings/members/{user_id}/remove")
    assert ben_at_home.get("/settings").headers["Location"].startswith("/login")
    answer = app.test_client().get("/v1/projects", headers={"Authorization": f"Bearer {secret[1]}"})
    assert answer.status_code == 401
    assert "belongs to no organization" in ben_at_home.log_in("ben@example.org").text


def test_a_new_role_counts_at_once_and_renews_the_session(
    ada_at_home: Visitor, ben_at_home: Visitor, app: Flask
) -> None:
    before = ben_at_home.client.get_cookie("arwx")
    assert before is not None
    assert ben_at_home.get("/settings/audit").status_code == 403
    user_id = member_id(ada_at_home, "ben@example.org")
    assert ada_at_home.send("/settings/members", f"/settings/members/{user_id}/role", role="owner").status_code == 302
    assert ben_at_home.get("/settings/audit").status_code == 200
    after = ben_at_home.client.get_cookie("arwx")
    assert after is not None
    assert after.value != before.value
    assert ben_at_home.get("/settings/audit").status_code == 200


def test_the_old_session_is_good_for_some_seconds_only(
    ada_at_home: Visitor, ben_at_home: Visitor, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ben_at_home.client.get_cookie("arwx")
    assert old is not None
    user_id = member_id(ada_at_home, "ben@example.org")
    ada_at_home.send("/settings/members", f"/settings/members/{user_id}/role", role="viewer")
    assert ben_at_home.get("/settings").status_code == 200
    same_page = app.test_client()
    same_page.set_cookie("arwx", old.value)
    assert same_page.get("/settings").status_code == 200
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(seconds=31))
    thief = app.test_client()
    thief.set_cookie("arwx", old.value)
    assert thief.get("/settings").status_code == 302
    assert ben_at_home.get("/settings").status_code == 200


def test_the_last_owner_is_told_why_not(ada_at_home: Visitor) -> None:
    page = ada_at_home.get("/settings/members").text
    user_id = re.findall(r"/settings/members/(\d+)/role", page)[0]
    for action, fields in (("role", {"role": "viewer"}), ("remove", {})):
        answer = ada_at_home.send("/settings/members", f"/settings/members/{user_id}/{action}", **fields)
        assert answer.status_code == 409
        assert "keeps at least one owner" in answer.text


def test_a_member_sees_who_is_here_and_can_only_leave(ada_at_home: Visitor, ben_at_home: Visitor) -> None:
    page = ben_at_home.get("/settings/members").text
    assert "ada@example.org" in page
    assert "Invitations" not in page
    assert re.findall(r"/settings/members/\d+/role", page) == []
    [leave] = re.findall(r"(/settings/members/\d+/remove)", page)
    for action in ("invite", "1/role", "invitations/inv_1/revoke"):
        assert ben_at_home.send("/settings/members", f"/settings/members/{action}", role="owner").status_code == 403
    ben_at_home.send("/settings/members", leave)
    assert ben_at_home.get("/settings").status_code == 302


def test_members_of_elsewhere_are_not_there(
    ada_at_home: Visitor, ben_at_home: Visitor, mallory_at_home: Visitor
) -> None:
    user_id = member_id(ada_at_home, "ben@example.org")
    for number in (user_id, "4711", "9007199254740991"):
        for action in ("role", "remove"):
            answer = mallory_at_home.send("/settings/members", f"/settings/members/{number}/{action}", role="viewer")
            assert answer.status_code == 404
    assert "ben@example.org" not in mallory_at_home.get("/settings/members").text


def test_the_page_asks_as_often_for_one_member_as_for_fifty(
    ada_at_home: Visitor, app: Flask, queries: list[str]
) -> None:
    def asked() -> int:
        queries.clear()
        assert ada_at_home.get("/settings/members").status_code == 200
        return len(queries)

    one = asked()
    with app.extensions["arwx.db"].writing() as db:
        org = organizations.named(db, "Ada's lab")
        for number in range(49):
            members.join(db, people._insert(db, f"m{number}@example.org", "none"), org, "member")
            invitations.make(Scope(db, org.id, "admin", "cli"), "", "member")
    assert ada_at_home.get("/settings/members").text.count("/remove") == 50
    assert asked() == one
