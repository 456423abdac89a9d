"""Somebody signed in at a browser: the cookie, and pages as their browser asks for them."""

import html
import re
from urllib.parse import urlencode

from bench import host, wire

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
_BROWSER = {"Accept-Encoding": "gzip, deflate, br, zstd", "Accept": "text/html"}


def sign_in(server: host.Arwx) -> str:
    """Sign in through the form. Answers the cookies as one header value."""
    with wire.Connection(server.port) as connection:
        form = connection.send(wire.request("GET", "/login", {"Accept": "text/html"}))
        token = re.search(r'name="csrf_token" value="([^"]+)"', form.body.decode())
        if token is None:
            raise RuntimeError("the sign-in page has no form")
        fields = urlencode({"csrf_token": html.unescape(token[1]), "email": EMAIL, "password": PASSWORD}).encode()
        headers = {"Cookie": _cookies(form), "Referer": f"{server.base_url}/login"}
        answer = connection.send(wire.request("POST", "/login", headers, fields, "application/x-www-form-urlencoded"))
    if answer.status not in {302, 303}:
        raise RuntimeError(f"signing in: {answer.status}")
    return _cookies(answer) or _cookies(form)


def pages(server: host.Arwx, cookie: str, path: str, rounds: int, **headers: str) -> list[wire.Answer]:
    """The same page several times over one connection, after one to warm up."""
    whole = wire.request("GET", path, {**_BROWSER, "Cookie": cookie, **headers})
    with wire.Connection(server.port) as connection:
        answers = [connection.send(whole) for _ in range(rounds + 1)][1:]
    if answers[0].status != 200:
        raise RuntimeError(f"{path}: {answers[0].status}")
    return answers


def _cookies(answer: wire.Answer) -> str:
    return "; ".join(line.partition(";")[0] for line in answer.cookies)
