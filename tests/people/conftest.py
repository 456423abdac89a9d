"""Accounts and organizations below the pages."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from arwx import members, organizations, people
from arwx.access import ROLE_LEVELS, Scope
from arwx.db import Database
from arwx.models import Organization, User

PASSWORD = "correct horse battery"


class Lab:
    """An organization, and scopes of its people."""

    def __init__(self, database: Database, name: str) -> None:
        self.database = database
        with database.writing() as db:
            self.org: Organization = organizations.add(db, name)
        self.users: dict[str, User] = {}

    def add(self, name: str, role: str) -> User:
        with self.database.writing() as db:
            email = f"{name}@example.org"
            user = people.find(db, email) or people.add_user(db, email, PASSWORD)
            members.join(db, user, self.org, role)
            self.users[name] = user
            return user

    def scope(self, db: Any, name: str, role: str = "owner") -> Scope:
        return Scope(db, self.org.id, ROLE_LEVELS[role], f"user:{self.users[name].id}")


@pytest.fixture(autouse=True)
def refusals_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused login takes a while on purpose; here there are many."""
    monkeypatch.setattr(people, "REFUSAL_TAKES_S", 0.0)


@pytest.fixture
def lab(database: Database) -> Lab:
    """Ada owns the lab."""
    lab = Lab(database, "Ada's lab")
    lab.add("ada", "owner")
    return lab


def all_at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What the calls answer, or the exceptions that they raise, when all begin at the same moment."""
    barrier = threading.Barrier(count)
    answers: list[Any] = [None] * count

    def one(number: int) -> None:
        barrier.wait(30)
        try:
            answers[number] = work(number)
        except Exception as error:  # noqa: BLE001 - handed to the test
            answers[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers
