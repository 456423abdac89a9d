"""The code that the public documentation shows, run as it stands there: only the address and the key are ours."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdk.conftest import SDK, Real
from tests.sdk.research.conftest import Repository, get

# What the reader is expected to have: numbers to log, and a model that training has left.
BEFORE = """
import pathlib
loss, bpb = 2.31, 2.41
pathlib.Path("out/model").mkdir(parents=True, exist_ok=True)
pathlib.Path("out/model/weights.bin").write_bytes(b"weights")
"""

QUICKSTART = """
import arwandb

run = arwandb.init(project="char-lm", config={"lr": 3e-4})
for step in range(1000):
    arwandb.log({"loss": loss, "val_bpb": bpb})   # batched + flushed in the background
arwandb.finish()
"""

SYSTEM_METRICS = """
# on by default; tune or disable per run…
run = arwandb.init(project="char-lm", system_interval=30)   # sample every 30s (default 15)
run = arwandb.init(project="char-lm", system_metrics=False)  # …or turn it off
"""

AUTORESEARCH = """
from arwandb import autoresearch as ar

# 1. define the objective (minimize val_bpb toward 2.45)
ar.goal(metric="val_bpb", lower_is_better=True, target=2.45)

# 2. open a line of inquiry
ar.session(tag="tune-warmup")

# 3. record a tried change. Inside a git repo, commit + parent + the
#    UNCOMMITTED working-tree diff are captured automatically (the code
#    that actually ran) — no arguments needed. note = the flaw→fix story.
exp = ar.experiment(
    note="lr too hot early; added 200-step warmup",
    snapshot=".",            # optional: full code tree, content-addressed
)

# 4. judge it — the score feeds the frontier
ar.decision(experiment_id=exp["id"], status="keep", score=2.41, metric="val_bpb")
"""

ARTIFACTS = """
from arwandb import autoresearch as ar

# log a new version from files; content-addressed, so re-logging same bytes is a no-op
v = ar.artifact("char-lm", "out/model", type="model", produced_by=exp["id"])
ar.promote("char-lm", "winner", version=v["version"])   # move the ref
ar.get_artifact("char-lm", "winner")                     # resolve ref → version
ar.artifacts(type="model")                               # list
"""

AFTER = """
import json
print(json.dumps({"run": first, "exp": exp["id"], "repro_key": exp["repro_key"], "prior": exp["prior"], "v": v["version"]}))
"""

CURL = """
# set the goal for a project
curl -s SERVER/v1/projects \\
  -H "Authorization: Bearer $ARWANDB_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"name":"char-lm","objective_metric":"val_bpb","lower_is_better":true,"target":2.45}'

# resolve the current winner
curl -s "SERVER/v1/artifacts/char-lm/winner?project=char-lm" \\
  -H "Authorization: Bearer $ARWANDB_API_KEY"
"""

UNZIPPED = """
curl -L SERVER/sdk/arwandb-1.3.1-py3-none-any.whl -o arwandb.whl
unzip -o arwandb.whl 'arwandb/*'    # leaves an ./arwandb package next to your code
"""


@pytest.fixture
def environment(real: Real, repo: Repository) -> dict[str, str]:
    """`export ARWANDB_BASE_URL=… ARWANDB_API_KEY=… ARWANDB_PROJECT=char-lm`, and nothing else."""
    repo.commit()
    names = {name: value for name, value in os.environ.items() if not name.startswith("ARWANDB_")}
    return {
        **names, "ARWANDB_BASE_URL": real.base_url, "ARWANDB_API_KEY": real.key, "ARWANDB_PROJECT": "char-lm",
        "PYTHONPATH": str(SDK),
    }  # fmt: skip


def test_the_examples_of_the_documentation_run_as_they_are(
    real: Real, repo: Repository, environment: dict[str, str], tmp_path: Path
) -> None:
    repo.write("train.py", "lr = 'warmed up'\n")  # the uncommitted change
    script = (
        BEFORE
        + QUICKSTART
        + "first = run.id\n"
        + SYSTEM_METRICS
        + "arwandb.finish()\n"
        + AUTORESEARCH
        + ARTIFACTS
        + AFTER
    )
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        cwd=repo.path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)

    receipt = real.receipt(said["run"])
    assert (receipt["lost"], receipt["intact"]) == (0, True)
    assert receipt["points_stored"] >= 2000
    assert get(real, f"/v1/runs/{said['run']}")["config"] == {"lr": 3e-4}
    exp = get(real, f"/v1/experiments/{said['exp']}")
    assert (exp["commit"], exp["parent"] is not None) == (repo.git("rev-parse", "HEAD"), True)
    assert (exp["repro_key"], exp["decision"]["score"]) == (said["repro_key"], 2.41)
    assert "train.py" in [entry["path"] for entry in get(real, f"/v1/experiments/{said['exp']}/tree")["entries"]]
    assert get(real, "/v1/projects/char-lm/frontier")["best"]["score"] == 2.41

    answers = subprocess.run(
        ["sh", "-e", "-c", CURL.replace("SERVER", real.base_url)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    read, found = json.JSONDecoder(), []
    rest = answers.stdout
    while rest.strip():
        one, end = read.raw_decode(rest.strip())
        found.append(one)
        rest = rest.strip()[end:]
    goal, winner = found
    assert (goal["name"], goal["target"], goal["lower_is_better"]) == ("char-lm", 2.45, True)
    assert (winner["version"], winner["refs"]) == (said["v"], winner["refs"])
    assert "winner" in winner["refs"]
    assert winner["score"] == 2.41


@pytest.mark.skipif(shutil.which("unzip") is None, reason="this line of the documentation needs unzip")
def test_the_unzipped_wheel_lies_next_to_the_code(real: Real, environment: dict[str, str], tmp_path: Path) -> None:
    environment.pop("PYTHONPATH")
    shell = (
        UNZIPPED.replace("SERVER", real.base_url) + f"{sys.executable} -c 'import arwandb; print(arwandb.__file__)'\n"
    )
    done = subprocess.run(
        ["sh", "-e", "-c", shell],
        cwd=tmp_path,
        env={**environment, "PYTHONSAFEPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str(tmp_path / "arwandb" / "__init__.py")
