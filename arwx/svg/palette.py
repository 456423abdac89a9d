"""One look per run: a hue and, when the hues are used up, a dash. Colours themselves are in the stylesheet.

The ten hues were searched for in OKLCH so that each has a contrast of at least 3:1 with its ground and every
two of them stay apart under normal sight and under simulated protanopia, deuteranopia and tritanopia
(Machado, Oliveira and Fernandes 2009); tests/svg/test_palette.py measures both.
"""

from collections.abc import Iterable
from hashlib import blake2b

HUES = 10
DASHES = 4
# The hues of the light theme, for pictures that leave the page. The stylesheet has them, and those of the dark one.
LIGHT = (
    *("#3744be", "#b95400", "#46805f", "#9576e7", "#c5850c"),
    *("#700b3c", "#02a3a6", "#7c4437", "#004168", "#7c5794"),
)


def hue(run_id: str) -> int:
    """The hue that a run would like, 0 to 9, by a hash of its id: the same on every machine, for ever."""
    return int.from_bytes(blake2b(run_id.encode(), digest_size=8).digest()) % HUES


def looks(run_ids: Iterable[str]) -> dict[str, str]:
    """The CSS classes of runs that are shown together, such as `hue-3` or `hue-3 dash-1`.

    Every run gets the hue of its own hash as long as that is free, else the next free one; dashes begin when
    all ten are used. Older runs choose first (ids sort by time), so that a new run never recolours an old one.
    """
    taken: list[int] = [0] * HUES
    classes: dict[str, str] = {}
    for run_id in sorted(set(run_ids)):
        least = min(taken)
        wanted = hue(run_id)
        chosen = next(h % HUES for h in range(wanted, wanted + HUES) if taken[h % HUES] == least)
        dash = taken[chosen] % DASHES
        taken[chosen] += 1
        classes[run_id] = f"hue-{chosen} dash-{dash}" if dash else f"hue-{chosen}"
    return classes
