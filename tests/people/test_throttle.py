"""Guessing passwords: ten wrong tries, then a wait. An owner still gets in from elsewhere."""

from datetime import timedelta

import pytest

from arwx import clock, people, throttle
from arwx.access import Origin
from arwx.db import Database
from arwx.errors import TooMany, Unauthorized
from tests.people.conftest import PASSWORD, Lab, all_at_once


def log_in(database: Database, password: str, ip: str, email: str = "ada@example.org") -> str:
    return people.log_in(database, email, password, Origin(ip))


def guess(database: Database, ip: str, email: str = "ada@example.org") -> None:
    with pytest.raises(Unauthorized):
        log_in(database, "not her password", ip, email)


def test_after_ten_wrong_tries_an_address_waits_whatever_it_sends(
    lab: Lab, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)
    for _ in range(10):
        guess(database, "192.0.2.1")
    for password in ("not her password", PASSWORD):
        with pytest.raises(TooMany) as caught:
            log_in(database, password, "192.0.2.1")
        assert caught.value.retry_after_s == 900
    lab.add("ben", "member")
    with pytest.raises(TooMany):
        log_in(database, PASSWORD, "192.0.2.1", "ben@example.org")
    assert log_in(database, PASSWORD, "192.0.2.2")


def test_after_a_quarter_of_an_hour_it_is_listened_to_again(
    lab: Lab, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clock.now
    for _ in range(10):
        guess(database, "192.0.2.1")
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(seconds=895))
    with pytest.raises(TooMany):
        log_in(database, PASSWORD, "192.0.2.1")
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(seconds=905))
    assert log_in(database, PASSWORD, "192.0.2.1")


def test_a_clock_that_is_set_back_makes_nobody_wait_longer(
    lab: Lab, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(days=365))
    for _ in range(10):
        guess(database, "192.0.2.1")
    monkeypatch.setattr(clock, "now", real)
    assert log_in(database, PASSWORD, "192.0.2.1")


def test_many_addresses_have_one_guess_each_and_the_owner_gets_in(lab: Lab, database: Database) -> None:
    for number in range(30):
        guess(database, f"192.0.2.{number}")
    for number in range(30):
        with pytest.raises(TooMany):
            log_in(database, PASSWORD, f"192.0.2.{number}")
    assert log_in(database, PASSWORD, "203.0.113.7")


def test_an_unknown_email_is_throttled_just_the_same(lab: Lab, database: Database) -> None:
    for _ in range(10):
        guess(database, "192.0.2.1", "nobody@example.org")
    with pytest.raises(TooMany):
        log_in(database, "x", "192.0.2.1", "nobody@example.org")


def test_what_was_right_does_not_count(lab: Lab, database: Database) -> None:
    for _ in range(9):
        guess(database, "192.0.2.1")
    for _ in range(5):
        assert log_in(database, PASSWORD, "192.0.2.1")
    guess(database, "192.0.2.1")
    with pytest.raises(TooMany):
        log_in(database, PASSWORD, "192.0.2.1")


def test_many_guesses_at_once_are_no_way_around(lab: Lab, database: Database) -> None:
    answers = all_at_once(30, lambda _: log_in(database, "not her password", "192.0.2.1"))
    assert sum(isinstance(answer, Unauthorized) for answer in answers) == 10
    assert sum(isinstance(answer, TooMany) for answer in answers) == 20


def test_a_try_whose_end_nobody_told_counts_for_a_minute(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real = clock.now
    for _ in range(10):
        throttle.begin(database, "ada@example.org", "192.0.2.1")
    with pytest.raises(TooMany) as caught:
        throttle.begin(database, "ada@example.org", "192.0.2.1")
    assert caught.value.retry_after_s <= 60
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(seconds=61))
    throttle.begin(database, "ada@example.org", "192.0.2.1")


def test_a_household_with_ipv6_is_one_address(lab: Lab, database: Database) -> None:
    for number in range(10):
        guess(database, f"2001:db8:0:1::{number}")
    with pytest.raises(TooMany):
        log_in(database, PASSWORD, "2001:db8:0:1::ffff")
    assert log_in(database, PASSWORD, "2001:db8:0:2::1")


def test_what_counts_no_more_is_swept(lab: Lab, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real = clock.now
    guess(database, "192.0.2.1")
    with database.writing() as db:
        assert throttle.sweep(db) == 0
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(minutes=16))
    with database.writing() as db:
        assert throttle.sweep(db) == 2
