"""The research loop of examples/char_lm: its ideas fit the code, and a few of them run for real."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from arwandb import autoresearch as ar

from tests.sdk.conftest import SDK, Real
from tests.sdk.research.conftest import get

FOLDER = SDK.parent / "examples" / "char_lm"


@pytest.fixture
def ideas(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "ideas", raising=False)
    return importlib.import_module("ideas")


def test_every_idea_changes_something_that_is_there(ideas: ModuleType, tmp_path: Path) -> None:
    assert len(ideas.IDEAS) >= 30
    for number, idea in enumerate(ideas.IDEAS):
        work = tmp_path / str(number)
        work.mkdir()
        for name in ("model.py", "optimizer.py", "train.py"):
            shutil.copy(FOLDER / name, work / name)
        (work / "config.json").write_text(json.dumps(ideas.BASELINE, indent=2) + "\n")
        before = {path.name: path.read_text() for path in work.iterdir()}
        idea.edit(work)
        changed = [path.name for path in work.iterdir() if path.read_text() != before[path.name]]
        assert len(changed) == (0 if idea.edit is ideas.nothing else 1), idea.note


def test_ideas_fit_the_code_that_earlier_ones_left(ideas: ModuleType, tmp_path: Path) -> None:
    for name in ("model.py", "optimizer.py", "train.py"):
        shutil.copy(FOLDER / name, tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps(ideas.BASELINE) + "\n")
    for idea in ideas.IDEAS:
        if "twice as wide" not in idea.note:  # which breaks, so it is never kept
            idea.edit(tmp_path)


def test_a_short_loop_runs_for_real_with_crashes_repeats_and_a_winner(real: Real, tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "loop.py"), "--short", "--experiments", "6", "--characters", "4000"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(SDK)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = ar.progress()
    assert found["counts"]["crash"] >= 1
    assert found["counts"]["keep"] >= 1
    assert found["counts"]["undecided"] == 0
    assert found["noise"]["repeats"] >= 2
    assert [one["score"] is None for one in found["items"]] == [one["status"] == "crash" for one in found["items"]]

    winner = ar.get_artifact("char-lm", "winner")
    assert winner["score"] == found["best"]["score"]
    assert winner["produced_by"] == [{"kind": "experiment", "id": found["best"]["experiment_id"]}]
    model = Path(winner.download(tmp_path / "model"))
    assert json.loads((model / "config.json").read_text())["val_bpb"] == pytest.approx(winner["score"], abs=1e-6)

    changed = get(real, f"/v1/experiments/{found['items'][2]['experiment_id']}")
    assert changed["run_id"] is not None
    assert changed["config"]["lr"] == pytest.approx(0.003)
    assert get(real, f"/v1/runs/{changed['run_id']}")["status"] == "finished"
    crashed = next(one for one in found["items"] if one["status"] == "crash")
    run = get(real, f"/v1/experiments/{crashed['experiment_id']}")["run_id"]
    assert get(real, f"/v1/runs/{run}")["status"] == "failed"
    script = get(real, f"/v1/experiments/{changed['id']}/tree")
    assert {"model.py", "train.py", "config.json"} <= {entry["path"] for entry in script["entries"]}
