"""The progress picture: what is drawn where, what is said, and that no label overlaps anything."""

import json
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from arwx.frontier import Noise, Step, Tried, Verdict, is_reached, noise, staircase
from arwx.svg import badge, labels, progress, text, theme
from arwx.svg.labels import Label
from arwx.svg.progress import BOTTOM, FOOT, LEFT, RIGHT, TOP, Picture

WHEN = datetime(2026, 3, 1, tzinfo=UTC)
Row = tuple[Any, ...]


@dataclass
class Story:
    steps: list[Step]
    metric: str | None = "val_bpb"
    lower_is_better: bool = True
    target: float | None = None
    noise: Noise | None = None
    project: str = "char-lm"
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def best(self) -> Step | None:
        return next((step for step in reversed(self.steps) if step.is_best), None)

    @property
    def is_target_reached(self) -> bool:
        return is_reached(self.best.best if self.best else None, self.target, lower_is_better=self.lower_is_better)


def story(*rows: Row, lower: bool = True, first: int = 1, **fields: Any) -> Story:
    """Rows of status, score, note, session, repro key; what is missing is made up."""
    tried, counts = [], dict.fromkeys(("keep", "drop", "crash", "undecided"), 0)
    for index, row in enumerate(rows, first):
        status, score, note, session, key = (*row, None, None, None, None)[:5]
        verdict = Verdict(status, score, "val_bpb", lower, WHEN, "key:k") if status else None
        counts[status or "undecided"] += 1
        tried.append(Tried(index, f"exp_{index}", session or "s1", note, "abc", key or f"k{index}", verdict))
    chance = noise(tried, "val_bpb")
    return Story(staircase(tried, "val_bpb", chance), lower_is_better=lower, noise=chance, counts=counts, **fields)


def draw(*rows: Row, **fields: Any) -> Picture:
    return progress.draw(story(*rows, **fields), {"s1": "night", "s2": None})


def kinds(picture: Picture) -> dict[int, str]:
    return {point.step.tried.index: point.kind for point in picture.points}


def test_every_experiment_has_its_mark_at_its_true_number() -> None:
    picture = draw(
        ("keep", 2.6, "baseline"),
        ("drop", 2.7),
        ("crash",),
        (None,),
        ("keep", 2.5),
        ("keep", 2.55, "simpler"),
        ("drop", 2.4, "ugly"),
        ("drop",),
        first=41,
    )
    assert kinds(picture) == {
        41: "best",
        42: "drop",
        43: "crash",
        44: "undecided",
        45: "best",
        46: "aside",
        47: "ring",
        48: "unscored",
    }
    xs = [point.x for point in picture.points]
    assert xs == sorted(xs)
    assert len({round(b - a, 0) for a, b in pairwise(xs)}) == 1  # no number is left out
    assert {point.y for point in picture.points if point.kind in {"crash", "undecided", "unscored"}} == {FOOT}
    assert [key.kind for key in picture.legend] == [
        "best",
        "aside",
        "ring",
        "undecided",
        "crash",
        "unscored",
        "drop",
    ]


@pytest.mark.parametrize("lower", [True, False])
def test_the_staircase_goes_over_kept_ones_to_the_right_edge(lower: bool) -> None:
    sign = 1 if lower else -1
    rows = [
        ("keep", 2.6 * sign),
        ("drop", 2.3 * sign),
        ("keep", 2.5 * sign),
        ("drop", 2.7 * sign),
        ("drop", 2.7 * sign),
    ]
    picture = draw(*rows, lower=lower)
    points = {point.step.tried.index: point for point in picture.points}
    one, three = points[1], points[3]
    assert picture.staircase == f"M{one.x:g} {one.y:g}H{three.x:g}V{three.y:g}H{RIGHT:g}"
    assert (three.y > one.y) is lower  # greater scores stand higher
    assert picture.best is not None
    assert picture.best.y == three.y


