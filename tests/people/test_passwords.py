"""Which passwords are taken, and what comparing them costs."""

import threading
import time

import pytest

from arwx import passwords, people
from arwx.access import Origin
from arwx.db import Database
from arwx.errors import Invalid, Unauthorized
from tests.people.conftest import Lab

REFUSED = (
    "short seven77 password PASSWORD1 qwertyuiop iloveyou1 football1 12345678 ada.lovelace Ada.Lovelace@Example.org"
)


@pytest.mark.parametrize("password", ["", "x" * 257, *REFUSED.split()])
def test_a_password_that_others_would_try_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as caught:
        passwords.new(password, "ada.lovelace@example.org")
    assert caught.value.errors[0].field == "password"


def test_the_shipped_list_is_long() -> None:
    assert len(passwords._common()) > 10_000
    assert all(len(word) >= 8 for word in passwords._common() if word)


@pytest.mark.parametrize("password", ["пароль-и-ещё", "🚀" * 64, "żółć" * 32, "a b c d ", "x" * 128, "\ud800 8 signs"])
def test_eight_to_128_signs_of_any_script_work(password: str) -> None:
    kept = passwords.new(password, "ada@example.org")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.is_right(kept, password)
    assert not passwords.is_right(kept, password + "x")
    assert not passwords.is_right(None, password)


def test_a_letter_with_an_accent_is_the_same_in_both_spellings() -> None:
    kept = passwords.new("caf\u00e9 au lait", "ada@example.org")
    assert passwords.is_right(kept, "cafe\u0301 au lait")


def test_an_endless_password_costs_no_more_than_another() -> None:
    assert not passwords.is_right(passwords.new("correct horse", "a@b.c"), "x" * 10_000_000)


def test_at_most_four_passwords_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = [0], [0]
    lock = threading.Lock()

    class Slow:
        def verify(self, *_: object) -> bool:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.02)
            with lock:
                running[0] -= 1
            return True

    monkeypatch.setattr(passwords, "_hasher", Slow())
    threads = [threading.Thread(target=passwords.is_right, args=("kept", "x")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [4]


def test_who_has_no_account_costs_the_same_work(lab: Lab, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal compares one password, so that nobody is told apart by how busy the server was."""
    done, real = [], passwords.aside
    monkeypatch.setattr(passwords, "aside", lambda work, *given: (done.append(work.__name__), real(work, *given))[1])
    for email in ("ada@example.org", "nobody@example.org"):
        with pytest.raises(Unauthorized):
            people.log_in(database, email, "not her password", Origin())
    assert done == ["verify", "verify"]
    assert not passwords.is_outdated(passwords._NOBODY)
