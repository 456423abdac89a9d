"""Members and roles: who may change them, what goes with them, and that an owner always stays."""

import pytest
from sqlalchemy import func, select

from arwx import keys, logins, members, people
from arwx.access import Origin, Scope
from arwx.db import Database
from arwx.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from arwx.models import Membership
from tests.people.conftest import PASSWORD, Lab, all_at_once


def owners(lab: Lab) -> int:
    with lab.database.reading() as db:
        query = select(func.count()).where(Membership.org_id == lab.org.id, Membership.role == "owner")
        return db.scalar(query) or 0


def test_members_are_listed_with_owners_first(lab: Lab) -> None:
    lab.add("ben", "viewer")
    lab.add("cem", "member")
    with lab.database.reading() as db:
        found = members.listed(lab.scope(db, "ben", "viewer"))
    assert [(member.email, member.role, member.is_you) for member in found] == [
        ("ada@example.org", "owner", False),
        ("cem@example.org", "member", False),
        ("ben@example.org", "viewer", True),
    ]


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_only_owners_change_roles_and_remove_others(lab: Lab, role: str) -> None:
    lab.add("ben", role)
    for change in (
        lambda scope: members.change_role(scope, lab.users["ada"].id, "viewer"),
        lambda scope: members.change_role(scope, lab.users["ben"].id, "owner"),
        lambda scope: members.remove(scope, lab.users["ada"].id),
    ):
        with pytest.raises(Forbidden), lab.database.writing() as db:
            change(lab.scope(db, "ben", role))
    assert owners(lab) == 1


def test_the_last_owner_can_neither_step_down_nor_leave(lab: Lab) -> None:
    lab.add("ben", "member")
    ada = lab.users["ada"].id
    for change in (lambda s: members.change_role(s, ada, "member"), lambda s: members.remove(s, ada)):
        with pytest.raises(Conflict), lab.database.writing() as db:
            change(lab.scope(db, "ada"))
    with lab.database.writing() as db:
        members.change_role(lab.scope(db, "ada"), lab.users["ben"].id, "owner")
    with lab.database.writing() as db:
        members.remove(lab.scope(db, "ada"), ada)
    assert owners(lab) == 1


def test_an_unknown_role_and_an_unknown_member_are_named(lab: Lab) -> None:
    with pytest.raises(Invalid), lab.database.writing() as db:
        members.change_role(lab.scope(db, "ada"), lab.users["ada"].id, "emperor")
    elsewhere = Lab(lab.database, "Elsewhere")
    mallory = elsewhere.add("mallory", "owner")
    for verb in (lambda s: members.remove(s, mallory.id), lambda s: members.change_role(s, mallory.id, "viewer")):
        with pytest.raises(NotFound), lab.database.writing() as db:
            verb(lab.scope(db, "ada"))


def test_who_is_removed_loses_sessions_and_keys_here_but_not_elsewhere(lab: Lab, database: Database) -> None:
    ben = lab.add("ben", "member")
    other = Lab(database, "Other")
    other.add("ben", "member")
    token = people.log_in(database, "ben@example.org", PASSWORD, Origin())
    with database.writing() as db:
        visitor = logins.visitor(db, token)
        assert visitor is not None
        _, mine = keys.mint(visitor.scope(db), "ben's")
        parent = keys.find(db, mine)
        _, child = keys.mint(Scope(db, lab.org.id, "write", f"key:{parent.id}"), "child")
        _, elsewhere = keys.mint(other.scope(db, "ben", "member"), "other")
        _, adas = keys.mint(lab.scope(db, "ada"), "ada's")
    with database.writing() as db:
        members.remove(lab.scope(db, "ada"), ben.id)
    with database.reading() as db:
        assert logins.visitor(db, token) is None
    lab.add("ben", "member")
    with database.reading() as db:
        assert logins.visitor(db, token) is None  # who is taken in again has to sign in again
        for secret in (mine, child):
            with pytest.raises(Unauthorized):
                keys.find(db, secret)
        assert keys.find(db, elsewhere)
        assert keys.find(db, adas)
    assert people.log_in(database, "ben@example.org", PASSWORD, Origin())


def test_keys_that_may_do_more_than_the_new_role_stop(lab: Lab, database: Database) -> None:
    ben = lab.add("ben", "owner")
    with database.writing() as db:
        made = {level: keys.mint(lab.scope(db, "ben"), level, level)[1] for level in ("read", "write", "admin")}
    with database.writing() as db:
        members.change_role(lab.scope(db, "ada"), ben.id, "member")
    with database.reading() as db:
        assert keys.find(db, made["read"])
        assert keys.find(db, made["write"])
        with pytest.raises(Unauthorized):
            keys.find(db, made["admin"])


def test_of_many_owners_who_all_leave_at_once_one_stays(lab: Lab) -> None:
    names = ["ada"] + [f"owner{number}" for number in range(49)]
    with lab.database.writing() as db:
        for name in names[1:]:
            user = people._insert(db, f"{name}@example.org", "no password")
            members.join(db, user, lab.org, "owner")
            lab.users[name] = user

    def leave(number: int) -> None:
        with lab.database.writing() as db:
            verb = members.remove if number % 2 else lambda s, u: members.change_role(s, u, "viewer")
            verb(lab.scope(db, names[number]), lab.users[names[number]].id)

    answers = all_at_once(50, leave)
    assert sum(isinstance(answer, Conflict) for answer in answers) == 1
    assert [answer for answer in answers if answer is not None and not isinstance(answer, Conflict)] == []
    assert owners(lab) == 1


def test_two_owners_who_remove_each_other_leave_one(lab: Lab) -> None:
    lab.add("ben", "owner")
    for _ in range(5):
        answers = all_at_once(2, lambda number: remove_the_other(lab, number))
        assert sum(answer is not None for answer in answers) == 1
        assert owners(lab) == 1
        with lab.database.writing() as db:
            stayed = db.scalars(select(Membership.user_id).where(Membership.org_id == lab.org.id)).one()
        gone = "ben" if stayed == lab.users["ada"].id else "ada"
        lab.add(gone, "owner")


def remove_the_other(lab: Lab, number: int) -> None:
    me, other = ("ada", "ben") if number else ("ben", "ada")
    with lab.database.writing() as db:
        members.remove(lab.scope(db, me), lab.users[other].id)
