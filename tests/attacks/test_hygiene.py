"""What is said of safety is kept up: each row of the table has its tests, a bad pin is found, keys have a pattern."""

import json
import re
import runpy
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.make import Caller

ROOT = Path(__file__).parents[2]
faults = runpy.run_path(str(ROOT / "bin" / "audit.py"))["faults"]
WORDS = (ROOT / "SECURITY.md").read_text()


def rows() -> dict[str, str]:
    """The rows of the attack table by their number."""
    return dict(re.findall(r"^\| ([CWS]-\d+) \|(.*)\|$", WORDS, re.MULTILINE))


def test_every_attack_of_the_table_has_a_test_or_a_reason() -> None:
    expected = {f"C-{n}" for n in range(1, 31)} | {f"W-{n}" for n in range(1, 31)} | {f"S-{n}" for n in range(31, 35)}
    assert set(rows()) == expected
    for number, row in rows().items():
        assert "`tests/" in row or "Not a test:" in row, number


def test_the_tests_that_are_named_are_there() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", WORDS))
    assert len(named) > 40
    for path, test in named:
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


def test_a_known_bad_pin_fails_the_build() -> None:
    bad = {"id": "PYSEC-1", "aliases": ["CVE-2099-1"], "fix_versions": ["2.0"]}
    report = {
        "dependencies": [{"name": "good", "version": "1", "vulns": []}, {"name": "bad", "version": "1", "vulns": [bad]}]
    }
    assert faults(report, {}) == ["bad 1: PYSEC-1, fixed in 2.0"]
    assert faults(report, {"CVE-2099-1": "we do not call it"}) == []
    assert faults(report, {"PYSEC-2": "another"}) != []


def test_an_audit_without_a_network_says_that_it_was_none(tmp_path: Path) -> None:
    """Nothing is reachable behind this proxy: in a release that is a failure."""
    environment = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    pins = tmp_path / "requirements.txt"
    pins.write_text("flask==3.1.3 --hash=sha256:" + "0" * 64 + "\n")
    for required, code in (("", 0), ("required", 1)):
        done = subprocess.run(
            [sys.executable, str(ROOT / "bin" / "audit.py"), str(pins)],
            env={**environment, "ARWX_AUDIT": required},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, "not done" in done.stdout) == (code, True), done.stdout + done.stderr


def test_the_list_of_what_is_inside_can_be_made(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "cyclonedx-py"
    out = tmp_path / "arwx.cdx.json"
    subprocess.run(
        [program, "requirements", "requirements.txt", "--output-reproducible", "--of", "JSON", "-o", out],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    names = {one["name"] for one in json.loads(out.read_text())["components"]}
    assert {"flask", "gunicorn", "sqlalchemy", "msgspec"} <= names


def test_the_documented_pattern_finds_keys_and_the_checksum_tells_them_from_lookalikes(ada: Caller) -> None:
    pattern = re.search(r"`(\(\?<!.*?)`", WORDS)
    assert pattern is not None
    text = f"ARWANDB_API_KEY={ada.key}\nurl?key={ada.key}&x arwx_live_tooshort {ada.key}x"
    assert re.findall(pattern[1], text) == [ada.key, ada.key]
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number, check = zlib.crc32(ada.key[10:-4].encode()) % 62**4, ""
    for _ in range(4):
        number, digit = divmod(number, 62)
        check = digits[digit] + check
    assert ada.key.endswith(check)


@pytest.mark.parametrize("path", ["SECURITY.md", "README.md"])
def test_no_key_is_in_the_documents(path: str) -> None:
    assert not re.search(r"arwx_live_[0-9A-Za-z]{30}\b", (ROOT / path).read_text())
