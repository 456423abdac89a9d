"""The look of runs: stable, distinct, and visible to people who see fewer colours."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from arwx.svg import palette

CSS = (Path(__file__).parents[2] / "arwx" / "static" / "arwx.css").read_text()
Colour = NDArray[np.float64]

# Severity 1 of Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
# deficiency", 2009; they act on linear RGB.
SIGHTS = {
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear(colour: str) -> Colour:
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(light: Colour) -> Colour:
    cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    cones.append([0.0883024619, 0.2817188376, 0.6299787005])
    axes = [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099]]
    axes.append([0.0259040371, 0.7827717662, -0.808675766])
    found: Colour = np.array(axes) @ np.cbrt(np.clip(np.array(cones) @ light, 0, None))
    return found


def contrast(one: str, other: str) -> float:
    a, b = sorted(float(linear(c) @ np.array([0.2126, 0.7152, 0.0722])) for c in (one, other))
    return (b + 0.05) / (a + 0.05)


def tokens(theme: str) -> dict[str, str]:
    """The custom properties of a theme, as the stylesheet has them."""
    start = CSS.index(":root {") if theme == "light" else CSS.index(':root[data-theme="dark"] {')
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", CSS[start : CSS.index("}", start)]))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_any_two_hues_stay_apart(theme: str, sight: str) -> None:
    seen = [
        oklab(np.clip(np.array(SIGHTS[sight]) @ linear(tokens(theme)[f"hue-{n}"]), 0, 1)) for n in range(palette.HUES)
    ]
    closest = min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))
    assert closest > 0.09


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_and_words_have_enough_contrast(theme: str) -> None:
    found = tokens(theme)
    for n in range(palette.HUES):
        assert contrast(found[f"hue-{n}"], found["panel"]) >= 3  # WCAG 1.4.11, graphics
    for ink in ("ink", "quiet", "accent", "running", "good", "bad", "warn"):
        for ground in ("paper", "panel", "sunk"):
            assert contrast(found[ink], found[ground]) >= 4.5, (ink, ground)  # WCAG 1.4.3, text
    assert contrast(found["accent-ink"], found["accent"]) >= 4.5
    assert contrast(found["bad"], found["bad-wash"]) >= 4.5


def test_both_ways_into_the_dark_set_the_same() -> None:
    by_preference = CSS[CSS.index('not([data-theme="light"]) {') :]
    assert dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", by_preference[: by_preference.index("}")])) == tokens("dark")


def test_a_run_keeps_its_hue_when_newer_ones_come() -> None:
    ids = [f"run_{n:04}" for n in range(30)]
    before = palette.looks(ids[:12])
    after = palette.looks(reversed(ids))
    assert {run_id: after[run_id] for run_id in before} == before


def test_a_run_alone_has_the_hue_of_its_hash() -> None:
    assert palette.looks(["run_a"]) == {"run_a": f"hue-{palette.hue('run_a')}"}


def test_ten_runs_have_ten_hues_and_forty_have_forty_looks() -> None:
    ids = [f"run_{n:04}" for n in range(40)]
    assert len(set(palette.looks(ids[:10]).values())) == 10
    assert not any("dash" in look for look in palette.looks(ids[:10]).values())
    assert len(set(palette.looks(ids).values())) == 40
