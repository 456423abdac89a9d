"""What failed experiments teach: near misses, and dead ends that need no second try."""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from arwx.experiments import Progress
from arwx.frontier import CRASH, DROP, KEEP, Step

_LONGEST_NOTE = 240
_WORD = re.compile(r"[^\W\d_][\w-]+")
# Words that say nothing of what was tried.
_EMPTY = frozenset(
    "a add added adding again also an and any as at back be bit but by change changed changing configuration "
    "decrease decreased decreasing do down drop dropped experiment fewer first for from get gives go higher if in "
    "increase increased increasing into is it its just keep kept larger less lower made make makes many model more "
    "most much new no not now of off on one only or other our out over per raise raised reduce reduced remove "
    "removed replace replaced run same set setting short should slightly small smaller so some step steps still "
    "test than that the then this three to too train training tried try trying two up use used using value very "
    "was we when which while wide with without".split()
)


@dataclass(frozen=True)
class NearMiss:
    """An experiment that was dropped though its score is close. `behind` is by how much the best is better."""

    index: int
    experiment_id: str
    score: float
    behind: float
    note: str | None


@dataclass(frozen=True)
class DeadEnd:
    """What did not work: experiments whose notes share a word, that are the same, or one alone."""

    words: str
    kind: str
    indexes: list[int]
    crashed: int
    best_score: float | None


def near_misses(story: Progress) -> list[NearMiss]:
    """Dropped experiments that are hardly behind the best, or even before it; the closest to it first.

    Hardly: by no more than chance does (the noise floor), or than the median of the gains that were made.
    """
    best = story.best
    if best is None or best.best is None:
        return []
    gains = [step.gain for step in story.frontier if step.gain]
    margin = max(statistics.median(gains) if gains else abs(best.best) / 100, story.noise.floor if story.noise else 0.0)
    found = []
    for step in story.steps:
        verdict = step.tried.verdict
        if verdict is None or verdict.status != DROP or verdict.metric != story.metric or verdict.score is None:
            continue
        behind = verdict.score - best.best if story.lower_is_better else best.best - verdict.score
        if behind <= margin:
            tried = step.tried
            found.append(NearMiss(tried.index, tried.experiment_id, verdict.score, behind, short(tried.note)))
    return sorted(found, key=lambda miss: (miss.behind, -miss.index))


def dead_ends(story: Progress, told: Iterable[int] = ()) -> list[DeadEnd]:
    """What was dropped or crashed, the same tries first, then by the word that most of the notes share, then alone.

    A word of a step that moved the best leads to no dead end. Near misses are none either, and what is `told`
    elsewhere is not repeated when it stands alone.
    """
    near = {miss.index for miss in near_misses(story)}
    failed = [
        step
        for step in story.steps
        if step.tried.verdict and step.tried.verdict.status in {DROP, CRASH} and step.tried.index not in near
    ]
    found = []
    for group in _same(failed):
        found.append(_dead_end(group, short(group[-1].tried.note, 80) or "the same code and config", "same", story))
        failed = [step for step in failed if step not in group]
    alive = {word for step in story.steps if _is_kept(step) for word in _words(step.tried.note)}
    by_index = {step.tried.index: _words(step.tried.note) - alive for step in failed}
    while counts := Counter(word for words in by_index.values() for word in words):
        word, count = min(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        if count < 2:
            break
        group = [step for step in failed if word in by_index.get(step.tried.index, ())]
        found.append(_dead_end(group, word, "word", story))
        for step in group:
            del by_index[step.tried.index]
    silent = set(told)
    for step in reversed(failed):
        if step.tried.index in by_index and step.tried.index not in silent and step.tried.note:
            found.append(_dead_end([step], short(step.tried.note, 80) or "", "single", story))
    return sorted(found, key=lambda end: (-len(end.indexes), -end.indexes[-1]))


def short(text: str | None, most: int = _LONGEST_NOTE) -> str | None:
    """The text on one line, cut where it gets long; None when it says nothing."""
    if text is None or not (line := " ".join(text.split())):
        return None
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _is_kept(step: Step) -> bool:
    return step.tried.verdict is not None and step.tried.verdict.status == KEEP


def _same(failed: Sequence[Step]) -> Iterator[list[Step]]:
    """Groups of failed experiments with the same code and config."""
    groups: dict[str, list[Step]] = {}
    for step in failed:
        # Without commit, diff and config there is nothing in which they could be the same.
        if step.tried.repro_key is not None:
            groups.setdefault(step.tried.repro_key, []).append(step)
    return (group for group in groups.values() if len(group) > 1)


def _words(note: str | None) -> set[str]:
    return {word for word in _WORD.findall((note or "").lower()) if word not in _EMPTY}


def _dead_end(group: Sequence[Step], words: str, kind: str, story: Progress) -> DeadEnd:
    verdicts = [step.tried.verdict for step in group if step.tried.verdict]
    scores = [one.score for one in verdicts if one.score is not None and one.metric == story.metric]
    best = min if story.lower_is_better else max
    crashed = sum(one.status == CRASH for one in verdicts)
    return DeadEnd(words, kind, [step.tried.index for step in group], crashed, best(scores, default=None))
