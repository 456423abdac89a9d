"""The rules of trees: what a manifest may hold, its hash, and the way from one tree to another."""

import difflib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwx import textdiff, trees
from arwx.errors import Invalid
from arwx.trees import Entry

SHA = "a" * 64
OTHER = "b" * 64


def entry(path: str, sha: str = SHA, size: int = 1, mode: int | str | None = None) -> Entry:
    return Entry(path, sha, size, mode)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../x",
        "a/../x",
        "a/./x",
        "a//b",
        "a/",
        "C:\\x",
        "C:x",
        "c:/x",
        "a\\b",
        "a\x00b",
        "a\nb",
        "a\x7fb",
        "e\u0301",  # é in two characters
        "\ud800",
        ".git/hooks/post-checkout",
        "x/.GIT/config",
        ".git. /config",
        "p" * 256,
        "é" * 128,
        "/".join(["d" * 200] * 6),
    ],
)
def test_a_path_that_leads_astray_is_refused_by_number(path: str) -> None:
    with pytest.raises(Invalid) as caught:
        trees.check([entry("fine"), entry(path)])
    assert caught.value.errors[0].field == "entries[1].path"


@pytest.mark.parametrize(
    "path", ["a", "a/b.py", "é/ß.txt", ".gitignore", "a/.github/x", "..a", "a b", "2026-01-01T10:00", "p" * 255]
)
def test_ordinary_paths_pass(path: str) -> None:
    assert trees.check([entry(path)])[0].path == path


@pytest.mark.parametrize(
    ("paths", "number"),
    [(["a", "a"], 1), (["README", "x", "readme"], 2), (["straße", "STRASSE"], 1), (["a/b", "a"], 0), (["A", "a/b"], 1)],
)
def test_two_files_never_meet_in_one_place(paths: list[str], number: int) -> None:
    with pytest.raises(Invalid) as caught:
        trees.check([entry(path) for path in paths])
    assert caught.value.errors[0].field == f"entries[{number}].path"


@pytest.mark.parametrize("sha", ["", "A" * 64, "a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n"])
def test_a_sha_has_one_form(sha: str) -> None:
    with pytest.raises(Invalid):
        trees.check([entry("a", sha)])


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        (None, "100644"),
        (0o644, "100644"),
        (0o100755, "100755"),
        ("100600", "100644"),
        ("0755", "100755"),
        ("100755", "100755"),
    ],
)
def test_modes_say_program_or_not(mode: int | str | None, kept: str) -> None:
    assert trees.check([entry("a", mode=mode)])[0].mode == kept


@pytest.mark.parametrize("mode", ["120000", 0o120777, "040000", 0o40755, "rwx", "9", -1, 2**20, ""])
def test_a_tree_has_no_links_folders_or_devices(mode: int | str) -> None:
    with pytest.raises(Invalid) as caught:
        trees.check([entry("a", mode=mode)])
    assert caught.value.errors[0].field == "entries[0].mode"


def test_the_hash_is_of_the_content_and_not_of_its_order() -> None:
    one = trees.check([entry("b"), entry("a", OTHER)])
    assert [e.path for e in one] == ["a", "b"]
    assert trees.digest(one) == trees.digest(list(reversed(one)))
    changes = [
        [entry("a", SHA), entry("b")],
        [entry("a", OTHER), entry("c")],
        [entry("a", OTHER)],
        [entry("a", OTHER), entry("b", mode=0o755)],
        [entry("a", OTHER), entry("b", size=2)],
    ]
    assert len({trees.digest(one), *(trees.digest(trees.check(change)) for change in changes)}) == 6


def test_the_hash_never_changes_between_versions() -> None:
    assert trees.digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    known = trees.check([entry("src/é.py", SHA, 12), entry("run.sh", OTHER, 3, 0o755)])
    assert trees.digest(known) == "35dbe360b82508fea05382865ccff0f65f9333e84654ef60a13cd4021f95ede0"


def test_the_way_from_one_tree_to_another() -> None:
    texts = {"1" * 64: "a\nb\nc\n", "2" * 64: "a\nB\nc\n", "3" * 64: None}
    before = trees.check([entry("gone"), entry("same"), entry("text", "1" * 64), entry("bin", "1" * 64), entry("mode")])
    after = trees.check(
        [entry("new"), entry("same"), entry("text", "2" * 64), entry("bin", "3" * 64), entry("mode", mode=0o755)]
    )
    found = trees.diff(before, after, lambda e: texts[e.sha])
    assert (found.added, found.removed) == (["new"], ["gone"])
    assert {change.path: change.diff for change in found.modified} == {
        "bin": None,
        "mode": "",
        "text": "--- a/text\n+++ b/text\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n",
    }
    assert trees.diff(before, before, lambda e: None) == trees.TreeDiff([], [], [])


def applied(old: str, diff: str) -> str:
    """The text that a unified diff makes of `old`; its ranges are believed to the letter."""
    lines = textdiff._lines(old)
    made: list[str] = []
    at, last = 0, " "
    for line in textdiff._lines(diff)[2:]:
        if head := re.match(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n\Z", line):
            start = int(head[1]) - (head[2] != "0")
            made += lines[at:start]
            assert len(made) == int(head[3]) - (head[4] != "0")
            at = start
        elif line.startswith("\\"):
            if last != "-":
                made[-1] = made[-1].removesuffix("\n")
        else:
            last = line[0]
            if last != "+":
                assert lines[at].rstrip("\n") == line[1:].rstrip("\n")
                at += 1
            if last != "-":
                made.append(line[1:])
    return "".join(made + lines[at:])


texts = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n", "d\r\n"]), max_size=40).map("".join)


@given(texts, texts, st.booleans(), st.booleans())
def test_a_diff_turns_one_text_into_the_other(old: str, new: str, old_ends: bool, new_ends: bool) -> None:
    old, new = old + "" if old_ends else old + "x", new + "" if new_ends else new + "y"
    diff = textdiff.unified(old, new, "a", "b")
    assert (diff == "") is (old == new)
    assert old == new or applied(old, diff) == new


@given(texts, texts)
def test_a_diff_is_as_short_as_can_be(old: str, new: str) -> None:
    def changed(lines: list[str]) -> int:
        return sum(line[0] in "+-" for line in lines[2:])

    ours = changed(textdiff._lines(textdiff.unified(old, new, "a", "b")))
    assert ours <= changed(list(difflib.unified_diff(textdiff._lines(old), textdiff._lines(new))))


def test_hostile_texts_are_compared_in_bounded_time() -> None:
    started = time.process_time()
    old = "".join(f"{i % 97}\n" for i in range(8000))
    new = "".join(f"{i * i % 89}\n" for i in range(8000))
    diff = textdiff.unified(old, new, "a", "b")
    assert time.process_time() - started < 2
    assert applied(old, diff) == new


MANY = 131_072


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\n" * MANY, ("a\n" * 300 + "c\n") * (MANY // 301)),
        ("a\n" * MANY, "b\n" * MANY),
        ("a\nb\n" * (MANY // 2), "b\na\n" * (MANY // 2)),
        ("\n".join(map(str, range(40_000))), "\n".join(str(i if i % 110 else -i) for i in range(40_000))),
    ],
    ids=["periodic", "all lines", "shifted", "many hunks"],
)
def test_texts_of_many_short_lines_are_compared_in_bounded_time(old: str, new: str) -> None:
    started = time.process_time()
    diff = textdiff.unified(old, new, "a", "b")
    assert time.process_time() - started < 10  # line by line and hunk by hunk it would be minutes
    assert applied(old, diff) == new
