"""A view and its address say the same."""

from urllib.parse import parse_qsl

import pytest
from werkzeug.datastructures import MultiDict

from arwx.ui import view
from arwx.ui.view import View


@pytest.mark.parametrize(
    "choice",
    [
        View(),
        View(x="time", y="log"),
        View(hidden=("run_a", "run_b"), metrics="loss"),
        View(columns=3, has_table=False, is_complete=True, cursor="abc"),
        View(
            q='config.a = "b, c" & d', status="failed", tag="a&b", sort="-latest.loss", by="config.lr", is_archived=True
        ),
        View(only=("run_a",), shown_columns=("latest.b", "config.a,b%", "config.a"), pins=("z", "a,b")),
        View(x="metric:val/loss", xs="log", smooth=0.6, is_clipped=True, zoom=(0.1, 1e300), y_low=-1.5, y_high=2.0),
        View(shown_columns=("config.a",), pinned_columns=("latest.b,c", "config.z")),
        View(size="l", closed=("train", "val"), opened=("system",)),
    ],
)
def test_an_address_gives_back_the_view_that_made_it(choice: View) -> None:
    assert view.read(MultiDict(choice.args)) == choice
    assert view.read(MultiDict(parse_qsl(choice.query[1:]))) == choice


def test_the_usual_view_has_a_bare_address() -> None:
    assert View().args == {}


@pytest.mark.parametrize(
    "args",
    [
        {"x": "moon"},
        {"y": ""},
        {"columns": "9"},
        {"columns": "-1"},
        {"hide": ",,"},
        {"other": "1"},
        {"smooth": "nan"},
        {"zoom": "5~1"},
        {"zoom": "a~b"},
        {"ymin": "inf"},
        {"x": "metric:" + "m" * 300},
        {"size": "xl"},
    ],
)
def test_what_cannot_be_understood_counts_as_not_chosen(args: dict[str, str]) -> None:
    assert view.read(MultiDict(args)) == View()


def test_a_run_is_hidden_and_shown_again() -> None:
    hidden = View().toggled("run_a")
    assert hidden.hidden == ("run_a",)
    assert hidden.toggled("run_a") == View()


def test_other_runs_begin_at_their_first_page_and_another_axis_unzoomed() -> None:
    choice = View(cursor="abc", zoom=(1.0, 2.0))
    assert choice.but(q="lr").cursor is None
    assert choice.but(y="log").cursor == "abc"
    assert choice.but(x="time").zoom is None
    assert choice.but(smooth=0.5).zoom == (1.0, 2.0)


def test_alone_means_this_one_and_again_all() -> None:
    alone = View(hidden=("run_b",)).alone("run_a")
    assert [alone.shows(one) for one in ("run_a", "run_b", "run_c")] == [True, False, False]
    assert alone.toggled("run_c").only == ("run_a", "run_c")
    assert alone.alone("run_a") == View()


def test_what_is_hidden_elsewhere_is_forgotten() -> None:
    choice = View(hidden=("run_a", "grp_b"), only=("run_c",))
    assert choice.within({"run_a", "run_b"}) == View(hidden=("run_a",))


def test_a_form_sends_chosen_columns_and_runs_one_by_one() -> None:
    args = MultiDict([("col", "latest.loss"), ("col", "config.a"), ("run", "r1"), ("run", "r2"), ("do", "only")])
    choice = view.read(args)
    assert choice.shown_columns == ("latest.loss", "config.a")
    assert choice.only == ("r1", "r2")
    assert view.read(MultiDict([("run", "r1"), ("do", "hide"), ("hide", "r0")])).hidden == ("r0", "r1")


def test_a_pinned_column_is_let_go_again_and_of_too_many_the_last_gives_way() -> None:
    pinned = View().with_column_pinned("a").with_column_pinned("b")
    assert pinned.pinned_columns == ("a", "b")
    assert pinned.with_column_pinned("a").pinned_columns == ("b",)
    assert pinned.with_column_pinned("c").with_column_pinned("d").pinned_columns == ("a", "b", "d")
