"""Coming in and going out, keys from the Connection panel, and forms that others forge."""

import re

import pytest
from flask import Flask

from tests.make import Caller
from tests.ui.conftest import PASSWORD, Visitor


def sign_up(visitor: Visitor, **changed: str) -> object:
    fields = {"email": "ada@example.org", "password": PASSWORD, "organization": "Ada's lab", **changed}
    return visitor.send("/signup", "/signup", **fields)


def test_the_first_visitor_is_led_to_sign_up_and_owns_what_she_makes(stranger: Visitor) -> None:
    assert stranger.get("/").headers["Location"] == "/signup"
    answer = stranger.send("/signup", "/signup", email="Ada@Example.org", password=PASSWORD, organization="Ada's lab")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    page = stranger.get("/settings").text
    assert "ada@example.org" in page
    assert "owner" in page


def test_after_the_first_account_sign_up_is_closed_in_words(ada_at_home: Visitor, stranger: Visitor) -> None:
    assert stranger.get("/").headers["Location"] == "/login"
    assert "Sign-up is closed" in stranger.get("/signup").text
    assert "Sign up" not in stranger.get("/login").text


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("email", "ada", "must be an e-mail address"),
        ("password", "short", "8 to 256 characters"),
        ("password", "password", "first that others would try"),
        ("organization", "a/b", "must not contain"),
    ],
)
def test_a_wrong_field_is_told_beside_it_and_the_rest_stays(
    stranger: Visitor, field: str, value: str, said: str
) -> None:
    fields = {"email": "ada@example.org", "password": PASSWORD, "organization": "Ada's lab", field: value}
    answer = stranger.send("/signup", "/signup", **fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert PASSWORD not in answer.text
    if field != "email":
        assert 'value="ada@example.org"' in answer.text
    assert stranger.get("/").headers["Location"] == "/signup", "no half-made account"


def test_a_wrong_password_and_an_unknown_email_get_the_same_answer(ada_at_home: Visitor, stranger: Visitor) -> None:
    wrong = stranger.log_in("ada@example.org", "not her password")
    unknown = stranger.log_in("nobody@example.org", "not her password")
    assert wrong.status_code == unknown.status_code == 401
    assert "E-mail or password is wrong." in wrong.text
    assert "E-mail or password is wrong." in unknown.text
    focused = re.findall(r'name="(\w+)"[^>]*\bautofocus', wrong.text)
    assert focused == ["password"], "the e-mail stays, the password is typed again"


def test_after_the_login_the_page_that_was_asked_for_comes(ada_at_home: Visitor, stranger: Visitor) -> None:
    assert stranger.get("/p/char-lm?x=time").headers["Location"] == "/login?next=/p/char-lm?x%3Dtime"
    assert stranger.log_in("ada@example.org", next="/p/char-lm?x=time").headers["Location"] == "/p/char-lm?x=time"


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evil", "/\t/evil"],
)
def test_nobody_is_sent_elsewhere_after_the_login(ada_at_home: Visitor, stranger: Visitor, elsewhere: str) -> None:
    assert stranger.log_in("ada@example.org", next=elsewhere).headers["Location"] == "/"


def test_signing_out_ends_the_session_on_the_server_too(ada_at_home: Visitor, app: Flask) -> None:
    cookie = ada_at_home.client.get_cookie("arwx")
    assert cookie is not None
    assert ada_at_home.send("/settings", "/logout").headers["Location"] == "/login"
    thief = app.test_client()
    thief.set_cookie("arwx", cookie.value)
    assert thief.get("/settings").status_code == 302


@pytest.mark.parametrize("path", ["/logout", "/settings/keys", "/settings/keys/key_1/revoke"])
def test_a_form_without_the_token_of_our_page_is_refused(ada_at_home: Visitor, path: str) -> None:
    answer = ada_at_home.client.post(path, data={"name": "forged"})
    assert answer.status_code == 403
    assert "<html" in answer.text
    assert ada_at_home.get("/settings").status_code == 200


def test_logging_in_without_the_token_is_refused(ada_at_home: Visitor, app: Flask) -> None:
    answer = app.test_client().post("/login", data={"email": "ada@example.org", "password": PASSWORD})
    assert answer.status_code == 403


@pytest.mark.parametrize("is_htmx", [True, False])
def test_a_key_is_shown_once_works_and_is_revoked(ada_at_home: Visitor, app: Flask, is_htmx: bool) -> None:
    answer = ada_at_home.send("/settings", "/settings/keys", is_htmx=is_htmx, name="rack 7", level="write")
    assert ("<html" in answer.text) is not is_htmx
    secret = re.search(r"ARWANDB_API_KEY=(arwx_live_[0-9A-Za-z]{30})", answer.text)
    assert secret is not None
    assert "export ARWANDB_BASE_URL=http://localhost" in answer.text
    page = ada_at_home.get("/settings").text
    assert secret[1] not in page
    assert "rack 7" in page

    def status() -> int:
        return app.test_client().get("/v1/projects", headers={"Authorization": f"Bearer {secret[1]}"}).status_code

    assert status() == 200
    key_id = re.findall(r"/settings/keys/([^/]+)/revoke", page)[0]
    ada_at_home.send("/settings", f"/settings/keys/{key_id}/revoke", is_htmx=is_htmx)
    assert status() == 401
    assert "rack 7" not in ada_at_home.get("/settings").text


def test_a_key_needs_a_name(ada_at_home: Visitor) -> None:
    answer = ada_at_home.send("/settings", "/settings/keys", name=" ", level="write")
    assert answer.status_code == 422
    assert "name must have 1 to 128 characters" in answer.text


def test_the_key_of_another_organization_cannot_be_revoked(
    ada_at_home: Visitor, mallory_at_home: Visitor, ada: Caller
) -> None:
    key_id = re.findall(r"/settings/keys/([^/]+)/revoke", ada_at_home.get("/settings").text)[0]
    assert mallory_at_home.send("/settings", f"/settings/keys/{key_id}/revoke").status_code == 404
    assert ada.get("/v1/projects").status_code == 200


def test_a_fragment_whose_login_ended_sends_the_whole_page_to_the_login(
    stranger: Visitor, ada_at_home: Visitor
) -> None:
    answer = stranger.get("/p/x", is_htmx=True, headers={"HX-Current-URL": "http://localhost/p/x?y=log"})
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"].startswith("/login?next=/p/x")