def test_the_title_tells_the_numbers_and_the_gap() -> None:
    rows: list[Row] = [("keep", 2.81), ("drop", 3.0), ("crash",), ("keep", 2.412)]
    assert draw(*rows, target=2.4).title == "val_bpb 2.81 → 2.412 in 4 experiments, 0.012 to target"
    assert draw(*rows, target=2.5).title == "val_bpb 2.81 → 2.412 in 4 experiments, target reached"
    assert draw(*rows).title == "val_bpb 2.81 → 2.412 in 4 experiments"
    assert draw(*rows).subtitle == "char-lm · 2 kept, 1 dropped, 1 crashed · keep rate 67 %"
    assert draw(*rows).axis == "val_bpb (lower is better)"
    assert draw(("keep", 0.5), lower=False).axis == "val_bpb (higher is better)"
    # As many digits as it takes to tell the numbers apart.
    assert draw(("keep", 0.969686), target=0.969650).title.startswith("val_bpb 0.96969 in 1 experiment, 3.6e-5")


def test_the_target_has_its_line_or_an_arrow_to_where_it_is() -> None:
    near = draw(("keep", 2.6), ("keep", 2.5), target=2.45).target
    far = draw(("keep", 2.6), ("keep", 2.5), target=1.0).target
    beyond = draw(("keep", 2.6), ("keep", 2.7), lower=False, target=100.0).target
    assert near is not None
    assert far is not None
    assert beyond is not None
    assert (near.edge, far.edge, beyond.edge) == (0, 1, -1)
    assert TOP < near.y < BOTTOM


@pytest.mark.parametrize("target", [2.5, 2.501, 2.499, 2.6, 2.4])
@pytest.mark.parametrize("lower", [True, False])
def test_the_numbers_at_the_right_edge_keep_apart(target: float, lower: bool) -> None:
    picture = draw(("keep", 2.55 if lower else 2.45), ("keep", 2.5), target=target, lower=lower)
    assert picture.best is not None
    assert picture.target is not None
    assert abs(picture.best.label_y - picture.target.label_y) >= 17.9
    assert abs(picture.best.small_label_y - picture.target.small_label_y) >= 28.9


def test_points_far_out_become_arrows_with_their_count() -> None:
    rows: list[Row] = [("keep", 2.6 - i / 100) for i in range(60)]
    picture = draw(*rows, ("drop", 900.0), ("drop", 901.0), ("drop", 902.0), ("drop", -900.0))
    assert [(arrow.is_up, arrow.label) for arrow in picture.arrows] == [(True, "3 ×"), (False, "−900")]
    assert not {61, 62, 63, 64} & set(kinds(picture))
    spread = {point.y for point in picture.points}
    assert max(spread) - min(spread) > (BOTTOM - TOP) / 2  # the others are not pressed into a line


def test_a_broken_baseline_does_not_flatten_the_rest() -> None:
    picture = draw(("keep", 1e9), *[("keep", 2.6 - i / 100) for i in range(9)])
    assert [(arrow.is_up, arrow.is_kept) for arrow in picture.arrows] == [(True, True)]
    ys = [point.y for point in picture.points]
    assert max(ys) - min(ys) > (BOTTOM - TOP) / 2


def test_what_may_be_chance_is_lighter_and_has_a_band() -> None:
    repeats: list[Row] = [("keep", 2.60, "baseline", "s1", "same"), ("drop", 2.62, "again", "s1", "same")]
    picture = draw(*repeats, ("keep", 2.59), ("keep", 2.2))
    assert kinds(picture) == {1: "best", 2: "drop", 3: "noise", 4: "best"}
    assert picture.band.endswith("Z")
    assert "noise ±" in picture.subtitle
    assert draw(("keep", 2.6), ("keep", 2.5)).band == ""


def test_sessions_have_their_colours_and_beginnings() -> None:
    picture = draw(("keep", 2.6, "a", "s1"), ("keep", 2.5, "b", "s2"), ("keep", 2.4, "c", "s1"))
    assert [point.colour for point in picture.points] == [0, 1, 0]
    assert [(one.label, one.has_line) for one in picture.beginnings] == [("night", False), ("session 2", True)]
    assert draw(("keep", 2.6)).beginnings == []


