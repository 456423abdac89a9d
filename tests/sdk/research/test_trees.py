"""The SDK and the server hold trees to the same rules: what one stores, the other fetches."""

import os

import msgspec
from arwandb import trees as ours
from arwandb.trees import File
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arwx import trees as theirs
from arwx.errors import Invalid

PARTS = st.text(alphabet="aAbZ.0 \\:~é\u0301\u0130ßſ\0\n\x85\u2028\ud800二", max_size=4) | st.sampled_from(
    ["", ".", "..", ".git", ".GIT", ".git.", ".git ", "a" * 255, "a" * 256, "é" * 128, "C:", "c:x", "CON", "a", "A"]
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join) | st.just("x/" * 511 + "yy") | st.just("x/" * 512 + "y")
FULL = bool(os.environ.get("ARWX_FULL"))


@settings(max_examples=20_000 if FULL else 400, deadline=None, derandomize=True)
@given(path=PATHS)
@example(path="a/b")
def test_a_path_is_right_for_both_or_for_neither(path: str) -> None:
    try:
        theirs.check_path(path)
    except Invalid:
        assert ours.fault(path) is not None
    else:
        assert ours.fault(path) is None


@settings(max_examples=10_000 if FULL else 300, deadline=None, derandomize=True)
@given(paths=st.lists(st.lists(st.sampled_from("aAbBßſ"), min_size=1, max_size=3).map("/".join), max_size=6))
@example(paths=["a", "a/b"])
@example(paths=["a/b", "A"])
def test_paths_stand_side_by_side_for_both_or_for_neither(paths: list[str]) -> None:
    side = ours.Side()
    fits = all(side.takes(path) for path in paths)
    try:
        theirs.check([theirs.Entry(path, "0" * 64, 0) for path in paths])
    except Invalid:
        assert not fits
    else:
        assert fits


def test_an_entry_of_the_sdk_is_one_of_the_server() -> None:
    for is_program, mode in ((False, "100644"), (True, "100755")):
        entry = File("a/b.py", "/somewhere", "0" * 64, 3, is_program).entry
        (checked,) = theirs.check([msgspec.convert(entry, theirs.Entry)])
        assert (checked.path, checked.sha, checked.size, checked.mode) == ("a/b.py", "0" * 64, 3, mode)
        assert ours.check_manifest([entry]) == [entry]
