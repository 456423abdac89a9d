"""Invitation links: once, for a while, for whom they are meant; and the first account of a server."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from arwx import clock, invitations, logins, members, organizations, people
from arwx.access import Origin
from arwx.db import Database
from arwx.errors import Conflict, Forbidden, Invalid, NotFound
from arwx.models import Membership, Organization, User
from tests.people.conftest import PASSWORD, Lab, all_at_once

KEY = "k" * 40


def link(lab: Lab, email: str = "", role: str = "member") -> str:
    with lab.database.writing() as db:
        return invitations.token(KEY, invitations.make(lab.scope(db, "ada"), email, role))


def test_whoever_has_the_link_makes_an_account_with_its_role(lab: Lab, database: Database) -> None:
    token = link(lab, role="viewer")
    with database.writing() as db:
        cookie = invitations.sign_up(db, KEY, token, "ben@example.org", PASSWORD, Origin())
    with database.reading() as db:
        visitor = logins.visitor(db, cookie)
        assert visitor is not None
        assert (visitor.org.id, visitor.role, visitor.user.email) == (lab.org.id, "viewer", "ben@example.org")


def test_a_link_is_used_once_and_says_so(lab: Lab, database: Database) -> None:
    token = link(lab)
    with database.writing() as db:
        invitations.sign_up(db, KEY, token, "ben@example.org", PASSWORD, Origin())
    with pytest.raises(NotFound, match="used or revoked"), database.writing() as db:
        invitations.sign_up(db, KEY, token, "cem@example.org", PASSWORD, Origin())
    with database.reading() as db:
        assert people.find(db, "cem@example.org") is None


def test_a_wrong_password_does_not_use_up_the_link(lab: Lab, database: Database) -> None:
    token = link(lab)
    with pytest.raises(Invalid), database.writing() as db:
        invitations.sign_up(db, KEY, token, "ben@example.org", "short", Origin())
    with database.writing() as db:
        assert invitations.sign_up(db, KEY, token, "ben@example.org", PASSWORD, Origin())


def test_a_link_for_somebody_is_for_them_alone(lab: Lab, database: Database) -> None:
    token = link(lab, "Ben@Example.org")
    mallory = Lab(database, "Elsewhere").add("mallory", "owner")
    with pytest.raises(Forbidden), database.writing() as db:
        invitations.accept(db, KEY, token, mallory, Origin())
    with database.writing() as db:
        invitations.sign_up(db, KEY, token, "mallory2@example.org", PASSWORD, Origin())
    with database.reading() as db:
        assert people.find(db, "ben@example.org")
        assert people.find(db, "mallory2@example.org") is None


@pytest.mark.parametrize("spoiled", ["altered", "other key", "too old", "revoked", "organization deleted"])
def test_a_spoiled_link_opens_nothing(
    lab: Lab, database: Database, monkeypatch: pytest.MonkeyPatch, spoiled: str
) -> None:
    token = link(lab)
    with database.reading() as db:
        assert invitations.read(db, KEY, token)
    key, real = KEY, clock.now
    if spoiled == "altered":
        head, _, signature = token.rpartition(".")  # its last letter carries idle bits; its first carries none
        token = f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    elif spoiled == "other key":
        key = "x" * 40
    elif spoiled == "too old":
        monkeypatch.setattr(clock, "now", lambda: real() + timedelta(days=7, minutes=1))
    else:
        with database.writing() as db:
            if spoiled == "revoked":
                invitations.revoke(lab.scope(db, "ada"), invitations.open_ones(lab.scope(db, "ada"))[0].id)
            else:
                db.get_one(Organization, lab.org.id).deleted_at = real()
    with pytest.raises(NotFound), database.reading() as db:
        invitations.read(db, key, token)
    with pytest.raises(NotFound), database.writing() as db:
        invitations.sign_up(db, key, token, "ben@example.org", PASSWORD, Origin())


def test_members_keep_their_role_and_the_link_stays_for_others(lab: Lab, database: Database) -> None:
    token = link(lab, role="viewer")
    with pytest.raises(Conflict), database.writing() as db:
        invitations.accept(db, KEY, token, lab.users["ada"], Origin())
    with database.reading() as db:
        assert members.listed(lab.scope(db, "ada"))[0].role == "owner"
        assert invitations.read(db, KEY, token)


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_only_owners_invite_and_see_invitations(lab: Lab, database: Database, role: str) -> None:
    lab.add("ben", role)
    link(lab)
    for verb in (
        lambda s: invitations.make(s, "", "member"),
        invitations.open_ones,
        lambda s: invitations.revoke(s, "inv_1"),
    ):
        with pytest.raises(Forbidden), database.writing() as db:
            verb(lab.scope(db, "ben", role))


def test_an_invitation_of_elsewhere_is_not_there(lab: Lab, database: Database) -> None:
    link(lab)
    other = Lab(database, "Elsewhere")
    other.add("mallory", "owner")
    with database.writing() as db:
        found = invitations.open_ones(lab.scope(db, "ada"))[0]
        assert invitations.open_ones(other.scope(db, "mallory")) == []
        for invitation_id in (found.id, "inv_\x00", "nothing"):
            with pytest.raises(NotFound):
                invitations.revoke(other.scope(db, "mallory"), invitation_id)


def test_of_fifty_people_with_one_link_one_gets_in(lab: Lab, database: Database) -> None:
    token = link(lab)
    with database.writing() as db:
        crowd = [people._insert(db, f"p{number}@example.org", "no password") for number in range(50)]

    def come(number: int) -> None:
        with database.writing() as db:
            invitations.accept(db, KEY, token, crowd[number], Origin())

    answers = all_at_once(50, come)
    assert sum(answer is None for answer in answers) == 1
    assert all(answer is None or isinstance(answer, NotFound) for answer in answers)
    with database.reading() as db:
        assert db.scalar(select(func.count()).where(Membership.org_id == lab.org.id)) == 2


def test_of_many_first_sign_ups_at_once_one_is_the_first(database: Database) -> None:
    def come(number: int) -> str:
        with database.writing() as db:
            return people.sign_up(db, "first", f"p{number}@example.org", PASSWORD, "Lab", Origin())

    answers = all_at_once(8, come)
    assert sum(isinstance(answer, str) for answer in answers) == 1
    assert sum(isinstance(answer, Forbidden) for answer in answers) == 7
    with database.reading() as db:
        assert db.scalar(select(func.count()).select_from(User)) == 1
        assert db.scalar(select(func.count()).select_from(Organization)) == 1


def test_of_two_who_sign_up_with_one_email_at_once_one_is_told(database: Database) -> None:
    def come(_: int) -> str:
        with database.writing() as db:
            return people.sign_up(db, "open", "ada@example.org", PASSWORD, "Lab", Origin())

    answers = all_at_once(4, come)
    assert sum(isinstance(answer, str) for answer in answers) == 1
    assert all(isinstance(answer, str | Invalid) for answer in answers)


def test_organizations_of_one_name_at_once_get_slugs_of_their_own(database: Database) -> None:
    def found(_: int) -> str:
        with database.writing() as db:
            return organizations.add(db, "Lab").slug

    slugs = all_at_once(10, found)
    assert len(set(slugs)) == 10
    assert "lab" in slugs


def test_of_many_who_use_one_reset_link_at_once_one_sets_the_password(lab: Lab, database: Database) -> None:
    token = people.reset_token("k" * 40, lab.users["ada"])
    chosen = [f"a password of her own {number}" for number in range(8)]
    answers = all_at_once(8, lambda n: people.reset_password(database, "k" * 40, token, chosen[n], Origin()))
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, NotFound) for answer in answers) == 7
    assert people.log_in(database, "ada@example.org", chosen[answers.index(None)], Origin())
