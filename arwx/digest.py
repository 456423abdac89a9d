"""A briefing as text, and how it is made to fit: the least important lines go first, and it says what is left out."""

import bisect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from arwx.briefing import Briefing, Move, OpenExperiment, Overview, ProjectLine, RunNews
from arwx.lessons import DeadEnd

# The lists of a briefing, those that matter most first.
LISTS = ("chain", "decisions", "dead_ends", "near_misses", "open", "runs")
SHORTEST, LONGEST = 200, 1_000_000
_NAMES = {
    "chain": "steps of the chain",
    "decisions": "decisions",
    "dead_ends": "dead ends",
    "near_misses": "near misses",
    "open": "open experiments",
    "runs": "runs",
    "projects": "projects",
}


def fit(brief: Briefing, most: int | None, write: Callable[[Briefing], str]) -> str:
    """The briefing as `write` writes it, in no more than `most` characters if that can be done by leaving things out.

    Each list begins with what matters most. So the ends of the longest lists go first, and of equals that of the list
    which matters least.
    """
    whole = write(brief)
    if most is None or len(whole) <= most:
        return whole
    order = sorted((rank, LISTS.index(name)) for name in LISTS for rank in range(len(getattr(brief, name))))
    # What is left out is told, which takes room as well: so the length is nearly, not quite, a growing one.
    kept = bisect.bisect_right(range(len(order)), most, key=lambda count: len(write(_first(brief, order, count)))) - 1
    while kept > 0 and len(write(_first(brief, order, kept))) > most:
        kept -= 1
    return write(_first(brief, order, max(kept, 0)))


def fit_overview(found: Overview, most: int | None, write: Callable[[Overview], str]) -> str:
    """The same for the list of projects: the oldest go first."""
    shown, lines = found, found.projects
    while most is not None and len(write(shown)) > most and lines:
        lines = lines[:-1]
        gone = found.left_out.get("projects", 0) + len(found.projects) - len(lines)
        shown = replace(found, projects=lines, left_out={"projects": gone})
    return write(shown)


def squeeze(fields: dict[str, Any], most: int | None, length: Callable[[dict[str, Any]], int]) -> dict[str, Any]:
    """The fields without the last ones, as many as must go. Cursor and what is left out stay to the end."""
    fields = dict(fields)
    for name in reversed([name for name in fields if name not in {"cursor", "left_out"}]):
        if most is None or length(fields) <= most:
            break
        del fields[name]
    if most is not None and length(fields) > most:
        fields["left_out"] = {"all": sum(fields["left_out"].values())}
    return fields


def markdown(brief: Briefing, most: int | None) -> str:
    """The briefing in Markdown, in no more than `most` characters, which are at least `SHORTEST`."""
    return _clip(fit(brief, most, _whole), most, brief.cursor)


def markdown_overview(found: Overview, most: int | None) -> str:
    """All projects in Markdown, in no more than `most` characters, which are at least `SHORTEST`."""
    return _clip(fit_overview(found, most, _all_projects), most, found.cursor)


def _first(brief: Briefing, order: list[tuple[int, int]], count: int) -> Briefing:
    """The briefing with only the first `count` things of the order; what goes is added to what is left out."""
    lengths = dict.fromkeys(LISTS, 0)
    for _, index in order[:count]:
        lengths[LISTS[index]] += 1
    left_out = dict(brief.left_out)
    for name in LISTS:
        if gone := len(getattr(brief, name)) - lengths[name]:
            left_out[name] = left_out.get(name, 0) + gone
    cut: dict[str, Any] = {name: getattr(brief, name)[: lengths[name]] for name in LISTS}
    return replace(brief, left_out=left_out, **cut)


def _whole(brief: Briefing) -> str:
    parts = [f"# {brief.project}", "\n".join(_standing(brief))]
    if not brief.changed:
        parts.append("Nothing is new.")
    for title, lines in (
        ("Best chain, newest first", [_move(one) for one in brief.chain]),
        ("Last decisions, newest first", [_judged(one) for one in brief.decisions]),
        ("Near misses", [_try(one.index, f"{_n(one.score)}, {_behind(one.behind)}", one.note) for one in brief.near_misses]),
        ("Dead ends", [_dead_end(one) for one in brief.dead_ends]),
        ("Open experiments, without a verdict", [_open(one) for one in brief.open]),
        ("Runs", [_run(one, brief.metric) for one in brief.runs]),
    ):  # fmt: skip
        if lines:
            parts.append("\n".join([f"## {title}", *(f"- {line}" for line in lines)]))
    return "\n\n".join([*parts, _tail(brief.left_out, brief.cursor)]) + "\n"


