"""Accounts and the sessions of browsers, below the pages."""

import time
from datetime import timedelta

import pytest

from arwx import clock, logins, people
from arwx.access import Origin
from arwx.db import Database
from arwx.errors import Forbidden, Invalid, Unauthorized

PASSWORD = "correct horse battery"


def sign_up(database: Database, email: str = "ada@example.org", policy: str = "first") -> str:
    with database.writing() as db:
        return people.sign_up(db, policy, email, PASSWORD, "Ada's lab", Origin())


def test_the_first_account_owns_its_organization(database: Database) -> None:
    token = sign_up(database)
    with database.reading() as db:
        visitor = logins.visitor(db, token)
        assert visitor is not None
        assert (visitor.user.email, visitor.org.name, visitor.org.slug, visitor.role) == (
            "ada@example.org",
            "Ada's lab",
            "ada-s-lab",
            "owner",
        )
        assert visitor.scope(db).allows("admin")


def test_after_the_first_account_sign_up_is_closed_unless_open(database: Database) -> None:
    sign_up(database)
    with pytest.raises(Forbidden):
        sign_up(database, "ben@example.org")
    sign_up(database, "ben@example.org", "open")
    with database.reading() as db:
        assert people.may_sign_up(db, "open")
        assert not people.may_sign_up(db, "closed")


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("nobody", PASSWORD, "email"),
        ("a b@example.org", PASSWORD, "email"),
        ("ada@example.org", "short", "password"),
        ("ada@example.org", "password1", "password"),
        ("ada@example.org", "ada@example.org", "password"),
        ("ada@example.org", "x" * 257, "password"),
    ],
)
def test_what_is_wrong_with_an_account_is_named(database: Database, email: str, password: str, field: str) -> None:
    with pytest.raises(Invalid) as caught, database.writing() as db:
        people.sign_up(db, "first", email, password, "Lab", Origin())
    assert caught.value.errors[0].field == field
    with database.reading() as db:
        assert people.count(db) == 0


def test_long_and_worldly_passwords_are_fine(database: Database) -> None:
    for number, password in enumerate(["пароль-пароль", "🚀" * 32, "a" * 128]):
        with database.writing() as db:
            people.sign_up(db, "open", f"u{number}@example.org", password, f"Lab {number}", Origin())
        assert people.log_in(database, f"u{number}@example.org", password, Origin())


def test_a_wrong_password_and_an_unknown_email_are_the_same_answer(database: Database) -> None:
    sign_up(database)
    messages = set()
    for email, password in [("ada@example.org", "wrong password"), ("nobody@example.org", PASSWORD)]:
        with pytest.raises(Unauthorized) as caught:
            people.log_in(database, email, password, Origin())
        messages.add(caught.value.message)
    assert len(messages) == 1


def test_a_refused_login_takes_its_time_whoever_it_is_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The few statements more that a known e-mail takes are hidden in it."""
    sign_up(database)
    monkeypatch.setattr(people, "REFUSAL_TAKES_S", 0.5)
    for email in ("ada@example.org", "nobody@example.org"):
        began = time.monotonic()
        with pytest.raises(Unauthorized):
            people.log_in(database, email, "wrong password", Origin())
        assert time.monotonic() - began >= 0.5


def test_a_session_ends_by_logout_idleness_and_age(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_up(database)
    real = clock.now

    def is_in(token: str) -> bool:
        with database.reading() as db:
            return logins.visitor(db, token) is not None

    token = people.log_in(database, "ADA@example.org ", PASSWORD, Origin())
    with database.writing() as db:
        logins.end(db, token)
    assert not is_in(token)

    token = people.log_in(database, "ada@example.org", PASSWORD, Origin())
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=11))
    with database.reading() as db:
        visitor = logins.visitor(db, token)
    assert visitor is not None
    logins.note_visit(database, visitor)
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=22))
    assert is_in(token)
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=24))
    assert not is_in(token)
    assert not is_in("never a token")

    # Also for who comes by every few hours, it is over after two weeks.
    monkeypatch.setattr(clock, "now", real)
    token, hours = people.log_in(database, "ada@example.org", PASSWORD, Origin()), 0
    while is_in(token):
        with database.reading() as db:
            visitor = logins.visitor(db, token)
        assert visitor is not None
        logins.note_visit(database, visitor)
        hours += 8
        monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=hours))
        assert hours <= 14 * 24 + 8
    assert hours >= 14 * 24


def test_passwords_and_tokens_are_not_in_the_database(database: Database) -> None:
    token = sign_up(database)
    with database.reading() as db:
        for table in ("users", "logins"):
            for row in db.connection().exec_driver_sql(f"SELECT * FROM {table}"):
                assert PASSWORD not in str(tuple(row))
                assert token not in str(tuple(row))
