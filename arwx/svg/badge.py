"""The badge: what is measured and the best that was reached, as small as a line of text."""

from dataclasses import dataclass

from arwx.frontier import Step
from arwx.svg import text, ticks
from arwx.svg.progress import Story

HEIGHT = 22
_SIZE, _AIR = 12, 9.0
_BOLD = 1.1


@dataclass(frozen=True, slots=True)
class Badge:
    """Two fields side by side, each with the middle of its words and the length that they are given."""

    title: str
    name: str
    value: str
    name_length: float
    value_length: float
    is_reached: bool

    @property
    def split(self) -> float:
        """Where the second field begins."""
        return round(self.name_length + 2 * _AIR, 1)

    @property
    def width(self) -> float:
        return round(self.split + self.value_length + 2 * _AIR, 1)


def draw(story: Story) -> Badge:
    """The badge of a story."""
    name = text.cut(story.metric or story.project, 24)
    value = _value(story, story.best)
    return Badge(
        title=text.clean(f"{story.project}: {name} {value}"),
        name=name,
        value=value,
        name_length=round(text.width(name, _SIZE), 1),
        value_length=round(text.width(value, _SIZE) * _BOLD, 1),
        is_reached=story.is_target_reached,
    )


def _value(story: Story, best: Step | None) -> str:
    if best is None or best.best is None:
        return "no score yet"
    reached = ticks.significant(best.best)
    if story.target is None:
        return reached
    return f"{reached}, target {'reached' if story.is_target_reached else ticks.significant(story.target)}"