def _standing(brief: Briefing) -> list[str]:
    lines = [brief.description] if brief.description else []
    if brief.metric is None:
        lines.append("Goal: none is set.")
    else:
        aim = "minimize" if brief.lower_is_better else "maximize"
        target = f", target {_n(brief.target)}" if brief.target is not None else ""
        lines.append(f"Goal: {aim} {brief.metric}{target}.")
    if brief.best is not None:
        gap = "" if brief.gap is None else f", {_n(brief.gap)} from the target"
        lines.append(
            f"Best: {_n(brief.best)} (#{brief.best_index}){', target reached' if brief.target_reached else gap}."
        )
    counts = brief.counts
    lines.append(
        f"Tried: {counts['keep']} kept, {counts['drop']} dropped, {counts['crash']} crashed, {counts['undecided']} open."
    )
    if brief.noise:
        lines.append(f"Noise: differences below {_n(brief.noise.floor)} may be chance ({brief.noise.repeats} repeats).")
    return lines


def _move(one: Move) -> str:
    gain = "the first" if not one.gain else f"better by {_n(one.gain)}{', maybe by chance' if one.within_noise else ''}"
    commit = f", commit {one.commit[:7]}" if one.commit else ""
    return _try(one.index, f"{_n(one.score)}, {gain}{commit}", one.note)


def _judged(one: Any) -> str:
    score = "" if one.score is None else f" {_n(one.score)}"
    return _try(one.index, f"{one.status}{score}", one.note) + (f" — {one.reason}" if one.reason else "")


def _dead_end(one: DeadEnd) -> str:
    numbers = ", ".join(f"#{index}" for index in one.indexes[:12]) + (", …" if len(one.indexes) > 12 else "")
    best = f"best {_n(one.best_score)}" if one.best_score is not None else "no score"
    crashed = f", {one.crashed} crashed" if one.crashed else ""
    if one.kind == "single":
        return f"{numbers} ({best}{crashed}): {one.words}"
    tries = f"{len(one.indexes)} times the same" if one.kind == "same" else f"{len(one.indexes)} tries"
    return f"“{one.words}”: {tries} ({numbers}), {best}{crashed}"


def _open(one: OpenExperiment) -> str:
    run = f" (run {one.run_id}{f', {one.run_status}' if one.run_status else ''})" if one.run_id else ""
    return f"#{one.index} {one.experiment_id}{run}{f': {one.note}' if one.note else ''}"


def _run(one: RunNews, metric: str | None) -> str:
    value = f", {metric} {_n(one.value)} at step {one.step}" if one.value is not None else ""
    return f"{one.name} ({one.id}): {one.status}{value}, last heard of {one.last_seen_at[:19]}Z"


def _try(index: int, what: str, note: str | None) -> str:
    return f"#{index} {what}{f': {note}' if note else ''}"


def _behind(distance: float) -> str:
    if distance == 0:
        return "as good as the best"
    return f"{_n(distance)} behind the best" if distance > 0 else f"{_n(-distance)} before the best"


def _all_projects(found: Overview) -> str:
    lines = ["# Projects", "", *(f"- {_project(one)}" for one in found.projects)]
    if not found.projects and not found.left_out:
        lines.append("There is no project yet." if found.changed else "Nothing is new.")
    return "\n".join([*lines, "", _tail(found.left_out, found.cursor)]) + "\n"


def _project(one: ProjectLine) -> str:
    goal = "no goal"
    if one.metric is not None:
        goal = f"{'minimize' if one.lower_is_better else 'maximize'} {one.metric}"
        goal += f" to {_n(one.target)}" if one.target is not None else ""
    best = "nothing kept yet" if one.best is None else f"best {_n(one.best)}"
    gap = ", target reached" if one.target_reached else f", {_n(one.gap)} from it" if one.gap is not None else ""
    live = f", {one.live_runs} live" if one.live_runs else ""
    return f"{one.name}: {goal}; {best}{gap}; {one.experiments} experiments, {one.runs} runs{live}"


def _tail(left_out: dict[str, int], cursor: str) -> str:
    told = ", ".join(f"{count} {_NAMES[name]}" for name, count in left_out.items())
    return f"{f'Left out: {told}.{chr(10)}' if told else ''}Cursor: {cursor}"


def _clip(text: str, most: int | None, cursor: str) -> str:
    """The text itself; where even its head is too long, the head is cut, and the cursor stays."""
    if most is None or len(text) <= most:
        return text
    tail = f"…\n\nCut to {most} characters.\nCursor: {cursor}\n"
    return text[: most - len(tail)] + tail


def _n(value: float | None) -> str:
    return "none" if value is None else f"{value:.7g}"
