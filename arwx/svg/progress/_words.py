"""The words of the picture: title, counts, what each experiment is, and all of it for those who do not see it."""

import json
from collections.abc import Sequence

from arwx.frontier import CRASH, DROP, KEEP, Step
from arwx.svg import text, ticks
from arwx.svg.progress._story import UNDECIDED, Story, score_of

_STEPS_TOLD = 250


class Words:
    """How the story is told: as many digits as its numbers need to be told apart."""

    def __init__(self, story: Story, steps: Sequence[Step], *, is_frontier: bool) -> None:
        self._story, self._steps, self._is_frontier = story, steps, is_frontier
        self._metric = text.cut(story.metric or "score", 28)
        self._firsts = [step.best for step in steps if step.is_best and step.best is not None]
        self._digits = 4
        told = {*self._firsts[:1], *self._firsts[-1:], *([] if story.target is None else [story.target])}
        while self._digits < 8 and len({self.number(score) for score in told}) < len(told):
            self._digits += 1

    def number(self, value: float) -> str:
        return ticks.compact(value) if 1e4 <= abs(value) < 1e15 else ticks.significant(value, self._digits)

    def label(self, step: Step) -> str:
        return text.clean((step.tried.note or "")[:400]) or f"#{step.tried.index}"

    def of(self, step: Step, judged: str) -> str:
        """The whole truth about one experiment in a line."""
        score = score_of(step, self._story.metric)
        said = [f"#{step.tried.index} {judged}", *([] if score is None else [self.number(score)])]
        gain = [f"gain {ticks.significant(step.gain, 3)}"] if step.gain else []
        note = [text.cut(step.tried.note, 160)] if step.tried.note else []
        return " · ".join([" ".join(said), *gain, *note])

    @property
    def _many(self) -> str:
        count, noun = len(self._steps), "step" if self._is_frontier else "experiment"
        return f"{count:,} {noun}{'' if count == 1 else 's'}"

    @property
    def _gap(self) -> str:
        """How far the target is, as the end of a sentence."""
        story = self._story
        if story.target is None or story.best is None or story.best.best is None:
            return ""
        if story.is_target_reached:
            return "target reached"
        return f"{ticks.significant(abs(story.best.best - story.target), 3)} to target"

    def title(self, *, is_small: bool) -> str:
        """What happened, with the numbers."""
        if not self._firsts:
            yet = f"{self._many}, no score" if self._steps else "nothing kept" if self._story.steps else "no experiment"
            return f"{self._metric}: {yet} yet"
        first, best = self.number(self._firsts[0]), self.number(self._firsts[-1])
        moved = f"{self._metric} {first} → {best}" if len(self._firsts) > 1 else f"{self._metric} {best}"
        if is_small:
            return f"{text.cut(self._metric, 16)} {best}" + (f", {self._gap}" if self._gap else f" in {self._many}")
        return f"{moved} in {self._many}" + (f", {self._gap}" if self._gap else "")

    def subtitle(self, *, is_small: bool) -> str:
        """Whose story it is, the counts and the share of what was kept."""
        counts = self._story.counts
        parts = [("kept", KEEP), ("dropped", DROP), ("crashed", CRASH), (UNDECIDED, UNDECIDED)]
        told = [f"{counts[status]:,} {word}" for word, status in parts if counts.get(status)]
        if is_small:
            return text.cut(" · ".join(told[:3]) or self._story.project, 44)
        judged = counts.get(KEEP, 0) + counts.get(DROP, 0)
        rate = [f"keep rate {round(100 * counts[KEEP] / judged)} %"] if judged else []
        noise = self._story.noise
        chance = [f"noise ±{ticks.significant(noise.deviation, 2)} in {noise.repeats} repeats"] if noise else []
        return " · ".join([text.cut(self._story.project, 40), ", ".join(told) or "nothing yet", *rate, *chance])

    @property
    def axis(self) -> str:
        return f"{self._metric} ({'lower' if self._story.lower_is_better else 'higher'} is better)"

    @property
    def description(self) -> str:
        """For those who do not see the picture."""
        moved = [step for step in self._steps if step.is_best and step.best is not None][-20:]
        steps = [f"#{step.tried.index} {self.number(step.best or 0.0)}" for step in moved]
        told = f" The running best: {', '.join(steps)}." if steps else ""
        return f"{self.axis}. {self.subtitle(is_small=False)}.{told}"

    @property
    def facts(self) -> str:
        """The same for programs."""
        story, best = self._story, self._story.best
        moved = [step for step in self._steps if step.is_best]
        told = {
            "project": story.project,
            "metric": story.metric,
            "lower_is_better": story.lower_is_better,
            "target": story.target,
            "target_reached": story.is_target_reached,
            "experiments": len(story.steps),
            "counts": dict(story.counts),
            "best": None if best is None else {"index": best.tried.index, "score": best.best},
            "noise": None if story.noise is None else {"deviation": story.noise.deviation, "floor": story.noise.floor},
            # The newest steps of the running best, as true number and score.
            "frontier": [[step.tried.index, step.best] for step in moved[-_STEPS_TOLD:]],
        }
        return json.dumps(told, separators=(",", ":"))
