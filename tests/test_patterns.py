"""Searching by pattern: the same answers as Python's own engine, and never its slowness."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwx.patterns import Fault, Pattern

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "1", "^", "$", "/"])


def written(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from("*+?")).map(lambda two: f"({two[0]}){two[1]}"),
    )


@given(st.recursive(ATOMS, written, max_leaves=8), st.text("ab1/c", max_size=8))
def test_it_finds_what_python_finds(pattern: str, text: str) -> None:
    assert Pattern(pattern).search(text) is bool(re.search(pattern, text)), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "is_found"),
    [
        ("LOSS", "val/loss", True),
        ("^val/.*(loss|acc)$", "val/top1_acc", True),
        ("^val/.*(loss|acc)$", "train/loss", False),
        (r"layer\.\d+", "layer.12/norm", True),
        (r"layer\.\D", "layer.12/norm", False),
        ("[a-f]{", "b{", True),
        ("", "anything", True),
        ("Ω", "ωmega", True),
    ],
)
def test_names_are_found_as_people_mean_it(pattern: str, text: str, is_found: bool) -> None:
    assert Pattern(pattern).search(text) is is_found


@pytest.mark.parametrize(
    ("pattern", "position"), [("a(b", 1), ("a)", 1), ("[a", 0), ("*a", 0), ("a**", 2), ("a\\", 1), ("(" * 30, 20)]
)
def test_what_cannot_be_read_names_the_place(pattern: str, position: int) -> None:
    with pytest.raises(Fault) as caught:
        Pattern(pattern)
    assert caught.value.position == position


def test_no_pattern_is_slow() -> None:
    begun = time.perf_counter()
    for pattern in ("(a+)+$", "(a|a)*$", "(a*)*b", "(a|aa)+$", "(.*a){10}" * 5):
        assert not Pattern(pattern + "!").search("a" * 255)
    assert time.perf_counter() - begun < 5, "Python's own engine would not come back in years"
