"""A view and its address say the same."""

import pytest
from werkzeug.datastructures import ImmutableMultiDict

from arwx.ui import view
from arwx.ui.view import View


@pytest.mark.parametrize(
    "choice",
    [
        View(),
        View(x="time", y="log"),
        View(hidden=("run_a", "run_b"), metrics="loss"),
        View(columns=3, has_table=False, is_complete=True, cursor="abc"),
    ],
)
def test_an_address_gives_back_the_view_that_made_it(choice: View) -> None:
    assert view.read(choice.args) == choice


def test_the_usual_view_has_a_bare_address() -> None:
    assert View().args == {}


@pytest.mark.parametrize(
    "args", [{"x": "moon"}, {"y": ""}, {"columns": "9"}, {"columns": "-1"}, {"hide": ",,"}, {"other": "1"}]
)
def test_what_cannot_be_understood_counts_as_not_chosen(args: dict[str, str]) -> None:
    assert view.read(ImmutableMultiDict(args)) == View()


def test_a_run_is_hidden_and_shown_again() -> None:
    hidden = View().toggled("run_a")
    assert hidden.hidden == ("run_a",)
    assert hidden.toggled("run_a") == View()
