"""A research loop on the character model: a scripted researcher that changes settings and code in a scratch Git
repository, trains for seconds, and keeps what is better.

Each experiment is a process of its own (trial.py) that logs a run. Its uncommitted change is captured by arwandb; what is
kept is committed, what is not is reverted. Models of kept experiments become versions of an artifact, and the best of
them is promoted to `winner`.
"""

import argparse
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import stdev

from arwandb import autoresearch as ar
from ideas import BASELINE, IDEAS, SHORT, Idea, nothing

HERE = Path(__file__).parent
CODE = ("model.py", "optimizer.py", "text.py", "train.py", "trial.py")
METRIC = "val_bpb"
ARTIFACT = "char-lm"
_SECONDS = 600


class Scratch:
    """The repository in which the researcher works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in CODE:
            shutil.copy(HERE / name, folder / name)
        (folder / "config.json").write_text(json.dumps(BASELINE, indent=2) + "\n")
        (folder / ".gitignore").write_text("out/\n__pycache__/\n")
        self.git("init", "-q", "-b", "research")
        self.commit("baseline")

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    def revert(self) -> None:
        self.git("checkout", "-q", "--", ".")

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=researcher", "-c", "user.email=researcher@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True)


class Researcher:
    """Keeps what is better than anything before, and knows how far repeats of one setting lie apart."""

    def __init__(self, scratch: Scratch, characters: int) -> None:
        self.scratch, self.characters = scratch, characters
        self.best = float("inf")
        self.winner: ar.Version | None = None
        self._kept = 0
        self._repeats: dict[int, list[float]] = {}

    @property
    def noise(self) -> float:
        """The widest spread that chance alone has made so far. A kept score is no repeat: it was picked for being low."""
        return max((stdev(scores) for scores in self._repeats.values() if len(scores) > 1), default=0.0)

    def attempt(self, idea: Idea, environment: dict[str, str]) -> str:
        """Try an idea; the verdict in a line."""
        idea.edit(self.scratch.folder)
        experiment_id = f"exp_{secrets.token_hex(8)}"
        score, trouble = self.run(idea.note, experiment_id, environment)
        if score is None:
            ar.decision(experiment_id, "crash", note=trouble)
            self.scratch.revert()
            return f"crash          {trouble}"
        is_first = self.winner is None
        if idea.edit is nothing:
            self._repeats.setdefault(self._kept, []).append(score)
        reason = self.against(idea, score, is_first=is_first)
        if reason:
            ar.decision(experiment_id, "drop", score, METRIC, note=reason)
            self.scratch.revert()
            return f"drop   {score:.4f}  {reason}"
        ar.decision(experiment_id, "keep", score, METRIC)
        if idea.edit is not nothing:  # repeats of one commit are repeats
            self.scratch.commit(idea.note)
        self.best, self._kept = score, self._kept + (not is_first)
        self.winner = ar.artifact(
            ARTIFACT, self.scratch.folder / "out" / "model", type="model", produced_by=experiment_id,
            metadata={METRIC: score, "note": idea.note},
        )  # fmt: skip
        return f"keep   {score:.4f}  as {self.winner['label'] or 'a version to come'}"

    def against(self, idea: Idea, score: float, *, is_first: bool) -> str:
        """What speaks against keeping it; nothing if it is to be kept."""
        if is_first:
            return ""
        if idea.edit is nothing:
            return "a repeat, to measure chance"
        if score >= self.best:
            return "no better"
        if idea.adds_code and self.best - score < 2 * self.noise:
            return "a gain that chance can make, for code that does more"
        return ""

    def run(self, note: str, experiment_id: str, environment: dict[str, str]) -> tuple[float | None, str]:
        """Train in a process of its own: the score, or what broke."""
        shutil.rmtree(self.scratch.folder / "out", ignore_errors=True)
        command = [sys.executable, "trial.py", note, experiment_id, str(self.characters)]
        try:
            done = subprocess.run(
                command, cwd=self.scratch.folder, env=environment, capture_output=True, text=True, timeout=_SECONDS,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None, f"took longer than {_SECONDS} s"
        for line in done.stdout.splitlines():
            if line.startswith(f"{METRIC}: ") and done.returncode == 0:
                return float(line.split()[1]), ""
        if done.returncode < 0:
            return None, f"ended by signal {-done.returncode}: over the limit of CPU time"
        last = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("arwandb:")]
        return None, (last[-1] if last else f"exit code {done.returncode}")[:300]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--project", default=os.environ.get("ARWANDB_PROJECT") or "char-lm")
    parser.add_argument("--characters", type=int, default=200_000, help="how many each experiment learns from")
    parser.add_argument("--target", type=float, default=2.45, help="the score to reach")
    parser.add_argument("--short", action="store_true", help="a handful of experiments, for a look")
    parser.add_argument("--experiments", type=int, default=len(IDEAS), help="at most so many")
    parser.add_argument("--folder", type=Path, default=None, help="the scratch repository (a temporary one)")
    args = parser.parse_args()
    os.environ["ARWANDB_PROJECT"] = args.project
    os.environ.setdefault("ARWANDB_DIR", str(Path("arwandb-spool").absolute()))

    ar.goal(metric=METRIC, lower_is_better=True, target=args.target)
    ideas = (SHORT if args.short else IDEAS)[: args.experiments]
    with tempfile.TemporaryDirectory(prefix="char-lm-") as temporary:
        researcher = Researcher(Scratch(args.folder or Path(temporary) / "work"), args.characters)
        number = itertools.count(1)
        for tag, group in itertools.groupby(ideas, key=lambda idea: idea.session):
            session = ar.session(tag=tag, branch="research")
            environment = {**os.environ, "ARWANDB_SESSION_ID": session["id"], "ARWANDB_RUN_GROUP": tag}
            for idea in group:
                told = researcher.attempt(idea, environment)
                print(f"{next(number):3}/{len(ideas)}  {told}  | {idea.note}", flush=True)
        if researcher.winner is not None:
            ar.promote(ARTIFACT, "winner", version=researcher.winner)
            print(f"best {METRIC} {researcher.best:.4f}, promoted {ARTIFACT}:winner")
    return 0 if researcher.winner is not None else 1


if __name__ == "__main__":
    sys.exit(main())
