"""The progress picture: every experiment at its true number, the running best as a staircase, target and chance.

Scores in, geometry out; `templates/pictures/_progress.svg` turns it into elements. Lengths are in the units of a view
box of a fixed size. Words are set twice where they must be: for a wide place, and bigger and fewer for a small one.
"""

from arwx.svg.progress._picture import Picture, draw
from arwx.svg.progress._scales import BOTTOM, FOOT, LEFT, RIGHT, TOP
from arwx.svg.progress._story import Story

__all__ = ["BOTTOM", "FOOT", "LEFT", "RIGHT", "TOP", "Picture", "Story", "draw"]