def boxes(placed: list[Label], size: float) -> list[tuple[float, float, float, float]]:
    found = []
    for label in placed:
        length = text.width(label.words, size)
        left = label.x - length if label.is_before else label.x
        found.append((left, label.y - 0.9 * size, left + length, label.y + 0.15 * size))
    return found


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("lower", [True, False])
def test_no_label_overlaps_a_label_a_kept_point_or_the_staircase(seed: int, lower: bool) -> None:
    chance = random.Random(seed)
    best, rows = 2.0, []
    for number in range(chance.choice([3, 12, 60, 300])):
        if chance.random() < 0.3:
            best -= chance.random() ** 3 / 10
            rows.append(("keep", best, "words " * chance.randint(1, 12), f"s{number // 40}"))
        else:
            rows.append(("drop", best + abs(chance.gauss(0, 0.1)), "x", f"s{number // 40}"))
    if not lower:
        rows = [(row[0], -row[1], *row[2:]) for row in rows]
    picture = draw(*rows, lower=lower, target=1.9 if lower else -1.9)
    steps = [
        (float(a.split("V")[0]), 0.0) for a in picture.staircase.split("H")[1:]
    ]  # the corners' x, to see that there is a staircase at all
    for placed, size, radius, most in ((picture.labels, 12.5, 4, 12), (picture.small_labels, 23, 8, 4)):
        found = boxes(placed, size)
        assert len(found) <= most
        assert not steps or found
        for one, other in combinations(found, 2):
            assert not overlap(one, other), picture.labels
        for box in found:
            assert box[0] >= 0
            assert box[2] <= RIGHT + 8
            for point in picture.points:
                if point.kind in {"best", "noise", "aside", "ring"}:
                    mark = (point.x - radius, point.y - radius, point.x + radius, point.y + radius)
                    assert not overlap(box, mark), (box, point)
            for line in lines(picture.staircase):
                assert not overlap(box, line), (box, line)


def test_no_label_stands_among_the_numbers_of_the_axis_when_it_has_another_place() -> None:
    picture = draw(*(("keep", 2.0 - number / 4, "baseline with a longer name") for number in range(4)))
    assert [box[0] for box in boxes(picture.labels, 12.5) if box[0] < LEFT - 8] == []
    assert len(picture.labels) == 4


def lines(path: str) -> list[tuple[float, float, float, float]]:
    """The parts of a staircase as flat boxes."""
    if not path:
        return []
    start, *parts = path[1:].replace("H", " H").replace("V", " V").split(" H")
    numbers = start.split()
    x, y = float(numbers[0]), float(numbers[1].split("V")[0])
    found = []
    for part in parts:
        across, _, down = part.partition(" V")
        found.append((x, y, float(across), y))
        x = float(across)
        if down:
            found.append((x, min(y, float(down)), x, max(y, float(down))))
            y = float(down)
    return found


def test_the_greatest_gains_are_named_first_and_cut() -> None:
    rows: list[Row] = [
        ("keep", 100.0 - 2 * i - (5 if i in {3, 17, 31} else 0), f"gain {i} " + "x" * 80) for i in range(40)
    ]
    picture = draw(*rows)
    said = [label.words for label in picture.labels]
    assert 3 <= len(said) <= 12
    assert all(len(words) <= 45 for words in said)
    assert said[0].startswith("gain 39 ")  # the best itself
    told = {point.step.tried.index for point in picture.told}
    assert {4, 18, 32, 40} <= told


def test_there_is_a_picture_of_everything() -> None:
    for rows in (
        [],
        [("keep", 2.5)],
        [("keep", 2.5)] * 6,
        [("keep", 0.0)] * 3,
        [("crash",)] * 5,
        [("drop",), (None,), ("crash",)],
        [("drop", 2.5), ("drop", 2.7)],
        [("keep", 1e300), ("keep", -1e300), ("drop", 1.7e308), ("drop", -1.7e308)],
        [("keep", 5e-324), ("keep", 0.0)],
        [("keep", 1e-9), ("keep", 0.9e-9), ("keep", 0.8e-9)],
    ):
        for lower in (True, False):
            for target in (None, 0.0, 2.4, 1e308):
                picture = draw(*rows, lower=lower, target=target)
                assert picture.title
                assert all(LEFT <= point.x <= RIGHT for point in picture.points)
                assert all(TOP - 1 <= point.y <= FOOT for point in picture.points)
                assert all(TOP - 1 <= tick.at <= BOTTOM + 1 for tick in picture.y_ticks)
    assert draw().message.startswith("No experiment yet")
    assert draw(("crash",)).message == "No experiment has reached a score yet."


def test_the_frontier_shows_what_moved_the_best_alone() -> None:
    told = story(("keep", 2.6), ("drop", 2.7), ("keep", 2.5), ("crash",), ("keep", 2.55))
    picture = progress.draw(told, {}, is_frontier=True)
    assert kinds(picture) == {1: "best", 3: "best"}
    assert picture.title == "val_bpb 2.6 → 2.5 in 2 steps"
    assert picture.legend == []
    nothing = progress.draw(story(("drop", 2.7), ("crash",)), {}, is_frontier=True)
    assert (nothing.title, nothing.message.split(":")[0]) == ("val_bpb: nothing kept yet", "Nothing is kept yet")


def test_programs_read_the_facts() -> None:
    facts = json.loads(draw(("keep", 2.6, "]]><script>"), ("drop", 2.7), ("keep", 2.5), target=2.4).facts)
    assert facts["frontier"] == [[1, 2.6], [3, 2.5]]
    assert facts["best"] == {"index": 3, "score": 2.5}
    assert (facts["experiments"], facts["counts"]["drop"], facts["target_reached"]) == (3, 1, False)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("plain", "plain"),
        ("two\nlines\tand\x00more", "two lines and more"),
        ("\u202eright to left", "right to left"),
        ("\ud800\ufffe\uffff", ""),
        ("é 日本語 🎉", "é 日本語 🎉"),
    ],
)
def test_words_hold_what_xml_can(given: str, kept: str) -> None:
    assert text.clean(given) == kept


def test_cut_words_end_with_an_ellipsis() -> None:
    assert text.cut("x" * 45, 45) == "x" * 45
    assert text.cut("x" * 46, 45) == "x" * 44 + "…"
    assert len(text.cut("y" * 100_000, 45)) == 45


def test_a_board_knows_what_is_taken() -> None:
    board = labels.Board(labels.Box(0, 0, 100, 100))
    board.take([labels.Box(10, 10, 20, 20)])
    assert not board.is_free(labels.Box(15, 15, 40, 25))
    assert board.is_free(labels.Box(30, 30, 40, 40))
    assert not board.is_free(labels.Box(90, 90, 110, 95))
    board.note([labels.Box(30, 30, 31, 31)])
    assert board.crowd(labels.Box(30, 30, 40, 40)) > board.crowd(labels.Box(50, 50, 60, 60)) == 0


def test_the_page_has_the_same_rules() -> None:
    sheet = (Path(__file__).parents[2] / "arwx" / "static" / "picture.css").read_text()
    assert sheet.endswith(theme.RULES)
    for name in ("dropped", "kept-edge"):
        assert sheet.count(f"--{name}: {theme.DARK[name]};") == 2
        assert f"--{name}: {theme.LIGHT[name]};" in sheet
    for one in theme.THEMES:
        assert "var(" not in theme.style(one) + theme.badge_style(one)
        assert "<" not in theme.style(one)
    assert "prefers-color-scheme" in theme.style("auto")
    assert "prefers-color-scheme" not in theme.style("dark")


def test_the_dark_changes_colours_and_no_size() -> None:
    light, _, dark = theme.style("auto").partition("@media (prefers-color-scheme: dark)")
    assert set(re.findall(r"([\w-]+):", dark)) == {"fill", "stroke"}
    assert theme.DARK["accent"] in dark
    assert theme.DARK["accent"] not in light
    assert dark.count("{") == dark.count("}")


def test_a_badge_says_the_best_in_a_line() -> None:
    assert badge.draw(story(("keep", 2.412), target=2.4)).value == "2.412, target 2.4"
    assert badge.draw(story(("keep", 2.412), target=2.5)).value == "2.412, target reached"
    assert badge.draw(story()).value == "no score yet"
    wide, narrow = badge.draw(story(metric="m" * 99)), badge.draw(story())
    assert wide.width > narrow.width
    assert wide.name == "m" * 23 + "…"
